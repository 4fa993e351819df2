import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import headless_browser
from forked_workers import Forker, in_place_of_subprocess

MEMORY, MEMORY_BYTES = Path("/dev/shm"), 4 * 2**30
"""A file system in memory, and how much of it must be free for the suite."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep temporary files in memory: the store syncs every file that it writes, and a disk takes milliseconds for that."""
    if not config.getoption("basetemp") and _has_room():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def _has_room() -> bool:
    """Whether there is a file system in memory that is large enough, and on which tests may run what they compile."""
    usable = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    return usable and shutil.disk_usage(MEMORY).free > MEMORY_BYTES


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """These tensors are too small for threads, which only wait for one another on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> Iterator[None]:
    """torch.compile gives up on code that it has compiled many times, whichever tests that was for."""
    yield
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


@pytest.fixture(scope="session")
def browser_page() -> Iterator[headless_browser.Page]:
    """A tab of a headless Chromium."""
    binary = headless_browser.find()
    if binary is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on this machine")
    with headless_browser.browser(binary) as page:
        yield page


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """The process that workers are forked from."""
    forker = Forker()
    yield forker
    forker.close()


@pytest.fixture
def forked_workers(forker: Forker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork workers in place of starting them."""
    from fourfold.execution import worker_process

    monkeypatch.setattr(worker_process, "subprocess", in_place_of_subprocess(forker))


@pytest.fixture
def quick_plan(monkeypatch):
    """Plans without half a second of timing for each network."""
    from fourfold.timing.clock import Clock

    monkeypatch.setattr(Clock, "level_seconds", lambda self, spec, density=1.0: 0.24)
