"""The bridge follows trials through the deaths of their workers; what it asks of a cluster is checked first."""

import asyncio
import itertools
import json
import time

import pytest

from fourfold.execution.jobs import Job, Trial
from fourfold.execution.ray import chain
from fourfold.record import RunStore, UserError
from fourfold.train import versions
from lottery_samples import results, tiny_spec

pytest.importorskip("ray", reason="ray is not installed (pip install 'fourfold[ray]')")

import ray
from ray.exceptions import NodeDiedError, RaySystemError, WorkerCrashedError

from fourfold.execution.ray import bridge, joining
from fourfold.execution.ray.joining import Joined

SPEC = tiny_spec("quaternion", levels=3)
NODES = [
    {"NodeID": "home", "Resources": {"CPU": 2.0, "GPU": 1.0, "memory": 2.0 * 2**30}},
    {"NodeID": "b", "Resources": {"CPU": 1.0}},
]


class Remote:
    """What Ray makes of `run_chain`, but here: each attempt tells so many events (or those), then its worker dies as told."""

    def __init__(self, attempts):
        self.attempts = list(attempts)
        self.given = []

    def options(self, name):
        return self

    async def remote(self, line, files, expected):
        self.given.append(sorted(files))
        events, death = self.attempts.pop(0)
        told = [(json.dumps(event), {}) for event in events] if isinstance(events, list) else None
        for item in told or [*itertools.chain.from_iterable(chain.run_chain(line, files, expected))][:events]:
            there = asyncio.get_running_loop().create_future()
            there.set_result([item])
            yield there
        if death:
            raise death


def run(out, attempts, trials=1, looks=lambda: NODES, controls=(), **request):
    """Run trials through a bridge without Ray, and return the remote function, what was told and the store."""
    store, told = RunStore.create(out, SPEC), []

    class Given:
        def trials(self, device):
            job = Job(specs=(SPEC,), out=out, controls=tuple(controls), device=device)
            return [Trial(spec=SPEC, number=trial, job=job) for trial in range(trials)]

    joined = Joined(name="here", node="home", resources={}, device="cpu")
    request = {"workers": None, "deadline": None, "versions": versions()} | request
    made = bridge._Bridge(request, joined, lambda kind, **content: told.append({"event": kind, **content}), looks, 0.0)
    made._chain = Remote(attempts)
    asyncio.run(made.run(Given()))
    return made._chain, [value for value in told if value["event"] != "alive"], store


def crashed():
    return WorkerCrashedError()


def test_a_trial_goes_on_from_what_came_back_before_its_node_died(tmp_path, alone):
    remote, told, store = run(tmp_path, [(2, NodeDiedError("gone")), (99, None)])
    assert remote.given == [[], ["masks/0-1.safetensors", "rows-0.jsonl"]]
    kinds = [value["event"] for value in told]
    assert kinds == ["cluster", "epoch", "row", "lost-worker", "epoch", "row", "epoch", "row", "finished"]
    assert told[3]["message"] == "quaternion trial 0: its node died; it resumes on another node"
    assert results(store.rows(0)) == results(alone(SPEC).rows(0))


def test_a_trial_that_kills_its_workers_is_given_up_and_others_go_on(tmp_path, alone):
    deaths = [(1, crashed())] * bridge.DEATHS
    _, told, store = run(tmp_path, [*deaths, (99, None)], trials=2, workers=1)
    (lost,) = [value for value in told if value["event"] == "lost"]
    assert (lost["run"], lost["trial"]) == (SPEC.id, 0)
    sentence = f"trial 0 of {SPEC.id} was given up after it lost its worker {bridge.DEATHS} times in a row"
    assert lost["message"] == f"{sentence}: its worker was killed (out of memory?)"
    assert store.rows(0) == []
    assert results(store.rows(1)) == results(alone(SPEC, 1).rows(1))


def test_deaths_are_counted_from_the_last_level_on(tmp_path):
    deaths = [(1, crashed())] * (bridge.DEATHS - 1)
    _, told, store = run(tmp_path, [*deaths, (2, crashed()), *deaths[1:], (99, None)])
    assert told[-1]["event"] == "finished"
    assert len(store.rows(0)) == 3


def test_a_cluster_that_is_another_one_is_lost(tmp_path):
    with pytest.raises(bridge.LostError, match="another one"):
        run(tmp_path, [], looks=lambda: NODES[1:])


def test_a_trial_is_not_to_blame_for_a_cluster_that_is_lost(tmp_path):
    looks = iter([NODES, NODES[1:]])
    with pytest.raises(bridge.LostError, match="another one"):
        run(tmp_path, [(1, crashed())], looks=lambda: next(looks))


def test_controls_go_on_with_the_masks_of_all_levels(tmp_path):
    remote, told, store = run(tmp_path, [(8, crashed()), (99, None)], controls=["inverted"])
    assert "masks/0-1.safetensors" in remote.given[1]
    assert "masks/0-2.safetensors" in remote.given[1]
    assert [value["event"] for value in told][-1] == "finished"
    assert [row.level for row in store.control_rows(0, "inverted")] == [0, 1, 2]
    assert len(store.rows(0)) == 3


def test_a_gpu_that_is_full_is_a_worker_that_died(tmp_path):
    full = [{"event": "out-of-memory", "run": SPEC.id, "trial": 0}]
    _, told, store = run(tmp_path, [(full, None), (99, None)])
    assert told[1]["message"] == "quaternion trial 0: its GPU's memory was full; it resumes on another node"
    assert len(store.rows(0)) == 3


def test_an_error_in_ray_s_task_is_a_crash_and_a_worker_without_a_word_is_retried(tmp_path):
    error = ray.exceptions.RayTaskError("run_chain", "Traceback of a node", ValueError("x"))
    _, told, _ = run(tmp_path, [(0, None), (0, RaySystemError("odd")), (0, error)])
    kinds = [value["event"] for value in told]
    assert kinds == ["cluster", "lost-worker", "lost-worker", "crash"]
    assert "ended without a word" in told[1]["message"]
    assert "RaySystemError" in told[2]["message"]


def test_at_the_deadline_everything_left_is_out_of_time(tmp_path):
    _, told, _ = run(tmp_path, [(99, None)] * 3, trials=3, deadline=0)
    assert [(value["event"], value["trial"]) for value in told[1:]] == [("out-of-time", trial) for trial in range(3)]


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bridge.parcels, "accept", full)
    with pytest.raises(
        UserError, match=r"^cannot write to .* \(No space left on device\); all rows so far are safe: free some space"
    ):
        run(tmp_path, [(99, None)])


@pytest.mark.parametrize(
    ("device", "asked", "nodes", "found"),
    [
        ("cpu", None, NODES, 0.0),
        ("auto", None, NODES, 1.0),
        ("auto", None, NODES[1:], 0.0),
        ("auto", 0.25, NODES, 0.25),
        ("cuda", None, NODES, 1.0),
    ],
)
def test_the_part_of_a_gpu(device, asked, nodes, found):
    assert joining._gpus({"device": device, "gpus_per_trial": asked}, nodes) == found


@pytest.mark.parametrize(("device", "asked"), [("auto", 0.25), ("cuda", None)])
def test_more_of_a_gpu_than_there_is_is_one_sentence(device, asked):
    with pytest.raises(UserError, match=r"^`gpus_per_trial` \(=(0\.25|1)\) is more than there is: no node of the cluster"):
        joining._gpus({"device": device, "gpus_per_trial": asked}, NODES[1:])


def test_more_memory_than_there_is_is_one_sentence():
    assert joining._memory({"memory": 2**31}, NODES) == 2**31
    with pytest.raises(
        UserError, match=r"^`memory_per_trial` \(=3\.00 GiB\) must be at most the 2\.00 GiB of the largest node$"
    ):
        joining._memory({"memory": 3 * 2**30}, NODES)


def test_the_line_that_describes_a_cluster():
    joined = Joined(name="at head:1", node="home", resources={}, device="cpu")
    assert joined.describe(NODES) == f"Ray {ray.__version__}, at head:1: 2 nodes, 3 CPUs, 1 GPU"


class Asking:
    """What Ray makes of `probe`: notes which nodes are asked, and answers as it is told."""

    def __init__(self, answer):
        self.nodes = []
        self.answer = answer

    def remote(self, **options):
        return lambda function: Asked(self)

    def wait(self, asked, num_returns, timeout):
        return asked[:num_returns], []

    def get(self, asked):
        return asked()


class Asked:
    """A function on the nodes of `Asking`."""

    def __init__(self, cluster):
        self.cluster = cluster

    def options(self, scheduling_strategy):
        self.cluster.nodes.append(scheduling_strategy.node_id)
        return self

    def remote(self, *arguments):
        return lambda: self.cluster.answer(self.cluster.nodes[-1])


def node(name, **resources):
    return {"NodeID": name * 56, "Resources": resources}


@pytest.mark.parametrize(
    ("trials", "workers", "expected"),
    [(2, None, "ab"), (7, None, "aaaabbb"), (99, None, "aaaabbb"), (99, 3, "aabb"), (1, 5, "ab")],
)
def test_nodes_are_asked_by_as_many_workers_as_trials_fit(trials, workers, expected):
    nodes = [
        node("a", CPU=4.0, memory=9.0),
        node("b", CPU=8.0, memory=7.0),
        node("c", memory=9.0),
        node("d", CPU=4.0, memory=1.0),
    ]
    joined = Joined(name="here", node="a", resources={"num_cpus": 1, "num_gpus": 0.0, "memory": 2}, device="cpu")
    asking = Asking(lambda node: None)
    request = {"trials": trials, "workers": workers, "datasets": [], "data_dir": None, "versions": {}}
    joining.probe(request, joined, nodes, asking)
    assert [name[0] for name in asking.nodes] == list(expected)


def test_what_a_node_lacks_is_the_sentence_and_a_node_that_dies_is_left_alone():
    def answer(node):
        if node.startswith("a"):
            raise NodeDiedError("gone")
        return "node b has torch 1.0"

    joined = Joined(name="here", node="a", resources={"num_cpus": 1}, device="cpu")
    request = {"trials": 2, "workers": None, "datasets": [], "data_dir": None, "versions": {}}
    asking = Asking(answer)
    joining.probe(request, joined, [node("a", CPU=1.0)], asking)
    joining.probe(request, joined, [node("c")], asking)  # nobody to ask
    with pytest.raises(UserError, match=r"^node b has torch 1\.0$"):
        joining.probe(request, joined, [node("b", CPU=1.0)], asking)
    error = ray.exceptions.RayTaskError("probe", "Traceback\nModuleNotFoundError: No module named 'fourfold'", ValueError("x"))

    def lacking(node):
        raise error

    with pytest.raises(
        UserError, match=r"^a node of the cluster cannot run fourfold \(.*'fourfold'\); install it there as it is here$"
    ):
        joining.probe(request, joined, [node("b", CPU=1.0)], Asking(lacking))


def test_a_deadline_goes_to_another_machine_as_a_time_of_day():
    assert bridge.end_elsewhere(time.monotonic() + 30) == pytest.approx(time.time() + 30, abs=5)
    assert bridge.end_elsewhere(None) is None
    sent = Trial(spec=SPEC, number=0, job=Job(specs=(SPEC,), deadline=7.0)).on_another_machine(9.0)
    assert (sent.job.deadline, sent.job.time_of_day) == (None, 9.0)
