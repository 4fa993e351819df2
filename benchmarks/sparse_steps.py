"""Optimiser step of a pruned perceptron in native code against PyTorch's masked one, in turn, on one thread.

    python benchmarks/sparse_steps.py [PRESET] [--rounds 9]

Prints, for each algebra and density, the median over the rounds of native time / PyTorch time, with quartiles.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from fourfold import data, presets, pruning
from fourfold.lottery.building import build, input_shape
from fourfold.native import compiler
from fourfold.nn import named_weights
from fourfold.train import describe_device, single_thread, versions
from fourfold.train.sparse_steps import SparseSteps
from fourfold.train.steps import Steps

STEPS = 20
"""Steps timed together, so that the clock's and the scheduler's noise is small against them."""

DENSITIES = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.005)


def make_steps(preset: str, algebra: str, density: float) -> tuple[Callable[[], object], Callable[[], object]]:
    spec = presets.get(preset, algebra=algebra)
    images = torch.randn(spec.train.batch_size, *input_shape(spec))
    labels = torch.randint(0, data.info(spec.data.name).num_classes, (spec.train.batch_size,))
    native, plain = build(spec, seed=0), build(spec, seed=0)
    masks = pruning.prune(native, density=density)
    pruning.prune(plain, density=density)
    ours = SparseSteps(native, spec.train, masks)
    theirs = Steps(plain, spec.train, named_weights(plain), masks)
    return lambda: ours.take(images, labels), lambda: theirs.take(images, labels)


def seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - start) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", nargs="?", default="lenet-300-100-mnist")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with single_thread():
        print(f"{arguments.preset}: {describe_device(torch.device('cpu'))}, {versions()}, {compiler()}")
        for algebra in ("real", "quaternion"):
            for density in DENSITIES:
                ours, theirs = make_steps(arguments.preset, algebra, density)
                ours(), theirs()
                ratios = [seconds(ours) / seconds(theirs) for _ in range(arguments.rounds)]
                low, median, high = statistics.quantiles(ratios, n=4)
                print(f"{algebra:10} density {density:6.1%}: {median:.3f} of PyTorch's step ({low:.3f}–{high:.3f})")


if __name__ == "__main__":
    main()
