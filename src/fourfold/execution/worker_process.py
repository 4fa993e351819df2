"""A worker as its parent sees it: a process that is handed trials, and says line by line what happens in them."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from fourfold.execution.jobs import Trial

KEEP_FREED_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32)}
"""glibc would return large blocks to the system at every step and fault them in again; other allocators ignore this."""

WORKER = [sys.executable, "-P", "-m", "fourfold.execution.worker"]
"""Without the current folder on the path, where a file may have the name of a module of Python's."""

STOP = "stop\n"
"""The line that tells a worker to end its trials at their next step."""


class WorkerProcess:
    """A worker process, and the trials that it is at."""

    def __init__(self, command: Sequence[str], lanes: int) -> None:
        self._process = subprocess.Popen(
            [*command, *([str(lanes)] if lanes > 1 else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C reaches the parent alone
            env={**KEEP_FREED_MEMORY, **os.environ},
        )
        self._lock = threading.Lock()
        self._followers: dict[tuple[str, int], queue.SimpleQueue[str | None]] = {}
        self._ended = False
        self._router = threading.Thread(target=self._route, daemon=True)
        self._router.start()

    def run(self, trial: Trial) -> Iterator[dict[str, Any]]:
        """Hand over a trial and yield what the worker says of it, for as long as it says anything."""
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        with self._lock:
            self._followers[trial.key] = lines
            if self._ended:
                lines.put(None)
            assert self._process.stdin is not None
            with contextlib.suppress(BrokenPipeError, ValueError):  # the end of its output tells that a worker is gone
                self._process.stdin.write(trial.to_line())
                self._process.stdin.flush()
        try:
            while (line := lines.get()) is not None:
                yield json.loads(line)
        finally:
            with self._lock:
                del self._followers[trial.key]

    def stop(self) -> None:
        """Tell the process to end its trials at their next step."""
        assert self._process.stdin is not None
        with self._lock, contextlib.suppress(BrokenPipeError, ValueError):  # it may be gone
            self._process.stdin.write(STOP)
            self._process.stdin.flush()

    def kill(self) -> int:
        """End the process, and return how it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.kill()
        code = self._process.wait()
        self._router.join()
        self._process.stdout.close()
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        return code

    def _route(self) -> None:
        """Give each line to the trial that it is of; a line that is not whole is the end."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not line.endswith("\n"):
                break
            with self._lock:
                for lines in self._of(line):
                    lines.put(line)
        with self._lock:
            self._ended = True
            for lines in self._followers.values():
                lines.put(None)

    def _of(self, line: str) -> "list[queue.SimpleQueue[str | None]]":
        followers = list(self._followers.values())
        if len(followers) > 1:
            value = json.loads(line)
            return [self._followers[value["run"], value["trial"]]]
        return followers
