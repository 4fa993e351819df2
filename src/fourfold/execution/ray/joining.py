"""Joining a Ray cluster, or starting one on this machine, and seeing whether it can run the trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError, RuntimeEnvSetupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from fourfold.execution.ray import chain
from fourfold.execution.worker_process import KEEP_FREED_MEMORY
from fourfold.record import UserError

PROBE_SECONDS = 150
"""How long a node may take to say whether it can run trials; one that takes longer is not waited for."""

OBJECT_STORE_BYTES = 2**29
"""Of a cluster of our own; what goes through it is small, and the rest spills to disk."""

Nodes = Sequence[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A cluster that this process is part of."""

    name: str
    node: str
    """Id of the node that this process is on."""
    resources: dict[str, float]
    """What every trial asks Ray for."""
    device: str
    """On which trials train."""

    def describe(self, nodes: Nodes) -> str:
        """Return the line that says what the cluster consists of."""
        cpus, gpus = (sum(node["Resources"].get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
        counted = f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}, {cpus:g} CPU{'' if cpus == 1 else 's'}"
        return f"Ray {ray.__version__}, {self.name}: {counted}, {gpus:g} GPU{'' if gpus == 1 else 's'}"

    def capacity(self, node: dict[str, Any]) -> int:
        """Return how many trials fit onto a node at the same time."""
        there, names = node["Resources"], {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}
        return min(int(there.get(names[name], 0) / amount) for name, amount in self.resources.items() if amount)


def join(request: dict[str, Any]) -> Joined:
    """Join the cluster of the request, or start one.

    Raises:
        UserError: it cannot be joined, or a trial asks for more than there is.
    """
    address = request["address"]
    options = {"address": address}
    if address is None:
        options = {
            "address": "local",
            "num_cpus": request["cpus"],
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
            "_temp_dir": request["temporary"],
        }
    try:
        ray.init(
            **options,
            runtime_env={"env_vars": KEEP_FREED_MEMORY},
            log_to_driver=False,
            logging_level="CRITICAL",
            namespace="fourfold",
        )
    except (RuntimeError, ValueError, RayError) as error:  # other versions, no node of the cluster here, or another token
        reason = " ".join(str(error).partition("\n")[0].split())
        raise UserError(f"cannot join the Ray cluster {'at ' + address if address else 'on this machine'}: {reason}") from error
    nodes = members()
    gpus = _gpus(request, nodes)
    return Joined(
        name="on this machine" if address is None else f"at {address}",
        node=ray.get_runtime_context().get_node_id(),
        resources={"num_cpus": 1, "num_gpus": gpus, "memory": _memory(request, nodes)},
        device="cuda" if gpus else "cpu",
    )


def members() -> Nodes:
    """Return the nodes that are alive, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def probe(request: dict[str, Any], joined: Joined, nodes: Nodes, cluster: Any = ray) -> None:
    """Ask every node that fits a trial whether it can run it; those that die meanwhile are left alone.

    A node is asked by as many workers as trials will run there: all of them import torch at the same time, and now.

    Raises:
        UserError: a node has other versions, or lacks fourfold or the data.
    """
    ask = cluster.remote(num_cpus=0, max_retries=0)(chain.probe)
    able = [node for node in nodes if joined.capacity(node)]
    if not able:  # those that join later are asked with their first trial
        return
    share = -(-min(request["trials"], request["workers"] or request["trials"]) // len(able))
    probes = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            request["datasets"], request["data_dir"], request["versions"]
        )
        for node in able
        for _ in range(min(share, joined.capacity(node)))
    ]
    answered, _ = cluster.wait(probes, num_returns=len(probes), timeout=PROBE_SECONDS)
    for answer in answered:
        try:
            disagreement = cluster.get(answer)
        except (RayTaskError, RuntimeEnvSetupError) as error:
            last = str(error).strip().splitlines()[-1]
            raise UserError(f"a node of the cluster cannot run fourfold ({last}); install it there as it is here") from error
        except RayError:
            continue
        if disagreement:
            raise UserError(disagreement)


def _largest(nodes: Nodes, resource: str) -> float:
    return max((node["Resources"].get(resource, 0.0) for node in nodes), default=0.0)


def _gpus(request: dict[str, Any], nodes: Nodes) -> float:
    """Return the part of a GPU that a trial gets; without a word from the user, a whole one where there are any."""
    gpus: float | None = request["gpus_per_trial"]
    if request["device"] == "cpu":
        return 0.0
    if gpus is None and request["device"] == "auto":
        return 1.0 if _largest(nodes, "GPU") else 0.0
    gpus = 1.0 if gpus is None else gpus
    if _largest(nodes, "GPU") < gpus:
        raise UserError(
            f"`gpus_per_trial` (={gpus:g}) is more than there is: no node of the cluster has that much of a GPU free for Ray; "
            "use --device cpu, or start nodes with `ray start --num-gpus`"
        )
    return gpus


def _memory(request: dict[str, Any], nodes: Nodes) -> int:
    memory: int = request["memory"]
    largest = _largest(nodes, "memory")
    if memory > largest:
        raise UserError(
            f"`memory_per_trial` (={memory / 2**30:.2f} GiB) must be at most the {largest / 2**30:.2f} GiB of the largest node"
        )
    return memory
