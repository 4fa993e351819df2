"""Optimiser steps of a pruned perceptron in native code against PyTorch's masked ones, in turn, on one thread.

Both fetch their images themselves, from as many random ones as MNIST has.

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
from fourfold.native import compiler
from fourfold.nn import algebra_of, layers_with_weights, named_weights
from fourfold.parts import build, input_shape
from fourfold.record import DataSpec, Spec
from fourfold.train import describe_device, single_thread, versions
from fourfold.train.engines import Eager, Native, Setup

STEPS = 50
"""Steps timed together, so that the clock's and the scheduler's noise is small against them."""

DENSITIES = (1.0, 0.8, 0.65, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.005)


def random_images(spec: Spec) -> data.Resident:
    """Return as many images as the data set has, already laid out for the network."""
    info = data.info(spec.data.name)
    channels, height, width = input_shape(spec)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (info.train_images, channels, height, width), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, info.num_classes, (info.train_images,), generator=generator)
    unchanged = DataSpec(name=spec.data.name)
    return data.Resident(
        images, labels, None, spec=unchanged, mean=(0.5,) * channels, std=(0.25,) * channels, n=1, channels=channels
    )


def make_steps(
    spec: Spec, images: data.Resident, density: float, width: float
) -> tuple[Callable[[], object], Callable[[], object], int]:
    """Return what takes native steps, what takes masked PyTorch steps, and the entries of the network's real matrices."""
    native, plain = build(spec, seed=0, width=width), build(spec, seed=0, width=width)
    masks = pruning.prune(native, density=density)
    pruning.prune(plain, density=density)
    splits = data.Splits(train=images, validation=None, test=images, channels=1, image_size=(1, 1))
    setups = [
        Setup(network=network, splits=splits, spec=spec.train, weights=named_weights(network), masks=masks)
        for network in (native, plain)
    ]
    ours, theirs = Native(setups[0]), Eager(setups[1])
    per_epoch = -(-len(images) // spec.train.batch_size)
    rates = torch.full((per_epoch,), spec.train.learning_rate, dtype=torch.float64)
    order, batch = images.order(0), spec.train.batch_size
    left, steps = 0, min(STEPS, per_epoch)

    def all_at_once() -> None:
        nonlocal left
        if left < steps:
            ours.begin(0, rates)
            left = per_epoch
        ours.advance(steps)
        left -= steps

    def one_by_one() -> None:
        for start in range(0, min(steps * batch, len(images)), batch):
            theirs.take(*images.batch(order, slice(start, start + batch)), spec.train.learning_rate)

    entries = sum(
        int(masks[f"{name}.weight"].sum()) * algebra_of(layer).n for name, layer in layers_with_weights(native).items()
    )
    return all_at_once, one_by_one, entries


def seconds(steps: Callable[[], object]) -> float:
    start = time.perf_counter()
    steps()
    return time.perf_counter() - start


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
            spec = presets.get(arguments.preset, algebra=algebra)
            images = random_images(spec)
            for density, width in sizes:
                ours, theirs, entries = make_steps(spec, images, density, width)
                ours(), theirs()
                ratios = [seconds(ours) / seconds(theirs) for _ in range(arguments.rounds)]
                low, median, high = statistics.quantiles(ratios, n=4)
                network = f"{algebra:10} density {density:6.1%}, width {width:g}, {entries:7,} entries"
                print(f"{network}: {median:.3f} of PyTorch's step ({low:.3f}–{high:.3f})")


if __name__ == "__main__":
    main()
