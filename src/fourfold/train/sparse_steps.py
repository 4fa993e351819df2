"""Optimiser steps of pruned or small perceptrons on the CPU, at the price of the weights that are left.

A network of linear layers and ReLUs takes its steps in native code that walks the kept weights only
(`native/perceptron.c`): at 2 % of Lenet-300-100 a step takes a tenth of PyTorch's, and so does one of a dense
network of 8,000 weights, where PyTorch's time is its calls. The function is the masked network's
and the optimiser is torch's; sums are taken in another order.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fourfold.native import NoCompilerError, compiler
from fourfold.native.perceptron import kernels, width
from fourfold.nn import Linear, algebra_of
from fourfold.record import TrainSpec
from fourfold.train.entries import Entries, expand

MAX_DENSITY = 0.5
"""Above it PyTorch's dense products are faster; `benchmarks/sparse_steps.py` measures it."""

SMALL = 50_000
"""Entries of the layers' real matrices up to which PyTorch's calls take longer than its products, at any density."""

ADAM_BETAS, ADAM_EPSILON = (0.9, 0.999), 1e-8
"""torch's defaults."""


def sparse_steps(
    network: nn.Module, spec: TrainSpec, masks: Mapping[str, Tensor], moments: Mapping[str, Tensor] | None = None
) -> "SparseSteps | None":
    """Return steps for a perceptron on the CPU that is sparse or small enough.

    None for others, in other precisions than float32, or without a compiler.
    """
    if not _is_perceptron(network) or spec.precision is not None:
        return None
    layers = {name: layer for name, layer in network.named_children() if isinstance(layer, nn.Linear)}
    if {f"{name}.weight" for name in layers} != set(masks):
        return None
    kept = sum(int(mask.sum()) for mask in masks.values())
    entries = sum(int(masks[f"{name}.weight"].sum()) * algebra_of(layer).n for name, layer in layers.items())
    if kept > MAX_DENSITY * sum(mask.numel() for mask in masks.values()) and entries > SMALL:
        return None
    try:
        kernels()
    except NoCompilerError:
        return None
    return SparseSteps(network, spec, masks, moments)


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
    matrix: Entries
    transpose: Entries
    weights: slice
    """Its kept weights among the parameters."""
    bias: slice


class SparseSteps:
    """What `Steps` does, for perceptrons; the network itself is brought up to date by `put_back` alone."""

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
                mask = masks[f"{name}.weight"]
                middle = end + int(mask.sum())
                self._layers.append(
                    _Layer(
                        name,
                        module,
                        mask,
                        *expand(mask, algebra_of(module)),
                        slice(end, middle),
                        slice(middle, middle + len(mask)),
                    )
                )
                end = middle + len(mask)
        self._parameters = torch.cat(
            [part for layer in self._layers for part in (layer.module.weight.detach()[layer.mask], layer.module.bias.detach())]
        )
        self._gradient, self._mean, self._square = (torch.zeros(end) for _ in range(3))
        self._before = 0
        """Steps that the moments had seen."""
        if moments is not None:
            self._load(moments)
        self._passes: dict[int, _Passes] = {}

    def take(self, images: Tensor, labels: Tensor) -> float:
        """Take a step on images (batch, …) of classes (batch,); return the mean loss before it.

        Raises:
            ValueError: images of another size or type, or labels that are no classes.
        """
        passes = self._passes.get(len(images))
        if passes is None:
            passes = self._passes[len(images)] = _Passes(len(images), self._layers, self._parameters, self._gradient)
        loss = passes.run(images, labels)
        self.taken += 1
        spec, count, code, number = self._spec, self._gradient.numel(), kernels(), self._before + self.taken
        addresses = [tensor.data_ptr() for tensor in (self._parameters, self._gradient, self._mean, self._square)]
        if spec.optimizer == "adam":
            code.adam(count, number, self.learning_rate, *ADAM_BETAS, ADAM_EPSILON, spec.weight_decay, *addresses)
        else:
            code.sgd(count, number, self.learning_rate, spec.momentum, spec.nesterov, spec.weight_decay, *addresses[:3])
        return loss

    def put_back(self) -> None:
        """Bring the network up to date; its pruned weights are zero."""
        with torch.no_grad():
            for layer in self._layers:
                layer.module.weight.zero_()[layer.mask] = self._parameters[layer.weights]
                layer.module.bias.copy_(self._parameters[layer.bias])

    def moments(self) -> dict[str, Tensor]:
        """Return what `Steps.moments` does; those of pruned weights are zero."""
        averages = {"mean": self._mean, "square": self._square} if self._spec.optimizer == "adam" else {"mean": self._mean}
        found = {"steps": torch.tensor(self._before + self.taken)}
        for layer in self._layers:
            for key, values in averages.items():
                of_weight = torch.zeros_like(layer.module.weight)
                of_weight[layer.mask] = values[layer.weights]
                found[f"{layer.name}.weight.{key}"] = of_weight
                found[f"{layer.name}.bias.{key}"] = values[layer.bias].clone()
        return found

    def _load(self, moments: Mapping[str, Tensor]) -> None:
        self._before = int(moments["steps"])
        for layer in self._layers:
            for key, values in (("mean", self._mean), ("square", self._square)):
                if f"{layer.name}.weight.{key}" in moments:
                    values[layer.weights] = moments[f"{layer.name}.weight.{key}"][layer.mask]
                    values[layer.bias] = moments[f"{layer.name}.bias.{key}"]


class _Passes:
    """The forward and backward pass of batches of one size: calls of native code whose arguments are looked up once."""

    def __init__(self, batch: int, layers: list[_Layer], parameters: Tensor, gradient: Tensor) -> None:
        sizes = [layers[0].module.in_features, *(layer.module.out_features for layer in layers)]
        values = [torch.zeros(size, width(batch)) for size in sizes]
        gradients = [torch.zeros(size, width(batch)) for size in sizes]
        self._input, self._num_classes = values[0], sizes[-1]
        self._labels = torch.zeros(batch, dtype=torch.int64)
        self._loss = torch.zeros((), dtype=torch.float64)
        self._calls: list[tuple[Callable[..., None], tuple[int | None, ...]]] = []
        self._alive: list[Tensor] = []
        """The tensors whose addresses are in the calls."""
        code = kernels()
        for layer, x, y in zip(layers, values[:-1], values[1:], strict=True):
            self._product(layer.matrix, parameters[layer.weights], parameters[layer.bias], x, y)
            if layer is not layers[-1]:
                self._add(code.relu, y.numel(), y)
        self._add(code.cross_entropy, batch, sizes[-1], width(batch), values[-1], self._labels, gradients[-1], self._loss)
        for layer, x, gx, gy in reversed(list(zip(layers, values[:-1], gradients[:-1], gradients[1:], strict=True))):
            weights, entries = parameters[layer.weights], layer.matrix
            where = (entries.start, entries.column, entries.source, entries.sign)
            of_weights, of_bias = gradient[layer.weights], gradient[layer.bias]
            self._add(code.gradient, len(gy), *where, gy, x, width(batch), len(weights), of_weights, of_bias)
            if layer is not layers[0]:
                self._product(layer.transpose, weights, None, gy, gx)
                self._add(code.relu_backward, x.numel(), x, gx)

    def run(self, images: Tensor, labels: Tensor) -> float:
        """Fill the gradient, and return the mean loss."""
        flat = images.flatten(1)
        # The native code believes the sizes and types that it is given.
        if flat.shape[1] != len(self._input) or flat.dtype != torch.float32 or flat.device.type != "cpu":
            given = f"{flat.dtype} of {flat.shape[1]} values on {flat.device.type}"
            raise ValueError(f"`images` ({given}) must be float32 of {len(self._input)} values each on the CPU")
        kernels().to_columns(*flat.shape, *flat.stride(), flat.data_ptr(), self._input.shape[1], self._input.data_ptr())
        self._labels.copy_(labels)
        for function, arguments in self._calls:
            function(*arguments)
        loss = self._loss.item()
        if math.isnan(loss) and (int(labels.min()) < 0 or int(labels.max()) >= self._num_classes):
            raise ValueError(f"`labels` ({int(labels.min())} … {int(labels.max())}) must lie in 0 … {self._num_classes - 1}")
        return loss

    def _product(self, entries: Entries, weights: Tensor, bias: Tensor | None, x: Tensor, y: Tensor) -> None:
        code, spread = kernels(), torch.zeros(len(entries.source))
        self._add(code.spread, len(spread), entries.source, entries.sign, weights, spread)
        self._add(code.product, len(y), entries.start, entries.column, spread, bias, x, x.shape[1], y)

    def _add(self, function: Callable[..., None], *arguments: Tensor | int | None) -> None:
        self._alive += [argument for argument in arguments if isinstance(argument, Tensor)]
        self._calls.append((function, tuple(a.data_ptr() if isinstance(a, Tensor) else a for a in arguments)))
