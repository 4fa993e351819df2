"""Experiments of the user's own from the command line: templates, resuming, changed code, and code that fails."""

import json
import subprocess
import sys

import pytest
import torch
from cli_samples import call, tree

import fourfold as ff
from fourfold.cli.new import TASKS
from fourfold.record import RunStore, find_runs

QUICK = ("--trials", 1, "--max-level", 1, "--epochs", 1, "--workers", 0)

FILE = """
import numpy as np
from torch import nn
import fourfold as ff

def data():
    x = np.random.default_rng(0).standard_normal((120, 8)).astype("float32")
    return ff.data.from_arrays((x, (x[:, 0] > 0).astype("int64")))

def net(algebra, inputs, outputs):
    return Net(algebra, inputs[0], outputs)

class Net(nn.Module):
    def __init__(self, algebra, inputs, outputs):
        super().__init__()
        self.algebra = algebra
        self.one = ff.nn.Linear(inputs, 8, algebra=algebra)
        self.two = nn.Linear(8, outputs)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.two(self.one(x).relu())

def experiment():
    return ff.presets.new("roads", data="roads.py:data", model="roads.py:net", epochs=2, max_level=2, batch_size=16)
"""


@pytest.fixture
def roads(here, quick_plan):
    """A file with an experiment, in the current folder."""
    before = list(sys.path)
    (here / "roads.py").write_text(FILE)
    yield here / "roads.py"
    sys.path[:] = before


def rows_of(out):
    return {(row.run, row.trial, row.level): row for store in find_runs(out) for t in store.trials() for row in store.rows(t)}


METRICS = {"classification": "top1", "segmentation": "miou", "detection": "map50", "sequences": "top1"}
METRICS |= {"multilabel": "f1", "regression": "rmse", "custom": "within"}


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_templates_run_as_they_are(here, quick_plan, task):
    assert call("new", "my_roads.py", "--task", task).code == 0
    ended = call("run", "my_roads.py", *QUICK)
    assert ended.code == 0, ended.err
    rows = rows_of(here / "runs")
    assert {row.algebra for row in rows.values()} == {"real", "quaternion"}
    assert len(rows) == 4
    for row in rows.values():
        assert row.metric.name == METRICS[task]
        assert row.metric.name in row.metrics
        assert list(row.provenance.code) == ["my_roads.py"]
        assert row.provenance.engine == "eager"
    assert call("status").code == 0
    assert call("report", "runs").code == 0


def test_a_file_that_is_there_is_left_alone(roads):
    before = roads.read_bytes()
    ended = call("new", "roads.py")
    assert (ended.code, roads.read_bytes()) == (2, before)
    assert "must be a new file" in ended.err


@pytest.mark.slow
def test_rows_do_not_depend_on_pieces_or_processes(roads):
    """One run in this process; one in workers that is ended after each level."""
    assert call("run", "roads.py", "--trials", 2, "--workers", 0, "--out", "whole").code == 0
    for level in (0, 1):
        assert call("run", "roads.py", "--trials", 2, "--workers", 0, "--out", f"part{level}", "--max-level", level).code == 0
    assert call("run", "roads.py", "--trials", 2, "--workers", 2, "--out", "workers").code == 0
    whole, workers = rows_of(roads.parent / "whole"), rows_of(roads.parent / "workers")
    assert len(whole) == 2 * 2 * 3
    assert whole.keys() == workers.keys()
    for key, row in whole.items():
        assert row.same_result(workers[key])
        for level in range(row.level, 2):  # of a spec with another last level, whose id is another
            part = rows_of(roads.parent / f"part{level}")
            same = [other for other in part.values() if (other.algebra, other.trial, other.level) == (row.algebra, *key[1:])]
            assert (same[0].metrics, same[0].mask) == (row.metrics, row.mask)


@pytest.mark.slow
def test_changed_code_is_refused_or_accepted(roads):
    assert call("run", "roads.py", *QUICK).code == 0
    roads.write_text(FILE + "\n# another line\n")
    ended = call("run", "roads.py", "--trials", 2, *QUICK[2:])
    assert ended.code == 2
    assert "the code of roads.py has changed since the run began" in ended.err
    assert call("run", "roads.py", "--trials", 2, *QUICK[2:], "--accept-changed-code").code == 0
    codes = {row.trial: row.provenance.code["roads.py"] for row in rows_of(roads.parent / "runs").values()}
    assert codes[0] != codes[1]


def test_code_that_changes_during_the_run_is_not_run_by_workers(roads):
    """The file changes itself as soon as it is imported: a worker must not take the other for the same."""
    text = "import pathlib\n_me = pathlib.Path(__file__)\n_me.write_text(_me.read_text() + '#')\n"
    roads.write_text(text + FILE)
    ended = call("run", "roads.py", "--trials", 1, "--workers", 1, "--algebra", "real")
    assert ended.code == 2
    assert "has changed since the run began" in ended.err
    assert not list(roads.parent.glob("runs/*/rows-*"))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("def experiment():", "def experiment(:", "roads.py:{line}: expected Python code, found a syntax error"),
        (
            "def experiment():",
            "def experimental():",
            "roads.py: expected a function `experiment` that returns a spec, found none",
        ),
        ('return ff.presets.new("roads"', 'return 3\nff.presets.new("roads"', "expected `experiment` to return what"),
        ("roads.py:net", "roads.py:nett", "roads.py: expected `nett`, found no such name; did you mean 'net'?"),
        (
            "def net(algebra, inputs, outputs):",
            "def net(inputs):",
            "roads.py:{line}: expected `net` to take (algebra, inputs, outputs)",
        ),
        (
            "return Net(algebra, inputs[0], outputs)",
            "return 1 / 0",
            "roads.py:{line}: expected `net` to return, found ZeroDivisionError",
        ),
        (
            "return Net(algebra, inputs[0], outputs)",
            "return None",
            "expected `net` to return a torch.nn.Module, found a NoneType",
        ),
        (
            "return Net(algebra, inputs[0], outputs)",
            "return nn.ReLU()",
            "expected the network of `net` to have weights to prune",
        ),
        (
            "nn.Linear(8, outputs)",
            "nn.Linear(9, outputs)",
            "roads.py:23: expected a network that takes a batch, found RuntimeErr",
        ),
        ("self.one(x).relu())", "self.one(x).relu())[:, :1]", "the network's output (of shape (2, 1)) must be (batch, classes"),
        ("return ff.data.from_arrays", "return list", "expected `data` to return what `from_arrays`"),
        ("data():", "data(path):", "roads.py:{line}: expected `data` to take (), found (path)"),
        ('"roads.py:data"', '"raods.py:data"', "raods.py: expected a file of Python code, found none"),
        ('"roads.py:data"', '"digit"', "unknown data set 'digit'"),
        ('"roads.py:net"', '"conv4x"', "unknown model 'conv4x'"),
        ('"roads.py:net"', '"conv-4"', "`model.name` (='conv-4') cannot be combined with `data.name` (='roads.py:data')"),
        ("epochs=2,", 'epochs=2, task="regresion",', "unknown task 'regresion'"),
        (
            "epochs=2,",
            'epochs=2, task="multilabel",',
            "whose targets are of kind 'classes': the task for them is classification",
        ),
        ("epochs=2,", 'epochs=2, optimizer="adamw2",', "unknown train optimizer 'adamw2'"),
        (
            "epochs=2,",
            'epochs=2, settings={"model.norm": "whitening"},',
            "`model.norm` (='whitening') cannot be combined with `model.name` (='roads.py:net'), whose code chooses its norms",
        ),
    ],
)
def test_code_that_does_not_work_is_one_sentence_before_anything_is_written(roads, old, new, found):
    assert old in FILE
    roads.write_text(FILE.replace(old, new))
    ended = call("run", "roads.py", *QUICK)
    assert ended.code == 2, ended.out
    before, _, _ = roads.read_text().partition(new)
    assert found.replace("{line}", str(before.count("\n") + 1)) in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert not (roads.parent / "runs").exists()


def test_a_batch_may_be_larger_than_all_items(roads):
    roads.write_text(FILE.replace("batch_size=16", "batch_size=1000"))
    assert call("run", "roads.py", "--trials", 1, "--workers", 0, "--max-level", 0).code == 0
    assert len(rows_of(roads.parent / "runs")) == 2


@pytest.mark.slow
def test_a_network_that_raises_in_one_trial_leaves_the_others_alone(roads):
    fails = "        if self.algebra == 'quaternion' and self.calls > 9:\n            raise RuntimeError('no road')\n"
    roads.write_text(FILE.replace("        self.calls += 1\n", "        self.calls += 1\n" + fails))
    ended = call("run", "roads.py", "--trials", 1, "--workers", 2)
    assert ended.code == 2
    assert "roads.py:24: expected code that runs, found RuntimeError: no road; all rows so far are safe" in ended.err
    assert "Traceback" not in ended.err + ended.out
    rows = rows_of(roads.parent / "runs")
    assert sorted(row.level for row in rows.values() if row.algebra == "real") == [0, 1, 2]
    roads.write_text(FILE)
    assert call("run", "roads.py", "--trials", 1, "--workers", 0, "--accept-changed-code").code == 0
    assert len(rows_of(roads.parent / "runs")) == 6


@pytest.mark.slow
def test_a_network_that_ends_its_process_is_a_sentence_and_not_a_hang(roads):
    ends = "        if self.calls > 9:\n            import sys\n            sys.exit('enough')\n"
    roads.write_text(FILE.replace("        self.calls += 1\n", "        self.calls += 1\n" + ends))
    ended = call("run", "roads.py", "--trials", 1, "--workers", 1, "--algebra", "real")
    assert ended.code == 2
    assert "expected code that runs, found SystemExit: enough; all rows so far are safe" in ended.err


@pytest.mark.slow
@pytest.mark.started_workers
def test_a_file_with_the_name_of_a_module_of_python_s_hides_nothing(roads):
    (roads.parent / "random.py").write_text("raise RuntimeError('this is not the random that was meant')\n")
    assert call("run", "roads.py", "--trials", 1, "--workers", 1, "--algebra", "real", "--max-level", 0).code == 0


def test_a_loss_that_is_no_number_fails_its_trials_alone(roads):
    roads.write_text(
        FILE.replace("return self.two(", "return (float('nan') if self.algebra == 'real' and self.training else 1) * self.two(")
    )
    ended = call("run", "roads.py", "--trials", 1, "--workers", 0)
    assert ended.code == 1
    assert "failed at level 0: the training loss became nan" in ended.out
    assert {row.algebra for row in rows_of(roads.parent / "runs").values()} == {"quaternion"}


@pytest.mark.slow
def test_what_user_code_prints_does_not_disturb_a_worker(roads):
    roads.write_text(FILE.replace("self.calls += 1", "self.calls += 1; print('{' * 1000)"))
    ended = call("run", "roads.py", "--trials", 1, "--workers", 1, "--algebra", "real")
    assert ended.code == 0, ended.err
    assert len(rows_of(roads.parent / "runs")) == 3


def test_several_specs_of_one_file_are_run_as_they_are(roads):
    layers = "ff.models.Layers(algebra=algebra).linear(inputs, 8)"
    several = FILE.replace("ff.nn.Linear(inputs, 8, algebra=algebra)", layers).replace(
        "return ff.presets", "return [ff.presets"
    )
    roads.write_text(several.replace("batch_size=16)", 'batch_size=16, algebra=a) for a in ("real", "phm")]'))
    assert call("run", "roads.py", *QUICK).code == 0
    assert {store.spec().model.algebra for store in find_runs(roads.parent / "runs")} == {"real", "phm"}
    assert "cannot be combined with roads.py" in call("run", "roads.py", *QUICK, "--algebra", "real").err
    learning_rates = "--set", "train.learning_rate=1e-3,1e-2", "--set", "train.epochs=1"
    swept = call("sweep", "roads.py", *learning_rates, "--trials", 1, "--workers", 0, "--out", "swept")
    assert swept.code == 0, swept.err
    assert sorted(store.spec().model.algebra for store in find_runs(roads.parent / "swept")) == ["phm", "phm", "real", "real"]
    roads.write_text(roads.read_text().replace('("real", "phm")', '("real", "real")'))
    assert "one experiment for each algebra" in call("sweep", "roads.py", *learning_rates, "--dry-run").err


def test_a_task_needs_data_and_a_model_alone(roads):
    ended = call("run", "classify", "--data", "roads.py:data", "--model", "lenet-300-100", *QUICK)
    assert "not imported because a run's folder" not in ended.err
    assert ended.code == 0, ended.err
    assert len(rows_of(roads.parent / "runs")) == 4
    assert "`--model` must be given to `fourfold run classify`" in call("run", "classify", "--data", "roads.py:data").err
    assert "cannot be combined with the preset digits" in call("run", "digits", "--data", "roads.py:data").err


@pytest.mark.slow
def test_reading_never_runs_code_that_a_folder_names(roads):
    """A stranger's folder: its spec names code, which lies wherever somebody may look for it."""
    assert call("run", "roads.py", *QUICK, "--keep", 0).code == 0
    hostile_code = f"import pathlib\npathlib.Path({str(roads.parent / 'ran')!r}).touch()\nraise SystemExit(3)\n"
    for store in find_runs(roads.parent / "runs"):
        for folder in (roads.parent, store.path, roads.parent / "runs"):
            (folder / "roads.py").write_text(hostile_code)
    hostile = roads.parent / "runs"
    stored = find_runs(hostile)[0]
    marker = roads.parent / "ran"
    for words in (
        ("status", hostile),
        ("report", hostile),
        ("report", stored.path),
        ("reproduce", "claims", "--runs", hostile),
        ("export", stored.path, "--level", 0, "--to", "torch"),
        ("stability", stored.path),
        ("check", hostile),
        ("predict", stored.path / "spec.json", "roads.py"),
        ("info",),
    ):
        ended = call(*words)
        assert not marker.exists(), words
        assert "Traceback" not in ended.err, (words, ended.err)


@pytest.mark.slow
def test_what_is_on_disk_names_code_and_metric(roads):
    assert call("run", "roads.py", *QUICK).code == 0
    for store in find_runs(roads.parent / "runs"):
        value = json.loads((store.path / "spec.json").read_text())
        assert list(value["code_sha256"]) == ["roads.py"]
        assert RunStore(store.path).spec().trust is None
    before = tree(roads.parent / "runs")
    assert call("run", "roads.py", *QUICK).code == 0  # nothing is left to do
    for name, content in tree(roads.parent / "runs").items():
        if "rows-" in name:
            assert before[name] == content


@pytest.fixture
def kept(roads):
    """A run whose levels' weights are kept; the folder of its quaternion network."""
    assert call("run", "roads.py", *QUICK, "--keep", 0, 1).code == 0
    return next(store.path for store in find_runs(roads.parent / "runs") if store.spec().model.algebra == "quaternion")


@pytest.mark.slow
def test_commands_that_build_the_network_take_its_code_from_the_command_line(roads, kept):
    for words in (("export", kept, "--level", 1, "--to", "torch"), ("stability", kept, "--points", 3)):
        refused = call(*words)
        assert (refused.code, "--trust-code" in refused.err) == (2, True)
        for trust in (("--code", roads), ("--trust-code",)):
            ended = call(*words, *trust)
            assert ended.code == 0, ended.err
    other = roads.parent / "elsewhere" / "paths.py"
    other.parent.mkdir()
    other.write_text(FILE + "\n")
    assert "must be in paths.py" in call("export", kept, "--level", 1, "--to", "torch", "--code", other).err
    roads.write_text(FILE + "#")
    assert "has changed since the run began" in call("export", kept, "--level", 1, "--to", "torch", "--code", roads).err


def test_a_lost_mask_is_made_again_by_the_code_of_the_command_line(roads, kept):
    mask = kept / "masks" / "0-1.safetensors"
    content = mask.read_bytes()
    mask.unlink()
    refused = call("check", "--repair", kept)
    assert (refused.code, "--trust-code" in refused.err) == (2, True)
    ended = call("check", "--repair", kept, "--code", roads)
    assert ended.code == 0, ended.err
    assert mask.read_bytes() == content


@pytest.mark.slow
def test_a_ticket_is_a_module_and_a_file_that_needs_nothing_of_ours(roads, kept, tmp_path):
    network = ff.load_ticket(kept, 1, code=roads)
    row = RunStore(kept).rows(0)[1]
    weights = dict(network.named_parameters())
    assert sum(int(mask.sum()) for mask in network.masks.values()) == row.weights < row.weights_total
    for name, mask in network.masks.items():
        assert not weights[name][~mask].any()
    with pytest.raises(ff.UserError, match="--trust-code"):
        ff.load_ticket(kept, 1)
    inputs = torch.randn(5, 8)
    path = ff.export_torch(network, tmp_path / "ticket.pt2", inputs)
    alone = (
        "import sys, torch; sys.modules['fourfold'] = None; program = torch.export.load(sys.argv[1]).module(); "
        "print(program(torch.load(sys.argv[2])).tolist())"
    )
    for count in (1, 5):
        torch.save(inputs[:count], tmp_path / "inputs.pt")
        words = [sys.executable, "-c", alone, str(path), str(tmp_path / "inputs.pt")]
        said = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path, env={"PATH": "/usr/bin"})
        assert torch.allclose(torch.tensor(json.loads(said.stdout)), network(inputs[:count]), atol=1e-6)
    assert call("export", kept, "--level", 1, "--to", "pt2", "--code", roads, "--out", "a.pt2").code == 0


@pytest.mark.slow
def test_what_is_exported_computes_what_the_network_does(roads, kept, tmp_path):
    network, inputs = ff.load_ticket(kept, 1, code=roads), torch.randn(5, 8)
    for values in ("fp32", "int8"):
        words = ("export", kept, "--level", 1, "--code", roads, "--values", values)
        assert call(*words, "--out", "a.safetensors").code == 0
        assert call(*words, "--to", "c", "--out", "c").code == 0
        assert (tmp_path / "c" / "network.c").exists()
        found = torch.from_numpy(ff.deploy.load("a.safetensors")(inputs.numpy()))
        assert torch.allclose(found, network(inputs), atol=1e-5 if values == "fp32" else 0.1)
    assert "compares images of bytes" in call(*words[:4], "--code", roads, "--verify").err


def test_info_prints_the_layers_of_a_file_and_what_is_not_counted(roads):
    own = "self.own = nn.Parameter(__import__('torch').ones(8, 8))\n        self.calls = 0"
    roads.write_text(FILE.replace("self.calls = 0", own))
    ended = call("info", "roads.py")
    assert ended.code == 0, ended.err
    assert ended.out.count("roads: roads.py:net") == 2
    assert "not counted, and not pruned: own" in ended.out


def test_a_sweep_takes_a_file(roads):
    words = ("sweep", "roads.py", "--set", "train.learning_rate=1e-3,1e-2", "--trials", 1, "--workers", 0)
    assert call(*words, "--set", "train.epochs=1").code == 0
    stores = find_runs(roads.parent / "runs")
    assert len(stores) == 4
    for store in stores:
        assert store.rows(0)[0].validation is not None


@pytest.mark.slow
def test_a_changed_file_that_the_file_imports_is_noticed_on_resume_and_by_workers(roads):
    helper = roads.parent / "layers_of_roads.py"
    helper.write_text("WIDTH = 8\n")
    roads.write_text(FILE.replace("import numpy as np", "import numpy as np\nfrom layers_of_roads import WIDTH"))
    words = ("run", "roads.py", "--max-level", 0, "--epochs", 1, "--algebra", "real", "--workers", 1)
    assert call(*words, "--trials", 1).code == 0
    (row,) = rows_of(roads.parent / "runs").values()
    assert sorted(row.provenance.code) == ["layers_of_roads.py", "roads.py"]
    helper.write_text("WIDTH = 9\n")
    ended = call(*words, "--trials", 2)
    assert ended.code == 2
    assert "the code of layers_of_roads.py has changed since the run began" in ended.err
    assert call(*words, "--trials", 2, "--accept-changed-code").code == 0
    digests = {row.trial: row.provenance.code["layers_of_roads.py"] for row in rows_of(roads.parent / "runs").values()}
    assert digests[0] != digests[1]


def test_the_function_that_makes_the_network_is_called_no_more_than_needed(roads):
    """For each algebra: to be measured, to see whether it fits the task, to be timed for the plan, and to be trained."""
    counting = (
        "    import pathlib\n    with pathlib.Path('calls').open('a') as file: print(algebra, file=file)\n    return Net("
    )
    roads.write_text(FILE.replace("    return Net(", counting))
    assert call("run", "roads.py", "--trials", 1, "--max-level", 0, "--workers", 0).code == 0
    assert sorted((roads.parent / "calls").read_text().split()) == ["quaternion"] * 3 + ["real"] * 3


def test_a_command_that_is_printed_can_be_pasted(here):
    import shlex

    folder = here / "my roads"
    folder.mkdir()
    ended = call("new", folder / "roads.py")
    commands = [shlex.split(line) for line in ended.out.splitlines()[1:]]
    assert [words[:3] for words in commands] == [
        ["fourfold", "info", str(folder / "roads.py")],
        ["fourfold", "run", str(folder / "roads.py")],
    ]
