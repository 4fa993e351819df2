"""Lowering of single layers: from a module of torch or fourfold to operations of a program."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from fourfold.algebra import REAL
from fourfold.deploy.frontend.lowering import Lowering, called, numpy_of, pair_of, refusal
from fourfold.deploy.frontend.products import add_convolution, add_linear, add_transposed, as_map, as_row, is_row, product_of
from fourfold.deploy.ir.ops import AdaptivePool, Add, Affine, AveragePool, Convolution, Linear, MaxPool, NormPool
from fourfold.deploy.ir.product import Product
from fourfold.models import LearnedChannel
from fourfold.nn._fold import scaling
from fourfold.nn.whitening import WhiteningBatchNorm

_HARMLESS = {
    *dir(type("Empty", (), {"__slots__": ()})),
    *("__annotations__", "__constants__", "__dict__", "__weakref__", "__static_attributes__", "__firstlineno__"),
    *("extra_repr", "reset_parameters", "_get_name", "_version", "_load_from_state_dict", "_save_to_state_dict"),
} - {"__getattribute__"}
"""What a subclass may define anew and still compute as its base: what every class has, and how a layer starts and is shown."""


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
    if layer.return_indices:
        raise refusal(called(layer, name), " with `return_indices` (=True), which must be False")
    n = getattr(layer, "algebra", REAL).n
    value = lowering.add(
        MaxPool if n == 1 else NormPool,
        name,
        as_map(lowering, layer, name, value),
        kernel=_window(layer, layer.kernel_size),
        stride=_window(layer, layer.stride),
        padding=_window(layer, layer.padding, 0),
        dilation=_window(layer, layer.dilation),
        ceil=bool(layer.ceil_mode),
        **({} if n == 1 else {"n": n}),
    )
    return as_row(lowering, layer, name, value)


def _window(layer: nn.Module, setting: Any, least: int = 1) -> tuple[int, int]:
    """Return a setting of a window; of one dimension it is that of columns."""
    if is_row(layer):
        return (least, int(setting[0] if isinstance(setting, Sequence) else setting))
    return pair_of(setting)


def _average_pool(lowering: Lowering, layer: nn.AvgPool1d | nn.AvgPool2d, name: str, value: int) -> int:
    if getattr(layer, "divisor_override", None) is not None:
        raise refusal(called(layer, name), f" with `divisor_override` (={layer.divisor_override}), which must be None")
    value = lowering.add(
        AveragePool,
        name,
        as_map(lowering, layer, name, value),
        kernel=_window(layer, layer.kernel_size),
        stride=_window(layer, layer.stride),
        padding=_window(layer, layer.padding, 0),
        count_padding=bool(layer.count_include_pad),
        ceil=bool(layer.ceil_mode),
    )
    return as_row(lowering, layer, name, value)


def _adaptive_average_pool(lowering: Lowering, layer: nn.AdaptiveAvgPool2d, name: str, value: int) -> int:
    """Windows of one size where the map can be cut into them; else they overlap."""
    _, *sizes = lowering.shapes[value]
    output_size = layer.output_size if isinstance(layer.output_size, Sequence) else (layer.output_size,) * 2
    outputs = tuple(size if output is None else output for size, output in zip(sizes, output_size, strict=False))
    if len(sizes) != 2:
        raise refusal(called(layer, name), f", given {lowering.shapes[value]} where it takes channels, height and width")
    if any(size % output for size, output in zip(sizes, outputs, strict=True)):
        return lowering.add(AdaptivePool, name, value, function="mean", size=(outputs[0], outputs[1]))
    window = sizes[0] // outputs[0], sizes[1] // outputs[1]
    return lowering.add(AveragePool, name, value, kernel=window, stride=window)


def _learned_channel(lowering: Lowering, layer: LearnedChannel, name: str, value: int) -> int:
    """The image beside relu(conv(image)), as the sum of both with zeros in the other's channels: exact in floats."""
    product, _ = product_of(layer.conv, f"{name}.conv")
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
    encoded = lowering.add(Convolution, f"{name}.conv", value, product=learned, padding=(1, 1, 1, 1), relu=True)
    return lowering.add(Add, f"{name}.add", image, encoded)


def _unchanged(lowering: Lowering, layer: nn.Module, name: str, value: int) -> int:
    return value


LAYERS: dict[type[nn.Module], Callable[[Lowering, Any, str, int], int]] = {
    nn.Linear: add_linear,
    nn.Conv1d: add_convolution,
    nn.Conv2d: add_convolution,
    nn.ConvTranspose1d: add_transposed,
    nn.ConvTranspose2d: add_transposed,
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
