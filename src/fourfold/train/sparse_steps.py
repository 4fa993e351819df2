"""Optimiser steps of perceptrons on the CPU, at the price of the weights that are left.

A network of linear layers and ReLUs takes its steps in native code (`native/perceptron.c`). A layer of few weights has only
those that are kept walked: at 2 % of Lenet-300-100 a step takes a twenty-fifth of PyTorch's. Other layers are dense products
at the speed of the processor, of quaternions eight for sixteen. The function is the masked network's and the optimiser is
torch's; sums are taken in another order.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fourfold.algebra import COMPLEX, QUATERNION, Algebra
from fourfold.native import NoCompilerError, compiler
from fourfold.native.perceptron import CEntries, CLayer, CPerceptron, kernels, width
from fourfold.nn import Linear, algebra_of
from fourfold.record import TrainSpec
from fourfold.train.dense_layers import DenseRoom
from fourfold.train.entries import Entries, expand

MAX_DENSITY = {COMPLEX: 0.6, QUATERNION: 0.45}
"""Of sparse layers; denser ones are faster dense, where few products serve an algebra earlier. `benchmarks/sparse_steps.py`."""

MAX_DENSITY_OF_OTHERS = 0.65

LARGE = 6_000_000
"""Entries of the dense layers' real matrices above which memory decides, and PyTorch is as fast."""

ADAM_BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8
"""torch's defaults."""


def is_sparse(network: nn.Module, spec: TrainSpec, masks: Mapping[str, Tensor]) -> bool:
    """Whether a network is a perceptron on the CPU, not too large, in float32, and there is a compiler."""
    if not _is_perceptron(network) or spec.precision is not None:
        return False
    layers = {name: layer for name, layer in network.named_children() if isinstance(layer, nn.Linear)}
    if {f"{name}.weight" for name in layers} != set(masks):
        return False
    algebras = {f"{name}.weight": algebra_of(layer) for name, layer in layers.items()}
    entries = {name: mask.numel() * algebras[name].n for name, mask in masks.items() if is_dense(mask, algebras[name])}
    if sum(entries.values()) > LARGE:
        return False
    try:
        kernels()
    except NoCompilerError:
        return False
    return True


def is_dense(mask: Tensor, algebra: Algebra) -> bool:
    """Whether a layer is faster with all its weights than with those that are kept."""
    return int(mask.sum()) > MAX_DENSITY.get(algebra, MAX_DENSITY_OF_OTHERS) * mask.numel()


def _is_perceptron(network: nn.Module) -> bool:
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
    )


@dataclass(frozen=True, eq=False)
class _Layer:
    name: str
    module: nn.Linear
    mask: Tensor
    sparse: tuple[Entries, Entries] | None
    """The entries of its matrix and of the transpose; None where the layer is dense."""
    weights: slice
    """Its weights among the parameters: all of a dense layer, where the pruned ones are zero, or those that are kept."""
    bias: slice

    def values(self, of_weight: Tensor) -> Tensor:
        """Return what stands for each of its weights among the parameters."""
        return (of_weight * self.mask).flatten() if self.sparse is None else of_weight[self.mask]

    def spread(self, values: Tensor) -> Tensor:
        """Return the values of its weights among the parameters as those of the layer's weight, zero where it is pruned."""
        if self.sparse is None:
            return values.view(self.mask.shape).clone()
        return values.new_zeros(self.mask.shape).masked_scatter_(self.mask, values)

    def met_inputs(self) -> Tensor:
        """Return bool (inputs,), which inputs a weight meets."""
        inputs = self.module.in_features
        return torch.ones(inputs, dtype=torch.bool) if self.sparse is None else self.sparse[0].met_columns(inputs)


class SparseSteps:
    """What `Steps` does, for perceptrons; the network itself is brought up to date by `put_back` alone."""

    engine = "native"

    def __init__(
        self, network: nn.Module, spec: TrainSpec, masks: Mapping[str, Tensor], moments: Mapping[str, Tensor] | None = None
    ) -> None:
        self.learning_rate = spec.learning_rate
        """Of the next step."""
        self.taken = 0
        self.compiler = compiler()
        self._spec = spec
        self._layers: list[_Layer] = []
        end = 0
        for name, module in network.named_children():
            if isinstance(module, nn.Linear):
                mask, algebra = masks[f"{name}.weight"], algebra_of(module)
                sparse = None if is_dense(mask, algebra) else expand(mask, algebra)
                middle = end + (mask.numel() if sparse is None else int(mask.sum()))
                self._layers.append(_Layer(name, module, mask, sparse, slice(end, middle), slice(middle, middle + len(mask))))
                end = middle + len(mask)
        self._parameters = torch.cat(
            [
                part
                for layer in self._layers
                for part in (layer.values(layer.module.weight.detach()), layer.module.bias.detach())
            ]
        )
        self._gradient, self._mean, self._square = (torch.zeros(end) for _ in range(3))
        self._before = 0
        """Steps that the moments had seen."""
        if moments is not None:
            self._load(moments)
        self._room: _Room | None = None

    def take(self, images: Tensor, labels: Tensor) -> float:
        """Take a step on images (batch, …) of classes (batch,); return the mean loss before it.

        Raises:
            ValueError: images of another size or type, or labels that are no classes.
        """
        flat = images.flatten(1)
        # The native code believes the sizes and types that it is given.
        if flat.shape[1] != self.inputs or flat.dtype != torch.float32 or flat.device.type != "cpu":
            given = f"{flat.dtype} of {flat.shape[1]} values on {flat.device.type}"
            raise ValueError(f"`images` ({given}) must be float32 of {self.inputs} values each on the CPU")
        classed = labels.to(torch.int64).contiguous()
        room = self.room(len(images))
        where = (*flat.shape, *flat.stride(), flat.data_ptr(), classed.data_ptr())
        loss: float = kernels().take(room.perceptron, *where, self.steps_behind + 1, self.learning_rate)
        if math.isnan(loss):
            check_labels(classed, self.classes)
        self.taken += 1
        return loss

    @property
    def steps_behind(self) -> int:
        """Optimiser steps so far, with those that the moments had seen."""
        return self._before + self.taken

    @property
    def inputs(self) -> int:
        """Values of an image."""
        return self._layers[0].module.in_features

    @property
    def classes(self) -> int:
        """Outputs of the network."""
        return self._layers[-1].module.out_features

    def put_back(self) -> None:
        """Bring the network up to date; its pruned weights are zero."""
        with torch.no_grad():
            for layer in self._layers:
                layer.module.weight.copy_(layer.spread(self._parameters[layer.weights]))
                layer.module.bias.copy_(self._parameters[layer.bias])

    def resume(self, taken: int) -> None:
        """Count so many of the steps that the moments had seen as this training's own."""
        self._before, self.taken = self._before - taken, taken

    def moments(self, *, copy: bool = True) -> dict[str, Tensor]:
        """Return what `Steps.moments` does, always as copies; those of pruned weights are zero."""
        averages = {"mean": self._mean, "square": self._square} if self._spec.optimizer == "adam" else {"mean": self._mean}
        found = {"steps": torch.tensor(self.steps_behind)}
        for layer in self._layers:
            for key, values in averages.items():
                found[f"{layer.name}.weight.{key}"] = layer.spread(values[layer.weights])
                found[f"{layer.name}.bias.{key}"] = values[layer.bias].clone()
        return found

    def _load(self, moments: Mapping[str, Tensor]) -> None:
        self._before = int(moments["steps"])
        for layer in self._layers:
            for key, values in (("mean", self._mean), ("square", self._square)):
                if f"{layer.name}.weight.{key}" in moments:
                    values[layer.weights] = layer.values(moments[f"{layer.name}.weight.{key}"])
                    values[layer.bias] = moments[f"{layer.name}.bias.{key}"]

    def room(self, batch: int) -> "_Room":
        """Return room for a batch of that size, the one that is there if it is large enough."""
        if self._room is None or self._room.batch < batch:
            self._room = _Room(batch, self._spec, self._layers, (self._parameters, self._gradient, self._mean, self._square))
        return self._room


class _Room:
    """A perceptron as the native code takes it, with room for a batch and those that are smaller.

    Args:
        batch: Images.
        spec: The optimiser.
        layers: The network's.
        vectors: Parameters, gradient and both averages, float32 (parameters,) each.
    """

    def __init__(self, batch: int, spec: TrainSpec, layers: list[_Layer], vectors: tuple[Tensor, ...]) -> None:
        self.batch = batch
        self._alive: list[Tensor] = []
        """The tensors whose addresses the native code is given."""
        self._rooms: list[DenseRoom] = []
        parameters, gradient, *_ = vectors
        sizes = [layers[0].module.in_features, *(layer.module.out_features for layer in layers)]
        values, gradients = ([self._address(torch.zeros(size, width(batch))) for size in sizes] for _ in range(2))
        self._layers = (CLayer * len(layers))(
            *(
                CLayer(
                    layer.module.in_features,
                    layer.module.out_features,
                    self._dense(layer, parameters, gradient) if layer.sparse is None else None,
                    *(map(self._entries, layer.sparse) if layer.sparse else [CEntries()] * 2),
                    layer.weights.stop - layer.weights.start,
                    *(self._address(vector[part]) for vector in (parameters, gradient) for part in (layer.weights, layer.bias)),
                    *(self._both(layer) for _ in range(2)),
                    *(values[number : number + 2] + gradients[number : number + 2]),
                )
                for number, layer in enumerate(layers)
            )
        )
        self.perceptron = CPerceptron(
            len(layers),
            self._layers,
            self._address(layers[0].met_inputs()),
            len(parameters),
            *map(self._address, vectors),
            spec.optimizer == "adam",
            spec.nesterov,
            *(*ADAM_BETAS, ADAM_EPSILON, spec.momentum, spec.weight_decay),
        )

    def _entries(self, entries: Entries) -> CEntries:
        return CEntries(entries.blocks, entries.rows, *map(self._address, (entries.start, entries.column, entries.source)))

    def _both(self, layer: _Layer) -> int | None:
        count = layer.weights.stop - layer.weights.start
        if layer.sparse is None or not bool((layer.sparse[0].source >= count).any()):
            return None
        return self._address(torch.zeros(2 * count))

    def _dense(self, layer: _Layer, parameters: Tensor, gradient: Tensor) -> Any:
        algebra = algebra_of(layer.module)
        self._rooms.append(DenseRoom(algebra, layer.mask, self.batch, parameters[layer.weights], gradient[layer.weights]))
        return self._rooms[-1].pointer

    def _address(self, tensor: Tensor) -> int:
        self._alive.append(tensor)
        return tensor.data_ptr()


def check_labels(labels: Tensor, classes: int) -> None:
    """Raise `ValueError` unless all labels are classes."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(f"`labels` ({low} … {high}) must lie in 0 … {classes - 1}")
