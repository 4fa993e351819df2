"""Optimiser step of a pruned perceptron in native code against PyTorch's masked one, in turn, on one thread.

    python benchmarks/sparse_steps.py [PRESET] [--rounds 9]               # at several densities
    python benchmarks/sparse_steps.py --widths 0.03 0.05 0.1 0.15 0.3     # of dense networks, so many times as wide

Prints, for each algebra and density or width, the median over the rounds of native time / PyTorch time, with quartiles.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from fourfold import data, presets, pruning
from fourfold.lottery.building import build, input_shape
from fourfold.native import compiler
from fourfold.nn import algebra_of, layers_with_weights, named_weights
from fourfold.train import describe_device, single_thread, versions
from fourfold.train.sparse_steps import SparseSteps
from fourfold.train.steps import Steps

STEPS = 20
"""Steps timed together, so that the clock's and the scheduler's noise is small against them."""

DENSITIES = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.005)


def make_steps(
    preset: str, algebra: str, density: float, width: float
) -> tuple[Callable[[], object], Callable[[], object], int]:
    """Return a native step, a masked PyTorch step, and the entries of the network's real matrices that are kept."""
    spec = presets.get(preset, algebra=algebra)
    images = torch.randn(spec.train.batch_size, *input_shape(spec))
    labels = torch.randint(0, data.info(spec.data.name).num_classes, (spec.train.batch_size,))
    native, plain = build(spec, seed=0, width=width), build(spec, seed=0, width=width)
    masks = pruning.prune(native, density=density)
    pruning.prune(plain, density=density)
    ours = SparseSteps(native, spec.train, masks)
    theirs = Steps(plain, spec.train, named_weights(plain), masks)
    entries = sum(
        int(masks[f"{name}.weight"].sum()) * algebra_of(layer).n for name, layer in layers_with_weights(native).items()
    )
    return lambda: ours.take(images, labels), lambda: theirs.take(images, labels), entries


def seconds(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    return (time.perf_counter() - start) / STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", nargs="?", default="lenet-300-100-mnist")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--widths", type=float, nargs="+", help="dense networks of these widths instead of pruned ones")
    arguments = parser.parse_args()
    sizes = [(1.0, width) for width in arguments.widths or ()] or [(density, 1.0) for density in DENSITIES]
    torch.manual_seed(0)
    with single_thread():
        print(f"{arguments.preset}: {describe_device(torch.device('cpu'))}, {versions()}, {compiler()}")
        for algebra in ("real", "quaternion"):
            for density, width in sizes:
                ours, theirs, entries = make_steps(arguments.preset, algebra, density, width)
                ours(), theirs()
                ratios = [seconds(ours) / seconds(theirs) for _ in range(arguments.rounds)]
                low, median, high = statistics.quantiles(ratios, n=4)
                network = f"{algebra:10} density {density:6.1%}, width {width:g}, {entries:7,} entries"
                print(f"{network}: {median:.3f} of PyTorch's step ({low:.3f}–{high:.3f})")


if __name__ == "__main__":
    main()
