"""The parameters and the optimiser of a perceptron, as the native code has them (`native/perceptron.c`).

A layer of few weights has only those that are kept visited: at 2 % of Lenet-300-100 a step takes a twenty-fifth of PyTorch's.
Other layers are dense products at the speed of the processor, of quaternions eight for sixteen. The function is the masked
network's and the optimiser is torch's; sums are taken in another order.
"""

import ctypes
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fourfold.algebra import COMPLEX, QUATERNION, Algebra
from fourfold.data import Order, Resident
from fourfold.data.resident import Pixels
from fourfold.native.perceptron import CEntries, CImages, CLayer, CPerceptron, kernels, width
from fourfold.nn import algebra_of
from fourfold.record import TrainSpec
from fourfold.train.engines.dense_layers import DenseWorkspace
from fourfold.train.engines.entries import Entries, expand
from fourfold.train.evaluation import Evaluation

MAX_DENSITY = {COMPLEX: 0.6, QUATERNION: 0.45}
"""Of sparse layers; denser ones are faster dense, where few products serve an algebra earlier. `benchmarks/sparse_steps.py`."""

MAX_DENSITY_OF_OTHERS = 0.65

EVALUATED_AT_ONCE = 64
"""Images of an evaluation that the native code takes at once: its columns."""

ADAM_BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8
"""torch's defaults."""


def is_dense(mask: Tensor, algebra: Algebra) -> bool:
    """Whether a layer is faster with all its weights than with those that are kept."""
    return int(mask.sum()) > MAX_DENSITY.get(algebra, MAX_DENSITY_OF_OTHERS) * mask.numel()


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


class NativePerceptron:
    """The parameters of a perceptron and its optimiser's averages; `write_to_network` copies them back to the network."""

    def __init__(
        self, network: nn.Module, spec: TrainSpec, masks: Mapping[str, Tensor], state: Mapping[str, Tensor] | None = None
    ) -> None:
        self.steps = 0
        """Optimiser steps that the averages have seen."""
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
        if state is not None:
            self._load(state)
        self._workspace: _Workspace | None = None

    @property
    def inputs(self) -> int:
        """Values of an image."""
        return self._layers[0].module.in_features

    @property
    def classes(self) -> int:
        """Outputs of the network."""
        return self._layers[-1].module.out_features

    def take(self, images: Tensor, labels: Tensor, rate: float) -> float:
        """Take a step on images (batch, …) of classes (batch,) at a learning rate; return the mean loss before it.

        Raises:
            ValueError: images of another size or type, or labels that are no classes.
        """
        flat = images.flatten(1)
        # The native code does not check sizes and types.
        if flat.shape[1] != self.inputs or flat.dtype != torch.float32 or flat.device.type != "cpu":
            description = f"{flat.dtype} of {flat.shape[1]} values on {flat.device.type}"
            raise ValueError(f"`images` ({description}) must be float32 of {self.inputs} values each on the CPU")
        classed = labels.to(torch.int64).contiguous()
        workspace = self._workspace_for(len(images))
        arguments = (*flat.shape, *flat.stride(), flat.data_ptr(), classed.data_ptr())
        loss: float = kernels().take(workspace.perceptron, *arguments, self.steps + 1, rate)
        if math.isnan(loss):
            check_labels(classed, self.classes)
        self.steps += 1
        return loss

    def take_many(
        self, images: "NativeImages", order: Order, samples: slice, batch_size: int, rates: Tensor, loss: float
    ) -> float:
        """Take a step on each batch of some samples of an epoch; return `loss` plus the sum of theirs, each before its step.

        Args:
            images: What `order` refers to.
            order: Of the epoch.
            samples: Their positions in it.
            batch_size: Of all batches but the last.
            rates: float64, contiguous, the learning rate of each step.
            loss: Of the samples before them.
        """
        members, labels = order.members[samples], order.labels[samples]
        total: float = kernels().take_many(
            self._workspace_for(batch_size).perceptron,
            images.pointers,
            len(members),
            members.data_ptr(),
            labels.data_ptr(),
            batch_size,
            self.steps + 1,
            rates.data_ptr(),
            loss,
        )
        self.steps += -(-len(members) // batch_size)
        return total

    def evaluate(self, images: "NativeImages", order: Order) -> Evaluation:
        """Return what the perceptron reaches on images."""
        right, count, members, labels = ctypes.c_int64(), len(order.labels), order.members, order.labels
        workspace = self._workspace_for(EVALUATED_AT_ONCE)
        arguments = (members.data_ptr(), labels.data_ptr(), EVALUATED_AT_ONCE, ctypes.byref(right))
        loss = kernels().evaluate(workspace.perceptron, images.pointers, count, *arguments)
        return Evaluation(top1=100 * right.value / count, top5=None, loss=loss / count)

    def write_to_network(self) -> None:
        """Copy the parameters to the network; its pruned weights are zero."""
        with torch.no_grad():
            for layer in self._layers:
                layer.module.weight.copy_(layer.spread(self._parameters[layer.weights]))
                layer.module.bias.copy_(self._parameters[layer.bias])

    def state(self) -> dict[str, Tensor]:
        """Return what `Engine.optimizer_state` does, always as copies; averages of pruned weights are zero."""
        averages = {"mean": self._mean, "square": self._square} if self._spec.optimizer == "adam" else {"mean": self._mean}
        state = {"steps": torch.tensor(self.steps)}
        for layer in self._layers:
            for key, values in averages.items():
                state[f"{layer.name}.weight.{key}"] = layer.spread(values[layer.weights])
                state[f"{layer.name}.bias.{key}"] = values[layer.bias].clone()
        return state

    def _load(self, state: Mapping[str, Tensor]) -> None:
        self.steps = int(state["steps"])
        for layer in self._layers:
            for key, values in (("mean", self._mean), ("square", self._square)):
                if f"{layer.name}.weight.{key}" in state:
                    values[layer.weights] = layer.values(state[f"{layer.name}.weight.{key}"])
                    values[layer.bias] = state[f"{layer.name}.bias.{key}"]

    def _workspace_for(self, batch: int) -> "_Workspace":
        """Return the workspace for a batch of that size: the one that there is, if it is large enough."""
        if self._workspace is None or self._workspace.batch < batch:
            vectors = (self._parameters, self._gradient, self._mean, self._square)
            self._workspace = _Workspace(batch, self._spec, self._layers, vectors)
        return self._workspace


class NativeImages:
    """Pixels as the native code reads them, which checks neither their size nor their labels.

    Raises:
        ValueError: images of another size than the network's inputs, or labels that are no classes.
    """

    def __init__(self, perceptron: NativePerceptron, images: Resident, pixels: Pixels) -> None:
        size = pixels.bytes.shape[1]
        if size != perceptron.inputs:
            raise ValueError(f"`images` (of {size} values) must have {perceptron.inputs} values each")
        check_labels(images.labels, perceptron.classes)
        self._alive = pixels
        tensors = (pixels.bytes, pixels.scale, pixels.offset)
        self.pointers = CImages(size, *(tensor.data_ptr() for tensor in tensors))


class _Workspace:
    """The structures and buffers that the native code works in, for batches up to a size.

    Args:
        batch: Images.
        spec: The optimiser.
        layers: The network's.
        vectors: Parameters, gradient and both averages, float32 (parameters,) each.
    """

    def __init__(self, batch: int, spec: TrainSpec, layers: list[_Layer], vectors: tuple[Tensor, ...]) -> None:
        self.batch = batch
        self._alive: list[Tensor] = []
        """Tensors that the native code has the addresses of."""
        self._dense_workspaces: list[DenseWorkspace] = []
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
        vectors = parameters[layer.weights], gradient[layer.weights]
        self._dense_workspaces.append(DenseWorkspace(algebra, layer.mask, self.batch, *vectors))
        return self._dense_workspaces[-1].pointer

    def _address(self, tensor: Tensor) -> int:
        self._alive.append(tensor)
        return tensor.data_ptr()


def check_labels(labels: Tensor, classes: int) -> None:
    """Raise `ValueError` unless all labels are classes."""
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise ValueError(f"`labels` ({low} … {high}) must lie in 0 … {classes - 1}")
