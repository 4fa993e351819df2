"""kill -9 at random moments of whole commands, their workers and their ranks: the same command ends with the same files.

`FOURFOLD_KILLS=100` kills every configuration that often (`-s` says how long that took), and `FOURFOLD_SEED` draws other
moments. Ray has its own, in `test_execution_ray.py`. With seed 1, 100 kills each of the perceptron, early stopping and gradual
pruning gave equal files; others found a state that stayed behind for ever, and ranks that waited for one that was gone: mended.
"""

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from checkpoint_samples import specs as checkpoint_specs
from forked_commands import ForkedCommand, kill_some
from forked_ranks import fork_ranks, needs_ranks
from fourfold import cli, presets, report
from fourfold.record import PruneSpec, Spec, find_runs
from fourfold.record.inspection import inspect
from fourfold.timing import clock
from lottery_samples import files, prepared, results, tiny_spec

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="forks, and looks for processes in /proc"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
    pytest.mark.slow,
    pytest.mark.timeout(36_000),
]

KILLS = int(os.environ.get("FOURFOLD_KILLS", "2"))
SEED = int(os.environ.get("FOURFOLD_SEED", "0"))


def tiny(levels: int = 3, epochs: int = 8, algebra: str = "quaternion", **prune) -> Spec:
    spec = tiny_spec(algebra, levels=levels, epochs=epochs, batch_size=240)
    return replace(spec, prune=PruneSpec(fraction=0.5, **prune))


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A run by a command."""

    spec: Spec
    words: tuple[object, ...] = ()
    """What the command has beside `run tiny --algebra … --out …`."""
    command: str = "run"
    workers: int = 2
    """That the command may take."""


EARLY = checkpoint_specs()["early stopping"]
BATCH_NORM = checkpoint_specs()["batch norm"]
TWO = ("--trials", 2, "--workers", 2)
ONE = ("--trials", 1, "--workers", 1)
CONFIGURATIONS = {
    "perceptron": Configuration(spec=tiny(levels=6, epochs=40), words=TWO),
    "batch norm": Configuration(spec=replace(BATCH_NORM, train=replace(BATCH_NORM.train, epochs=2)), words=ONE, workers=1),
    "early stopping": Configuration(spec=replace(EARLY, train=replace(EARLY.train, epochs=30)), words=TWO),
    "gradual": Configuration(spec=tiny(epochs=25, schedule="gradual"), words=TWO),
    "rewinding": Configuration(spec=tiny(levels=5, epochs=40, rewind="step", rewind_to=9), words=TWO),
    "carried weights": Configuration(spec=tiny(levels=5, epochs=40, rewind="continue"), words=TWO),
    "controls": Configuration(
        spec=tiny(epochs=20), words=(*TWO, "--controls", "random-init", "inverted", "equal-macs", "--keep", 1)
    ),
    "sweep": Configuration(
        spec=tiny(epochs=20),
        command="sweep",
        words=(*TWO, "--level", 1, "--set", "train.learning_rate=1e-3,3e-3,1e-2"),
    ),
    "checkpoints inside levels": Configuration(
        spec=replace(tiny(levels=2, epochs=200), preset="long"), words=(*TWO, "--checkpoint", "0.01s")
    ),
}


@pytest.fixture(autouse=True)
def _this_process_stays_as_it_is() -> Iterator[None]:
    """`ready` is for forked processes: what it patches here would reach the tests after these."""
    before = report.build, clock.Clock.level_seconds, list(presets.PRESETS)
    yield
    assert (report.build, clock.Clock.level_seconds, list(presets.PRESETS)) == before


def ready(spec: Spec) -> None:
    """Let a forked process know a preset, estimate nothing and draw no pages."""
    presets.PRESETS["tiny"] = lambda: spec
    clock.Clock.level_seconds = lambda self, spec, density=1.0: 0.001
    report.build = lambda runs, out: out / "index.html"


def begin(configuration: Configuration, out: Path) -> ForkedCommand:
    algebra = configuration.spec.model.algebra
    words = [configuration.command, "tiny", "--algebra", algebra, "--device", "cpu", "--out", out, *configuration.words]
    return ForkedCommand(words, out.parent / f"{out.name}-said", configuration.workers, lambda: ready(configuration.spec))


def everything(out: Path) -> dict[str, object]:
    """All that must be the same: rows of trials and controls, masks, states and kept weights."""
    found: dict[str, object] = {}
    for store in find_runs(out):
        name = store.path.name
        found |= {f"{name}, trial {trial}": results(store.rows(trial)) for trial in store.trials()}
        found |= {
            f"{name}, {control} of {trial}": results(store.control_rows(trial, control)) for trial, control in store.controls()
        }
        for folder in ("masks", "states", "weights"):
            found |= {f"{name}/{folder}/{file}": content for file, content in files(store.path / folder).items()}
        assert [finding for finding in inspect(store) if finding.wrong] == []
    return found


def lines(out: Path) -> dict[str, list[bytes]]:
    """The whole lines of all files of rows."""
    return {str(file.relative_to(out)): file.read_bytes().split(b"\n")[:-1] for file in sorted(out.glob("*/rows-*.jsonl"))}


class Kills:
    """Counts kills, and whether anything that was on disk is lost by one."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.before: dict[str, list[bytes]] = {}

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def note(self, victim: str, out: Path) -> None:
        self.counts[victim] = self.counts.get(victim, 0) + 1
        after = lines(out)
        for name, rows in self.before.items():
            assert after[name][: len(rows)] == rows, f"{name} has lost a row"
        self.before = after


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_command_that_is_killed_anywhere_ends_with_the_same_files(name, tmp_path):
    configuration, draw, kills = CONFIGURATIONS[name], random.Random(f"{name} {SEED}"), Kills()
    prepared(configuration.spec)  # before it is forked
    start = time.monotonic()
    ended = begin(configuration, tmp_path / "whole").wait()
    assert ended.code == 0, ended.said
    duration = time.monotonic() - start
    expected = everything(tmp_path / "whole")
    runs = 0
    for attempt in itertools.count():
        out, kills.before = tmp_path / f"killed-{attempt}", {}
        ended = None
        while kills.total < KILLS and ended is None:
            command = begin(configuration, out)
            try:
                ended = command.wait(draw.uniform(0, 0.5) * duration)
                if ended is None and (victim := kill_some(command, draw)):
                    kills.note(victim, out)
            finally:
                command.kill()
        ended = ended or begin(configuration, out).wait()
        assert ended.code == 0, ended.said
        assert everything(out) == expected
        runs += 1
        if kills.total >= KILLS:
            break
    taken = time.monotonic() - start
    print(f"\n{name}: {kills.total} kills {kills.counts} of {runs} runs of {duration:.1f} s, all equal, in {taken:.0f} s")


@needs_ranks
def test_ranks_that_are_killed_anywhere_end_with_the_same_files(tmp_path):
    spec, draw, kills = tiny(levels=4, epochs=4), random.Random(f"ranks {SEED}"), Kills()
    prepared(spec)

    def run(out: Path, victims: tuple[int, ...] = (), after_seconds: float = 0):
        words = ["run", "tiny", "--algebra", spec.model.algebra, "--trials", 1, "--device", "cpu", "--out", out]

        def work(rank: int) -> None:
            if rank in victims:
                timer = threading.Timer(after_seconds, os.kill, (os.getpid(), signal.SIGKILL))
                timer.daemon = True
                timer.start()
            ready(spec)
            cli.main([str(word) for word in words])

        return fork_ranks(2, work, out.parent / f"{out.name}-said")

    start = time.monotonic()
    assert [one.code for one in run(tmp_path / "whole")] == [0, 0]
    duration = time.monotonic() - start
    expected, runs = everything(tmp_path / "whole"), 0
    while kills.total < KILLS:
        out, kills.before = tmp_path / f"killed-{runs}", {}
        codes = [-9]
        while codes != [0, 0]:
            victims = draw.choice([(0,), (1,), (0, 1)]) if kills.total < KILLS else ()
            ended = run(out, victims, draw.uniform(0, 0.7) * duration)
            codes = [one.code for one in ended]
            assert not any("Traceback" in one.said for one in ended), ended
            assert set(codes) <= {0, 2, -9, -15}, ended
            if -9 in codes:
                kills.note(str(victims), out)
        assert everything(out) == expected
        runs += 1
    taken = time.monotonic() - start
    print(f"\ntwo ranks: {kills.total} kills {kills.counts} of {runs} runs of {duration:.1f} s, all equal, in {taken:.0f} s")
