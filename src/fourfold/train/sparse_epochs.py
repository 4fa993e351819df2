"""Whole epochs of a sparse or small perceptron in one call of native code, and its evaluation.

At 2 % of Lenet-300-100 the products of a step take less time than fetching its images and calling the kernels did. So the
native code is given the images as they lie in memory, and does both itself.
"""

import ctypes
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fourfold.data import Resident
from fourfold.data.resident import Pixels
from fourfold.native.perceptron import CImages, kernels
from fourfold.record import TrainSpec
from fourfold.train.evaluation import Evaluation
from fourfold.train.sparse_steps import SparseSteps, check_labels, is_sparse
from fourfold.train.steps import InEpoch

TOP5_FROM = 100
"""Classes from which on an evaluation counts the five likeliest, which is left to PyTorch."""


def native_steps(
    network: nn.Module,
    spec: TrainSpec,
    masks: Mapping[str, Tensor],
    images: Resident,
    moments: Mapping[str, Tensor] | None = None,
) -> SparseSteps | None:
    """Return native steps for what `is_sparse` tells, None for others; whole epochs where images are nothing but pixels."""
    if not is_sparse(network, spec, masks):
        return None
    pixels = images.pixels()
    if pixels is None:
        return SparseSteps(network, spec, masks, moments)
    return SparseEpochs(network, spec, masks, moments, images, pixels)


class SparseEpochs(SparseSteps, InEpoch):
    """`SparseSteps` on images in memory, many at a time: `begin` an epoch, then `go_on` until none is left."""

    def __init__(
        self,
        network: nn.Module,
        spec: TrainSpec,
        masks: Mapping[str, Tensor],
        moments: Mapping[str, Tensor] | None,
        images: Resident,
        pixels: Pixels,
    ) -> None:
        SparseSteps.__init__(self, network, spec, masks, moments)
        InEpoch.__init__(self, len(images), spec.batch_size)
        self._images, self._pixels = images, _Images(self, images, pixels)

    def begin(self, seed: int, rates: Tensor, first: int = 0) -> None:
        """Begin an epoch, as `EachStep.begin` does.

        Raises:
            ValueError: fewer rates than steps.
        """
        self._order, self._rates, self._loss = self._images.order(seed), rates.double().contiguous(), 0.0
        self._start(first)
        if len(rates) < first + self.left:
            raise ValueError(f"`rates` (of {len(rates)} steps) must have one for each of the {first + self.left} steps")

    @property
    def loss(self) -> Tensor:
        """The sum of the losses of the epoch's images so far, each before its step."""
        return torch.tensor(self._loss, dtype=torch.float64)

    def skip(self, step: int, loss: Tensor) -> None:
        """Go on at a later step of the epoch that was begun, as `EachStep.skip` does."""
        self._skip(step)
        self._loss = loss.item()

    def go_on(self, steps: int) -> Tensor:
        """Take so many steps, or those left; return the sum of the losses of the epoch's images, each before its step."""
        begun, places = self._move(steps)
        rates, members, labels = self._rates[begun:], self._order.members[places], self._order.labels[places]
        self._loss = kernels().take_many(
            self.room(self.batch_size).perceptron,
            self._pixels.given,
            len(members),
            members.data_ptr(),
            labels.data_ptr(),
            self.batch_size,
            self.steps_behind + 1,
            rates.data_ptr(),
            self._loss,
        )
        self.taken += self._next - begun
        return self.loss

    def evaluation(self, images: Resident) -> "SparseEvaluation | None":
        """Return what evaluates the network as the steps have left it; None where that is left to PyTorch."""
        pixels = images.pixels()
        return SparseEvaluation(self, images, pixels) if pixels is not None and self.classes < TOP5_FROM else None


class SparseEvaluation:
    """`evaluate` on images in memory, of the network whose steps they are, brought up to date or not."""

    BATCH_SIZE = 64
    """As many columns as the native code takes at once."""

    def __init__(self, steps: SparseSteps, images: Resident, pixels: Pixels) -> None:
        self._steps, self._order, self._pixels = steps, images.in_order(), _Images(steps, images, pixels)

    def __call__(self) -> Evaluation:
        """Return what the network reaches now."""
        right, count, members, labels = ctypes.c_int64(), len(self._order.labels), self._order.members, self._order.labels
        room = self._steps.room(self.BATCH_SIZE)
        where = (members.data_ptr(), labels.data_ptr(), self.BATCH_SIZE, ctypes.byref(right))
        loss = kernels().evaluate(room.perceptron, self._pixels.given, count, *where)
        return Evaluation(top1=100 * right.value / count, top5=None, loss=loss / count)


class _Images:
    """Pixels as the native code takes them, which believes their size and their labels.

    Raises:
        ValueError: images of another size than the network's inputs, or labels that are no classes.
    """

    def __init__(self, steps: SparseSteps, images: Resident, pixels: Pixels) -> None:
        size = pixels.bytes.shape[1]
        if size != steps.inputs:
            raise ValueError(f"`images` (of {size} values) must have {steps.inputs} values each")
        check_labels(images.labels, steps.classes)
        self._alive = pixels
        tensors = (pixels.bytes, pixels.scale, pixels.offset)
        self.given = CImages(size, *(tensor.data_ptr() for tensor in tensors))
