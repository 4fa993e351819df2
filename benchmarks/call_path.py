"""Which functions of fourfold lie between `fourfold run digits` and the first optimiser step: `python benchmarks/call_path.py`.

Takes the stack of the command, from its own function on, at the moment when a trial goes to a worker process, and that of a
worker, which here is a thread, at the first `advance` of the engine. Prints function, file and line, and how many there are.
"""

import contextlib
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from unittest import mock

import fourfold
from fourfold import cli
from fourfold.execution import pool
from fourfold.execution.jobs import Trial
from fourfold.execution.serving import Server
from fourfold.execution.worker_process import WorkerProcess
from fourfold.train.engines import ENGINES

SOURCES = Path(fourfold.__file__).parent
COMMAND = "run digits --trials 1 --algebra real --epochs 1 --max-level 0 --workers 1 --device cpu --out"


class ReachedError(BaseException):
    """Ends what was followed to its place."""


def frames() -> list[tuple[str, str, int]]:
    """Return the functions of fourfold on the stack, outermost first."""
    stack = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(SOURCES)]
    return [(frame.name, str(Path(frame.filename).relative_to(SOURCES)), frame.lineno or 0) for frame in stack]


def to_the_worker(out: str) -> tuple[list[tuple[str, str, int]], Trial]:
    """Follow the command until a trial is handed over."""
    caught: list[tuple[list[tuple[str, str, int]], Trial]] = []
    command: list[tuple[str, str, int]] = []
    start = pool.Pool.events

    def hand_over(self: object, trial: Trial) -> object:
        caught.append(([*frames(), ("run", "execution/worker_process.py", 0)], trial))
        yield {"event": "stopped"}

    def events(self: pool.Pool) -> object:
        command.extend(frame for frame in frames() if not frame[1].startswith("cli/__init__"))
        return start(self)

    with (
        mock.patch.object(WorkerProcess, "run", hand_over),
        mock.patch.object(pool.Pool, "events", events),
        contextlib.suppress(SystemExit),
    ):
        cli.main([*COMMAND.split(), out])
    handed, trial = caught[0]
    return [*command, ("events", "execution/pool.py", start.__code__.co_firstlineno), *handed], trial


def to_the_step(trial: Trial) -> list[tuple[str, str, int]]:
    """Follow a worker until the first step."""
    caught: list[list[tuple[str, str, int]]] = []

    def advance(self: object, steps: int) -> float:
        caught.append([*frames(), ("advance", f"train/engines/ ({type(self).__name__})", 0)])
        raise ReachedError

    def lane() -> None:
        with contextlib.suppress(ReachedError):
            Server(experiments_kept=1).serve([trial], lambda line: None)

    patches = [mock.patch.object(engine, "advance", advance) for engine in ENGINES]
    for patch in patches:
        patch.start()
    thread = threading.Thread(target=lane)
    thread.start()
    thread.join()
    for patch in patches:
        patch.stop()
    return caught[0]


def call_path() -> list[tuple[str, str, int]]:
    """Return the functions from the command to the step."""
    with tempfile.TemporaryDirectory() as out:
        handed, trial = to_the_worker(out)
        return [*handed, *to_the_step(trial)]


def main() -> None:
    """Print the way."""
    path = call_path()
    for name, file, line in path:
        print(f"{name:24} {file}{f':{line}' if line else ''}", file=sys.stderr)
    print(f"{len(path)} functions in {len({file for _, file, _ in path})} files")


if __name__ == "__main__":
    main()
