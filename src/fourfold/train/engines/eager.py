"""The engine of any network and any loss, in plain PyTorch: what every faster engine is measured against."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from fourfold.train.engines.engine import Setup, Split, data_of
from fourfold.train.engines.mixing import mixing_of, step_generator
from fourfold.train.engines.optimizer import MaskedOptimizer
from fourfold.train.evaluation import Evaluation, evaluate, forward, num_samples


class Eager:
    """Takes one step after the other in plain PyTorch."""

    name = "eager"
    compiler: str | None = None

    @classmethod
    def declines(cls, setup: Setup) -> str | None:
        """Decline nothing that one process trains."""
        return None if setup.ranks.alone else "several processes train the network"

    def __init__(self, setup: Setup) -> None:
        self._network, self._splits, self._ranks = setup.network, setup.splits, setup.ranks
        self._batch_size, self._criterion, self._task = setup.spec.batch_size, setup.loss, setup.task
        self._optimizer = MaskedOptimizer(setup)
        self._mix = mixing_of(setup.spec)

    def begin(self, seed: int, rates: Tensor, first: int = 0, loss: Tensor | None = None) -> None:
        """See `Engine.begin`."""
        data = self._splits.train
        self._seed, self._number = seed, first
        self._rates: Iterator[float] = iter(rates.tolist()[first:])
        self._batches = data.epoch(self._batch_size, seed, share=self._ranks.share, first=first)
        so_far = torch.zeros((), dtype=torch.float64) if loss is None else self._part(loss)
        self._loss = so_far.to(data.device)

    def advance(self, steps: int) -> None:
        """See `Engine.advance`."""
        for _ in range(steps):
            inputs, targets = next(self._batches)
            self._loss = self._loss + self.take(inputs, targets, next(self._rates)) * num_samples(targets)

    def take(self, inputs: Any, targets: Any, rate: float) -> Tensor:
        """Take a step on a batch at a learning rate; return the mean loss before it."""
        self._optimizer.set_rate(rate)
        self._optimizer.zero_grad()
        loss = self._loss_of(inputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._optimizer.steps += 1
        return loss.detach()

    def _loss_of(self, inputs: Any, targets: Any) -> Tensor:
        """Return the mean loss of a batch; of one that is mixed, that of both targets, each by its part."""
        if self._mix is None:
            return self._criterion(forward(self._network, inputs), targets)
        generator = step_generator(self._seed, self._number)
        self._number += 1
        inputs, others, part = self._mix(inputs, targets, generator)
        outputs = forward(self._network, inputs)
        return part * self._criterion(outputs, targets) + (1 - part) * self._criterion(outputs, others)

    def loss(self) -> Tensor:
        """See `Engine.loss`."""
        return self._loss

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """See `Engine.set_masks`."""
        self._optimizer.set_masks(masks)

    def evaluate(self, split: Split) -> Evaluation:
        """See `Engine.evaluate`."""
        self._optimizer.swap_average()
        try:
            return evaluate(self._network, data_of(self._splits, split), self._ranks, self._task)
        finally:
            self._optimizer.swap_average()

    def optimizer_state(self, *, copy: bool = True) -> dict[str, Tensor]:
        """See `Engine.optimizer_state`."""
        return self._optimizer.state(copy=copy)

    def sync(self) -> None:
        """Do nothing: the network itself is trained."""

    def finish(self) -> None:
        """Leave the moving average in the network, where there is one: it is the result of the training."""
        self._optimizer.finish()

    def _part(self, loss: Tensor) -> Tensor:
        """Return this process's share of a loss that `loss` returned, perhaps in another number of processes."""
        return loss.sum()
