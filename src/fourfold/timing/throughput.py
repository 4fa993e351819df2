"""How fast a level is trained: `fourfold.train` beside the plain loop, and both beside what the processor can do."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from fourfold import data, pruning
from fourfold.data.trees import mapped
from fourfold.lottery.levels import Experiment
from fourfold.nn import named_weights
from fourfold.parts import Source, build, load, splits_of
from fourfold.record import DataSpec, Spec, TrainSpec, UserError
from fourfold.record.train_spec import Precision
from fourfold.timing import plain
from fourfold.train import multiplies_bf16, train
from fourfold.train.precision import computing

SECONDS_PER_ROUND = 1.0
"""Images are taken until an epoch of ours takes about this long."""

PASSES = 3
"""Products of a training step: forward, and the gradients of weights and of activations."""

BYTES_PER_PARAMETER = 4 * 12
"""Read twice, its gradient written and read, and Adam's two averages and itself read and written, and read to be masked."""

BYTES_PER_ACTIVATION = 4 * 6
"""Written and read forward, read backward; its gradient written and read twice."""


MATRIX = {"cpu": 1024, "cuda": 8192}
"""Rows and columns of the matrices whose product is the peak, by the type of device."""

COPIED_MEGABYTES = {"cpu": 64, "cuda": 1024}
"""Copied for the peak of transfers: more than the device's caches hold."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Median and quartiles over rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the median and the quartiles of at least two values."""
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median=median, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Training a network of one spec, one trial at a time; evaluation after the epoch is part of the time."""

    spec: Spec
    density: float
    images: int
    """Training images of a round; test images in proportion are evaluated after them."""
    ours: Spread
    """Training images a second."""
    plain: Spread
    """The plain loop's, in float32 and torch's usual memory format."""
    ratio: Spread
    """`ours / plain`, of the same round."""
    best: Spread
    """The plain loop's at its best: images in channels last, products in bf16 where the processor multiplies it."""
    ratio_to_best: Spread
    """`ours / best`, of the same round."""
    level_seconds: float
    """Of a whole level, ours, by this throughput."""
    operations: float
    """MACs that the kept weights ask for, of those that the processor does in a large matrix product in the same time."""
    transfer: float
    """Bytes that a step must move, of those that the processor copies in the same time; above 1 where they stay in caches."""


def measure_throughput(
    specs: Sequence[Spec],
    *,
    density: float = 1.0,
    rounds: int = 5,
    device: torch.device,
    data_dir: Path | None = None,
) -> Iterator[Throughput]:
    """Yield the throughput of each spec, ours, the plain loop and the processor's limits taken in turn in every round.

    Raises:
        UserError: fewer than two rounds, a density outside (0, 1], or what `Experiment.prepare` has against a spec.
    """
    if rounds < 2:
        raise UserError(f"`rounds` (={rounds}) must be at least 2: a ratio without a spread says nothing")
    if not 0 < density <= 1:
        raise UserError(f"`density` (={density}) must lie in (0, 1]")
    for spec in specs:
        yield _measure(spec, density, rounds, device, data_dir)


def _measure(spec: Spec, density: float, rounds: int, device: torch.device, data_dir: Path | None) -> Throughput:
    whole = Experiment.prepare(spec, data_dir, device)
    source = load(spec, data_dir)
    epoch = replace(spec.train, epochs=1, early_stopping=None, milestones=())
    count = 2 * epoch.batch_size
    seconds = min(_seconds(_ours(whole, _cut(source, count), epoch, density), device) for _ in range(2))
    count = int(count * max(1.0, SECONDS_PER_ROUND / seconds)) // epoch.batch_size * epoch.batch_size
    count = min(max(count, epoch.batch_size), len(whole.splits.train))
    cut = _cut(source, count)
    loops = [
        _ours(whole, cut, epoch, density),
        _plain(whole, cut, epoch, density),
        _plain(whole, cut, epoch, density, at_its_best=True),
    ]
    times = [
        (*(_seconds(loop, device) for loop in loops), _macs_a_second(device, epoch.precision), _bytes_a_second(device))
        for _ in range(rounds)
    ]
    layers = whole.sizes.layers
    kept = {layer.name: round(layer.weights * density) for layer in layers}
    macs = PASSES * whole.sizes.kept_macs(kept) * count
    steps = -(-count // epoch.batch_size)
    activations = sum(torch.Size(layer.output).numel() for layer in layers)
    moved = BYTES_PER_PARAMETER * whole.sizes.parameters * steps + BYTES_PER_ACTIVATION * activations * count
    speed = Spread.of([count / mine for mine, *_ in times])
    return Throughput(
        spec=spec,
        density=density,
        images=count,
        ours=speed,
        plain=Spread.of([count / theirs for _, theirs, *_ in times]),
        ratio=Spread.of([theirs / mine for mine, theirs, *_ in times]),
        best=Spread.of([count / theirs for _, _, theirs, *_ in times]),
        ratio_to_best=Spread.of([theirs / mine for mine, _, theirs, *_ in times]),
        level_seconds=spec.train.epochs * len(whole.splits.train) / speed.median,
        operations=statistics.median(macs / mine / peak for mine, *_, peak, _ in times),
        transfer=statistics.median(moved / mine / peak for mine, *_, peak in times),
    )


def _cut(source: Source, count: int) -> Source:
    """Return the first training images of a set, or items of the user's own, and test images in proportion."""
    if isinstance(source, data.Splits):
        assert source.source is not None
        every = source.source
        tests = max(1, round(len(every.test) * count / len(every.train)))
        return every.first(count, tests).splits(DataSpec(name=every.name), 1, torch.device("cpu"))
    tests = max(1, round(len(source.test_labels) * count / len(source.train_labels)))
    return replace(
        source,
        train_images=source.train_images[:count],
        train_labels=source.train_labels[:count],
        test_images=source.test_images[:tests],
        test_labels=source.test_labels[:tests],
    )


def _pruned(spec: Spec, density: float, device: torch.device) -> tuple[nn.Module, dict[str, torch.Tensor], pruning.Masks]:
    network = build(spec, seed=0, device=device)
    weights = named_weights(network)
    masks = pruning.magnitude(weights, pruning.dense(weights), density)
    pruning.apply_(weights, masks)
    return network, weights, masks


def _ours(whole: Experiment, cut: Source, epoch: TrainSpec, density: float) -> Callable[[], object]:
    spec, device = whole.spec, whole.device
    splits = _splits(cut, spec, epoch, device)
    network, weights, masks = _pruned(spec, density, device)
    return lambda: train(
        network, splits, epoch, seed_of_epoch=lambda epoch: epoch, weights=weights, masks=masks, task=whole.training_task
    )


def _splits(cut: Source, spec: Spec, epoch: TrainSpec, device: torch.device) -> data.Splits:
    return splits_of(cut, replace(spec, data=replace(spec.data, validation=0), train=epoch), device)


def _plain(
    whole: Experiment, cut: Source, epoch: TrainSpec, density: float, *, at_its_best: bool = False
) -> Callable[[], object]:
    spec, device = whole.spec, whole.device
    layout = torch.channels_last if at_its_best else torch.contiguous_format
    precision: Precision | None = "bf16" if at_its_best and multiplies_bf16(device) else None
    training, tests = (
        plain.loader(items, epoch.batch_size, shuffle)
        for items, shuffle in zip(_items(cut, spec, epoch), (True, False), strict=True)
    )
    network, weights, masks = _pruned(spec, density, device)
    network.to(memory_format=layout)  # type: ignore[call-overload]
    taker = plain.optimizer(network, epoch)

    def run() -> float:
        with computing(precision, device):
            for inputs, targets in training:
                batch = mapped(lambda leaf: leaf.to(device, **({"memory_format": layout} if leaf.dim() == 4 else {})), inputs)
                plain.step(
                    network, taker, weights, masks, batch, mapped(lambda leaf: leaf.to(device), targets), whole.training_task
                )
            return plain.evaluate(network, tests, device, whole.training_task)

    return run


def _items(cut: Source, spec: Spec, epoch: TrainSpec) -> "tuple[Dataset[Any], Dataset[Any]]":
    """Return training and test items one at a time."""
    if isinstance(cut, data.Splits):
        splits = _splits(cut, spec, epoch, torch.device("cpu"))
        return plain.OwnItems(splits.train, True), plain.OwnItems(splits.test, False)
    parts = ((cut.train_images, cut.train_labels, True), (cut.test_images, cut.test_labels, False))
    one, other = (
        plain.Items(torch.from_numpy(images), torch.from_numpy(labels), spec, augment) for images, labels, augment in parts
    )
    return one, other


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def _macs_a_second(device: torch.device, precision: Precision | None, times: int = 4) -> float:
    size = MATRIX[device.type]
    a, b = torch.randn(2, size, size, device=device)

    def multiply() -> None:
        with computing(precision, device):
            for _ in range(times):
                torch.mm(a, b)

    multiply()
    return times * size**3 / _seconds(multiply, device)


def _bytes_a_second(device: torch.device, times: int = 4) -> float:
    megabytes = COPIED_MEGABYTES[device.type]
    source = torch.zeros(megabytes * 2**18, device=device)
    target = torch.empty_like(source)

    def copy() -> None:
        for _ in range(times):
            target.copy_(source)

    copy()
    return times * 2 * 4 * source.numel() / _seconds(copy, device)
