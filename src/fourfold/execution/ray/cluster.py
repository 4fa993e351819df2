"""Trials on a Ray cluster: the run's side of the bridge to it. Ray itself is imported by the bridge alone."""

import contextlib
import importlib.util
import json
import os
import queue
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fourfold.execution.events import ENDINGS, Event, event_of
from fourfold.execution.jobs import Trial
from fourfold.record import Cluster, NoAnswerError, UserError

BRIDGE = [sys.executable, "-P", "-m", "fourfold.execution.ray.bridge"]

START_SECONDS = 180
"""How long each step may take on a busy machine: importing Ray, joining or starting a cluster, probing its nodes."""

SILENCE_SECONDS = 90
"""After how long without a sign of life a bridge is taken for dead; Ray itself waits a minute for a head that restarts."""

RETURN_SECONDS = 600
"""How long a cluster that was lost is waited for."""

STALLS = 5
"""How often a cluster may be lost with no level finished or saved in between before the run ends."""

CLOSE_SECONDS = 15
"""How long a bridge may take to end in order."""

SHORT = 24
"""Length of the path of the folder for temporary files below which those of Ray's sockets fit into the system's 107 bytes."""


class Connection:
    """A cluster that has let us in, and found that trials can run on it.

    Args:
        cluster: Where, and with what.
        request: What the bridge has to know beside that: `cpus`, `workers` and `trials`, `device`, `datasets` and `data_dir`,
            `memory` (bytes), `versions` and `deadline` (`time.monotonic()`).

    Raises:
        UserError: Ray is not installed, no cluster answers, or trials cannot run there, in one sentence.
    """

    def __init__(self, cluster: Cluster, request: dict[str, Any]) -> None:
        if importlib.util.find_spec("ray") is None:
            raise UserError("Ray is not installed; `pip install 'fourfold[ray]'` adds it")
        if cluster.memory_per_trial is not None:
            request = request | {"memory": int(cluster.memory_per_trial * 2**30)}
        self._cluster = cluster
        self._request = {"address": cluster.joined, "gpus_per_trial": cluster.gpus_per_trial, **request}
        self._gone = f"the Ray cluster {cluster.where} is gone"
        self._bridge = self._join()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *ending: object) -> None:
        self._bridge.close()

    def events(self, trials: Sequence[Trial]) -> Iterator[Event]:
        """Run all trials; yield what happens. A cluster that is lost is waited for.

        Raises:
            UserError: the cluster did not return, a mistake showed on a node, or trials were given up, in one sentence.
        """
        left = {trial.key: trial for trial in trials}
        given_up: list[str] = []
        stalls = 0
        while left:
            self._bridge.begin(trial.to_line() for trial in left.values())
            rows = 0
            for value in self._bridge.answers(SILENCE_SECONDS):
                kind = value["event"]
                if kind == "cluster":
                    yield Event(kind="cluster", spec=trials[0].spec, message=value["message"])
                if "run" not in value:
                    _complain(value)
                    continue
                trial = left[value["run"], value["trial"]]
                if kind == "lost":
                    given_up.append(value["message"])
                elif kind == "lost-worker":
                    yield Event(kind="notice", spec=trial.spec, message=value["message"])
                else:
                    yield event_of(trial, value)
                rows += kind in ("row", "checkpoint")
                if kind in (*ENDINGS, "lost"):
                    del left[trial.key]
                if not left:
                    break
            self._bridge.close()
            if not left:
                break
            stalls = 1 if rows else stalls + 1
            yield Event(kind="notice", spec=trials[0].spec, message=f"{self._gone}; waiting for it")
            if stalls == STALLS or not self._return():
                if self._late():
                    yield from (Event(kind="out-of-time", spec=trial.spec, trial=trial.number) for trial in left.values())
                    break
                raise UserError(f"{self._gone}; all rows so far are safe, the same command resumes")
        if given_up:
            others = f" (and {len(given_up) - 1} more)" if len(given_up) > 1 else ""
            raise UserError(f"{given_up[0]}{others}; all rows so far are safe: ask for more --memory-per-trial")

    def _return(self) -> bool:
        """Join the cluster again when it is there, and return whether that came about in time."""
        end = time.monotonic() + RETURN_SECONDS
        while time.monotonic() < end and not self._late():
            try:
                self._bridge = self._join()
            except NoAnswerError:
                time.sleep(1)
            else:
                return True
        return False

    def _late(self) -> bool:
        deadline = self._request["deadline"]
        return deadline is not None and time.monotonic() >= deadline

    def _join(self) -> "_Bridge":
        self._cluster.greet()
        bridge = _Bridge(self._request)
        try:
            if not bridge.receives("ready", START_SECONDS):
                raise self._cluster.no_answer("Ray cannot be imported")
            if not bridge.receives("joined", START_SECONDS):
                raise self._cluster.no_answer("connection refused" if self._cluster.joined else "it did not start")
            if not bridge.receives("probed", START_SECONDS):
                raise self._cluster.no_answer("its nodes say nothing")
        except BaseException:
            bridge.close()
            raise
        return bridge


def _own_token() -> dict[str, str]:
    """Return the environment that keeps others out of a cluster of our own; Ray would write a token to the home folder."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


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
        """Yield its messages, until it has ended or been silent for too long."""
        with contextlib.suppress(queue.Empty):
            while (line := self._lines.get(timeout=patience_seconds)) is not None:
                yield json.loads(line)

    def receives(self, kind: str, patience_seconds: float) -> bool:
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
        with contextlib.suppress(BrokenPipeError):  # the end of its output tells that a bridge is gone
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
