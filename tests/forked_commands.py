"""Whole commands with their workers, forked from the test's own process because torch takes seconds to import.

A command is `fourfold.cli.main` in a session of its own. Its workers are forked before it begins, as they could not be once it
has threads, and wait for the pool to take them: each runs `fourfold.execution.worker.main` behind pipes, in a session of its
own, as a started one does. So a command costs a tenth of a second to begin, and may be killed a thousand times.
"""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

PATIENCE_SECONDS = 300  # of a machine that is busy with something else


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """Of its exit; that of a signal, below 0, where it was killed."""
    said: str
    """On standard error and standard output."""


class ForkedCommand:
    """A command that runs, or has run.

    Args:
        words: Of the command line.
        folder: Where to put what it says.
        workers: Workers that it may take.
        prepare: Called in its process before it begins.
    """

    def __init__(self, words: Sequence[object], folder: Path, workers: int, prepare: Callable[[], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._said, self._taken = folder / "said", folder / "taken"
        for file in (self._said, self._taken):
            file.write_bytes(b"")
        self._ended = False
        self.pid = _fork()
        if self.pid == 0:
            _end(lambda: self._run([str(word) for word in words], workers, prepare))

    def workers(self) -> list[int]:
        """Return the processes that its pool has taken and that are there."""
        return [pid for pid in map(int, self._taken.read_text().split()) if is_alive(pid)]

    def wait(self, seconds: float | None = None) -> Ended | None:
        """Wait for its end, or for so long; None means that it has not ended."""
        end = time.monotonic() + (PATIENCE_SECONDS if seconds is None else seconds)
        while True:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self._ended = True
                return Ended(os.waitstatus_to_exitcode(status), self._said.read_text(encoding="utf-8"))
            if time.monotonic() > end:
                assert seconds is not None, f"the command has hung: {self._said.read_text(encoding='utf-8')}"
                return None
            time.sleep(0.002)

    def wait_for_workers(self) -> None:
        """Wait until none is left of a command that has ended."""
        end = time.monotonic() + PATIENCE_SECONDS
        while self.workers():
            assert time.monotonic() < end, "workers outlive their command"
            time.sleep(0.002)

    def kill(self) -> None:
        """Leave nothing running; a command that was waited for has left nothing, and its number may be another's by now."""
        if not self._ended:
            for pid in (self.pid, *self.workers()):
                end(pid)

    def _run(self, words: list[str], workers: int, prepare: Callable[[], None]) -> None:
        from fourfold import cli
        from fourfold.execution import worker_process

        become(self._said)
        stock = [_ForkedWorker() for _ in range(workers)]
        with self._taken.open("ab", buffering=0) as taken:

            def take(command: Sequence[str], **settings: object) -> "_ForkedWorker":
                worker = stock.pop()
                taken.write(f"{worker.pid}\n".encode())
                return worker

            worker_process.subprocess = SimpleNamespace(Popen=take, PIPE=subprocess.PIPE)
            prepare()
            try:
                cli.main(words)
            finally:
                for worker in stock:
                    worker.kill()


class _ForkedWorker:
    """A worker process, forked and not started: what `subprocess.Popen` of one is to a pool."""

    def __init__(self) -> None:
        its_input, to_it = os.pipe()
        from_it, its_output = os.pipe()
        self.pid = _fork()
        if self.pid == 0:
            _end(lambda: self._serve(its_input, its_output))
        os.close(its_input)
        os.close(its_output)
        self.stdin = os.fdopen(to_it, "w", encoding="utf-8")
        self.stdout = os.fdopen(from_it, encoding="utf-8")
        self._code: int | None = None
        self._waiting = threading.Lock()

    def kill(self) -> None:
        if self._code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        with self._waiting:  # its lane and the end of the pool may both wait
            if self._code is None:
                _, status = os.waitpid(self.pid, 0)
                self._code = os.waitstatus_to_exitcode(status)
            return self._code

    @staticmethod
    def _serve(its_input: int, its_output: int) -> None:
        from fourfold.execution import worker

        os.setsid()
        os.dup2(its_input, 0)
        os.dup2(its_output, 1)
        os.closerange(3, os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") < 2**16 else 2**16)  # pipes of the others
        before = sys.stdin, sys.stdout  # which would close their descriptors if nobody held them
        sys.stdin, sys.stdout = os.fdopen(0, encoding="utf-8"), os.fdopen(1, "w", encoding="utf-8")
        sys.argv = ["worker"]
        worker.main()
        del before


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def end(pid: int) -> None:
    """Kill one process, and never a group of them."""
    assert pid > 1
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def become(said: Path) -> None:
    """Let this process write to a file, in a session of its own."""
    os.setsid()
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, encoding="utf-8") for number in (1, 2))  # not pytest's


WORKER_LOST = re.compile(r"fourfold: trial \d+ of \S+: its worker was killed \(exit code -9[^\n]*the same command resumes\n")


def kill_some(command: ForkedCommand, draw: random.Random) -> str | None:
    """Kill a command, one of its workers, or all of them; return which, None if there was nobody to kill any more."""
    workers = command.workers()
    victim = draw.choice(["all", "command", "worker"])
    if victim == "worker" and not workers:
        victim = "command"
    pids = [command.pid, *workers] if victim == "all" else [command.pid if victim == "command" else draw.choice(workers)]
    for pid in pids:
        end(pid)
    ended = command.wait()
    assert ended is not None
    command.wait_for_workers()  # without their command they end by themselves
    assert "Traceback" not in ended.said, ended.said
    if victim != "worker":
        return victim if ended.code == -signal.SIGKILL else None
    if ended.code == 0:
        return None
    assert ended.code == 2, ended
    assert WORKER_LOST.search(ended.said), ended.said
    return victim


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python ≥ 3.12 warns of a fork beside other threads
        return os.fork()


def _end(work: Callable[[], None]) -> None:
    code = 1
    try:
        work()
        code = 0
    except SystemExit as ending:
        code = int(ending.code or 0)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)
