"""Lowering of single layers: from a module of torch or fourfold to operations of a program."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fourfold import nn as fnn
from fourfold.algebra import REAL
from fourfold.deploy.ir.bounds import ALGEBRA_SIZES
from fourfold.deploy.ir.operation import Array, Operation, Shape, output_shape
from fourfold.deploy.ir.ops import Add, Affine, AveragePool, Convolution, Flatten, Linear, MaxPool, Relu
from fourfold.deploy.ir.product import LeftTable, Product
from fourfold.models import LearnedChannel
from fourfold.nn._fold import scaling
from fourfold.nn.base import AlgebraLayer
from fourfold.nn.whitening import WhiteningBatchNorm
from fourfold.record import UserError

_HARMLESS = {
    *dir(type("Empty", (), {"__slots__": ()})),
    *("__annotations__", "__constants__", "__dict__", "__weakref__", "__static_attributes__", "__firstlineno__"),
    *("extra_repr", "reset_parameters", "_get_name", "_version", "_load_from_state_dict", "_save_to_state_dict"),
} - {"__getattribute__"}
"""What a subclass may define anew and still compute as its base: what every class has, and how a layer starts and is shown."""


@dataclass(kw_only=True)
class Lowering:
    """Operations found so far, and the shapes of their values."""

    shapes: list[Shape]
    operations: list[Operation] = field(default_factory=list)

    def add(self, make: Callable[..., Operation], name: str, *inputs: int, **settings: Any) -> int:
        """Append an operation and return the number of the value that it makes."""
        operation = make(name=name, inputs=inputs, output=len(self.shapes), **settings)
        self.shapes.append(output_shape(operation, [self.shapes[value] for value in inputs]))
        self.operations.append(operation)
        return operation.output


def refusal(what: str, why: str = "") -> UserError:
    """Return the error for a part of a network that no operation computes."""
    known = "linear layers, 2-d convolutions, batch norms, max and average pooling, flattening, ReLU, dropout and sums"
    return UserError(f"{what} cannot be deployed{why or f'; {known} can'}")


def lower_layer(lowering: Lowering, layer: nn.Module, name: str, value: int) -> int:
    """Append what a layer does to a value, and return the value that comes out.

    Raises:
        UserError: the layer, or one of its settings, is not among those that can be deployed.
    """
    kind = kind_of(layer)
    if kind is None:
        raise refusal(_called(layer, name))
    return LAYERS[kind](lowering, layer, name, value)


def kind_of(layer: nn.Module) -> type[nn.Module] | None:
    """Return the class that a layer is lowered as: its own, or the first of its bases that is known, if it computes as that.

    A class that overrides a method of that base, such as `forward`, or an object with one of its own may compute anything.
    """
    if "forward" in vars(layer):  # the object's own
        return None
    bases = type(layer).__mro__
    kind = next((base for base in bases if base in LAYERS), None)
    if kind is None:
        return None
    own = [
        index for index, base in enumerate(bases) if base in LAYERS or base.__module__.startswith(("fourfold.nn.", "torch.nn."))
    ]
    changed = {name for base in bases[: own[0]] for name in vars(base)} & set(dir(bases[own[0]])) - _HARMLESS
    return None if changed else kind


def _called(layer: nn.Module, name: str) -> str:
    return f"layer {name!r} ({type(layer).__name__})"


def _product(layer: nn.Linear | nn.Conv2d, name: str) -> tuple[Product, int]:
    """Return a layer's product and its groups: of its algebra if that is fixed and has one group, else of its real matrix.

    So are algebras of sizes that files do not hold.
    """
    groups = getattr(layer, "groups", 1)
    table: LeftTable = REAL.left_table
    if isinstance(layer, AlgebraLayer) and layer.is_product() and groups == 1 and layer.algebra.n in ALGEBRA_SIZES:
        table = layer.algebra.left_table
        weight = layer.weight
    elif isinstance(layer, AlgebraLayer) and layer.algebra.n > 1:
        groups = 1
        weight = fnn.to_real(layer).weight  # type: ignore[assignment]
    else:
        weight = layer.weight
    numbers = numpy_of(weight, name)
    numbers = numbers.reshape(len(table), -1, *numbers.shape[1:])
    return Product(weight=numbers, bias=None if layer.bias is None else numpy_of(layer.bias, name), table=table), groups


def numpy_of(tensor: Tensor, name: str) -> Array:
    """Return a layer's numbers as a float32 array of their own.

    Raises:
        UserError: one of them is not finite.
    """
    array = tensor.detach().to("cpu", torch.float32, copy=True).contiguous().numpy()
    if not np.isfinite(array).all():
        raise UserError(f"layer {name!r} has numbers that are nan or infinite, which cannot be deployed")
    return array


def _pair(setting: Any) -> tuple[int, int]:
    height, width = setting if isinstance(setting, Sequence) else (setting, setting)
    return int(height), int(width)


def _linear(lowering: Lowering, layer: nn.Linear, name: str, value: int) -> int:
    product, _ = _product(layer, name)
    return lowering.add(Linear, name, value, product=product)


def _convolution(lowering: Lowering, layer: nn.Conv2d, name: str, value: int) -> int:
    if layer.padding_mode != "zeros":
        raise refusal(_called(layer, name), f" with `padding_mode` (={layer.padding_mode!r}), which must be 'zeros'")
    product, groups = _product(layer, name)
    left, right, top, bottom = map(
        int, layer._reversed_padding_repeated_twice
    )  # also of 'same' and 'valid', where sides may differ
    return lowering.add(
        Convolution,
        name,
        value,
        product=product,
        stride=_pair(layer.stride),
        padding=(top, bottom, left, right),
        dilation=_pair(layer.dilation),
        groups=int(groups),
    )


def _batch_norm(lowering: Lowering, layer: nn.BatchNorm1d | nn.BatchNorm2d, name: str, value: int) -> int:
    if layer.running_mean is None:
        raise refusal(_called(layer, name), f" with `track_running_stats` (={layer.track_running_stats}), which must be True")
    scale, shift = scaling(layer)
    return lowering.add(Affine, name, value, scale=numpy_of(scale, name), shift=numpy_of(shift, name))


def _whitening(lowering: Lowering, layer: WhiteningBatchNorm, name: str, value: int) -> int:
    """A whitening norm is a real 1×1 product of n weights a channel: within the product before it, it would fill its zeros."""
    if layer.algebra.n == 1:
        assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
        return _batch_norm(lowering, layer, name, value)
    matrices, offset = layer.evaluation()
    numbers, n, _ = matrices.shape
    weight = torch.einsum("cij,cd->icjd", matrices, torch.eye(numbers, dtype=matrices.dtype)).reshape(n * numbers, -1)
    product = Product(weight=numpy_of(weight, name)[None], bias=numpy_of(offset.t().flatten(), name), table=REAL.left_table)
    if len(lowering.shapes[value]) == 1:
        return lowering.add(Linear, name, value, product=product)
    pointwise = Product(weight=product.weight[..., None, None], bias=product.bias, table=product.table)
    return lowering.add(Convolution, name, value, product=pointwise)


def _max_pool(lowering: Lowering, layer: nn.MaxPool2d, name: str, value: int) -> int:
    if getattr(layer, "algebra", REAL).n > 1:
        raise refusal(_called(layer, name), " with an algebra: pooling of every component alone, torch's own, can")
    if layer.return_indices:
        raise refusal(_called(layer, name), " with `return_indices` (=True), which must be False")
    return lowering.add(
        MaxPool,
        name,
        value,
        kernel=_pair(layer.kernel_size),
        stride=_pair(layer.stride),
        padding=_pair(layer.padding),
        dilation=_pair(layer.dilation),
        ceil=bool(layer.ceil_mode),
    )


def _average_pool(lowering: Lowering, layer: nn.AvgPool2d, name: str, value: int) -> int:
    if layer.divisor_override is not None:
        raise refusal(_called(layer, name), f" with `divisor_override` (={layer.divisor_override}), which must be None")
    return lowering.add(
        AveragePool,
        name,
        value,
        kernel=_pair(layer.kernel_size),
        stride=_pair(layer.stride),
        padding=_pair(layer.padding),
        count_padding=bool(layer.count_include_pad),
        ceil=bool(layer.ceil_mode),
    )


def _adaptive_average_pool(lowering: Lowering, layer: nn.AdaptiveAvgPool2d, name: str, value: int) -> int:
    """Windows of one size alone: those of other sizes would overlap."""
    _, *sizes = lowering.shapes[value]
    wanted = layer.output_size if isinstance(layer.output_size, Sequence) else (layer.output_size,) * 2
    outputs = tuple(size if output is None else output for size, output in zip(sizes, wanted, strict=False))
    if len(sizes) != 2 or any(size % output for size, output in zip(sizes, outputs, strict=True)):
        raise refusal(_called(layer, name), f" with `output_size` (={layer.output_size}), which must divide the map {sizes}")
    window = sizes[0] // outputs[0], sizes[1] // outputs[1]
    return lowering.add(AveragePool, name, value, kernel=window, stride=window)


def _flatten(lowering: Lowering, layer: nn.Flatten, name: str, value: int) -> int:
    shape = lowering.shapes[value]
    if layer.start_dim != 1 or layer.end_dim not in (-1, len(shape)):
        axes = layer.start_dim, layer.end_dim
        raise refusal(_called(layer, name), f" with `start_dim` and `end_dim` (={axes}), which must leave the batch alone")
    return value if len(shape) == 1 else lowering.add(Flatten, name, value)


def _learned_channel(lowering: Lowering, layer: LearnedChannel, name: str, value: int) -> int:
    """The image beside relu(conv(image)), as the sum of both with zeros in the other's channels: exact in floats."""
    product, _ = _product(layer.conv, f"{name}.conv")
    weight, bias = product.weight[0], product.bias
    assert bias is not None
    inputs = weight.shape[1]
    learned = Product(
        weight=np.concatenate([np.zeros((inputs, *weight.shape[1:]), np.float32), weight])[None],
        bias=np.concatenate([np.zeros(inputs, np.float32), bias]),
        table=product.table,
    )
    same = np.eye(inputs + len(weight), inputs, dtype=np.float32)[None, :, :, None, None]
    image = lowering.add(Convolution, name, value, product=Product(weight=same, bias=None, table=product.table))
    made = lowering.add(Convolution, f"{name}.conv", value, product=learned, padding=(1, 1, 1, 1), relu=True)
    return lowering.add(Add, f"{name}.add", image, made)


def _unchanged(lowering: Lowering, layer: nn.Module, name: str, value: int) -> int:
    return value


LAYERS: dict[type[nn.Module], Callable[[Lowering, Any, str, int], int]] = {
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    WhiteningBatchNorm: _whitening,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: _adaptive_average_pool,
    nn.ReLU: lambda lowering, layer, name, value: lowering.add(Relu, name, value),
    nn.Flatten: _flatten,
    nn.Identity: _unchanged,
    nn.Dropout: _unchanged,
    nn.Dropout1d: _unchanged,
    nn.Dropout2d: _unchanged,
    LearnedChannel: _learned_channel,
}
"""Layers by their class; a subclass that overrides nothing of it is lowered as the first of its bases that is here."""
