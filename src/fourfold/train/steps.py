"""Optimiser steps of any network, in plain PyTorch: what every faster path is measured against."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from fourfold.data import Resident
from fourfold.record import TrainSpec

MOMENTS: dict[type[torch.optim.Optimizer], dict[str, str]] = {
    torch.optim.Adam: {"mean": "exp_avg", "square": "exp_avg_sq"},
    torch.optim.SGD: {"mean": "momentum_buffer"},
}
"""Our names of the optimisers' averages, and torch's."""


class InEpoch:
    """How far steps have come in an epoch of so many images: `begin` one, then `go_on` until none is `left`."""

    def __init__(self, images: int, batch_size: int) -> None:
        self.batch_size = batch_size
        """Images of a step; the last one of an epoch may have fewer."""
        self._count = images
        self._first = self._next = 0

    @property
    def left(self) -> int:
        """Steps of the epoch that are still to be taken."""
        return -(-self._count // self.batch_size) - self._next

    @property
    def seen(self) -> int:
        """Images of the epoch that steps were taken on."""
        return min(self._next * self.batch_size, self._count) - self._first * self.batch_size

    def _start(self, first: int) -> None:
        self._first = self._next = first

    def _move(self, steps: int) -> tuple[int, slice]:
        """Move on by so many steps, or those left; return the number of the first one, and the places of all their images."""
        begun = self._next
        self._next += min(steps, self.left)
        return begun, slice(begun * self.batch_size, min(self._next * self.batch_size, self._count))

    def _skip(self, step: int) -> None:
        """Count the steps up to one as taken: they were, before a checkpoint."""
        self._next = step

    @property
    def place(self) -> tuple[int, int]:
        """Steps of the epoch that were left out at its beginning, and the number of its next step."""
        return self._first, self._next


class OneByOne(Protocol):
    """Steps that are taken on one batch after the other."""

    learning_rate: float

    def take(self, images: Tensor, labels: Tensor) -> Tensor | float:
        """Take a step; return the mean loss before it."""


def rates(spec: TrainSpec, epoch: int, steps: int) -> Tensor:
    """Return the learning rates of an epoch's steps, float64 (steps,)."""
    return torch.tensor([spec.rate(epoch * steps + number, epoch) for number in range(steps)], dtype=torch.float64)


class EachStep(InEpoch):
    """Epochs of steps that are taken one by one.

    Args:
        steps: What takes them.
        images: What is trained on.
        batch_size: Images of a step.
        share: Which of a batch's places have their images given to `steps`, the labels always being all; None means all.
    """

    def __init__(
        self, steps: OneByOne, images: Resident, batch_size: int, share: Callable[[range], slice] | None = None
    ) -> None:
        super().__init__(len(images), batch_size)
        self._steps, self._images, self._share = steps, images, share

    def begin(self, seed: int, rates: Tensor, first: int = 0) -> None:
        """Begin an epoch.

        Args:
            seed: Of its order and augmentation.
            rates: float64 (steps,), the learning rate of each step.
            first: Steps to leave out at the beginning.
        """
        self._start(first)
        self._seed, self._rates = seed, rates.tolist()
        self._batches = self._batches_from(first)
        self.loss = torch.zeros((), dtype=torch.float64, device=self._images.labels.device)
        """The sum of the losses of the epoch's images so far, each before its step."""

    def skip(self, step: int, loss: Tensor) -> None:
        """Go on at a later step of the epoch that was begun, where the sum of the losses is known."""
        self._skip(step)
        self._batches = self._batches_from(step)
        self.loss = loss.to(self.loss.device)

    def go_on(self, steps: int) -> Tensor:
        """Take so many steps, or those left; return the sum of the losses of the epoch's images, each before its step."""
        begun, _ = self._move(steps)
        for rate in self._rates[begun : self._next]:
            images, labels = next(self._batches)
            self._steps.learning_rate = rate
            self.loss = self.loss + self._steps.take(images, labels) * len(labels)
        return self.loss

    def _batches_from(self, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        return self._images.epoch(self.batch_size, self._seed, share=self._share, first=first)


class Steps:
    """Takes steps on a network in place.

    Args:
        network: On the device of the images.
        spec: The optimiser.
        weights: The weights that `masks` prunes; after every step the pruned ones are exactly zero.
        masks: True where a weight is kept, by the names of `weights`.
        moments: What the optimiser's averages were when other steps ended, to go on with them.
    """

    engine = "eager"
    """Its name in rows."""
    compiler: str | None = None
    """Of the native code that takes the steps."""

    def __init__(
        self,
        network: nn.Module,
        spec: TrainSpec,
        weights: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        moments: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.learning_rate = spec.learning_rate
        """Of the next step."""
        self.taken = 0
        self._before = 0
        """Steps that the moments had seen."""
        self._network = network
        self._optimizer = _optimizer(network, spec)
        if moments is not None:
            self._load(moments)
        self.prune(weights, masks)

    def prune(self, weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        """Prune by other masks from now on."""
        self._pruned, self._keep = _maskers(weights, masks)
        self._mask()

    def resume(self, taken: int) -> None:
        """Count so many of the steps that the moments had seen as this training's own."""
        self._before, self.taken = self._before - taken, taken

    def moments(self, *, copy: bool = True) -> dict[str, Tensor]:
        """Return the optimiser's averages by parameter, `<name>.mean` and (of Adam) `<name>.square`, and its `steps`.

        Args:
            copy: Whether they stay as they are when more steps are taken.
        """
        found = {"steps": torch.tensor(self._before + self.taken)}
        for name, parameter in self._network.named_parameters():
            state = self._optimizer.state.get(parameter, {})
            for ours, theirs in MOMENTS[type(self._optimizer)].items():
                if state.get(theirs) is not None:
                    found[f"{name}.{ours}"] = state[theirs].detach().clone() if copy else state[theirs].detach()
        return found

    def _load(self, moments: Mapping[str, Tensor]) -> None:
        self._before = int(moments["steps"])
        for name, parameter in self._network.named_parameters():
            keys = MOMENTS[type(self._optimizer)]
            state = {theirs: moments[f"{name}.{ours}"] for ours, theirs in keys.items() if f"{name}.{ours}" in moments}
            if state:
                # In the parameter's own layout in memory, which fused optimisers take for granted.
                self._optimizer.state[parameter] = {k: torch.empty_like(parameter).copy_(v) for k, v in state.items()}
                self._optimizer.state[parameter]["step"] = torch.tensor(float(self._before), device=parameter.device)

    def take(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take a step on images (batch, channels, height, width) of classes (batch,); return the mean loss before it."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.taken += 1
        return self._take(images, labels)

    def put_back(self) -> None:
        """Bring the network up to date: here it always is."""

    def _take(self, images: Tensor, labels: Tensor) -> Tensor:
        self._optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(self._network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._mask()
        return loss.detach()

    def _mask(self) -> None:
        if self._pruned:
            torch._foreach_mul_(self._pruned, self._keep)


def _optimizer(network: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    parameters = [p for p in network.parameters() if p.requires_grad]
    if spec.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True)
    return torch.optim.SGD(
        parameters,
        lr=spec.learning_rate,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        weight_decay=spec.weight_decay,
        fused=True,
    )


def _maskers(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """The weights in which something is pruned, and for each a factor of zeros and ones."""
    if set(masks) - set(weights):
        raise ValueError(f"`masks` name {sorted(set(masks) - set(weights))}, which `weights` do not have")
    names = [name for name in masks if not bool(masks[name].all())]
    kept = [weights[name].detach() for name in names]
    return kept, [torch.empty_like(weight).copy_(masks[name]) for name, weight in zip(names, kept, strict=True)]
