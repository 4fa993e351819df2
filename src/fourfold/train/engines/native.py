"""The engine of perceptrons on a CPU, in C: each step costs what the weights that are left cost.

At 2 % of Lenet-300-100 the products of a step take less time than fetching its images and calling the kernels did. So the
native code reads the images in place, and takes many steps in one call.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from fourfold.data import Resident
from fourfold.native import NoCompilerError, compiler
from fourfold.native.perceptron import kernels
from fourfold.nn import Linear, algebra_of
from fourfold.train.engines.engine import DeclinedError, Setup, Split, beyond, data_of, samples_of
from fourfold.train.engines.perceptron import NativeImages, NativePerceptron, is_dense
from fourfold.train.evaluation import Evaluation, evaluate

LARGE = 6_000_000
"""Entries of the dense layers' real matrices above which memory decides, and PyTorch is as fast."""

TOP5_FROM = 100
"""Classes from which on an evaluation measures top-5, which PyTorch does."""


class Native:
    """Takes steps in native code: many in one call where images are nothing but pixels, else batch by batch."""

    name = "native"

    @classmethod
    def declines(cls, setup: Setup) -> str | None:
        """Decline all but perceptrons in float32 on a CPU, not too large, and masks that may change between steps."""
        if not setup.ranks.alone:
            return "several processes train the network"
        if setup.step_by_step:
            return "its masks may change between steps"
        if reason := beyond(setup):
            return reason
        if setup.spec.precision is not None:
            return f"its precision is {setup.spec.precision}"
        if not is_perceptron(setup.network):
            return "the network is not a perceptron in float32 on a CPU"
        algebras = {
            f"{name}.weight": algebra_of(layer)
            for name, layer in setup.network.named_children()
            if isinstance(layer, nn.Linear)
        }
        if set(algebras) != set(setup.masks):
            return "not every layer has a mask"
        dense = [name for name, mask in setup.masks.items() if is_dense(mask, algebras[name])]
        if sum(setup.masks[name].numel() * algebras[name].n for name in dense) > LARGE:
            return "its dense layers are so large that PyTorch is as fast"
        try:
            kernels()
        except NoCompilerError as error:
            return str(error)
        return None

    def __init__(self, setup: Setup) -> None:
        self.compiler: str | None = compiler()
        self._network, self._splits, self._batch_size = setup.network, setup.splits, setup.spec.batch_size
        self._perceptron = NativePerceptron(setup.network, setup.spec, setup.masks, setup.optimizer_state)
        self._images = setup.splits.train
        pixels = self._images.pixels()
        self._pixels = None if pixels is None else NativeImages(self._perceptron, self._images, pixels)
        self._evaluations: dict[Split, Callable[[], Evaluation]] = {}

    def begin(self, seed: int, rates: Tensor, first: int = 0, loss: Tensor | None = None) -> None:
        """See `Engine.begin`.

        Raises:
            ValueError: fewer rates than steps.
        """
        steps = -(-len(self._images) // self._batch_size)
        if len(rates) < steps:
            raise ValueError(f"`rates` (of {len(rates)} steps) must have one for each of the {steps} steps")
        self._rates = rates.double().contiguous()
        self._next, self._loss = first, 0.0 if loss is None else loss.sum().item()
        self._batches: Iterator[tuple[Tensor, Tensor]] = iter(())
        if self._pixels is None:
            self._batches = self._images.epoch(self._batch_size, seed, first=first)
        else:
            self._order = self._images.order(seed)

    def advance(self, steps: int) -> None:
        """See `Engine.advance`."""
        step_numbers = range(self._next, self._next + steps)
        self._next += steps
        if self._pixels is None:
            for rate in self._rates[step_numbers.start : step_numbers.stop].tolist():
                images, labels = next(self._batches)
                self._loss += self._perceptron.take(images, labels, rate) * len(labels)
            return
        samples = samples_of(step_numbers, self._batch_size, len(self._images))
        rates = self._rates[step_numbers.start :]
        self._loss = self._perceptron.take_many(self._pixels, self._order, samples, self._batch_size, rates, self._loss)

    def loss(self) -> Tensor:
        """See `Engine.loss`."""
        return torch.tensor(self._loss, dtype=torch.float64)

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Refuse: the native code has the weights in the order of the masks that it began with.

        Raises:
            DeclinedError: always; trainings that change their masks are declined.
        """
        raise DeclinedError("the native engine cannot change its masks")

    def evaluate(self, split: Split) -> Evaluation:
        """See `Engine.evaluate`."""
        if split not in self._evaluations:
            self._evaluations[split] = self._evaluation_of(data_of(self._splits, split))
        return self._evaluations[split]()

    def optimizer_state(self, *, copy: bool = True) -> dict[str, Tensor]:
        """See `Engine.optimizer_state`."""
        return self._perceptron.state()

    def sync(self) -> None:
        """See `Engine.sync`."""
        self._perceptron.write_to_network()

    def finish(self) -> None:
        """See `Engine.finish`."""

    def _evaluation_of(self, images: Resident) -> Callable[[], Evaluation]:
        """Return what evaluates the perceptron on images: the native code, or PyTorch where it does not know them."""
        pixels = images.pixels() if self._pixels is not None and self._perceptron.classes < TOP5_FROM else None
        if pixels is not None:
            native = NativeImages(self._perceptron, images, pixels)
            return partial(self._perceptron.evaluate, native, images.in_order())

        def by_pytorch() -> Evaluation:
            self.sync()
            return evaluate(self._network, images)

        return by_pytorch


def is_perceptron(network: nn.Module) -> bool:
    """Whether a network is linear layers with a bias, in float32 on the CPU, a ReLU after all but the last."""
    children = [child for child in network.children() if not isinstance(child, nn.Flatten)]
    linear, between = children[::2], children[1::2]
    return (
        type(network) is nn.Sequential
        and len(children) % 2 == 1
        and all(type(child) in (nn.Linear, Linear) for child in linear)
        and all(type(child) is nn.ReLU for child in between)
        and len(set(network.modules())) == len(list(network.modules())) == len(list(network.children())) + 1
        and all(p.device.type == "cpu" and p.dtype == torch.float32 and p.requires_grad for p in network.parameters())
        and len(list(network.parameters())) == 2 * len(linear)
        and not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    )
