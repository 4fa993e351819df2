"""Lowering of layers with weights: linear layers, convolutions and transposed ones, of one dimension and of two."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from fourfold import nn as fnn
from fourfold.algebra import REAL
from fourfold.deploy.frontend.lowering import Lowering, called, numpy_of, pair_of, refusal, reshaped
from fourfold.deploy.ir.bounds import ALGEBRA_SIZES
from fourfold.deploy.ir.ops import Convolution, InsertZeros, Linear, Pad, Permute, Slice
from fourfold.deploy.ir.product import LeftTable, Product
from fourfold.nn.base import AlgebraLayer

Padding = tuple[int, int, int, int]


def product_of(layer: nn.Linear | nn.Conv1d | nn.Conv2d, name: str) -> tuple[Product, int]:
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


def add_linear(lowering: Lowering, layer: nn.Linear, name: str, value: int) -> int:
    """Append a linear layer, along the last axis."""
    product, _ = product_of(layer, name)
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


def add_convolution(lowering: Lowering, layer: nn.Conv1d | nn.Conv2d, name: str, value: int) -> int:
    """Append a convolution."""
    product, groups = product_of(layer, name)
    # Also of 'same' and 'valid', where sides may differ.
    sides = tuple(map(int, layer._reversed_padding_repeated_twice))
    left, right, top, bottom = sides if len(sides) == 4 else (*sides, 0, 0)
    padding = (top, bottom, left, right)
    value = as_map(lowering, layer, name, value)
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
    return as_row(lowering, layer, name, value)


def add_transposed(lowering: Lowering, layer: nn.ConvTranspose1d | nn.ConvTranspose2d, name: str, value: int) -> int:
    """A convolution of the map with zeros between its pixels, of a kernel turned round."""
    product, groups = _transposed(layer, name)
    product = _of_maps(product)
    stride, padding, more = (
        _both(each, least) for each, least in ((layer.stride, 1), (layer.padding, 0), (layer.output_padding, 0))
    )
    dilation = _both(layer.dilation)
    kernel = product.weight.shape[3:]
    around = [gap * (size - 1) - side for gap, size, side in zip(dilation, kernel, padding, strict=True)]
    value = as_map(lowering, layer, name, value)
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
    return as_row(lowering, layer, name, value)


def _transposed(layer: nn.ConvTranspose1d | nn.ConvTranspose2d, name: str) -> tuple[Product, int]:
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


def is_row(layer: nn.Module) -> bool:
    """Return whether a layer is of one dimension."""
    return isinstance(layer, nn.Conv1d | nn.ConvTranspose1d | nn.MaxPool1d | nn.AvgPool1d)


def as_map(lowering: Lowering, layer: nn.Module, name: str, value: int) -> int:
    """Return a row as a map of height 1, to a layer of one dimension."""
    shape = lowering.shapes[value]
    if not is_row(layer):
        return value
    if len(shape) != 2:
        raise refusal(called(layer, name), f", given {shape} where it takes channels and length")
    return reshaped(lowering, f"{name}.map", value, (shape[0], 1, shape[1]))


def as_row(lowering: Lowering, layer: nn.Module, name: str, value: int) -> int:
    """Return a map of height 1 as a row again, from a layer of one dimension."""
    shape = lowering.shapes[value]
    return reshaped(lowering, f"{name}.row", value, (shape[0], shape[2])) if is_row(layer) else value


def _of_maps(product: Product) -> Product:
    """Return a kernel of one dimension as one of height 1."""
    weight = product.weight if product.weight.ndim == 5 else product.weight[..., None, :]
    return Product(weight=weight, bias=product.bias, table=product.table)


def _both(setting: Any, least: int = 1) -> tuple[int, int]:
    """Return a setting of rows and columns; of one dimension it is that of columns."""
    if isinstance(setting, Sequence) and len(setting) == 1:
        return (least, int(setting[0]))
    return pair_of(setting)
