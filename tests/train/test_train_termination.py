"""A rank that SIGTERM finds deaf, as it waits outside of Python for one that is gone, ends soon and says why."""

import ctypes
import os
import signal
import time

import pytest

from fourfold.train import termination

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning"),
]


def ended_by_sigterm(wait, tmp_path) -> tuple[int, str, float]:
    """Fork a rank that waits, send it SIGTERM, and return its exit code, its words, and how long it took."""
    said = tmp_path / "said"
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
        termination.DEAF_SECONDS = 0.2
        try:
            with termination.at_termination(termination.raise_terminated), termination.ending_though_deaf("it was stopped"):
                os.write(tell, b"x")
                wait()
        except termination.TerminatedError:
            os._exit(7)
        os._exit(0)
    os.read(ready, 1)
    time.sleep(0.1)
    start = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), said.read_text(), time.monotonic() - start


def test_a_rank_that_waits_outside_of_python_ends(tmp_path):
    libc, lock = ctypes.CDLL(None), ctypes.create_string_buffer(64)

    def deaf() -> None:
        libc.pthread_mutex_lock(lock)
        libc.pthread_mutex_lock(lock)  # which is locked: it waits for ever, whatever signal comes

    code, said, seconds = ended_by_sigterm(deaf, tmp_path)
    assert (code, said) == (2, "it was stopped\n")
    assert 0.15 < seconds < 60


def test_a_rank_that_hears_says_it_itself(tmp_path):
    code, said, _ = ended_by_sigterm(lambda: time.sleep(100), tmp_path)
    assert (code, said) == (7, "")


def test_nothing_is_left_of_it():
    before = signal.getsignal(signal.SIGTERM)
    with termination.at_termination(termination.raise_terminated), termination.ending_though_deaf("no"):
        assert signal.getsignal(signal.SIGTERM) is termination.raise_terminated
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == -1
