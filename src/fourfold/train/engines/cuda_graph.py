"""The engine of networks on a GPU: steps and evaluations are recorded once and replayed, each by one launch.

The whole step is recorded, from gathering its images to masking its weights. What differs from step to step, the images and
the learning rate, is indexed by a counter on the device that the recording itself advances, so the host only launches the
steps of an epoch. The batches of an evaluation are recorded the same way.
"""

import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from fourfold.data import Order, Resident
from fourfold.train.engines.engine import DeclinedError, Setup, Split, beyond, data_of, samples_of
from fourfold.train.engines.optimizer import MaskedOptimizer
from fourfold.train.evaluation import BATCH_SIZE, Evaluation, counts, evaluate, evaluating, evaluation_of, no_counts

WARM_UP = 3
"""Steps before the recording, in which libraries choose their kernels; they are undone."""

_RECORDING = threading.Lock()
"""Threads record one after the other: a recording begins by waiting for the whole device."""

Replay = Callable[[], None]

Record = Callable[[Replay], Replay]


def record_graph(step: Replay) -> Replay:
    """Record a step as a CUDA graph; other threads may work meanwhile."""
    graph = torch.cuda.CUDAGraph()
    with _RECORDING, torch.cuda.graph(graph, capture_error_mode="thread_local"):
        step()
    return graph.replay


class CudaGraph:
    """Takes recorded steps on images in the memory of the GPU."""

    name = "cuda_graph"
    compiler: str | None = None
    device_type = "cuda"
    record: Record = staticmethod(record_graph)

    @classmethod
    def declines(cls, setup: Setup) -> str | None:
        """Decline what a recorded step cannot do: masks that change, images on disk, and losses that it does not know."""
        if not setup.ranks.alone:
            return "several processes train the network"
        if setup.step_by_step:
            return "its masks may change between steps"
        if reason := beyond(setup):
            return reason
        if setup.splits.train.device.type != cls.device_type:
            return f"the network is not on a {cls.device_type.upper()} device"
        return None if setup.splits.train.in_memory else "its images are read from disk"

    def __init__(self, setup: Setup) -> None:
        self._network, self._splits, self._batch_size = setup.network, setup.splits, setup.spec.batch_size
        self._optimizer = MaskedOptimizer(setup)
        self._images = setup.splits.train
        device = self._images.device
        self._at = _Place(self._batch_size, device)
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._rate = torch.zeros((), device=device)
        self._rates = torch.zeros(-(-len(self._images) // self._batch_size), device=device)
        self._order = self._images.order(0)
        self._next = 0
        self._evaluations: dict[Split, Callable[[], Evaluation]] = {}
        for group in self._optimizer.optimizer.param_groups:
            group["lr"] = self._rate
            group["capturable"] = device.type == "cuda"
        try:
            self._replay = self._recorded() if len(self._images) >= self._batch_size else None
        except torch.OutOfMemoryError:
            raise  # fewer trials at a time may be recorded
        except RuntimeError as error:
            raise DeclinedError(f"{_why_not(error)}; it takes its steps one by one") from error

    def begin(self, seed: int, rates: Tensor, first: int = 0, loss: Tensor | None = None) -> None:
        """See `Engine.begin`."""
        for mine, new in zip(_tensors(self._order), _tensors(self._images.order(seed)), strict=True):
            mine.copy_(new)
        self._rates.copy_(rates)
        self._at.go_to(first)
        self._next = first
        self._loss.zero_()
        if loss is not None:
            self._loss.copy_(loss.sum())

    def advance(self, steps: int) -> None:
        """See `Engine.advance`."""
        self._network.train()
        images = samples_of(range(self._next, self._next + steps), self._batch_size, len(self._images))
        whole, rest = divmod(images.stop - images.start, self._batch_size)
        for _ in range(whole):
            assert self._replay is not None, "recorded wherever there is a whole batch"
            self._replay()
        if rest:
            self._step(rest)
        self._next += steps
        self._optimizer.steps += steps

    def loss(self) -> Tensor:
        """See `Engine.loss`."""
        return self._loss

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Refuse: the recorded step has the masks that it was recorded with.

        Raises:
            DeclinedError: always; trainings that change their masks are declined.
        """
        raise DeclinedError("a recorded step cannot change its masks")

    def evaluate(self, split: Split) -> Evaluation:
        """See `Engine.evaluate`; the batches are recorded at the first call."""
        if split not in self._evaluations:
            images = data_of(self._splits, split)
            self._evaluations[split] = _evaluation_of(self._network, images, type(self).record)
        return self._evaluations[split]()

    def optimizer_state(self, *, copy: bool = True) -> dict[str, Tensor]:
        """See `Engine.optimizer_state`."""
        return self._optimizer.state(copy=copy)

    def sync(self) -> None:
        """Do nothing: the network itself is trained."""

    def finish(self) -> None:
        """See `Engine.finish`."""

    def _recorded(self) -> Replay:
        """Return a recorded step; everything that warming up and recording changed is restored."""
        tensors = [tensor.detach() for tensor in (*self._network.parameters(), *self._network.buffers())]
        before = [tensor.clone() for tensor in tensors]
        state = self._optimizer.state()
        self._network.train()
        try:
            for _ in range(WARM_UP):
                self._at.go_to(0)
                self._step(self._batch_size)
            self._at.go_to(0)
            return type(self).record(lambda: self._step(self._batch_size))
        finally:
            for tensor, value in zip(tensors, before, strict=True):
                tensor.copy_(value)
            self._optimizer.restore(state)

    def _step(self, count: int) -> None:
        self._rate.copy_(self._rates.index_select(0, self._at.number)[0])
        images, labels = self._images.batch(self._order, self._at.next(count))
        self._optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self._network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._loss.add_(loss.detach() * count)
        self._at.move(count)


def _evaluation_of(network: nn.Module, images: Resident, record: Record) -> Callable[[], Evaluation]:
    """Return a recorded evaluation, or PyTorch's for images on disk and where recording fails."""
    if images.in_memory:
        try:
            return CapturedEvaluation(network, images, record)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            print(f"{_why_not(error)}; it is evaluated batch by batch", file=sys.stderr)
    return partial(evaluate, network, images)


def _why_not(error: RuntimeError) -> str:
    reason = str(error).partition("\n")[0]
    return f"the network cannot be recorded as a CUDA graph ({reason})"


class CapturedEvaluation:
    """`evaluate` on images that stay where they are, as often as it is called.

    Args:
        network: On the device of the images.
        images: What it is evaluated on.
        record: Makes a replay of a batch; `record_graph` on a GPU.
    """

    def __init__(self, network: nn.Module, images: Resident, record: Record = record_graph) -> None:
        self._network, self._images = network, images
        self._order = images.in_order()
        self._at = _Place(BATCH_SIZE, images.device)
        self._counts = no_counts(images)
        self._replay = self._recorded(record) if len(images) >= BATCH_SIZE else None

    def __call__(self) -> Evaluation:
        """Evaluate the network as it is now."""
        whole, rest = divmod(len(self._images), BATCH_SIZE)
        self._at.go_to(0)
        with evaluating(self._network):
            for _ in range(whole):
                assert self._replay is not None
                self._replay()
            if rest:
                self._batch(rest)
        return evaluation_of(self._counts, len(self._images))

    def _recorded(self, record: Record) -> Replay:
        with evaluating(self._network):
            for _ in range(WARM_UP):
                self._at.go_to(0)
                self._batch(BATCH_SIZE)
            self._at.go_to(0)
            return record(lambda: self._batch(BATCH_SIZE))

    def _batch(self, count: int) -> None:
        images, labels = self._images.batch(self._order, self._at.next(count))
        self._counts.index_copy_(0, self._at.number, counts(self._network, images, labels).unsqueeze(0))
        self._at.move(count)


class _Place:
    """Position of the next batch in an epoch, on the device, so that a recorded batch can advance it."""

    def __init__(self, batch_size: int, device: torch.device) -> None:
        self.number = torch.zeros(1, dtype=torch.int64, device=device)
        """Of the next batch, counted from 0."""
        self._first = torch.zeros((), dtype=torch.int64, device=device)
        self._offsets = torch.arange(batch_size, device=device)

    def go_to(self, number: int) -> None:
        """Move to the batch of that number."""
        self.number.fill_(number)
        self._first.fill_(number * len(self._offsets))

    def next(self, count: int) -> Tensor:
        """Return the positions int64 (count,) of the next batch's images."""
        return self._first + self._offsets[:count]

    def move(self, count: int) -> None:
        """Move to the next batch."""
        self._first.add_(count)
        self.number.add_(1)


def _tensors(order: Order) -> tuple[Tensor, ...]:
    return (order.members, order.labels, *order.crops)
