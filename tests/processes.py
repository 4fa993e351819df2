"""Processes that tests fork, look at, wait for and kill."""

import contextlib
import importlib
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

PATIENCE_SECONDS = 300  # of a machine that is busy with something else


EARLY = ("torch._dynamo", "torch.onnx", "scipy.stats", "fourfold.execution.worker")
"""What a worker imports when it trains a network of the user's, and what takes as long as torch itself."""


def import_early(*names: str) -> None:
    """Import modules once for all processes that will be forked; each would take seconds for them."""
    for name in names:
        importlib.import_module(name)


def fork() -> int:
    """Fork this process; return 0 in the child."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python ≥ 3.12 warns of a fork beside other threads
        return os.fork()


def leave_after(work: Callable[[], object]) -> NoReturn:
    """Do a forked process's work, and end it without what Python does at an end, which is the parent's to do."""
    code = 1
    try:
        work()
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(code)


def write_to(file: Path) -> None:
    """Let this process write its output and errors to a file."""
    number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(number, 1)
    os.dup2(number, 2)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1, encoding="utf-8") for stream in (1, 2))  # not pytest's


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended; one that nobody has waited for yet has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int) -> None:
    """Kill one process, if it is there, and never a group of them."""
    assert pid > 1
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until a condition holds; fail with `what` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited too long until {what}"
        time.sleep(0.002)


class PipedWorker:
    """What `subprocess.Popen` of a worker is to a pool, for a process that was forked.

    Args:
        start: Called with the descriptors of the worker's standard input and output, which are closed here afterwards. Returns
            the worker's number, and what waits for its end and returns its exit code.
    """

    def __init__(self, start: Callable[[int, int], tuple[int, Callable[[], int]]]) -> None:
        its_input, to_it = os.pipe()
        from_it, its_output = os.pipe()
        self.pid, self._wait = start(its_input, its_output)
        os.close(its_input)
        os.close(its_output)
        self.stdin = os.fdopen(to_it, "w", encoding="utf-8")
        self.stdout = os.fdopen(from_it, encoding="utf-8")
        self._code: int | None = None
        self._waiting = threading.Lock()

    def kill(self) -> None:
        """Kill it; nobody else gets its number before `wait` has returned."""
        if self._code is None:
            kill(self.pid)

    def wait(self) -> int:
        """Return its exit code, or below 0 the signal that ended it; its lane and the end of the pool may both wait."""
        with self._waiting:
            if self._code is None:
                self._code = self._wait()
            return self._code
