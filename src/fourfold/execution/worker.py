"""A worker process: `python -m fourfold.execution.worker [LANES]` reads trials to run as JSON lines, and answers with events.

A process of its own per CPU core, started by its command line: nothing is pickled, no guard is needed in the user's
script, and the worker ends when its standard input does, that is, with its parent, however that ended. With lanes it runs so
many trials at the same time, each in a thread and on a CUDA stream of its own, for a GPU computes side by side only what
comes from one process.
"""

import os
import queue
import sys
import threading
from pathlib import Path
from typing import TextIO

from fourfold.execution.jobs import Trial
from fourfold.execution.serving import Server
from fourfold.execution.worker_process import STOP


def main() -> None:
    """Serve trials from standard input until it ends."""
    lanes = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    events, lines = take_standard_output(), take_standard_input()
    trials: queue.SimpleQueue[Trial] = queue.SimpleQueue()
    server = Server(experiments_kept=lanes)
    writing = threading.Lock()

    def write(line: str) -> None:
        with writing:
            events.write(line + "\n")
            events.flush()

    def serve() -> None:
        try:
            server.serve(iter(trials.get, None), write)
        finally:
            os._exit(1)  # it ends by an unforeseen error alone: the parent would wait for this thread

    for _ in range(lanes):
        threading.Thread(target=serve, daemon=True).start()
    for line in lines:
        if line == STOP:
            server.stopped.set()
        else:
            trials.put(Trial.from_line(line))
    os._exit(0)  # the parent is gone: stop in the middle of whatever it is


def take_standard_output() -> TextIO:
    """Return standard output for events alone; what libraries print from now on goes to standard error."""
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return events


def take_standard_input() -> TextIO:
    """Return standard input for trials alone; a process that is forked meanwhile has another, whose lock is free."""
    lines = os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8")
    sys.stdin = Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115
    return lines


if __name__ == "__main__":
    main()
