"""Generated C in two threads against one: a single image, whose layers they share, and a batch, whose images they share.

    python benchmarks/threads.py [--threads 2] [--rounds 25] [--batch 1 32] [--case NAME…]

The networks are those of `deploy.py`, in float32 and int8. One thread and several take turns; prints the median time of one,
and the share of it that several take, with quartiles: 0.5 is twice as fast.
"""

import argparse
import statistics
from functools import partial

import torch

from deploy import CASES, network  # the scripts beside this one
from fourfold import deploy
from fourfold.deploy import quantize
from fourfold.deploy.bench import benchmark
from fourfold.deploy.runtime import Network
from fourfold.native import compiler
from fourfold.train import describe_device, single_thread, versions
from instruction_sets import seconds

SECONDS = 0.05
"""A network is run for about so long at a time."""

NETWORKS = ("real", "components", "whole")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--case", nargs="+", choices=CASES, default=NETWORKS)
    arguments = parser.parse_args()
    with single_thread():
        print(f"{describe_device(torch.device('cpu'))}, {versions()}, {compiler()}, {arguments.threads} threads against one")
        for name in arguments.case:
            program = network(CASES[name])
            noise = benchmark.noise(program, max(64, *arguments.batch))
            for values, made in (("float32", program), ("int8", quantize.calibrate(program, noise[:64]))):
                loaded = [deploy.load(made, threads=threads) for threads in (1, arguments.threads)]
                for batch in arguments.batch:
                    alone, low, middle, high = measure(loaded, noise[:batch], arguments.rounds)
                    print(f"{name:12} {values:8} batch {batch:3} {alone * 1e6:9.1f} us {middle:5.2f} ({low:.2f}-{high:.2f})")


def measure(networks: list[Network], images: object, rounds: int) -> tuple[float, float, float, float]:
    """Return the median time of the first network, and the quartiles of the second's over it."""
    runs = [partial(each, images) for each in networks]
    repeats = max(1, round(SECONDS / seconds(runs[0], 3)))
    times = [[seconds(run, repeats) for run in runs] for _ in range(rounds)]
    low, middle, high = statistics.quantiles([shared / alone for alone, shared in times], n=4, method="inclusive")
    return statistics.median(alone for alone, _ in times), low, middle, high


if __name__ == "__main__":
    main()
