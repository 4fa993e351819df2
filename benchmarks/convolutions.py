"""Training steps of networks of images on one core: memory formats, bfloat16 and native kernels, real and quaternion.

    python benchmarks/convolutions.py [--networks conv4 conv6 resnet18] [--rounds 7]

A step is forward, backward and fused Adam on random images. Every round takes each way once. Printed are the median time, and
the median and quartiles of its ratio to the real network in float32 and torch's usual memory format (NCHW), and to the real
network in the same precision in channels last (NHWC). The last tables have single convolutions, forward and both gradients:
the native kernels over the real convolution of the same size. Times are processor time, as other programs may run.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from fourfold import models
from fourfold import nn as fnn
from fourfold.nn.native_convolution import native_convolutions
from fourfold.train import describe_device, multiplies_bf16, single_thread, versions
from fourfold.train.precision import computing

CPU = torch.device("cpu")
BATCHES = {"conv2": 60, "conv4": 60, "conv6": 60, "resnet18": 100, "vgg16": 64}
"""Images of a step, as the presets have them."""

SHAPES = ((60, 64, 64, 32), (60, 64, 128, 16), (60, 128, 128, 16), (60, 128, 256, 8), (60, 256, 256, 8), (100, 512, 512, 4))
"""Images, input and output channels, side: 3 × 3 convolutions of Conv-4, Conv-6 and ResNet-18."""

Work = Callable[[], object]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["conv4", "conv6", "resnet18"], choices=BATCHES)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    precisions = ("float32", "bf16") if multiplies_bf16(CPU) else ("float32",)
    with single_thread():
        about = ", ".join(f"{name} {number}" for name, number in versions().items())
        print(f"{describe_device(CPU)}, {about}; {options.rounds} rounds, processor time\n")
        for name in options.networks:
            print_network(name, precisions, options.rounds)
        for precision in precisions:
            print_shapes(precision, options.rounds)


def print_network(name: str, precisions: Sequence[str], rounds: int) -> None:
    """Print a row for each way to train a network."""
    ways = [("real", "float32", "NCHW"), ("quaternion", "float32", "NCHW")]
    for precision in precisions:
        ways += [(algebra, precision, "NHWC") for algebra in ("real", "quaternion")] + [("quaternion", precision, "native")]
    seconds = timed([network_step(name, *way) for way in ways], rounds)
    print(f"{name}, {BATCHES[name]} images a step            ms    / real float32 NCHW      / real twin NHWC")
    for (algebra, precision, how), mine in zip(ways, seconds, strict=True):
        twin = seconds[ways.index(("real", precision, "NHWC"))]
        label = f"{algebra} {precision} {'channels last' if how != 'NCHW' else how}{', native' if how == 'native' else ''}"
        print(f"  {label:42}{1000 * statistics.median(mine):8.1f}   {ratio(mine, seconds[0])}   {ratio(mine, twin)}")
    print()


def network_step(name: str, algebra: str, precision: str, how: str) -> Work:
    """Return a training step of a network on random images."""
    channels = 3 if algebra == "real" else 4
    layout = torch.contiguous_format if how == "NCHW" else torch.channels_last
    network = models.build(name, algebra=algebra, num_classes=10, shape=(channels, 32, 32), seed=0)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4, fused=True)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCHES[name], channels, 32, 32, generator=generator).contiguous(memory_format=layout)
    labels = torch.randint(0, 10, (BATCHES[name],), generator=generator)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with (
            computing("bf16" if precision == "bf16" else None, CPU),
            native_convolutions() if how == "native" else nullcontext(),
        ):
            loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()

    return step


def print_shapes(precision: str, rounds: int) -> None:
    """Print the native kernels over the real convolution, a row for each shape."""
    print(f"3 × 3 convolutions in {precision}, forward and both gradients     native / real twin, channels last")
    for images, inputs, outputs, side in SHAPES:
        works = [layer_step(algebra, precision, images, inputs, outputs, side) for algebra in ("quaternion", "real")]
        native, real = timed(works, rounds)
        print(f"  {images} images, {inputs} to {outputs} channels, {side} × {side}".ljust(52) + ratio(native, real))
    print()


def layer_step(algebra: str, precision: str, images: int, inputs: int, outputs: int, side: int) -> Work:
    """Return a forward and backward pass of one convolution."""
    layer = fnn.Conv2d(inputs, outputs, 3, padding=1, algebra=algebra)
    x = torch.randn(images, inputs, side, side, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last).to(torch.bfloat16 if precision == "bf16" else torch.float32)
    x.requires_grad_()
    gradient: list[Tensor] = []

    def step() -> None:
        with computing("bf16" if precision == "bf16" else None, CPU), native_convolutions():
            y = layer(x)
        gradient[:] = gradient or [torch.randn_like(y)]
        y.backward(gradient[0])

    return step


def timed(works: Sequence[Work], rounds: int) -> list[list[float]]:
    """Return the seconds of each in every round; a first round is not counted."""
    seconds: list[list[float]] = [[] for _ in works]
    for _ in range(rounds + 1):
        for work, mine in zip(works, seconds, strict=True):
            start = time.process_time()
            work()
            mine.append(time.process_time() - start)
    return [mine[1:] for mine in seconds]


def ratio(mine: Sequence[float], theirs: Sequence[float]) -> str:
    """Return the median and the quartiles of a ratio, round by round."""
    low, median, high = statistics.quantiles([m / t for m, t in zip(mine, theirs, strict=True)], n=4, method="inclusive")
    return f"{median:.2f} ({low:.2f}–{high:.2f})".ljust(19)


if __name__ == "__main__":
    main()
