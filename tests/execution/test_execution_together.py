"""Whole runs by several processes: the rows and masks of one, whatever kills them, and one sentence for every mistake."""

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forked_ranks import fork_ranks, needs_ranks
from fourfold import cli, execution, lottery, presets, pruning, report
from fourfold.execution import serving
from fourfold.execution.jobs import Job
from fourfold.lottery import levels, strategies
from fourfold.models import registry, resnet
from fourfold.record import DataSpec, PruneSpec, RunStore, UserError
from fourfold.timing import clock
from fourfold.train import checkpoint, single_thread
from fourfold.train import ranks as train_ranks
from lottery_samples import BOTH, files, results, tiny_spec

pytestmark = needs_ranks

LOST = (
    r"rank \d (has lost another rank|was stopped, as all are when one rank ends)[^\n]*; "
    r"all finished levels are on disk, the same command resumes"
)
BATCH = 205
"""Seven batches of the digits, and one of two images, which leaves nothing to half of four ranks."""

CONTROLS = {"controls": ("random-init",), "control_levels": (1,)}


@pytest.fixture(autouse=True)
def small_resnet(monkeypatch):
    """A ResNet of two stages with one block each, of 4 and 8 channels."""

    def make(shape, num_classes, layers):
        return resnet.residual_network(
            shape, num_classes, replace(layers, width=layers.width / 16), depths=(1, 1), bottleneck=False
        )

    monkeypatch.setitem(registry.MODELS, "resnet-small", registry.ModelInfo(make=make, title="small"))


def perceptrons():
    """Both algebras, and what passes from level to level or is looked at between steps."""
    real, quaternion = (tiny_spec(algebra, levels=2, batch_size=BATCH) for algebra in BOTH)
    rewound = replace(real, preset="rewound", prune=PruneSpec(fraction=0.5, rewind="step", rewind_to=5))
    gradual = replace(real, preset="gradual", prune=PruneSpec(fraction=0.5, schedule="gradual"))
    return [real, quaternion, rewound, gradual]


def convolutions():
    """Batch norm, crops and flips; the last batch has 37 images, for a norm over two would magnify every rounding."""
    made = []
    for algebra in BOTH:
        spec = tiny_spec(algebra, levels=2, batch_size=200, optimizer="sgd", learning_rate=0.05, momentum=0.9)
        data = DataSpec(name="digits", encoding="pixels", crop=1, flip=True)
        made.append(replace(spec, preset="resnet", data=data, model=replace(spec.model, name="resnet-small")))
    return made


def run_here(out: Path) -> None:
    """Run everything in one process, with the native steps and the batch norms that it has without other ranks."""
    for spec in (*perceptrons(), *convolutions()):
        names = CONTROLS["controls"] if spec == perceptrons()[0] else ()
        job = Job(specs=(spec,), controls=tuple(names), control_levels=tuple(CONTROLS["control_levels"]))
        experiment = lottery.Experiment.prepare(spec, None, torch.device("cpu"))
        with single_thread():
            store, clock = RunStore.create(out, spec), serving.Clock(None)
            serving.run_trial_here(experiment, store, 0, clock, lambda kind, **content: None, job)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {world: tmp_path_factory.mktemp(f"ranks-{world}") for world in (0, 1, 2, 4)}


@pytest.fixture
def run_by(folders):
    """The folder of the runs by so many ranks (0: by a process that no launcher started), made when first asked for."""

    def get(world: int) -> Path:
        out = folders[world] / "runs"
        if out.exists():
            return out
        if not world:
            run_here(out)
            return out

        def work(rank):
            first, *others = [*perceptrons(), *convolutions()]
            assert len(execution.run(first, trials=1, out=out, device="cpu", **CONTROLS)) == 2 + 1
            assert len(execution.run(others, trials=1, out=out, device="cpu")) == 2 * 5

        ended = fork_ranks(world, work, folders[world])
        assert [(one.code, one.said) for one in ended] == [(0, "")] * world
        return out

    return get


def rows_of(out: Path, spec) -> list:
    store = RunStore(out / spec.id)
    return [*store.rows(0), *store.control_rows(0, "random-init")]


@pytest.mark.slow
@pytest.mark.parametrize("spec", perceptrons(), ids=lambda spec: f"{spec.preset} {spec.model.algebra}")
def test_one_two_and_four_ranks_give_the_same_rows_to_the_bit(spec, run_by):
    one, two, four = (rows_of(run_by(world), spec) for world in (1, 2, 4))
    assert len(one) == (3 if spec == perceptrons()[0] else 2)
    assert results(one) == results(two) == results(four)
    assert [row.provenance.device.partition(", cpu")[0] for row in (one[0], two[0], four[0])] == [
        "1 rank, 4 parts",
        "2 ranks, 4 parts",
        "4 ranks, 4 parts",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("spec", [*perceptrons(), *convolutions()], ids=lambda spec: f"{spec.preset} {spec.model.algebra}")
def test_ranks_give_the_rows_of_one_process_to_rounding(spec, world, run_by):
    expected = rows_of(run_by(0), spec)
    found = rows_of(run_by(world), spec)
    assert len(found) == len(expected) >= 2
    for mine, theirs in zip(results(found), results(expected), strict=True):
        numbers = {"loss", "train_loss", "top1", "epochs", "metrics", "promised"}
        assert {key: value for key, value in mine.items() if key not in numbers} == {
            key: value for key, value in theirs.items() if key not in numbers
        }
        for key in ("loss", "train_loss"):
            assert mine[key] == pytest.approx(theirs[key], rel=1e-3)
        assert mine["top1"] == pytest.approx(theirs["top1"], abs=0.6)  # two of 360 images


@pytest.mark.slow
def test_the_masks_on_disk_are_those_of_the_rows(run_by):
    for spec in perceptrons():
        stores = [RunStore(run_by(world) / spec.id) for world in (1, 2, 4)]
        masks = [pruning.fingerprint(store.mask(0, 1)) for store in stores]
        assert masks == [stores[0].rows(0)[1].mask] * 3
        assert not any(name.endswith(".part") for store in stores for name in files(store.path))


@pytest.fixture
def command(monkeypatch, tmp_path):
    """`fourfold run tiny` by two ranks, in one folder, without an estimate and without a page."""
    monkeypatch.setitem(presets.PRESETS, "tiny", lambda: perceptrons()[0])
    monkeypatch.setattr(clock.Clock, "level_seconds", lambda self, spec, density=1.0: 0.001)
    monkeypatch.setattr(report, "build", lambda runs, out: out / "index.html")
    words = ["run", "tiny", "--algebra", "real", "--trials", "1", "--out", str(tmp_path / "runs")]
    return lambda world=2: fork_ranks(world, lambda rank: cli.main([*words, "--device", "cpu"]), tmp_path / "said")


def in_level_1(monkeypatch, victim: int, act, level_of_act: int = 1) -> None:
    """Let one rank do something after the first epoch of level 1, or another."""
    run_trial = levels.run_trial

    def other(experiment, store, trial, on_row, on_epoch, *others):
        def told(level, epoch):
            if level == level_of_act and os.environ["RANK"] == str(victim):
                act()
            on_epoch(level, epoch)

        run_trial(experiment, store, trial, on_row, told, *others)

    monkeypatch.setattr(serving, "run_trial", other)


def sentences(ended) -> list[str]:
    """All that the ranks said on standard error: what begins with the name of the program."""
    return [line for one in ended for line in one.said.splitlines() if line.startswith("fourfold:") or "Traceback" in line]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_all_with_one_sentence_and_the_same_command_goes_on(victim, command, monkeypatch, run_by, tmp_path):
    with monkeypatch.context() as patch:
        in_level_1(patch, victim, lambda: os.kill(os.getpid(), signal.SIGKILL))
        start = time.monotonic()
        ended = command()
        assert time.monotonic() - start < 60  # and not until the others lose patience
    assert [one.code for one in ended] == ([-9, 2] if victim == 0 else [2, -9])
    assert len(sentences(ended)) == 1
    assert re.fullmatch(f"fourfold: {LOST}", sentences(ended)[0])
    store = RunStore(tmp_path / "runs" / perceptrons()[0].id)
    assert len(store.rows(0)) == 1
    assert [one.code for one in command()] == [0, 0]
    assert results(store.rows(0)) == results(RunStore(run_by(2) / store.path.name).rows(0))


@pytest.mark.slow
def test_a_rank_that_hangs_ends_all_in_time(command, monkeypatch, tmp_path):
    monkeypatch.setattr(train_ranks, "TIMEOUT_SECONDS", 3)
    in_level_1(monkeypatch, 1, lambda: time.sleep(100))
    ended = command()
    assert [one.code for one in ended] == [2, 2]
    assert len(sentences(ended)) == 1
    assert re.fullmatch(f"fourfold: {LOST}", sentences(ended)[0])


def test_ranks_that_disagree_on_a_mask_end_with_one_sentence(command, monkeypatch, tmp_path):
    choose = strategies.successor_of

    def successor_of(*arguments):
        masks = choose(*arguments)
        return {name: mask ^ (os.environ["RANK"] == "1") for name, mask in masks.items()}

    monkeypatch.setattr(strategies, "successor_of", successor_of)
    ended = command()
    assert [one.code for one in ended] == [2, 2]
    (sentence,) = sentences(ended)
    assert re.match(r"fourfold: rank 1 has computed another file masks/0-1.safetensors than rank 0 \(SHA-256", sentence)
    assert RunStore(tmp_path / "runs" / perceptrons()[0].id).rows(0) == []


@pytest.mark.slow
def test_the_first_rank_decides_when_the_budget_is_spent(tmp_path, run_by):
    spec = perceptrons()[0]

    def work(rank):
        # In vain does rank 1 think that it is too late, and rank 0's clock rings for both.
        for deadline, rows in ((None if rank == 0 else 1.0, 2), (1.0 if rank == 0 else None, 0)):
            budget = None if deadline is None else 1e-9
            out = tmp_path / f"runs-{rows}"
            assert len(execution.run(spec, trials=1, out=out, device="cpu", budget_seconds=budget)) == rows

    assert [(one.code, one.said) for one in fork_ranks(2, work, tmp_path / "said")] == [(0, "")] * 2
    assert results(RunStore(tmp_path / "runs-2" / spec.id).rows(0)) == results(RunStore(run_by(2) / spec.id).rows(0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "worlds"), [(perceptrons(), (2, 4, 1)), (convolutions(), (2,))], ids=["perceptrons", "batch norm"]
)
def test_ranks_that_are_ended_inside_a_level_go_on_at_the_same_step(chosen, worlds, tmp_path, run_by, monkeypatch):
    """Rank 0 alone decides and writes; where rows do not depend on the number of ranks, another number may go on."""
    monkeypatch.setattr(checkpoint, "LOOK_SECONDS", 0.0)
    out, places = tmp_path / "runs", []

    def work(rank):
        calls = itertools.count()
        monkeypatch.setattr(serving.Clock, "late", lambda clock, ahead: rank == 0 and next(calls) % 6 == 5)

        def say(event):
            if event.kind in ("out-of-time", "resumed"):
                print(event.kind, event.message)

        execution.run(chosen, trials=1, out=out, device="cpu", checkpoint="epoch", on_event=say)

    for world in itertools.islice(itertools.cycle(worlds), 20):
        ended = fork_ranks(world, work, tmp_path / "said")
        assert [one.code for one in ended] == [0] * world, ended
        assert [one.said for one in ended[1:]] == [""] * (world - 1)
        places += re.findall("resumed (.*)", ended[0].said)
        if all(RunStore(out / spec.id).finished(0) for spec in chosen):
            break
    assert len(places) >= 2 * len(chosen)
    for spec in chosen:
        assert results(RunStore(out / spec.id).rows(0)) == results(RunStore(run_by(2) / spec.id).rows(0))
        assert not list((out / spec.id / "checkpoints").iterdir())


@pytest.fixture
def listens_to_ctrl_c():
    """Shells let what they start in the background ignore it, and so do the ranks that are forked there."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listens_to_ctrl_c")
def test_ctrl_c_ends_all_ranks_at_a_step_and_rank_0_says_so(tmp_path, command, monkeypatch):
    monkeypatch.setattr(checkpoint, "LOOK_SECONDS", 0.0)
    in_level_1(monkeypatch, 0, lambda: os.kill(os.getpid(), signal.SIGINT), level_of_act=0)
    ended = command()
    assert [one.code for one in ended] == [130, 0], ended
    assert sentences(ended) == ["fourfold: stopped; all finished levels are on disk, the same command resumes"]
    assert re.search(r"real trial 0: stopped at level 1, epoch 1 of 1, step \d of 8\n", ended[0].said)


def test_ranks_of_different_commands_do_not_begin(tmp_path):
    def work(rank):
        with pytest.raises((SystemExit, UserError)) as caught:
            execution.run(tiny_spec(BOTH[rank]), trials=1, out=tmp_path / "runs", device="cpu")
        print(caught.value)

    said = sorted(one.said for one in fork_ranks(2, work, tmp_path / "said"))
    assert said[0] == "2\n"
    assert re.fullmatch(
        r"`specs` of rank 1 \(=\['tiny-quaternion-\w+'\]\) must be that of rank 0 \(=\['tiny-real-\w+'\]\): .*\n", said[1]
    )
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("world", "words", "sentence"),
    [
        (
            2,
            "run digits --workers 2",
            r"`workers` \(=2\) must be left out under torchrun, whose .*",
        ),
        (61, "run digits", r"61 ranks are more than the 60 images of a batch: start at most 60"),
        (4, "run digits --parts 6", r"`parts` \(=6\) must be a multiple of the 4 ranks, and at most the 60 images of a batch"),
        (
            4,
            "run digits --parts 64",
            r"`parts` \(=64\) must be a multiple of the 4 ranks, and at most the 60 .*",
        ),
        (4, "run digits --parts 0", r"`parts` \(=0\) must be a multiple of the 4 ranks, and at most the 60 images of a batch"),
        (2, "run digits --device cuda:1", r"`device` \(=cuda:1\) must be auto, cpu or cuda where a launcher .*"),
        (2, "report", r"`torchrun` cannot be combined with `fourfold report`, which runs in one process"),
        (0, "presets", r"the environment says RANK=0, WORLD_SIZE=0, LOCAL_RANK=0: a launcher such as torchrun sets RANK .*"),
    ],
)
def test_a_mistake_is_one_sentence_and_rank_0_has_the_first_word(world, words, sentence, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    waited = []
    monkeypatch.setattr(cli.time, "sleep", waited.append)
    for rank in (0, 1) if world else (0,):
        for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", world)):
            monkeypatch.setenv(name, str(value))
        with pytest.raises(SystemExit) as ending:
            cli.main(words.split())
        assert ending.value.code == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert re.fullmatch(f"fourfold: {sentence}\n" if rank == 0 else f"fourfold: rank 1: {sentence}\n", said.err)
        assert waited == [cli.HEAR_SECONDS] * rank
    assert list(tmp_path.iterdir()) == []


def test_parts_are_for_several_processes(tmp_path):
    with pytest.raises(UserError, match=r"^`parts` \(=4\) must be left out in a single process"):
        execution.run(tiny_spec(), trials=1, out=tmp_path / "runs", device="cpu", parts=4)


SCRIPT = """
import os, signal, sys
from dataclasses import replace
from fourfold import cli, execution, lottery, presets, report
from fourfold.execution import serving
from fourfold.lottery import levels, strategies
from lottery_samples import tiny_spec

presets.PRESETS["tiny"] = lambda: tiny_spec(levels=2, batch_size=205)
report.build = lambda runs, out: out / "index.html"
run_trial = levels.run_trial

def dying(experiment, store, trial, on_row, on_epoch, *others):
    def told(level, epoch):
        if level == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        on_epoch(level, epoch)
    run_trial(experiment, store, trial, on_row, told, *others)

serving.run_trial = dying

class Kept:
    def __del__(self):
        os.write(1, b"Python has ended itself\\n")

kept = Kept()
cli.main(sys.argv[1:])
"""


@pytest.mark.slow
def test_torchrun_restarts_after_a_killed_rank_and_the_run_goes_on(tmp_path, run_by):
    script = tmp_path / "dying.py"
    script.write_text(SCRIPT, encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    words = ["run", "tiny", "--algebra", "real", "--trials", "1", "--device", "cpu", "--out", str(tmp_path / "runs")]
    search = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    ended = subprocess.run(
        [*launch, str(script), *words],
        env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert len(re.findall(LOST, ended.stderr)) == 1
    assert "Traceback" not in ended.stderr
    assert "Python has ended itself" not in ended.stdout  # it might abort: a thread of gloo may release its last tensor then
    (store,) = (RunStore(folder) for folder in (tmp_path / "runs").glob("tiny-real-*"))
    assert results(store.rows(0)) == results(RunStore(run_by(2) / store.path.name).rows(0))
    assert [len(re.findall(f"level {level}: ", ended.stdout)) for level in (0, 1)] == [1, 1]
