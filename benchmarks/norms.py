"""Whitening batch norm, and norms of elements, against torch's: forward and backward, one thread, in turn within one run.

    python benchmarks/norms.py [eager compiled step whole] [--rounds 40]

  eager      WhiteningBatchNorm2d / torch.nn.BatchNorm2d on three shapes
  compiled   the same, both through torch.compile
  step       a training step of Conv-2 with a whitening norm after each convolution / with a norm of components there
  whole      layer, group, instance and RMS norm of quaternions / torch's on the same maps

Prints the median over the rounds of the processor times' ratio in the same round, with the quartiles. Set
MALLOC_TRIM_THRESHOLD_ and MALLOC_MMAP_THRESHOLD_ to 4294967296 to see it without glibc returning memory at every step.
"""

import argparse
import statistics
import time
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

from fourfold import models
from fourfold import nn as fnn
from fourfold.nn import layer_norm
from fourfold.nn.whitening import WhiteningBatchNorm2d
from fourfold.train import describe_device, single_thread, versions

SHAPES = ((60, 64, 32, 32), (60, 128, 16, 16), (60, 128, 8, 8))
PARTS = ("eager", "compiled", "step", "whole")
LEAST_SECONDS = 0.03
"""A measurement repeats until it takes this long: shorter ones are at the mercy of the clock."""

Run = Callable[[], None]


def both_ways(layer: Callable[[torch.Tensor], torch.Tensor], shape: tuple[int, ...]) -> Run:
    x, grad = torch.randn(shape, requires_grad=True), torch.randn(shape)

    def run() -> None:
        layer(x).backward(grad)
        x.grad = None

    return run


def conv2_step(norm: type[nn.Module]) -> Run:
    """A training step of quaternion Conv-2 with a norm after each convolution."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in models.build("conv-2", algebra="quaternion", seed=0).named_children():
        layers[name] = layer
        if isinstance(layer, nn.Conv2d):
            layers[f"norm-{name}"] = norm(layer.out_channels, algebra="quaternion")
    network = nn.Sequential(layers)
    images, labels = torch.randn(60, 4, 32, 32), torch.randint(0, 10, (60,))
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-4, fused=True)

    def run() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    return run


def seconds(run: Run, repeats: int) -> float:
    start = time.thread_time()
    for _ in range(repeats):
        run()
    return (time.thread_time() - start) / repeats


def compare(title: str, ours: Run, theirs: Run, rounds: int) -> None:
    for run in (ours, theirs, ours, theirs):
        run()
    repeats = max(1, round(LEAST_SECONDS / seconds(theirs, 2)))
    pairs = [(seconds(ours, repeats), seconds(theirs, repeats)) for _ in range(rounds)]
    low, middle, high = statistics.quantiles([one / other for one, other in pairs], n=4)
    milliseconds = statistics.median(other for _, other in pairs) * 1e3
    print(f"  {title:44s} {middle:5.2f}  [{low:.2f}, {high:.2f}]   of {milliseconds:7.2f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=PARTS, help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with single_thread():
        print(f"{describe_device(torch.device('cpu'))}, {versions()}, {torch.get_num_threads()} thread")
        print("ours / torch's: median of the ratios, [quartiles], and torch's time")
        for part, prepare in (("eager", lambda layer: layer), ("compiled", torch.compile)):
            for shape in SHAPES if part in arguments.parts else ():
                layers = [prepare(kind(shape[1])) for kind in (WhiteningBatchNorm2d, nn.BatchNorm2d)]
                compare(f"whitening, {part} {shape}", *[both_ways(layer, shape) for layer in layers], arguments.rounds)
        if "step" in arguments.parts:
            runs = [conv2_step(norm) for norm in (WhiteningBatchNorm2d, fnn.BatchNorm2d)]
            compare("Conv-2 step, whitening / components", *runs, arguments.rounds)
        if "whole" in arguments.parts:
            shape = SHAPES[0]
            features = (60, 64, 256)
            for name, size, options in (
                ("LayerNorm", features, (features[-1],)),
                ("RMSNorm", features, (features[-1],)),
                ("GroupNorm", shape, (4, shape[1])),
                ("InstanceNorm2d", shape, (shape[1],)),
            ):
                pair = [getattr(layer_norm, name)(*options, algebra="quaternion"), getattr(nn, name)(*options)]
                compare(f"{name} {size}", *[both_ways(layer, size) for layer in pair], arguments.rounds)


if __name__ == "__main__":
    main()
