"""Real Ray clusters on this machine: nodes and the head are killed, the rows are those of a local run, and nothing stays."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from lottery_samples import BOTH, results, run_alone, tiny_spec

from fourfold import lottery
from fourfold.lottery import Cluster
from fourfold.record import RunStore

pytest.importorskip("ray", reason="ray is not installed (pip install 'fourfold[scale]')")
pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc"),
    pytest.mark.timeout(900),
]

PATIENCE_SECONDS = 300  # of a machine that is busy with something else
SPECS = [replace(tiny_spec(algebra, levels=6, epochs=10), preset="ray") for algebra in BOTH]
"""Trials of some seconds: what is killed at a trial's first row has work left."""
STORE_BYTES = 80 * 2**20
QUICK = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5", "RAY_AUTH_MODE": "disabled"}
"""A head that is gone is noticed in seconds; a token of somebody's in the home folder is not looked at."""


def environment(mark: str) -> dict[str, str]:
    return {**os.environ, "FOURFOLD_TEST": mark, "RAY_USAGE_STATS_ENABLED": "0", **QUICK}


def marked(mark: str) -> list[int]:
    """The processes that were started with a mark in their environment, and their children."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            alive = (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
            if alive and f"FOURFOLD_TEST={mark}".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except (OSError, IndexError):
            continue
    return found


def at_work(mark: str, name: str) -> bool:
    """Whether one of these processes is a worker of Ray's at a task of this name."""
    title = b"ray::" + name.encode()
    for pid in marked(mark):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b" \0") == title:
                return True
    return False


def end(pids) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


class Nodes:
    """A head and another node, each with one CPU, by `ray start`."""

    def __init__(self, folder: Path) -> None:
        import ray.util

        with socket.socket() as probe:
            probe.bind(("", 0))
            self.address = f"{ray.util.get_node_ip_address()}:{probe.getsockname()[1]}"
        self.marks: list[str] = []
        self.folder = folder

    def start(self) -> None:
        port = self.address.rpartition(":")[2]
        self.node("--head", "--port", port, "--include-dashboard", "false", "--temp-dir", str(self.folder))
        self.node("--address", self.address)

    def node(self, *words: str) -> None:
        command = [str(Path(sys.executable).parent / "ray"), "start", *words, "--num-cpus", "1", "--disable-usage-stats"]
        command += ["--object-store-memory", str(STORE_BYTES)]
        for _ in range(5):  # Ray gives a node half a minute to start
            mark = uuid.uuid4().hex
            started = subprocess.run(command, env=environment(mark), capture_output=True, text=True)
            if started.returncode == 0:
                self.marks.append(mark)
                return
            end(marked(mark))
        raise AssertionError(started.stdout + started.stderr)

    def kill(self, mark: str) -> None:
        self.marks.remove(mark)
        end(marked(mark))

    def kill_all(self) -> None:
        for mark in [*self.marks]:
            self.kill(mark)


@pytest.fixture(scope="module")
def nodes():
    folder = Path(f"/tmp/fourfold-{uuid.uuid4().hex[:8]}")  # pytest's own are too long for Ray's sockets
    made = Nodes(folder)
    try:
        made.start()
        yield made
    finally:
        made.kill_all()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)


def test_rows_are_those_of_a_local_run_while_nodes_and_the_head_are_killed(nodes, tmp_path):
    told, other = [], nodes.marks[1]

    def harm(event):
        told.append(event)
        if event.kind != "row":
            return
        rows = sum(event.kind == "row" for event in told)
        if other in nodes.marks and event.row.level == 0 and at_work(other, f"{event.spec.id} trial {event.trial}"):
            nodes.kill(other)
        if rows == 14:
            nodes.kill_all()
            nodes.start()

    found = lottery.run(SPECS, trials=2, out=tmp_path, device="cpu", cluster=Cluster(address=nodes.address), on_event=harm)
    expected = [row for spec in SPECS for trial in (0, 1) for row in run_alone(spec, tmp_path / "alone", trial).rows(trial)]
    assert results(found) == results(expected)
    notices = [event.message for event in told if event.kind == "notice"]
    assert any("goes on elsewhere" in notice for notice in notices)
    assert any("is gone; waiting for it" in notice for notice in notices)
    assert [event.kind for event in told].count("finished") == 4
    clusters = [event.message for event in told if event.kind == "cluster"]
    assert any("2 nodes, 2 CPUs, 0 GPUs" in message for message in clusters)


def test_a_ray_of_our_own_ends_with_a_command_that_is_killed(tmp_path):
    mark = uuid.uuid4().hex
    words = ["run", "digits", "--algebra", "real", "--trials", "1", "--epochs", "9", "--executor", "ray", "--out"]
    environ = {name: value for name, value in environment(mark).items() if name != "RAY_ADDRESS"}
    process = subprocess.Popen(
        [sys.executable, "-m", "fourfold", *words, tmp_path],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        late = time.monotonic() + PATIENCE_SECONDS
        while not any(tmp_path.glob("*/rows-0.jsonl")):
            assert time.monotonic() < late
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        assert "Ray " in output
        assert "on this machine: 1 node, " in output
        while left := marked(mark):
            assert time.monotonic() < late, [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left]
            time.sleep(0.05)
        (store,) = [RunStore(file.parent) for file in tmp_path.glob("*/spec.json")]
        rows = store.rows(0)
        assert [row.level for row in rows] == list(range(len(rows)))
        assert not store.locked("run")
    finally:
        process.kill()
        process.communicate()
        end(marked(mark))
