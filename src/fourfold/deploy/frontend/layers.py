"""Lowering of single layers: from a module of torch or fourfold to operations of a program."""

import math
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
from fourfold.deploy.ir.ops import (
    AdaptivePool,
    Add,
    Affine,
    AveragePool,
    Convolution,
    InsertZeros,
    Linear,
    MaxPool,
    Pad,
    Permute,
    Reshape,
    Slice,
)
from fourfold.deploy.ir.product import LeftTable, Product
from fourfold.models import LearnedChannel
from fourfold.nn._fold import scaling
from fourfold.nn.base import AlgebraLayer
from fourfold.nn.whitening import WhiteningBatchNorm
from fourfold.record import UserError

Padding = tuple[int, int, int, int]

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
    return UserError(f"{what} cannot be deployed{why or '; docs/deploy.md lists what can'}")


def lower_layer(lowering: Lowering, layer: nn.Module, name: str, value: int) -> int:
    """Append what a layer does to a value, and return the value that comes out.

    Raises:
        UserError: the layer, or one of its settings, is not among those that can be deployed.
    """
    kind = kind_of(layer)
    if kind is None:
        raise refusal(called(layer, name))
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


def called(layer: nn.Module, name: str) -> str:
    """Return what errors call a layer."""
    return f"layer {name!r} ({type(layer).__name__})"


def _product(layer: nn.Linear | nn.Conv1d | nn.Conv2d, name: str) -> tuple[Product, int]:
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


def reshaped(lowering: Lowering, name: str, value: int, shape: Shape) -> int:
    """Append a change of shape, where it is one."""
    return value if lowering.shapes[value] == shape else lowering.add(Reshape, name, value, shape=shape)


def _linear(lowering: Lowering, layer: nn.Linear, name: str, value: int) -> int:
    product, _ = _product(layer, name)
    *before, features = lowering.shapes[value]
    if not before:
        return lowering.add(Linear, name, value, product=product)
    # Along the last axis: a convolution of one pixel over the others, once they are behind it.
    last = len(before)
    pointwise = Product(weight=product.weight[..., None, None], bias=product.bias, table=product.table)
    value = lowering.add(Permute, f"{name}.in", value, order=(last, *range(last)))
    value = reshaped(lowering, f"{name}.in", value, (features, 1, math.prod(before)))
    value = lowering.add(Convolution, name, value, product=pointwise)
    value = reshaped(lowering, f"{name}.out", value, (lowering.shapes[value][0], *before))
    return lowering.add(Permute, f"{name}.out", value, order=(*range(1, last + 1), 0))


def _padded(lowering: Lowering, layer: nn.Conv1d | nn.Conv2d, name: str, value: int, padding: Padding) -> int:
    """Append a padding other than of zeros."""
    top, bottom, left, right = padding
    mode = {"replicate": "replicate", "reflect": "reflect", "circular": "circular"}.get(layer.padding_mode)
    if mode is None:
        raise refusal(called(layer, name), f" with `padding_mode` (={layer.padding_mode!r})")
    return lowering.add(Pad, f"{name}.pad", value, before=(0, top, left), after=(0, bottom, right), mode=mode)


def _convolution(lowering: Lowering, layer: nn.Conv1d | nn.Conv2d, name: str, value: int) -> int:
    product, groups = _product(layer, name)
    # Also of 'same' and 'valid', where sides may differ.
    sides = tuple(map(int, layer._reversed_padding_repeated_twice))
    left, right, top, bottom = sides if len(sides) == 4 else (*sides, 0, 0)
    padding = (top, bottom, left, right)
    value = _as_map(lowering, layer, name, value)
    if layer.padding_mode != "zeros" and any(padding):
        value, padding = _padded(lowering, layer, name, value, padding), (0, 0, 0, 0)
    value = lowering.add(
        Convolution,
        name,
        value,
        product=_of_maps(product),
        stride=_both(layer.stride),
        padding=padding,
        dilation=_both(layer.dilation),
        groups=int(groups),
    )
    return _as_row(lowering, layer, name, value)


def _transposed(lowering: Lowering, layer: nn.ConvTranspose1d | nn.ConvTranspose2d, name: str, value: int) -> int:
    """A convolution of the map with zeros between its pixels, of a kernel turned round."""
    product, groups = _turned(layer, name)
    product = _of_maps(product)
    stride, padding, more = (
        _both(each, least) for each, least in ((layer.stride, 1), (layer.padding, 0), (layer.output_padding, 0))
    )
    dilation = _both(layer.dilation)
    kernel = product.weight.shape[3:]
    around = [gap * (size - 1) - side for gap, size, side in zip(dilation, kernel, padding, strict=True)]
    value = _as_map(lowering, layer, name, value)
    if stride != (1, 1):
        value = lowering.add(InsertZeros, f"{name}.zeros", value, factors=stride)
    ends = [side + extra for side, extra in zip(around, more, strict=True)]
    for axis in (1, 2):  # where padding takes more away than the kernel adds
        start, end = max(-around[axis - 1], 0), max(-ends[axis - 1], 0)
        if start or end:
            size = lowering.shapes[value][axis] - start - end
            value = lowering.add(Slice, f"{name}.cut", value, axis=axis, start=start, size=size)
    padded = (max(around[0], 0), max(ends[0], 0), max(around[1], 0), max(ends[1], 0))
    value = lowering.add(Convolution, name, value, product=product, padding=padded, dilation=dilation, groups=groups)
    return _as_row(lowering, layer, name, value)


def _turned(layer: nn.ConvTranspose1d | nn.ConvTranspose2d, name: str) -> tuple[Product, int]:
    """Return the product of a transposed convolution, kernels turned round, and its groups."""
    groups, bias = int(layer.groups), None if layer.bias is None else numpy_of(layer.bias, name)
    n, table = 1, REAL.left_table
    if isinstance(layer, AlgebraLayer) and layer.algebra.n > 1:
        if layer.is_product() and groups == 1 and layer.algebra.n in ALGEBRA_SIZES:
            n, table = layer.algebra.n, layer.algebra.left_table
        else:
            layer = fnn.to_real(layer)  # type: ignore[assignment]
            groups = int(layer.groups)
    weight = numpy_of(layer.weight, name)
    weight = weight.reshape(n, groups, -1, *weight.shape[1:])  # n, groups, in / n / groups, out / n / groups, *kernel
    weight = np.flip(weight.swapaxes(2, 3), tuple(range(4, weight.ndim)))
    weight = np.ascontiguousarray(weight).reshape(n, -1, *weight.shape[3:])
    return Product(weight=weight, bias=bias, table=table), groups


def _is_row(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv1d | nn.ConvTranspose1d | nn.MaxPool1d | nn.AvgPool1d)


def _as_map(lowering: Lowering, layer: nn.Module, name: str, value: int) -> int:
    """Return a row as a map of height 1, to a layer of one dimension."""
    shape = lowering.shapes[value]
    if not _is_row(layer):
        return value
    if len(shape) != 2:
        raise refusal(called(layer, name), f", given {shape} where it takes channels and length")
    return reshaped(lowering, f"{name}.map", value, (shape[0], 1, shape[1]))


def _as_row(lowering: Lowering, layer: nn.Module, name: str, value: int) -> int:
    shape = lowering.shapes[value]
    return reshaped(lowering, f"{name}.row", value, (shape[0], shape[2])) if _is_row(layer) else value


def _of_maps(product: Product) -> Product:
    """Return a kernel of one dimension as one of height 1."""
    weight = product.weight if product.weight.ndim == 5 else product.weight[..., None, :]
    return Product(weight=weight, bias=product.bias, table=product.table)


def _both(setting: Any, least: int = 1) -> tuple[int, int]:
    """Return a setting of rows and columns; of one dimension it is that of columns."""
    if isinstance(setting, Sequence) and len(setting) == 1:
        return (least, int(setting[0]))
    return _pair(setting)


def _batch_norm(lowering: Lowering, layer: nn.BatchNorm1d | nn.BatchNorm2d, name: str, value: int) -> int:
    if layer.running_mean is None:
        raise refusal(called(layer, name), f" with `track_running_stats` (={layer.track_running_stats}), which must be True")
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


def _max_pool(lowering: Lowering, layer: nn.MaxPool1d | nn.MaxPool2d, name: str, value: int) -> int:
    if getattr(layer, "algebra", REAL).n > 1:
        raise refusal(called(layer, name), " with an algebra: pooling of every component alone, torch's own, can")
    if layer.return_indices:
        raise refusal(called(layer, name), " with `return_indices` (=True), which must be False")
    value = lowering.add(
        MaxPool,
        name,
        _as_map(lowering, layer, name, value),
        kernel=_window(layer, layer.kernel_size),
        stride=_window(layer, layer.stride),
        padding=_window(layer, layer.padding, 0),
        dilation=_window(layer, layer.dilation),
        ceil=bool(layer.ceil_mode),
    )
    return _as_row(lowering, layer, name, value)


def _window(layer: nn.Module, setting: Any, least: int = 1) -> tuple[int, int]:
    """Return a setting of a window; of one dimension it is that of columns."""
    if _is_row(layer):
        return (least, int(setting[0] if isinstance(setting, Sequence) else setting))
    return _pair(setting)


def _average_pool(lowering: Lowering, layer: nn.AvgPool1d | nn.AvgPool2d, name: str, value: int) -> int:
    if getattr(layer, "divisor_override", None) is not None:
        raise refusal(called(layer, name), f" with `divisor_override` (={layer.divisor_override}), which must be None")
    value = lowering.add(
        AveragePool,
        name,
        _as_map(lowering, layer, name, value),
        kernel=_window(layer, layer.kernel_size),
        stride=_window(layer, layer.stride),
        padding=_window(layer, layer.padding, 0),
        count_padding=bool(layer.count_include_pad),
        ceil=bool(layer.ceil_mode),
    )
    return _as_row(lowering, layer, name, value)


def _adaptive_average_pool(lowering: Lowering, layer: nn.AdaptiveAvgPool2d, name: str, value: int) -> int:
    """Windows of one size where the map can be cut into them; else they overlap."""
    _, *sizes = lowering.shapes[value]
    wanted = layer.output_size if isinstance(layer.output_size, Sequence) else (layer.output_size,) * 2
    outputs = tuple(size if output is None else output for size, output in zip(sizes, wanted, strict=False))
    if len(sizes) != 2:
        raise refusal(called(layer, name), f", given {lowering.shapes[value]} where it takes channels, height and width")
    if any(size % output for size, output in zip(sizes, outputs, strict=True)):
        return lowering.add(AdaptivePool, name, value, function="mean", size=(outputs[0], outputs[1]))
    window = sizes[0] // outputs[0], sizes[1] // outputs[1]
    return lowering.add(AveragePool, name, value, kernel=window, stride=window)


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
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.ConvTranspose1d: _transposed,
    nn.ConvTranspose2d: _transposed,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    WhiteningBatchNorm: _whitening,
    nn.MaxPool1d: _max_pool,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool1d: _average_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: _adaptive_average_pool,
    **dict.fromkeys((nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout), _unchanged),
    LearnedChannel: _learned_channel,
}
"""Layers with weights or windows by their class; a subclass that overrides nothing is lowered as its first base here.
Other layers are what their forward calls."""
