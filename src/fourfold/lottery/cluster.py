"""Trials on a Ray cluster: its settings, and the run's side of the bridge to it. Ray itself is imported by the bridge alone."""

import contextlib
import importlib.util
import json
import os
import queue
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fourfold.lottery.pool import ENDINGS, Event, Task
from fourfold.record import UserError

BRIDGE = [sys.executable, "-m", "fourfold.lottery.bridge"]

ANSWER_SECONDS = 5
"""How long the head of a cluster may take to answer, first to a connection, then to a greeting."""

START_SECONDS = 180
"""How long each step may take after that on a busy machine: importing Ray, joining or starting a cluster, probing its nodes."""

GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""HTTP/2's opening and an empty frame of settings, which every gRPC server answers at once (RFC 9113, section 3.4)."""

SILENCE_SECONDS = 90
"""After how long without a sign of life a bridge is taken for dead; Ray itself waits a minute for a head that restarts."""

RETURN_SECONDS = 600
"""How long a cluster that was lost is waited for."""

STALLS = 5
"""How often a cluster may be lost with no level finished in between before the run ends."""

CLOSE_SECONDS = 15
"""How long a bridge may take to end in order."""

SHORT = 24
"""Length of the path of the folder for temporary files below which those of Ray's sockets fit into the system's 107 bytes."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where and with what Ray runs trials: `fourfold.run(…, cluster=Cluster(address="head:6379"))`."""

    address: str | None = None
    """HOST:PORT of the head, on a machine of the cluster; None takes `$RAY_ADDRESS`, else starts Ray on this machine."""
    gpus_per_trial: float | None = None
    """Part of a GPU that each trial gets, at most 1; None is a whole one where the cluster has any."""
    memory_per_trial: float | None = None
    """GiB of memory that each trial asks for; None estimates it from the data and the network."""

    def __post_init__(self) -> None:
        if self.gpus_per_trial is not None and not 0 < self.gpus_per_trial <= 1:
            raise UserError(f"`gpus_per_trial` (={self.gpus_per_trial}) must be above 0 and at most 1: a trial has one GPU")
        if self.memory_per_trial is not None and not 0 < self.memory_per_trial < float("inf"):
            raise UserError(f"`memory_per_trial` (={self.memory_per_trial}) must be GiB above 0")
        _split(self.joined)

    @property
    def joined(self) -> str | None:
        """The address that is joined; None for a cluster of our own."""
        return self.address or os.environ.get("RAY_ADDRESS") or None


def _split(address: str | None) -> tuple[str, int] | None:
    """Return host and port of an address; None where there is none."""
    if address is None:
        return None
    host, _, port = address.rpartition(":")
    if not host or "/" in address or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise UserError(f"`address` (={address!r}) must be HOST:PORT of a Ray head, such as 10.0.0.1:6379")
    return host, int(port)


def _greet(place: tuple[str, int]) -> None:
    """Raise `OSError` if no gRPC server is there; Ray itself would try for a minute and longer."""
    with socket.create_connection(place, ANSWER_SECONDS) as connection:
        if os.environ.get("RAY_USE_TLS", "0") != "0":
            return
        connection.settimeout(ANSWER_SECONDS)
        connection.sendall(GREETING)
        if len(connection.recv(9)) < 9:
            raise ConnectionError("what is there is no Ray head")


class Connection:
    """A cluster that has let us in, and found that trials can run on it.

    Args:
        cluster: Where, and with what.
        request: What the bridge has to know beside that: `cpus` and `workers`, `device`, `datasets` and `data_dir`, `memory`
            (bytes), `versions` and `deadline`.

    Raises:
        UserError: Ray is not installed, nobody answers, or trials cannot run there, in one sentence.
    """

    def __init__(self, cluster: Cluster, request: dict[str, Any]) -> None:
        if importlib.util.find_spec("ray") is None:
            raise UserError("Ray is not installed; `pip install 'fourfold[scale]'` adds it")
        if cluster.memory_per_trial is not None:
            request = request | {"memory": int(cluster.memory_per_trial * 2**30)}
        self._address = cluster.joined
        self._request = {"address": self._address, "gpus_per_trial": cluster.gpus_per_trial, **request}
        self._bridge = self._join()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *ending: object) -> None:
        self._bridge.close()

    def events(self, tasks: Sequence[Task]) -> Iterator[Event]:
        """Run all tasks; yield what happens. A cluster that is lost is waited for.

        Raises:
            UserError: the cluster did not return, a mistake showed on a node, or trials were given up, in one sentence.
        """
        left = {task.key: task for task in tasks}
        given_up: list[str] = []
        stalls = 0
        while left:
            self._bridge.begin(task.message for task in left.values())
            rows = 0
            for value in self._bridge.answers(SILENCE_SECONDS):
                kind = value["event"]
                if kind == "cluster":
                    yield Event(kind="cluster", spec=tasks[0].spec, message=value["message"])
                if "run" not in value:
                    _complain(value)
                    continue
                task = left[value["run"], value["trial"]]
                if kind == "lost":
                    given_up.append(value["message"])
                elif kind == "lost-worker":
                    yield Event(kind="notice", spec=task.spec, message=value["message"])
                else:
                    yield task.event(value)
                rows += kind == "row"
                if kind in (*ENDINGS, "lost"):
                    del left[task.key]
                if not left:
                    break
            self._bridge.close()
            if not left:
                break
            stalls = 1 if rows else stalls + 1
            yield Event(kind="notice", spec=tasks[0].spec, message=f"the Ray cluster {self._where} is gone; waiting for it")
            if stalls == STALLS or not self._return():
                if self._late():
                    yield from (Event(kind="out-of-time", spec=task.spec, trial=task.trial) for task in left.values())
                    break
                raise UserError(f"the Ray cluster {self._where} is gone; all rows so far are safe, the same command goes on")
        if given_up:
            others = f" (and {len(given_up) - 1} more)" if len(given_up) > 1 else ""
            raise UserError(f"{given_up[0]}{others}; all rows so far are safe: ask for more --memory-per-trial")

    @property
    def _where(self) -> str:
        return f"at {self._address}" if self._address else "on this machine"

    def _return(self) -> bool:
        """Join the cluster again when it is there, and return whether that came about in time."""
        end = time.time() + RETURN_SECONDS
        while time.time() < end and not self._late():
            try:
                self._bridge = self._join()
            except _NoAnswerError:
                time.sleep(1)
            else:
                return True
        return False

    def _late(self) -> bool:
        deadline = self._request["deadline"]
        return deadline is not None and time.time() >= deadline

    def _join(self) -> "_Bridge":
        place = _split(self._address)
        if place:
            try:
                _greet(place)
            except OSError as error:
                raise self._silent(error.strerror or str(error)) from error
        bridge = _Bridge(self._request)
        try:
            if not bridge.heard("ready", START_SECONDS):
                raise self._silent("Ray cannot be imported")
            if not bridge.heard("joined", START_SECONDS):
                raise self._silent("it lets nobody in" if place else "it did not start")
            if not bridge.heard("probed", START_SECONDS):
                raise self._silent("its nodes say nothing")
        except BaseException:
            bridge.close()
            raise
        return bridge

    def _silent(self, reason: str) -> "_NoAnswerError":
        return _NoAnswerError(f"no Ray cluster answers {self._where} ({reason}); `ray start --head` starts one")


def _own_token() -> dict[str, str]:
    """Return the environment that keeps others out of a cluster of our own; Ray would write a token to the home folder."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


class _NoAnswerError(UserError):
    """A cluster that is not there, now."""


class _Bridge:
    """The process that talks to Ray."""

    def __init__(self, request: dict[str, Any]) -> None:
        system = tempfile.gettempdir()
        self._temporary = Path(tempfile.mkdtemp(prefix="fourfold-ray-", dir=system if len(system) < SHORT else "/tmp"))
        self._process = subprocess.Popen(
            BRIDGE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # Ray's own words; what matters comes as an event
            text=True,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C reaches the parent alone
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **({} if request["address"] else _own_token())},
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._write([json.dumps(request | {"temporary": str(self._temporary)}) + "\n"])

    def begin(self, messages: Iterable[str]) -> None:
        """Hand over the trials to run, and begin."""
        self._write([*messages, "\n"])

    def answers(self, patience_seconds: float) -> Iterator[dict[str, Any]]:
        """Yield what it says, until it has ended or said nothing for too long."""
        with contextlib.suppress(queue.Empty):
            while (line := self._lines.get(timeout=patience_seconds)) is not None:
                yield json.loads(line)

    def heard(self, kind: str, patience_seconds: float) -> bool:
        """Wait for an answer, and return whether it came before anything else and in time."""
        answer = next(self.answers(patience_seconds), None)
        if answer is not None:
            _complain(answer)
        return answer is not None and answer["event"] == kind

    def close(self) -> None:
        """End it and all that it started on this machine; it is given some seconds to tell Ray."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._process.stdout.close()
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _write(self, lines: Iterable[str]) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # a bridge that is gone is told apart by its silence
            self._process.stdin.writelines(lines)
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n"):
                self._lines.put(line)
        self._lines.put(None)


def _complain(value: dict[str, Any]) -> None:
    """Raise what a bridge has against the whole run, if it has."""
    if value["event"] == "error":
        raise UserError(value["message"])
    if value["event"] == "crash":
        raise RuntimeError(f"the bridge to Ray crashed:\n{value['message']}")
