"""Bytes of artifacts: Conv-4 at a fraction of the real network's parameters, quaternion beside real, in every coding.

    python benchmarks/artifact_size.py [--fraction 0.03] [--steps 20]
    python benchmarks/artifact_size.py --run RUN… [--trial 0]

Without `--run` the networks are drawn, trained for a few steps on noise and pruned once by global magnitude to the same number
of kept parameters: their masks are those of magnitude, their accuracy is none. With `--run` they are the levels of runs whose
weights were kept. Every size is that of the whole file, description, biases and scales included. `lzma` is the size that the
file would have with each of its streams through Python's lzma (raw, lc = lp = pb = 0) in place of our entropy coding.
"""

import argparse
import lzma
import tempfile
from collections.abc import Iterator
from pathlib import Path

import safetensors.numpy
import torch
from torch import nn

from fourfold import deploy, lottery, models, parts, pruning
from fourfold import nn as fnn
from fourfold.deploy.artifact.values import VALUES
from fourfold.record import find_runs
from fourfold.train import single_thread, versions

Network = tuple[str, nn.Module, tuple[int, ...]]
"""A name, a network, and the shape of its images."""
STREAMS = ("positions", "parts", "values")
REAL_PARAMETERS = 2_425_930
"""Of real Conv-4."""


def drawn(fraction: float, steps: int) -> Iterator[Network]:
    for algebra, unit in (("real", "weight"), ("quaternion", "weight"), ("quaternion", "element")):
        network = models.build("conv-4", algebra=algebra, seed=0)
        shape = models.input_shape("conv-4", algebra)
        train_on_noise(network, shape, steps)
        weights = sum(weight.numel() for weight in fnn.named_weights(network).values())
        others = sum(parameter.numel() for parameter in network.parameters()) - weights
        pruning.prune(network, density=(fraction * REAL_PARAMETERS - others) / weights, unit=unit)
        yield f"{algebra}, {unit}s pruned", network, shape


def train_on_noise(network: nn.Module, shape: tuple[int, ...], steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4)
    for _ in range(steps):
        images = torch.randn((60, *shape), generator=generator)
        labels = torch.randint(0, 10, (60,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()


def kept(runs: list[Path], trial: int) -> Iterator[Network]:
    for store in find_runs(*runs):
        for level in store.kept_levels(trial):
            shape = parts.input_shape(store.spec())
            yield f"{store.spec().id}, level {level}", lottery.load_trained(store, trial, level), shape


def sizes(network: nn.Module, shape: tuple[int, ...]) -> Iterator[tuple[str, int]]:
    program = deploy.lower(network, shape)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.safetensors"
        for values in VALUES:
            deploy.pack(program, file, values=values)
            yield values, file.stat().st_size
            if VALUES[values].symbols:
                tensors = safetensors.numpy.load_file(file)
                streams = [array.tobytes() for name, array in tensors.items() if name.split(".")[1] in STREAMS]
                yield f"{values}, lzma", file.stat().st_size - sum(len(stream) - lzma_size(stream) for stream in streams)
                deploy.pack(program, file, values=values, entropy=True)
                yield f"{values}, entropy", file.stat().st_size


def lzma_size(stream: bytes) -> int:
    settings = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 0, "pb": 0}
    return len(lzma.compress(stream, format=lzma.FORMAT_RAW, filters=[settings]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fraction", type=float, default=0.03)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--run", type=Path, nargs="+")
    parser.add_argument("--trial", type=int, default=0)
    arguments = parser.parse_args()
    print(versions())
    with single_thread():
        networks = kept(arguments.run, arguments.trial) if arguments.run else drawn(arguments.fraction, arguments.steps)
        for name, network, shape in networks:
            weights = fnn.named_weights(network).values()
            total = sum(weight.numel() for weight in weights)
            count = sum(int((weight != 0).sum()) for weight in weights)
            parameters = sum(parameter.numel() for parameter in network.parameters())
            print(f"\n{name}: {count:,} of {total:,} weights, dense float32 {4 * parameters:,} bytes")
            for coding, size in sizes(network, shape):
                print(f"  {coding:18} {size:>12,} bytes   1/{4 * parameters / size:.1f} of dense float32")


if __name__ == "__main__":
    main()
