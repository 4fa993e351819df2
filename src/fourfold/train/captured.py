"""Optimiser steps and evaluations recorded once and replayed: on a GPU a step of a small network is then one launch.

The whole step is recorded, from the gathering of its images to the masking of its weights; what differs from one step to
the next (which images, which learning rate) lies on the device and moves on by itself, so that an epoch needs nothing
from the host but to start every step. The batches of an evaluation are recorded the same way.
"""

import sys
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from fourfold.data import Order, Resident
from fourfold.record import TrainSpec
from fourfold.train.evaluation import BATCH_SIZE, Evaluation, counts, evaluating, evaluation, no_counts
from fourfold.train.steps import MOMENTS, InEpoch, Steps

WARM_UP = 3
"""Steps before the recording, in which libraries choose their kernels; they are undone."""

_RECORDING = threading.Lock()
"""Threads record one after the other: the beginning of a recording waits for the whole device."""

Replay = Callable[[], None]

Record = Callable[[Replay], Replay]

Captured = TypeVar("Captured", "CapturedSteps", "CapturedEvaluation")


def cuda_graph(step: Replay) -> Replay:
    """Record a step as a CUDA graph; other threads may go on with their own work."""
    graph = torch.cuda.CUDAGraph()
    with _RECORDING, torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step()
    return graph.replay


def captured_steps(
    network: nn.Module,
    spec: TrainSpec,
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    images: Resident,
    moments: Mapping[str, Tensor] | None = None,
    record: Record | None = None,
) -> "CapturedSteps | None":
    """Return recorded steps; None for images on disk, and for networks that cannot be recorded.

    The arguments are those of `CapturedSteps`; without `record` a CUDA graph is recorded on a GPU, and nothing elsewhere.
    """
    record = _recorder(images, record)
    if record is None:
        return None
    return _tried(lambda: CapturedSteps(network, spec, weights, masks, images, moments, record), "takes its steps one by one")


def captured_evaluation(network: nn.Module, images: Resident, record: Record | None = None) -> "CapturedEvaluation | None":
    """Return a recorded evaluation; None for images on disk, and for networks that cannot be recorded.

    The arguments are those of `CapturedEvaluation`; without `record` a CUDA graph is recorded on a GPU, and nothing elsewhere.
    """
    record = _recorder(images, record)
    if record is None:
        return None
    return _tried(lambda: CapturedEvaluation(network, images, record), "is evaluated batch by batch")


def _recorder(images: Resident, record: Record | None) -> Record | None:
    """Return what records on the device of the images, where that is not given; None where nothing can be recorded."""
    if not images.in_memory:
        return None
    return record or (cuda_graph if images.device.type == "cuda" else None)


def _tried(make: Callable[[], Captured], instead: str) -> Captured | None:
    """Return what is recorded; where that fails, say what the network does instead."""
    try:
        return make()
    except torch.OutOfMemoryError:
        raise  # fewer trials at a time may be recorded
    except RuntimeError as error:
        reason = str(error).partition("\n")[0]
        print(f"the network cannot be recorded as a CUDA graph ({reason}); it {instead}", file=sys.stderr)
        return None


class CapturedSteps(Steps, InEpoch):
    """`Steps` on images that stay where they are, many at a time: `begin` an epoch, then `go_on` until none is left.

    Args:
        network: On the device of the images.
        spec: The optimiser.
        weights: The weights that `masks` prunes; after every step the pruned ones are exactly zero.
        masks: True where a weight is kept, by the names of `weights`.
        images: What is trained on.
        moments: What the optimiser's averages were when other steps ended, to go on with them.
        record: Makes a replay of a step; `cuda_graph` on a GPU.
    """

    engine = "cuda_graph"

    def __init__(
        self,
        network: nn.Module,
        spec: TrainSpec,
        weights: Mapping[str, Tensor],
        masks: Mapping[str, Tensor],
        images: Resident,
        moments: Mapping[str, Tensor] | None = None,
        record: Record = cuda_graph,
    ) -> None:
        Steps.__init__(self, network, spec, weights, masks, moments)
        InEpoch.__init__(self, len(images), spec.batch_size)
        self._images = images
        device = images.device
        self._at = _Place(spec.batch_size, device)
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        """The sum of the losses of the epoch's images so far, each before its step."""
        self._rate = torch.zeros((), device=device)
        self._rates = torch.zeros(-(-len(images) // spec.batch_size), device=device)
        self._order = images.order(0)
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate
            group["capturable"] = device.type == "cuda"
        self._replay = self._recorded(record) if len(images) >= spec.batch_size else None

    def begin(self, seed: int, rates: Tensor, first: int = 0) -> None:
        """Begin an epoch, as `EachStep.begin` does."""
        for mine, given in zip(_tensors(self._order), _tensors(self._images.order(seed)), strict=True):
            mine.copy_(given)
        self._rates.copy_(rates)
        self._at.go_to(first)
        self.loss.zero_()
        self._start(first)

    def skip(self, step: int, loss: Tensor) -> None:
        """Go on at a later step of the epoch that was begun, as `EachStep.skip` does."""
        self._skip(step)
        self._at.go_to(step)
        self.loss.copy_(loss)

    def go_on(self, steps: int) -> Tensor:
        """Take so many steps, or those left; return the sum of the losses of the epoch's images, each before its step."""
        self._network.train()
        begun, places = self._move(steps)
        whole, rest = divmod(places.stop - places.start, self.batch_size)
        for _ in range(whole):
            assert self._replay is not None
            self._replay()
        if rest:
            self._step(rest)
        self.taken += self._next - begun
        return self.loss

    def _recorded(self, record: Record) -> Replay:
        """Return a recorded step; everything that warming up and recording changed is put back to what it was."""
        state = [tensor.detach() for tensor in (*self._network.parameters(), *self._network.buffers())]
        before = [tensor.clone() for tensor in state]
        moments = self.moments()
        self._network.train()
        try:
            for _ in range(WARM_UP):
                self._at.go_to(0)
                self._step(self.batch_size)
            self._at.go_to(0)
            return record(lambda: self._step(self.batch_size))
        finally:
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)
            self._reset(moments)

    def _reset(self, moments: Mapping[str, Tensor]) -> None:
        """Put the optimiser's averages back, in the memory that the recording knows."""
        names = {theirs: ours for ours, theirs in MOMENTS[type(self._optimizer)].items()}
        for name, parameter in self._network.named_parameters():
            for key, tensor in self._optimizer.state.get(parameter, {}).items():
                if not isinstance(tensor, Tensor):
                    continue
                if key == "step":
                    tensor.fill_(float(self._before))
                else:
                    value = moments.get(f"{name}.{names[key]}")
                    tensor.zero_() if value is None else tensor.copy_(value)

    def _step(self, count: int) -> None:
        self._rate.copy_(self._rates.index_select(0, self._at.number)[0])
        images, labels = self._images.batch(self._order, self._at.next(count))
        self.loss.add_(self._take(images, labels) * count)
        self._at.move(count)


class CapturedEvaluation:
    """`evaluate` on images that stay where they are, as often as it is called.

    Args:
        network: On the device of the images.
        images: What it is evaluated on.
        record: Makes a replay of a batch; `cuda_graph` on a GPU.
    """

    def __init__(self, network: nn.Module, images: Resident, record: Record = cuda_graph) -> None:
        self._network, self._images = network, images
        self._order = images.in_order()
        self._at = _Place(BATCH_SIZE, images.device)
        self._found = no_counts(images)
        self._replay = self._recorded(record) if len(images) >= BATCH_SIZE else None

    def __call__(self) -> Evaluation:
        """Return what the network reaches now."""
        whole, rest = divmod(len(self._images), BATCH_SIZE)
        self._at.go_to(0)
        with evaluating(self._network):
            for _ in range(whole):
                assert self._replay is not None
                self._replay()
            if rest:
                self._batch(rest)
        return evaluation(self._found, len(self._images))

    def _recorded(self, record: Record) -> Replay:
        with evaluating(self._network):
            for _ in range(WARM_UP):
                self._at.go_to(0)
                self._batch(BATCH_SIZE)
            self._at.go_to(0)
            return record(lambda: self._batch(BATCH_SIZE))

    def _batch(self, count: int) -> None:
        images, labels = self._images.batch(self._order, self._at.next(count))
        self._found.index_copy_(0, self._at.number, counts(self._network, images, labels).unsqueeze(0))
        self._at.move(count)


class _Place:
    """Where in an epoch the next batch begins, kept on the device so that a recorded batch can move it on."""

    def __init__(self, batch_size: int, device: torch.device) -> None:
        self.number = torch.zeros(1, dtype=torch.int64, device=device)
        """Of the next batch, counted from 0."""
        self._first = torch.zeros((), dtype=torch.int64, device=device)
        self._offsets = torch.arange(batch_size, device=device)

    def go_to(self, number: int) -> None:
        """Let the next batch be the one of that number."""
        self.number.fill_(number)
        self._first.fill_(number * len(self._offsets))

    def next(self, count: int) -> Tensor:
        """Return the places int64 (count,) of the next batch's images."""
        return self._first + self._offsets[:count]

    def move(self, count: int) -> None:
        """Move on by a batch."""
        self._first.add_(count)
        self.number.add_(1)


def _tensors(order: Order) -> tuple[Tensor, ...]:
    return (order.members, order.labels, *order.crops)
