"""The engine of several processes that train one network together, each on its share of every batch.

A batch is computed in parts. Each rank takes as many parts as the others, one after the other, and the gradients of all
parts are added in one order, in pairs and pairs of pairs, that does not depend on which rank computed them: with the same
parts the network comes out the same to the last bit on 1, 2 or 4 ranks.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fourfold.data.trees import divided, leaves, mapped
from fourfold.nn import synchronise
from fourfold.tasks import loss_terms
from fourfold.train.engines.eager import Eager
from fourfold.train.engines.engine import Setup
from fourfold.train.engines.mixing import mixing_of
from fourfold.train.evaluation import forward, num_samples

Gradients = dict[int, Tensor]
"""By the identity of the parameter."""


class Distributed(Eager):
    """Takes the steps of all ranks together: batch norms see the images of all ranks, and every rank has the same weights."""

    name = "distributed"

    @classmethod
    def declines(cls, setup: Setup) -> str | None:
        """Decline what one process trains, and steps whose batches are mixed: the items of other ranks are not here."""
        if setup.ranks.alone:
            return "one process trains the network"
        return "its batches are mixed" if mixing_of(setup.spec) is not None else None

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._sums = _Sums()
        if self._ranks.world > 1:
            synchronise(self._network)
        self._parallel = DistributedDataParallel(self._network)
        # Not a method of ours: torch keeps the hook, and the network with it, for as long as there is a reference to it.
        self._parallel.register_comm_hook(self._sums, _add_up)

    def take(self, inputs: Any, targets: Any, rate: float) -> Tensor:
        """Take a step on a batch, of which all ranks give all targets and each the inputs of its share.

        Returns float64 (parts,): the losses of this rank's parts, zero for others; their sum over ranks is the mean loss.
        """
        self._optimizer.set_rate(rate)
        self._optimizer.zero_grad()
        losses = torch.zeros(self._ranks.parts, dtype=torch.float64, device=self._splits.train.device)
        classes = divided(targets, self._ranks.parts)[self._ranks.mine]
        for number, (part, of_part) in enumerate(zip(divided(inputs, len(classes)), classes, strict=True)):
            is_last = number + 1 == len(classes)
            with contextlib.nullcontext() if is_last else self._parallel.no_sync():
                # A copy, since a kernel may be chosen by where in memory its input begins.
                output = forward(self._parallel, mapped(Tensor.clone, part))
                loss = self._share_of_loss(output, of_part, targets)
                loss.backward()  # type: ignore[no-untyped-call]
            losses[self._ranks.mine.start + number] = loss.detach()
            if not is_last:
                self._sums.push({id(p): p.grad for p in self._network.parameters() if p.grad is not None})
                self._optimizer.zero_grad()
        self._sums.clear()
        self._optimizer.step()
        self._optimizer.steps += 1
        return losses

    def _share_of_loss(self, outputs: Any, of_part: Any, targets: Any) -> Tensor:
        """Return what the loss of a part adds to the mean over its batch, of which all targets are given."""
        if self._task is None:
            return nn.functional.cross_entropy(outputs, of_part, reduction="sum") / num_samples(targets)
        terms = loss_terms(self._task, of_part)
        if not terms:  # torch's mean of nothing is NaN
            return sum((leaf.sum() for _, leaf in leaves(outputs)), torch.zeros(())) * 0
        return self._criterion(outputs, of_part) * (terms / loss_terms(self._task, targets))

    def loss(self) -> Tensor:
        """Return the sum of the losses of the epoch's images so far by part, float64 (parts,); all ranks call this together."""
        return self._ranks.sum(self._loss)

    def _part(self, loss: Tensor) -> Tensor:
        mine = torch.zeros(self._ranks.parts, dtype=loss.dtype)
        if loss.shape == mine.shape:
            mine[self._ranks.mine] = loss[self._ranks.mine]
        elif self._ranks.first:
            mine[0] = loss.sum()  # it was saved by another number of processes
        return mine


class _Sums:
    """Sums of the gradients of the parts so far: of the last one or none, of two, of four, … the largest first."""

    def __init__(self) -> None:
        self._waiting: list[Gradients] = []
        self._count = 0

    def push(self, gradients: Gradients) -> None:
        """Add a part's gradients to those that wait for just as many."""
        self._count += 1
        count = self._count
        while count % 2 == 0:
            waiting = self._waiting.pop()
            gradients = {key: waiting[key] + gradient for key, gradient in gradients.items()}
            count //= 2
        self._waiting.append(gradients)

    def add_to(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Add all that waits to the gradients of the last part, in place."""
        for waiting in reversed(self._waiting):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                gradient.add_(waiting[id(parameter)])

    def clear(self) -> None:
        """Forget all, before another batch."""
        self._waiting, self._count = [], 0


def _add_up(sums: _Sums, bucket: distributed.GradBucket) -> torch.futures.Future[Tensor]:  # type: ignore[name-defined]
    """Make a bucket's gradients those of the whole batch, on every rank."""
    sums.add_to(bucket.parameters(), bucket.gradients())
    flat = bucket.buffer()
    if flat.is_cuda:  # NCCL knows the fastest order, and overlaps with the rest of the backward pass
        sent: torch.futures.Future[Any] = distributed.all_reduce(flat, async_op=True).get_future()
        return sent.then(lambda future: future.value()[0])
    done: torch.futures.Future[Tensor] = torch.futures.Future()
    done.set_result(_sum_in_pairs(flat, distributed.get_world_size()))
    return done


def _sum_in_pairs(flat: Tensor, world: int) -> Tensor:
    """Return the sum of all ranks' vectors: ranks 0 and 1, 2 and 3, … then the sums of these pairs, and so on.

    Every rank adds up one piece of the vector and sends it to all, which moves no more bytes than any other order.
    """
    size = -(-len(flat) // world)
    padded = nn.functional.pad(flat, (0, size * world - len(flat)))
    pieces = torch.empty_like(padded)
    distributed.all_to_all_single(pieces, padded)
    terms = list(pieces.view(world, size))
    while len(terms) > 1:
        paired = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = paired + terms[len(paired) * 2 :]
    distributed.all_gather(list(padded.view(world, size)), terms[0])
    return padded[: len(flat)]
