"""Mistakes in experiments of the user's own: each is one sentence, whenever it shows."""

import csv
import itertools
import shutil
import sys
from pathlib import Path

import pytest
from cli_samples import call
from PIL import Image

import fourfold as ff
from fourfold.record import find_runs

HEAD = """
import numpy as np
import torch
from torch import nn
import fourfold as ff

x = np.random.default_rng(0).standard_normal((60, 8)).astype("float32")

class Net(nn.Module):
    calls = 0

    def __init__(self, inputs, outputs):
        super().__init__()
        self.one = nn.Linear(inputs, outputs)

    def forward(self, x):
        Net.calls += 1
        return self.one(x)

class Meter:
    def reset(self): self.count = 0
    def update(self, outputs, targets): self.count = len(targets)
    def compute(self): return {"m": VALUE if self.count > 2 else 0.5, "other": OTHER if self.count > 2 else 1.0}

class Task:
    metric = ff.tasks.Metric(name="m")
    def loss(self, outputs, targets): return nn.functional.cross_entropy(outputs, targets)
    def meter(self):
        meter = Meter()
        meter.reset()
        return meter

VALUE, OTHER = 0.5, 1.0
"""

TAIL = """
def data():
    return ff.data.from_arrays((x, TARGETS)OPTIONS)

def net(algebra, inputs, outputs):
    return Net(inputs[0], outputs)

def experiment():
    return ff.presets.new("own", data="own.py:data", model="own.py:net", task="TASK", algebra="real", epochs=1, max_level=1)
"""

CLASSES = "np.arange(60) % 3"
QUICK = ("--trials", 1, "--max-level", 0, "--workers", 0, "--algebra", "real")


@pytest.fixture
def write(here):
    """Write own.py, with changes of its text."""
    before = list(sys.path)

    def write(targets=CLASSES, task="classification", options="", changes=()):
        text = HEAD + TAIL.replace("TARGETS", targets).replace("TASK", task).replace("OPTIONS", options)
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        (here / "own.py").write_text(text)
        return here

    yield write
    sys.path[:] = before


def refused(*words):
    ended = call(*words)
    assert ended.code == 2, ended.out + ended.err
    assert len(ended.err.strip().splitlines()) == 1, ended.err
    return ended.err


KINDS = {
    "classes": "np.arange(60) % 3",
    "multi-hot": "np.stack([np.arange(60) % 2, np.arange(60) % 3 % 2, np.arange(60) % 2], 1)",
    "values": "np.stack([x[:, 0], x[:, 1], x[:, 2]], 1)",
    "probabilities": "np.tile([0.5, 0.25, 0.25], (60, 1))",
    "label map": "np.arange(180).reshape(60, 3) % 3",
}
TASKS = ("classification", "multilabel", "segmentation")
FITS = {("classification", "classes"), ("multilabel", "multi-hot"), ("segmentation", "label map")}


@pytest.mark.slow
@pytest.mark.parametrize(("task", "kind"), sorted(set(itertools.product(TASKS, KINDS)) - FITS))
@pytest.mark.parametrize("source", ["arrays", "npz", "datasets"])
def test_a_task_takes_the_kinds_of_targets_that_it_is_for(write, quick_plan, task, kind, source):
    changes = {
        "arrays": [],
        "npz": [
            (
                "ff.data.from_arrays((x, " + KINDS[kind] + "))",
                f'(np.savez("d.npz", x=x, y={KINDS[kind]}), ff.data.from_arrays("d.npz"))[1]',
            )
        ],
        "datasets": [
            (
                "ff.data.from_arrays((x, " + KINDS[kind] + "))",
                f"ff.data.from_datasets(torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor({KINDS[kind]})), 0.2)",
            )
        ],
    }
    write(KINDS[kind], task, changes=changes[source])
    said = refused("run", "own.py", *QUICK)
    if (task, kind) == ("classification", "label map"):  # classes of places, which this network has no outputs for
        assert "the targets (of shape (2, 3)) must have shape" in said
    else:
        found = "values" if kind == "probabilities" else kind
        assert f"`task.name` (='{task}') cannot be combined with" in said
        assert f"are of kind '{found}': the task for them is" in said


@pytest.mark.slow
def test_zeros_and_ones_may_be_floats(write, quick_plan):
    write(f"({KINDS['multi-hot']}).astype('float32')", "multilabel")
    assert call("run", "own.py", *QUICK).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("outputs", ["outputs - 1", "outputs + 1"])
def test_a_network_has_one_output_a_class(write, outputs):
    write(changes=[("Net(inputs[0], outputs)", f"Net(inputs[0], {outputs})")])
    assert "must be (batch, classes, …) with the 3 classes" in refused("run", "own.py", *QUICK)


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_found_before_anything_is_written(write):
    write(
        changes=[
            ("outputs)\n\n    def forward", "outputs)\n        self.one.weight.data[0, 0] = float('nan')\n\n    def forward")
        ]
    )
    said = refused("run", "own.py", *QUICK)
    assert "own.py: expected finite weights in the network of `net`, found NaN or an infinity in one.weight" in said


@pytest.mark.slow
@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize("after", range(1, 8))
def test_an_error_is_one_sentence_whenever_it_is_raised(write, after, dry):
    """While the network is measured, checked, timed for the plan, or trained in this process."""
    fails = f"Net.calls += 1\n        if Net.calls > {after}: raise RuntimeError('boom')"
    write(changes=[("Net.calls += 1", fails)])
    ended = call("run", "own.py", *QUICK, *(["--dry-run"] if dry else []))
    assert "Traceback" not in ended.err + ended.out
    if ended.code or not dry:
        assert ended.code == 2
        assert len(ended.err.strip().splitlines()) == 1
        assert "own.py:18: expected" in ended.err
        assert "found RuntimeError: boom" in ended.err


@pytest.mark.slow
def test_a_traceback_is_there_for_who_asks(write, quick_plan):
    write(changes=[("return self.one(x)", "return self.one(x) if not self.training else 1 / 0")])
    assert "Traceback" not in refused("run", "own.py", *QUICK)
    ended = call("run", "own.py", *QUICK, "--traceback")
    assert ended.code == 2
    assert "Traceback" in ended.err
    assert "ZeroDivisionError" in ended.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m", "other"])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_metric_that_is_no_number_fails_its_trial(write, quick_plan, name, value):
    values = f"{value if name == 'm' else 0.5!r}, {value if name == 'other' else 1.0!r}"
    write(task="own.py:Task", changes=[("VALUE, OTHER = 0.5, 1.0", f"VALUE, OTHER = map(float, ({values}))")])
    ended = call("run", "own.py", *QUICK)
    assert ended.code == 1, ended.err
    assert f"failed at level 0: the test metric {name} became {value} in epoch 1" in ended.out
    assert not ended.err


@pytest.mark.slow
def test_a_report_has_experiments_of_any_metrics(here, write, quick_plan):
    for task in ("classification", "own.py:Task"):
        write(task=task)
        assert call("run", "own.py", *QUICK, "--set", f"preset={task[:3]}").code == 0
    write(KINDS["values"], "regression")
    assert call("run", "own.py", *QUICK, "--set", "preset=third").code == 0
    ended = call("report", "runs", "--out", "page")
    assert ended.code == 0, ended.err
    metrics = {store.rows(0)[0].metric.name for store in find_runs(Path("runs"))}
    assert metrics == {"top1", "m", "rmse"}
    for name in ("levels", "summary"):
        with (here / f"page/{name}.csv").open(newline="") as file:
            lines = list(csv.reader(file))
        assert {len(line) for line in lines} == {len(lines[0])}
        assert len(set(lines[0])) == len(lines[0])
    with (here / "page/levels.csv").open(newline="") as file:
        for record in csv.DictReader(file):
            assert sum(bool(record[f"{metric}_mean"]) for metric in metrics) == 1


@pytest.mark.slow
def test_a_task_that_is_judged_by_something_else_than_its_rows_is_refused(here, write, quick_plan):
    """Also where changed code is accepted: rows of two metrics are not one curve."""
    write(task="own.py:Task")
    assert call("run", "own.py", *QUICK).code == 0
    write(task="own.py:Task", changes=[('Metric(name="m")', 'Metric(name="m", higher_is_better=False)')])
    said = refused("run", "own.py", "--trials", 2, *QUICK[2:], "--accept-changed-code")
    assert "is judged by m, and the task by m (less is better) now" in said
    assert len(find_runs(Path("runs"))[0].trials()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("words", [(), ("--study", 2)])
def test_a_sweep_selects_by_a_validation_part_of_the_users_own(write, quick_plan, words):
    write(options=", validation=0.25")
    values = "train.learning_rate=1e-3:1e-2" if words else "train.learning_rate=1e-3,1e-2"
    ended = call("sweep", "own.py", "--set", values, *words, "--trials", 1, "--workers", 0, "--algebra", "real")
    assert ended.code == 0, ended.err
    assert all(store.rows(0)[0].validation is not None for store in find_runs(Path("runs")))


@pytest.fixture
def kept(write, quick_plan):
    """A run of code named by an absolute path, its weights kept."""
    here = write()
    text = (here / "own.py").read_text()
    (here / "own.py").write_text(text.replace('"own.py:', f'"{here}/own.py:'))
    assert call("run", "own.py", *QUICK, "--keep", 0).code == 0
    return next(store.path for store in find_runs(Path("runs")))


@pytest.mark.slow
@pytest.mark.parametrize(
    "given", ["own.py", "{here}/own.py", "../{here.name}/own.py", "link/own.py", "copy/own.py", "renamed.py"]
)
def test_code_may_be_given_by_any_path(here, kept, given):
    (here / "link").symlink_to(here)
    (here / "copy").mkdir()
    for name in ("copy/own.py", "renamed.py"):
        shutil.copy(here / "own.py", here / name)
    ended = call("export", kept, "--level", 0, "--to", "torch", "--code", given.format(here=here))
    assert ended.code == 0, ended.err


@pytest.mark.slow
@pytest.mark.parametrize("trust", [("--code", "own.py"), ("--trust-code",)])
def test_advice_names_what_the_command_has(here, kept, trust):
    words = ("export", kept, "--level", 0, "--to", "torch")
    assert "give its file by --code, as in --code" in refused(*words)
    (here / "own.py").write_text((here / "own.py").read_text() + "\n")
    assert "give the file as it was; only `fourfold run`" in refused(*words, *trust)


@pytest.mark.slow
def test_data_that_differ_at_each_call_are_refused_with_what_helps(write, quick_plan):
    here = write()
    assert call("run", "own.py", *QUICK).code == 0
    differ = [("default_rng(0)", "default_rng(__import__('time').time_ns())")]
    write(changes=differ)
    said = refused("run", "own.py", "--trials", 2, *QUICK[2:], "--accept-changed-code")
    assert "own.py:data must return the same at each call, so seed what it draws" in said
    assert "--data-dir" not in said
    assert (here / "runs").exists()


@pytest.mark.slow
def test_a_folder_of_images_is_read_as_the_command_line_says(here, quick_plan):
    for number in range(12):
        file = here / "pics" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8 + number, 9), (20 * number, 0, 0)).save(file)
    (here / "pics" / "a" / "bad.png").write_bytes(b"no image")
    words = ("run", "classify", "--data", "pics", "--model", "lenet-12", *QUICK, "--data-dir", here / "cache")
    refused(*words)
    ended = call(*words, "--set", "data.size=8", "--set", "data.bad_images=skip", "--set", "data.resize=fit")
    assert ended.code == 0, ended.err
    (store,) = find_runs(Path("runs"))
    assert (store.spec().data.size, store.spec().data.resize, store.spec().data.bad_images) == (8, "fit", "skip")
    ended = call(*words, "--size", 8, "--bad-images", "skip", "--set", "data.resize=fit", "--out", "flags")
    assert ended.code == 0, ended.err
    assert [each.spec() for each in find_runs(Path("flags"))] == [store.spec()]
    assert "cannot be combined with `--set data.size`" in refused(*words, "--size", 8, "--set", "data.size=9")
    assert "bad.png" in refused(*words, "--size", 8)
    assert "unknown data bad_images 'leave'; known: refuse, skip" in refused(*words, "--size", 8, "--bad-images", "leave")
    assert "must be" in refused(*words, "--size", 0)
    assert "must be" in refused(*words, "--set", "data.size=0")
    assert "cannot be combined with `data.name` (='digits')" in refused("run", "digits", "--set", "data.size=8", *QUICK)
    assert "cannot be combined with `data.name` (='digits')" in refused("run", "digits", "--bad-images", "skip", *QUICK)


@pytest.mark.slow
def test_ids_of_specs_that_say_nothing_of_folders_stay():
    spec = ff.presets.get("digits", algebra="real")
    assert not {"size", "resize", "bad_images"} & set(spec.to_json()["data"])
