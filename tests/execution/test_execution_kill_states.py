"""kill -9 where weights and the optimiser's averages pass from level to level: no bit of any row is different."""

import contextlib
import os
import resource
import signal
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from fourfold.record import PruneSpec, RunStore
from lottery_samples import files, results, serve, tiny_spec

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks"),
    # Python ≥ 3.12 warns of a fork beside other threads; ours are none that the child would wait for.
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]

SPECS = {
    name: replace(tiny_spec("quaternion", levels=4), prune=prune)
    for name, prune in {
        "continue": PruneSpec(fraction=0.4, rewind="continue"),
        "search": PruneSpec(fraction=0.4, search="continue"),
        "step": PruneSpec(fraction=0.4, rewind="step", rewind_to=9),
    }.items()
}


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def prepare_to_die(moment: str, level: int) -> None:
    """Change this process so that it dies at a moment of a level."""
    save_state, append, rename, drop = RunStore.save_state, RunStore.append, Path.replace, RunStore.drop_states

    def save_state_or_die(run, trial, successor, arrays):
        if moment == "half a state" and successor == level + 1:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
        save_state(run, trial, successor, arrays)

    def rename_or_die(file, new):
        if moment == "state without its name" and (new.parent.name, new.stem) == ("states", f"0-{level + 1}"):
            die()
        return rename(file, new)

    def append_or_die(run, row):
        if moment == "between state and row" and row.level == level:
            die()
        append(run, row)

    def drop_or_die(run, trial, before):
        if moment == "row written, old state there" and before == level + 1:
            die()
        drop(run, trial, before)

    RunStore.save_state, RunStore.append, RunStore.drop_states = save_state_or_die, append_or_die, drop_or_die
    Path.replace = rename_or_die


def run_and_die(out: Path, name: str, moment: str, level: int) -> None:
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            try:
                prepare_to_die(moment, level)
                serve(SPECS[name], out)
            except BaseException:
                traceback.print_exc()
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the process was not killed at {moment!r} of level {level}"
    assert os.WTERMSIG(status) == (signal.SIGXFSZ if moment.startswith("half") else signal.SIGKILL)


@pytest.mark.parametrize("name", SPECS)
def test_a_run_that_is_killed_around_its_states_ends_with_the_same_files(name, tmp_path, alone):
    complete = alone(SPECS[name])
    deaths = [
        ("half a state", 0),
        ("state without its name", 0),
        ("between state and row", 1),
        ("row written, old state there", 1),
        ("half a state", 2),
        ("row written, old state there", 3),
    ]
    for death in deaths:
        run_and_die(tmp_path, name, *death)
    serve(SPECS[name], tmp_path)
    run = RunStore(tmp_path / complete.path.name)
    assert results(run.rows(0)) == results(complete.rows(0))
    left = {name: content for name, content in files(run.path / "states").items() if not name.endswith(".part")}
    assert left == files(complete.path / "states")
    run.sweep()
    for folder in ("masks", "states"):
        assert files(run.path / folder) == files(complete.path / folder)
