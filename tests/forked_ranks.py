"""Processes that find each other as those of torchrun do, forked from the test's own because torch takes seconds to import."""

import contextlib
import faulthandler
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import distributed

from processes import fork, kill, leave_after, write_to

needs_ranks = pytest.mark.skipif(
    not hasattr(os, "fork") or not distributed.is_available(), reason="forks, and needs torch.distributed"
)


@dataclass(frozen=True)
class Ended:
    """How a rank ended."""

    code: int
    said: str
    """On standard error and standard output."""


def fork_ranks(world: int, work: Callable[[int], object], folder: Path, seconds: float = 300) -> list[Ended]:
    """Call `work` with its rank in each of `world` processes; when one fails, the others get SIGTERM, as torchrun does it.

    Ranks that have not ended in time say where they are.
    """
    folder.mkdir(exist_ok=True)
    importlib.import_module("torch._dynamo")  # once for all ranks: optimisers import it, and it takes as long as torch

    pids = []
    with _serving(seconds) as port:
        for rank in range(world):
            pid = fork()
            if pid == 0:
                _become(rank, world, port, folder / f"said-{rank}")
                leave_after(partial(work, rank))
            pids.append(pid)
        codes = _wait(pids, seconds)
    return [Ended(codes[rank], (folder / f"said-{rank}").read_text(encoding="utf-8")) for rank in range(world)]


@contextlib.contextmanager
def _serving(seconds: float) -> Iterator[int]:
    """Serve a store, as torchrun's agent does, and give its port.

    It is served by a process of its own: a rank that was forked while the server's thread began here might wait for ever for
    a lock that this thread held.
    """
    from_server, to_us = os.pipe()
    pid = fork()
    if pid == 0:
        timeout = timedelta(seconds=seconds)
        store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=timeout)
        os.write(to_us, f"{store.port}\n".encode())
        time.sleep(3 * seconds)
        os._exit(0)
    os.close(to_us)
    try:
        with os.fdopen(from_server) as told:
            yield int(told.readline())
    finally:
        kill(pid)
        os.waitpid(pid, 0)


def _wait(pids: list[int], seconds: float) -> dict[int, int]:
    """Wait until all ranks have ended, and return their exit codes."""
    codes: dict[int, int] = {}
    deadline, late = time.monotonic() + seconds, False
    while len(codes) < len(pids):
        for rank, pid in enumerate(pids):
            if rank not in codes and (status := os.waitpid(pid, os.WNOHANG))[0]:
                codes[rank] = os.waitstatus_to_exitcode(status[1])
                if codes[rank]:
                    _signal(pids, codes, signal.SIGTERM)
        if not late and time.monotonic() > deadline:
            late = True
            _signal(pids, codes, signal.SIGABRT)
        time.sleep(0.01)
    return codes


def _become(rank: int, world: int, port: int, said: Path) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    write_to(said)
    faulthandler.enable(sys.stderr)
    torch.set_num_threads(1)


def _signal(pids: list[int], ended: dict[int, int], number: int) -> None:
    for rank, pid in enumerate(pids):
        if rank not in ended:
            os.kill(pid, number)
