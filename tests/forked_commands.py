"""Whole commands with their workers, forked from the test's own process because torch takes seconds to import.

A command is `fourfold.cli.main` in a session of its own. Its workers are forked before it begins, as they could not be once it
has threads, and wait for the pool to take them: each runs `fourfold.execution.worker.main` behind pipes, in a session of its
own, as a started one does. So a command costs a tenth of a second to begin, and may be killed a thousand times.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from processes import (
    EARLY,
    PATIENCE_SECONDS,
    PipedWorker,
    fork,
    import_early,
    is_alive,
    kill,
    leave_after,
    wait_until,
    write_to,
)

OF_COMMANDS = ("fourfold.cli", "fourfold.report._build", "matplotlib.figure", "tyro")


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
        import_early(*EARLY, *OF_COMMANDS)
        folder.mkdir(parents=True, exist_ok=True)
        self._said, self._taken = folder / "said", folder / "taken"
        for file in (self._said, self._taken):
            file.write_bytes(b"")
        self._ended = False
        self.pid = fork()
        if self.pid == 0:
            leave_after(lambda: self._run([str(word) for word in words], workers, prepare))

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
        wait_until(lambda: not self.workers(), "the workers of a command that has ended have ended")

    def kill(self) -> None:
        """Leave nothing running; a command that was waited for has left nothing, and its number may be another's by now."""
        if not self._ended:
            for pid in (self.pid, *self.workers()):
                kill(pid)

    def _run(self, words: list[str], workers: int, prepare: Callable[[], None]) -> None:
        from fourfold import cli
        from fourfold.execution import worker_process

        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        write_to(self._said)
        stock = [PipedWorker(_start_worker) for _ in range(workers)]
        with self._taken.open("ab", buffering=0) as taken:

            def take(command: Sequence[str], **settings: object) -> PipedWorker:
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


def _start_worker(its_input: int, its_output: int) -> tuple[int, Callable[[], int]]:
    pid = fork()
    if pid == 0:
        leave_after(lambda: _serve(its_input, its_output))
    return pid, lambda: os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


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


WORKER_LOST = re.compile(r"fourfold: trial \d+ of \S+: its worker was killed \(exit code -9[^\n]*the same command resumes\n")


def kill_some(command: ForkedCommand, draw: random.Random) -> str | None:
    """Kill a command, one of its workers, or all of them; return which, None if there was nobody to kill any more."""
    workers = command.workers()
    victim = draw.choice(["all", "command", "worker"])
    if victim == "worker" and not workers:
        victim = "command"
    pids = [command.pid, *workers] if victim == "all" else [command.pid if victim == "command" else draw.choice(workers)]
    for pid in pids:
        kill(pid)
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
