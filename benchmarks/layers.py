"""Quaternion networks against their real twins: training step, inference, memory; one thread, in turn within one run.

    python benchmarks/layers.py [conv-2 conv-4 conv-6 lenet-300-100 resnet-18] [--rounds 20] [--batch 60] [--only training]
        [--peers FOLDER]
    python benchmarks/layers.py --all [WORD …] [--rounds 20] [--reference]

A training step is forward, loss, backward and fused Adam. Paths:
  real twin                     torch.nn's layers, contiguous tensors: what everything is divided by
  real twin, channels last      the same with `memory_format=torch.channels_last` (networks of images)
  quaternion                    as `fourfold.models.build` gives it
  quaternion, real matrix       the same with the expanded matrix in every layer
  hTorch, Orkis, SpeechBrain    their layers in place of ours, with `--peers FOLDER` (benchmarks/peers.py says of what)

With --all: every layer of `fourfold.nn` by itself (those whose line has one of the words) against its real twin, in
evaluation without gradients and in training (forward and backward with all gradients); --reference times the reference path.

Prints, for each path, the median over the rounds of its processor time divided by the real twin's in the same round, with
the quartiles; tensors kept for backward, and the most memory that tensors take during a step. Set MALLOC_TRIM_THRESHOLD_
and MALLOC_MMAP_THRESHOLD_ to 4294967296 to see it without glibc returning memory to the system at every step.
"""

import argparse
import contextlib
import copy
import os
import pathlib
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import profile

import layer_pairs
import peers
from fourfold import models
from fourfold import nn as fnn
from fourfold.train import describe_device, single_thread, versions

PEERS = ("hTorch", "Orkis", "SpeechBrain")
NETWORKS = ("conv-2", "conv-4", "conv-6", "lenet-300-100", "resnet-18")
REAL = "real twin"
ALLOCATOR = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")

Run = Callable[[], None]


class Path(NamedTuple):
    """One way to compute a network."""

    name: str
    network: nn.Module
    images: Tensor
    matrix: bool = False
    """Whether every layer takes its expanded matrix."""

    def layers(self) -> contextlib.AbstractContextManager[object]:
        return fnn.reference_path() if self.matrix else contextlib.nullcontext()


def paths(name: str, batch: int, others: Sequence[peers.Peer] = ()) -> Iterator[Path]:
    network, images = models.build(name, seed=0), torch.randn(batch, *models.input_shape(name))
    yield Path(REAL, network, images)
    if "lenet" not in name:
        last = {"memory_format": torch.channels_last}
        yield Path(f"{REAL}, channels last", copy.deepcopy(network).to(**last), images.to(**last))
    algebra = {"algebra": "quaternion"}
    network, images = models.build(name, **algebra, seed=0), torch.randn(batch, *models.input_shape(name, **algebra))
    yield Path("quaternion", network, images)
    yield Path("quaternion, real matrix", copy.deepcopy(network), images, matrix=True)
    for peer in others:
        yield Path(peer.name, peer.replace(copy.deepcopy(network)), images)


def training_step(path: Path) -> Run:
    labels = torch.arange(len(path.images)) % 10
    optimizer = torch.optim.Adam(path.network.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(path.network(path.images), labels).backward()
        optimizer.step()

    return step


def inference(path: Path, batch: int) -> Run:
    network = copy.deepcopy(path.network).eval()
    images = path.images[:1].expand(batch, -1, -1, -1).clone(memory_format=torch.preserve_format)

    def infer() -> None:
        with torch.no_grad():
            network(images)

    return infer


def seconds(run: Run, times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - start) / times


def compare(title: str, ways: Sequence[Path], runs: Sequence[Run], rounds: int) -> None:
    """Time the paths in turn; each round times every path for about a tenth of a second."""
    times = []
    for path, run in zip(ways, runs, strict=True):
        with path.layers():
            run()
            times.append(max(1, round(0.1 / seconds(run, 2))))
    ratios: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        taken = []
        for path, run, count in zip(ways, runs, times, strict=True):
            with path.layers():
                taken.append(seconds(run, count))
        for found, mine in zip(ratios, taken, strict=True):
            found.append(mine / taken[0])
    print(f"  {title}")
    for path, found in zip(ways, ratios, strict=True):
        low, middle, high = statistics.quantiles(found, n=4)
        print(f"    {path.name:28} {middle:.2f} of the real twin (quartiles {low:.2f}–{high:.2f})")


def evaluation_of(layer: nn.Module, inputs: Sequence[Tensor]) -> Run:
    layer = copy.deepcopy(layer).eval()

    def evaluate() -> None:
        with torch.no_grad():
            layer(*inputs)

    return evaluate


def training_of(layer: nn.Module, inputs: Sequence[Tensor]) -> Run:
    layer = copy.deepcopy(layer).train()
    inputs = [x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    output = _first(layer(*inputs))
    gradient, wanted = torch.randn_like(output), [*layer.parameters(), *[x for x in inputs if x.requires_grad]]

    def train() -> None:
        torch.autograd.grad(_first(layer(*inputs)), wanted, gradient, allow_unused=True)

    return train


def _first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def table_of_layers(words: Sequence[str], rounds: int, reference: bool) -> None:
    """Print, for every layer, its time over its real twin's: median and quartiles over interleaved rounds."""
    print(f"{'time over the real twin (median, quartiles)':62}{'evaluation':>20}{'training':>20}")
    for pair in layer_pairs.pairs():
        if words and not any(word in pair.name for word in words):
            continue
        columns = []
        for prepare in (evaluation_of, training_of):
            path = fnn.reference_path() if reference else contextlib.nullcontext()
            with path:
                runs = prepare(pair.layer, pair.inputs), prepare(pair.twin, pair.inputs)
                for run in runs:
                    run()
                counts = [max(1, round(0.02 / seconds(run, 2))) for run in runs]
                ratios = []
                for _ in range(rounds):
                    ours, theirs = (seconds(run, count) for run, count in zip(runs, counts, strict=True))
                    ratios.append(ours / theirs)
            low, middle, high = statistics.quantiles(ratios, n=4)
            columns.append(f"{middle:.2f} ({low:.2f}–{high:.2f})")
        print(f"{pair.name:62}{columns[0]:>20}{columns[1]:>20}", flush=True)


def memory(ways: Sequence[Path], steps: Sequence[Run]) -> None:
    print(f"  memory of a training step, batch {len(ways[0].images)}")
    found = []
    for path, step in zip(ways, steps, strict=True):
        with path.layers():
            found.append((kept_for_backward(path.network, path.images), most_memory(path.network, step)))
    for path, mine in zip(ways, found, strict=True):
        kept, most = (bytes_ / real for bytes_, real in zip(mine, found[0], strict=True))
        print(f"    {path.name:28} kept for backward {kept:.2f}, at most {most:.2f} of the real twin")


def kept_for_backward(network: nn.Module, images: Tensor) -> int:
    """Return the bytes of the tensors that the graph keeps, parameters and input not counted, each memory once."""
    known = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers(), images)}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        network(images).sum()
    return sum(kept.values())


def most_memory(network: nn.Module, step: Run) -> int:
    """Return the most bytes of tensors during a step: parameters, their gradients and averages, and all that comes and goes."""
    standing = 3 * sum(p.numel() * p.element_size() for p in network.parameters())  # a parameter and Adam's two averages
    with profile(profile_memory=True) as recorded:
        step()
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]
    level = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        level += event.nbytes()
        peak = max(peak, level)
    return standing + peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help=f"among {', '.join(models.MODELS)}; with --all, words of layers' lines")
    parser.add_argument("--all", action="store_true", help="every layer by itself")
    parser.add_argument("--reference", action="store_true", help="with --all: the reference path")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch", type=int, default=60, help="of the training step")
    parser.add_argument("--only", choices=("training", "inference", "memory"), help="one part")
    parser.add_argument("--peers", type=pathlib.Path, help="folder with checkouts of other libraries")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    others = [peer for peer in peers.found(arguments.peers) if peer.name in PEERS] if arguments.peers else []
    warnings.simplefilter("ignore")  # hTorch's, of torch's classes
    with single_thread():
        allocator = ", ".join(f"{name}={os.environ[name]}" for name in ALLOCATOR if name in os.environ)
        print(f"{describe_device(torch.device('cpu'))}, {versions()}, allocator: {allocator or 'as it is'}")
        if arguments.all:
            table_of_layers(arguments.networks, arguments.rounds, arguments.reference)
            return
        for name in arguments.networks or NETWORKS:
            print(name)
            ways = list(paths(name, arguments.batch, others))
            steps = [training_step(path) for path in ways]
            if arguments.only in (None, "training"):
                compare(f"training step, batch {arguments.batch}", ways, steps, arguments.rounds)
            for batch in (1, 32) if arguments.only in (None, "inference") else ():
                compare(f"inference, batch {batch}", ways, [inference(path, batch) for path in ways], arguments.rounds)
            if arguments.only in (None, "memory"):
                memory(ways, steps)


if __name__ == "__main__":
    main()
