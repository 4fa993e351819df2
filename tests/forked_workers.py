"""Workers that are forked from a process that has imported what they need, as each would import torch for seconds.

The process forks nothing but what it is asked for and has one thread, so that a worker is as good as a started one: it has its
own session, current folder, environment and pipes, and runs `fourfold.execution.worker.main`.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from processes import EARLY, PipedWorker, import_early, leave_after

LARGEST_REQUEST = 2**20
START = """
import socket, sys
sys.path.append({!r})
import forked_workers
del sys.path[-1]  # workers that are started do not find the modules of tests
forked_workers.serve(socket.socket(fileno=int(sys.argv[1])))
"""


class Forker:
    """The process that forks; it is started when it is asked for the first worker, and ends with this one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._lock = threading.Lock()

    def popen(
        self, command: Sequence[str], *, env: Mapping[str, str], **settings: object
    ) -> "subprocess.Popen[str] | PipedWorker":
        """Fork a worker in place of starting it; any other command is started."""
        from fourfold.execution.worker_process import WORKER

        if list(command[: len(WORKER)]) != WORKER:
            return subprocess.Popen(command, env=env, **settings)  # type: ignore[call-overload, no-any-return]
        with self._lock:
            if self._channel is None:
                self._channel, its_end = socket.socketpair()
                start = [sys.executable, "-P", "-c", START.format(str(Path(__file__).parent)), str(its_end.fileno())]
                self._process = subprocess.Popen(start, env=env, pass_fds=[its_end.fileno()], start_new_session=True)
                its_end.close()
            return PipedWorker(partial(_fork_worker, self._channel, command[len(WORKER) :], env))

    def close(self) -> None:
        """End the process; workers end with their standard input."""
        if self._channel is not None and self._process is not None:
            self._channel.close()
            self._process.wait()


def _fork_worker(
    channel: socket.socket, words: Sequence[str], env: Mapping[str, str], its_input: int, its_output: int
) -> tuple[int, Callable[[], int]]:
    from_parent, to_us = os.pipe()  # what its parent tells of it: its number, and then how it ended
    request = json.dumps({"words": list(words), "env": dict(env), "folder": str(Path.cwd())})
    socket.send_fds(channel, [request.encode()], [its_input, its_output, 2, to_us])
    os.close(to_us)
    pid = int(os.read(from_parent, 20))

    def wait() -> int:
        code = int(os.read(from_parent, 20))
        os.close(from_parent)
        return code

    return pid, wait


def in_place_of_subprocess(forker: Forker) -> SimpleNamespace:
    """Return what `fourfold.execution.worker_process` takes for the module `subprocess`."""
    return SimpleNamespace(Popen=forker.popen, PIPE=subprocess.PIPE)


def serve(channel: socket.socket) -> None:
    """Fork what is asked for, until nobody can ask any more."""
    import_early(*EARLY)
    from fourfold.execution import worker

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, descriptors, _, _ = socket.recv_fds(channel, LARGEST_REQUEST, 4)
        if not request:
            return
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            channel.close()
            _watch(json.loads(request), descriptors, worker.main)
        for descriptor in descriptors:
            os.close(descriptor)


def _watch(request: dict[str, object], descriptors: Sequence[int], main: Callable[[], None]) -> None:
    """Fork a worker, and tell its number and how it ended."""
    its_input, its_output, its_errors, ending = descriptors
    pid = os.fork()
    if pid:
        os.write(ending, f"{pid}".encode())
        for descriptor in (its_input, its_output, its_errors):
            os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(BrokenPipeError):
            os.write(ending, f"{os.waitstatus_to_exitcode(status)}".encode())
        os._exit(0)
    os.setsid()
    for number, descriptor in enumerate((its_input, its_output, its_errors)):
        os.dup2(descriptor, number)
    os.closerange(3, max(descriptors) + 1)
    os.chdir(str(request["folder"]))
    os.environ.clear()
    os.environ.update(request["env"])  # type: ignore[call-overload]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [path for path in paths if path and path not in sys.path]  # as Python has done with those of this process
    sys.argv = ["worker", *request["words"]]  # type: ignore[misc]
    leave_after(main)
