"""Trials on Ray against the local executor: throughput, the price of a chain, and what becomes of killed nodes.

    python benchmarks/cluster.py throughput [--chains 16] [--rounds 3] [--max-level 3] [--epochs 5]
    python benchmarks/cluster.py price [--empty 500] [--nodes 1 4 8]
    python benchmarks/cluster.py kill [--chains 40] [--kills 5] [--pause 20]

`throughput`: of `executor ray` over that of the local one, run in turn, on two cores and a cluster that is there already.
`price`: the time of chains that train nothing, and what they and idle nodes cost the head. `kill`: whether chains of the
`digits` preset give the local run's rows while nodes are killed at random, and all of them with the head once.
"""

import argparse
import asyncio
import contextlib
import json
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import fourfold
from fourfold import presets
from fourfold.execution import Event
from fourfold.execution.jobs import Job, Trial
from fourfold.execution.ray import chain
from fourfold.record import Cluster, Spec
from fourfold.train import versions

STORE_BYTES = 100 * 2**20


class Nodes:
    """A Ray cluster of several nodes on this machine; the head, where the driver is, runs no trials."""

    def __init__(self, nodes: int, cpus: int = 1) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._nodes, self._cpus = nodes, cpus
        self.start()

    def start(self) -> None:
        from ray.cluster_utils import Cluster as Started

        Path("/tmp/ray").mkdir(exist_ok=True)  # Ray notes the address there
        head = {"num_cpus": 0, "gcs_server_port": self._port, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        self.started = Started(initialize_head=True, head_node_args=head)
        self.address: str = self.started.address
        for _ in range(self._nodes):
            self.add()

    def add(self) -> None:
        for _ in range(9):
            try:
                self.started.add_node(num_cpus=self._cpus, object_store_memory=STORE_BYTES)
            except Exception as error:  # Ray gives a node 30 seconds to start, and raises nothing narrower
                print(f"  {error}")
            else:
                return

    def kill_one(self, generator: random.Random) -> None:
        node = generator.choice(sorted(self.started.worker_nodes, key=lambda node: node.unique_id))
        node.kill_all_processes(check_alive=False)
        self.started.worker_nodes.discard(node)

    def kill(self) -> None:
        for node in [*self.started.worker_nodes, self.started.head_node]:
            node.kill_all_processes(check_alive=False)

    def head_process(self) -> int:
        (gcs,) = self.started.head_node.all_processes["gcs_server"]
        number: int = gcs.process.pid
        return number


@contextlib.contextmanager
def nodes(count: int, cpus: int = 1) -> Iterator[Nodes]:
    made = Nodes(count, cpus)
    try:
        yield made
    finally:
        made.kill()


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def specs(epochs: int, max_level: int) -> list[Spec]:
    made = [presets.get("digits", algebra=algebra) for algebra in ("real", "quaternion")]
    return [replace(s, train=replace(s.train, epochs=epochs), stop=replace(s.stop, max_level=max_level)) for s in made]


def throughput(arguments: argparse.Namespace) -> None:
    chosen = specs(arguments.epochs, arguments.max_level)
    ratios = []
    with nodes(1, cpus=2) as made:
        for _ in range(arguments.rounds):
            taken = {}
            for name, cluster in (("local", None), ("ray", Cluster(address=made.address))):
                first: list[float] = []
                with tempfile.TemporaryDirectory() as out:
                    start = time.perf_counter()
                    fourfold.run(
                        chosen,
                        trials=arguments.chains // 2,
                        out=out,
                        device="cpu",
                        workers=2,
                        cluster=cluster,
                        on_event=lambda event, first=first: event.kind == "epoch" and first.append(time.perf_counter()),  # type: ignore[misc]
                    )
                    end = time.perf_counter()
                taken[name] = end - first[0], end - start
            ratios.append([local / ray for local, ray in zip(taken["local"], taken["ray"], strict=True)])
            print(f"  throughput of Ray / local: {ratios[-1][0]:.2f} from the first epoch on, {ratios[-1][1]:.2f} with start")
    from_first, with_start = (statistics.median(values) for values in zip(*ratios, strict=True))
    print(f"median of {arguments.rounds} rounds of {arguments.chains} chains: {from_first:.2f}, with start {with_start:.2f}")


def price(arguments: argparse.Namespace) -> None:
    """Chains whose time is over before they begin go all the way through Ray, and train nothing."""
    import ray

    (spec, _) = specs(1, 0)
    line = Trial(spec=spec, number=0, job=Job(specs=(spec,), device="cpu", deadline=0)).to_line()
    for count in arguments.nodes:
        with nodes(count) as made:
            ray.init(address=made.address, log_to_driver=False, logging_level="CRITICAL")
            idle = cpu_seconds(made.head_process())
            time.sleep(10)
            idle = (cpu_seconds(made.head_process()) - idle) / 10
            run = ray.remote(num_cpus=1, max_retries=0, num_returns="streaming", scheduling_strategy="SPREAD")(chain.run_chain)

            async def follow(run: object = run) -> None:
                async for reference in run.remote(line, {}, versions()):  # type: ignore[attr-defined]
                    ((told, _),) = await reference
                    assert json.loads(told)["event"] == "out-of-time"

            async def follow_all(number: int) -> None:
                await asyncio.gather(*(follow() for _ in range(number)))

            asyncio.run(follow_all(4 * count))  # workers start and import
            start, driver, head = time.perf_counter(), time.process_time(), cpu_seconds(made.head_process())
            asyncio.run(follow_all(arguments.empty))
            wall, driver = time.perf_counter() - start, time.process_time() - driver
            head = cpu_seconds(made.head_process()) - head
            ray.shutdown()
        print(
            f"{count} nodes: {1000 * wall / arguments.empty:.1f} ms a chain; CPU of the driver "
            f"{1000 * driver / arguments.empty:.2f} ms a chain, of the head {1000 * head / arguments.empty:.2f} ms a chain "
            f"and idle {1000 * idle:.1f} ms a second"
        )


def kill(arguments: argparse.Namespace) -> None:
    chosen = specs(arguments.epochs, arguments.max_level)
    trials, generator = arguments.chains // 2, random.Random(arguments.seed)
    expected_rows = arguments.chains * (arguments.max_level + 1)
    seen: list[Event] = []
    killed = {"nodes": 0, "heads": 0}

    def harm(made: Nodes) -> None:
        """Kill the head and all nodes once, when about half of the rows are there, and a node now and then."""
        rows = sum(event.kind == "row" for event in seen)
        if rows >= expected_rows / 2 and not killed["heads"]:
            killed["heads"] += 1
            print(f"  {rows} rows: kill the head and all nodes, start others")
            made.kill()
            made.start()
        elif rows and killed["nodes"] < arguments.kills and generator.random() < 1 / arguments.pause:
            killed["nodes"] += 1
            print(f"  {rows} rows: kill a node, start another")
            made.kill_one(generator)
            made.add()

    def show(event: Event) -> None:
        seen.append(event)
        if event.kind in ("notice", "cluster"):
            print(f"    {event.message}")

    with nodes(3) as made, tempfile.TemporaryDirectory() as out, ThreadPoolExecutor(1) as pool:
        cluster = Cluster(address=made.address)
        running = pool.submit(
            fourfold.run, chosen, trials=trials, out=f"{out}/ray", device="cpu", cluster=cluster, on_event=show
        )
        while wait([running], 1).not_done:
            harm(made)  # in this thread, the only one in which Ray starts nodes
        rows = running.result()
        alone = fourfold.run(chosen, trials=trials, out=f"{out}/local", device="cpu")
    names = [(row.run, row.trial, row.level) for row in rows]
    equal = [row.result() for row in rows] == [row.result() for row in alone]
    print(f"{killed}: {len(rows)} rows of {expected_rows}, {len(set(names))} different, equal to the local run's: {equal}")
    assert equal
    assert len(set(names)) == len(rows) == expected_rows


WHAT = {"throughput": throughput, "price": price, "kill": kill}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=WHAT)
    parser.add_argument("--chains", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--max-level", type=int, default=3)
    parser.add_argument("--empty", type=int, default=500)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--pause", type=float, default=20, help="mean seconds between kills")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(f"digits, {versions()}")
    WHAT[arguments.what](arguments)


if __name__ == "__main__":
    main()
