"""Small splits and networks that train in a fraction of a second, and a training loop to compare with."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch import Tensor, nn

from fourfold import data
from fourfold import nn as fnn
from fourfold.record import DataSpec, TrainSpec
from fourfold.train.engines import CudaGraph, Engine, Setup

TRAIN_IMAGES, BATCH_SIZE = 100, 30
STEPS = 4  # an epoch; the last is smaller


@lru_cache
def splits(validation: int = 0) -> data.Splits:
    digits = data.load("digits")
    some = dataclasses.replace(
        digits,
        train_images=digits.train_images[: TRAIN_IMAGES + validation],
        train_labels=digits.train_labels[: TRAIN_IMAGES + validation],
        test_images=digits.test_images[:50],
        test_labels=digits.test_labels[:50],
    )
    return data.prepare(some, DataSpec(name="digits", validation=validation), n=1, device="cpu")


def network(algebra: str = "quaternion") -> nn.Sequential:
    built = nn.Sequential(
        nn.Flatten(), fnn.Linear(64, 16, algebra=algebra), fnn.BatchNorm1d(16, algebra=algebra), nn.ReLU(), nn.Linear(16, 10)
    )
    fnn.initialize(built, generator=torch.Generator().manual_seed(0))
    return built


def seed_of_epoch(epoch: int) -> int:
    return 100 + epoch


def masks_of(built: nn.Module, density: float = 0.4) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return {name: torch.rand(w.shape, generator=generator) < density for name, w in fnn.named_weights(built).items()}


def state(built: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in built.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(value, other[name]) for name, value in one.items())


def setup(
    built: nn.Module,
    spec: TrainSpec,
    masks: dict[str, Tensor] | None = None,
    images: data.Resident | None = None,
    test: data.Resident | None = None,
    **more,
) -> Setup:
    """The training of a network on images, by default those of `splits`."""
    train = images or splits().train
    given = data.Splits(train=train, validation=None, test=test or train, channels=1, image_size=(8, 8))
    return Setup(network=built, splits=given, spec=spec, weights=fnn.named_weights(built), masks=masks or {}, **more)


def steps_of(images: data.Resident, spec: TrainSpec) -> int:
    """Steps of an epoch."""
    return -(-len(images) // spec.batch_size)


def epoch(engine: Engine, seed: int, rates: Tensor, first: int = 0, at_once: int = 99) -> Tensor:
    """Take the steps of an epoch from the first on, so many at once, and return the sum of the losses."""
    engine.begin(seed, rates, first)
    for start in range(first, len(rates), at_once):
        engine.advance(min(at_once, len(rates) - start))
    return engine.loss()


def replayed(step: Callable[[], None]) -> Callable[[], None]:
    """Run the step once, as a capture runs its Python, and count on the caller to undo it."""
    step()
    return step


def recording(record_step: Callable[[Callable[[], None]], Callable[[], None]] = replayed) -> type[CudaGraph]:
    """The engine of recorded steps for a CPU, where a recording is the step itself."""

    class Recording(CudaGraph):
        device_type, record = "cpu", staticmethod(record_step)

    return Recording


def plain_steps(
    built: nn.Module,
    optimizer: torch.optim.Optimizer,
    spec: TrainSpec,
    rates: list[float],
    images: data.Resident,
    before_step: Callable[[], None] = lambda: None,
) -> Iterator[float]:
    """Train as one does in plain PyTorch; yield the loss summed over each batch after its step."""
    for epoch in range(spec.epochs):
        optimizer.param_groups[0]["lr"] = rates[epoch]
        for x, y in images.epoch(spec.batch_size, seed_of_epoch(epoch)):
            built.train()
            loss = nn.functional.cross_entropy(built(x), y)
            optimizer.zero_grad()
            loss.backward()
            before_step()
            optimizer.step()
            yield loss.item() * len(y)
