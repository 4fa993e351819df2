"""Real Ray clusters on this machine: nodes and the head are killed, the rows are those of a local run, and nothing stays."""

import contextlib
import itertools
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fourfold import execution, presets
from fourfold.execution import Event
from fourfold.record import Cluster, RunStore, Trust
from lottery_samples import BOTH, results, run_alone, tiny_spec
from processes import kill

pytest.importorskip("ray", reason="ray is not installed (pip install 'fourfold[ray]')")
pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc"),
    pytest.mark.timeout(900),
]

PATIENCE_SECONDS = 300  # of a machine that is busy with something else
SPECS = [replace(tiny_spec(algebra, levels=3, epochs=8), preset="ray") for algebra in BOTH]
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


def at_work(mark: str) -> bool:
    """Whether one of these processes is a worker of Ray's at a trial."""
    for pid in marked(mark):
        with contextlib.suppress(OSError):
            if re.match(rb"ray::.* trial \d", Path(f"/proc/{pid}/cmdline").read_bytes()):
                return True
    return False


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
            for pid in marked(mark):
                kill(pid)
        raise AssertionError(started.stdout + started.stderr)

    def kill(self, mark: str) -> None:
        self.marks.remove(mark)
        for pid in marked(mark):
            kill(pid)

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


def run_on(nodes, out, on_event) -> list[Event]:
    """Run all trials there, see that the rows are those of a local run, and return what happened."""
    told = []
    found = execution.run(
        SPECS,
        trials=2,
        out=out / "there",
        device="cpu",
        cluster=Cluster(address=nodes.address),
        on_event=lambda event: told.append(event) or on_event(event),
    )
    expected = [row for spec in SPECS for trial in (0, 1) for row in run_alone(spec, out / "here", trial).rows(trial)]
    assert results(found) == results(expected)
    assert [event.kind for event in told].count("finished") == 4
    return told


def messages(told, kind) -> list[str]:
    return [event.message for event in told if event.kind == kind]


@pytest.mark.slow
def test_the_trial_of_a_node_that_is_killed_goes_on_elsewhere(nodes, tmp_path):
    other = nodes.marks[1]

    def kill_at_work():
        late = time.monotonic() + PATIENCE_SECONDS
        while not at_work(other):
            assert time.monotonic() < late
            time.sleep(0.01)
        nodes.kill(other)

    with ThreadPoolExecutor(1) as beside:
        killing = beside.submit(kill_at_work)
        told = run_on(nodes, tmp_path, lambda event: None)
        killing.result()
    assert any("resumes on another node" in message for message in messages(told, "notice"))
    assert not any("is gone" in message for message in messages(told, "notice"))
    assert "2 nodes, 2 CPUs, 0 GPUs" in messages(told, "cluster")[0]


OWN = """
import numpy as np
from torch import nn

import fourfold as ff
from helper_of_own_on_nodes import WIDTH


def data():
    x = np.random.default_rng(0).standard_normal((200, 8)).astype("float32")
    return ff.data.from_arrays((x, x[:, :1]))


def net(algebra, inputs, outputs):
    return nn.Sequential(ff.nn.Linear(inputs[0], WIDTH, algebra=algebra), nn.ReLU(), nn.Linear(WIDTH, outputs))
"""


@pytest.mark.slow
def test_two_nodes_run_the_user_s_own_file(nodes, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "own_on_nodes.py").write_text(OWN)
    (tmp_path / "helper_of_own_on_nodes.py").write_text("WIDTH = 8\n")
    names = {"data": "own_on_nodes.py:data", "model": "own_on_nodes.py:net", "task": "regression"}
    specs = [presets.new("own", **names, algebra=algebra, epochs=8, max_level=2) for algebra in BOTH]
    specs = [spec.trusted(Trust(folder=str(tmp_path))) for spec in specs]
    there, here = (
        execution.run(specs, trials=2, out=tmp_path / name, device="cpu", **options)
        for name, options in (("there", {"cluster": Cluster(address=nodes.address)}), ("here", {"workers": 0}))
    )
    assert len(there) == 2 * 2 * 3
    assert results(there) == results(here)
    assert sorted(there[0].provenance.code) == ["helper_of_own_on_nodes.py", "own_on_nodes.py"]


@pytest.mark.slow
def test_a_run_whose_whole_cluster_is_killed_goes_on_when_it_is_back(nodes, tmp_path):
    rows = itertools.count(1)

    def harm(event):
        if event.kind == "row" and next(rows) == 1:
            nodes.kill_all()
            nodes.start()

    told = run_on(nodes, tmp_path, harm)
    assert any("is gone; waiting for it" in message for message in messages(told, "notice"))
    assert "2 nodes, 2 CPUs, 0 GPUs" in messages(told, "cluster")[-1]


@pytest.mark.slow
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
        for pid in marked(mark):
            kill(pid)
