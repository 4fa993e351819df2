"""Training step of a preset's quaternion network against its real twin, in turn, on one thread.

    python benchmarks/step.py [PRESET] [--rounds 30]

Prints, for each path, the median over the rounds of its time divided by the real twin's in the same round.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from unittest import mock

import torch
from torch import nn

from fourfold import data, presets
from fourfold.lottery.levels import build, input_shape
from fourfold.record import Spec
from fourfold.train import describe_device, single_thread, versions

STEPS = 20
"""Steps timed together, so that the clock's and the scheduler's noise is small against them."""


def make_step(spec: Spec) -> Callable[[], None]:
    network = build(spec, seed=0)
    images = torch.randn(spec.train.batch_size, *input_shape(spec))
    labels = torch.randint(0, data.info(spec.data.name).num_classes, (spec.train.batch_size,))
    optimizer = torch.optim.Adam(network.parameters(), lr=spec.train.learning_rate, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - start) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", nargs="?", default="lenet-300-100-mnist")
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    real = make_step(presets.get(arguments.preset, algebra="real"))
    quaternion = make_step(presets.get(arguments.preset, algebra="quaternion"))
    with single_thread():
        print(f"{arguments.preset}: {describe_device(torch.device('cpu'))}, {versions()}")
        times: dict[str, list[float]] = {"real twin": [], "quaternion": [], "quaternion, matrix path only": []}
        for _ in range(arguments.rounds):
            times["real twin"].append(seconds(real))
            times["quaternion"].append(seconds(quaternion))
            with mock.patch("fourfold.nn.linear._few_rows", return_value=False):
                times["quaternion, matrix path only"].append(seconds(quaternion))
    for name, taken in times.items():
        ratios = [t / r for t, r in zip(taken, times["real twin"], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        print(f"  {name:30} {statistics.median(ratios):.2f} of the real twin's step (quartiles {low:.2f}–{high:.2f})")


if __name__ == "__main__":
    main()
