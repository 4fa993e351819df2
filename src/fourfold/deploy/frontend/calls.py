"""Lowering of the functions and tensor methods that a forward calls, by their short names."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

from fourfold.deploy.frontend.elementwise import ELEMENTWISE, of_two, scaled
from fourfold.deploy.frontend.layers import lower_layer
from fourfold.deploy.frontend.lowering import numpy_of
from fourfold.deploy.frontend.shaping import SHAPING, reshaped
from fourfold.deploy.frontend.traced import Traced, Tracing
from fourfold.deploy.ir.ops import (
    AdaptivePool,
    Concat,
    Embedding,
    Normalize,
    Pad,
    Reduce,
    Resize,
    Softmax,
)
from fourfold.deploy.ir.product import Product

Handler = Callable[..., Any]


# ---- along axes


def _dims(trace: Tracing, x: Traced, dim: Any) -> tuple[int, ...]:
    if dim is None:
        raise trace.refuse(", as it mixes images: it has no `dim`")
    return tuple(trace.dim(x, each) for each in (dim if isinstance(dim, tuple | list) else (dim,)))


def reduced(trace: Tracing, result: Tensor, x: Traced, function: str, dim: Any, keepdim: bool) -> Traced:
    """Append a sum, mean or extreme along axes."""
    axes = _dims(trace, x, dim)
    shape = trace.shape(x.value)
    if function == "mean" and len(shape) == 3 and sorted(axes) == [1, 2] and x.axis == 0:
        value = lower_layer(trace.lowering, nn.AdaptiveAvgPool2d(1), trace._name, x.value)
    else:
        value = trace.add(Reduce, x.value, function=function, axes=tuple(sorted(axes)))
    dims = [each % x.ndim for each in (dim if isinstance(dim, tuple | list) else (dim,))]
    axis = x.axis if keepdim else x.axis - sum(each < x.axis for each in dims)
    left = tuple(size for number, size in enumerate(trace.shape(value)) if keepdim or number not in axes)
    if left and left != trace.shape(value):
        value = reshaped(trace, value, left)
    return trace.like(result, value, x, axis)


def _reduction(function: str) -> Handler:
    def call(trace: Tracing, result: Any, x: Traced, dim: Any = None, keepdim: bool = False, **named: Any) -> Any:
        if isinstance(dim, Traced):  # torch.max(x, y)
            return of_two(trace, result, {"max": "maximum", "min": "minimum"}[function], x, dim)
        dim = named.pop("axis", dim)
        if named.pop("dtype", None) is not None or named:
            raise TypeError("other settings than `dim` and `keepdim`")
        if not isinstance(result, tuple):
            return reduced(trace, result, x, function, dim, keepdim)
        return type(result)((reduced(trace, result[0], x, function, dim, keepdim), result[1]))

    return call


def _softmax(log: bool) -> Handler:
    def call(trace: Tracing, result: Tensor, x: Traced, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Traced:
        dim = dim if dim is not None else (0 if x.ndim in (0, 1, 3) else 1)
        return trace.like(result, trace.add(Softmax, x.value, axis=trace.dim(x, dim), log=log), x)

    return call


def _concatenated(trace: Tracing, result: Tensor, tensors: Any, dim: int = 0, axis: int | None = None) -> Traced:
    dim = (dim if axis is None else axis) % result.ndim
    first = next(each for each in tensors if isinstance(each, Traced))
    values = []
    for each in tensors:
        if isinstance(each, Traced):
            if each.axis != first.axis or each.fold != first.fold:
                raise TypeError("values whose images lie along different axes")
            values.append(each.value)
        else:
            values.append(trace.constant_value(trace.constant(each, first.axis, each.ndim, first.fold)))
    if len(values) == 1:
        return trace.like(result, values[0], first)
    return trace.like(result, trace.add(Concat, *values, axis=trace.dim(first, dim)), first)


# ---- norms, padding, size


def _normalized(trace: Tracing, result: Tensor, x: Traced, blocks: int, eps: float) -> Traced:
    return trace.like(result, trace.add(Normalize, x.value, blocks=blocks, eps=float(eps)), x)


def _layer_norm(
    trace: Tracing, result: Tensor, x: Traced, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    count = math.prod(normalized_shape)
    if x.axis >= x.ndim - len(normalized_shape):
        raise TypeError("a norm along the axis of the images")
    y: Any = _normalized(trace, result, x, math.prod(trace.shape(x.value)) // count, eps)
    y = y if weight is None else y * weight.detach()
    return y if bias is None else y + bias.detach()


def _group_norm(
    trace: Tracing, result: Tensor, x: Traced, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    if x.axis != 0 or x.fold != 1:
        raise TypeError("images along another axis")
    y = _normalized(trace, result, x, num_groups, eps)
    if weight is None and bias is None:
        return y
    scale = 1.0 if weight is None else numpy_of(weight, trace.path)
    return scaled(trace, result, y, scale, 0.0 if bias is None else numpy_of(bias, trace.path))


def _instance_norm(
    trace: Tracing, result: Tensor, x: Traced, running_mean: Any = None, running_var: Any = None, weight: Any = None,
    bias: Any = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    if not use_input_stats:
        return _batch_norm(trace, result, x, running_mean, running_var, weight, bias, False, momentum, eps)
    return _group_norm(trace, result, x, trace.shape(x.value)[0], weight, bias, eps)


def _batch_norm(
    trace: Tracing, result: Tensor, x: Traced, running_mean: Any, running_var: Any, weight: Any = None, bias: Any = None,
    training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Traced:  # fmt: skip
    if training:
        raise TypeError("with statistics of the batch")
    mean, variance = (numpy_of(each, trace.path).astype(np.float64) for each in (running_mean, running_var))
    scale = (1.0 if weight is None else numpy_of(weight, trace.path)) / np.sqrt(variance + eps)
    return scaled(trace, result, x, scale, (0.0 if bias is None else numpy_of(bias, trace.path)) - scale * mean)


def _pad(trace: Tracing, result: Tensor, x: Traced, pad: Any, mode: str = "constant", value: Any = None) -> Traced:
    rank = len(trace.shape(x.value))
    before, after = [0] * rank, [0] * rank
    for index, (left, right) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        if left < 0 or right < 0:
            raise TypeError("negative padding")
        if left or right:
            axis = trace.dim(x, x.ndim - 1 - index)
            before[axis], after[axis] = int(left), int(right)
    settings = {"before": tuple(before), "after": tuple(after), "mode": mode, "value": float(value or 0.0)}
    return trace.like(result, trace.add(Pad, x.value, **settings), x)


def _interpolate(
    trace: Tracing, result: Tensor, x: Traced, size: Any = None, scale_factor: Any = None, mode: str = "nearest",
    align_corners: Any = None, recompute_scale_factor: Any = None, antialias: bool = False,
) -> Traced:  # fmt: skip
    if mode not in ("nearest", "bilinear", "linear") or antialias or x.axis != 0 or x.fold != 1 or x.ndim not in (3, 4):
        raise TypeError(f"`mode` (={mode!r}), which must be 'nearest', 'linear' or 'bilinear' without antialiasing")
    old, new = x.shape[2:], result.shape[2:]
    factors = scale_factor if isinstance(scale_factor, tuple | list) else (scale_factor,) * len(old)
    steps = []
    for before, after, factor in zip(old, new, factors, strict=True):
        step = before / after if factor is None or recompute_scale_factor else 1 / factor
        steps.append(float(np.float32((before - 1) / max(after - 1, 1) if align_corners else step)))
    settings = {"mode": "nearest" if mode == "nearest" else "bilinear", "align_corners": bool(align_corners)}
    if len(old) == 1:
        value = reshaped(trace, x.value, (x.shape[1], 1, old[0]))
        value = trace.add(Resize, value, size=(1, int(new[0])), steps=(1.0, steps[0]), **settings)
        return trace.like(result, reshaped(trace, value, tuple(result.shape[1:])), x)
    value = trace.add(Resize, x.value, size=(int(new[0]), int(new[1])), steps=(steps[0], steps[1]), **settings)
    return trace.like(result, value, x)


def _layer(make: Callable[..., nn.Module]) -> Handler:
    """Return what lowers a call as the layer that `make` returns for its settings."""

    def call(trace: Tracing, result: Tensor, x: Traced, *settings: Any, **named: Any) -> Traced:
        if x.axis != 0 or x.fold != 1:
            raise TypeError("images along another axis")
        return trace.like(result, lower_layer(trace.lowering, make(*settings, **named), trace._name, x.value), x)

    return call


def _with_weights(kind: type[nn.Module]) -> Handler:
    """Return what lowers a convolution that is given its weights."""

    def call(
        trace: Tracing, result: Tensor, x: Traced, weight: Tensor, bias: Any = None, *settings: Any, **named: Any
    ) -> Traced:
        names: tuple[str, ...] = ("stride", "padding", "dilation", "groups")
        if kind in (nn.ConvTranspose1d, nn.ConvTranspose2d):
            names = ("stride", "padding", "output_padding", "groups", "dilation")
        arguments = dict(zip(names, settings, strict=False)) | named
        if isinstance(weight, Traced) or x.axis != 0 or x.fold != 1:
            raise TypeError("weights that are computed")
        transposed = "output_padding" in names
        groups = arguments.get("groups", 1)
        channels = (weight.shape[0], weight.shape[1] * groups) if transposed else (weight.shape[1] * groups, weight.shape[0])
        layer: Any = kind(*channels, tuple(weight.shape[2:]), bias=bias is not None, **arguments)
        layer.weight = nn.Parameter(weight.detach())
        if bias is not None:
            layer.bias = nn.Parameter(bias.detach())
        return trace.like(result, lower_layer(trace.lowering, layer, trace._name, x.value), x)

    return call


def _dropout(trace: Tracing, result: Tensor, x: Traced, p: float = 0.5, training: bool = True, inplace: bool = False) -> Traced:
    if training:
        raise TypeError("dropout that does not end with training")
    return x


def _adaptive(function: str) -> Handler:
    def call(trace: Tracing, result: Any, x: Traced, output_size: Any, return_indices: bool = False) -> Any:
        if x.axis != 0 or x.fold != 1 or return_indices:
            raise TypeError("with `return_indices`, or images along another axis")
        numbers = result[0] if isinstance(result, tuple) else result
        if function == "mean" and x.ndim == 4 and not any(a % b for a, b in zip(x.shape[2:], numbers.shape[2:], strict=True)):
            return trace.like(numbers, lower_layer(trace.lowering, nn.AdaptiveAvgPool2d(output_size), trace._name, x.value), x)
        value, size = x.value, tuple(int(side) for side in numbers.shape[2:])
        if x.ndim == 3:
            value = reshaped(trace, value, (x.shape[1], 1, x.shape[2]))
        value = trace.add(AdaptivePool, value, function=function, size=(1, *size)[-2:])
        return trace.like(numbers, value if x.ndim == 4 else reshaped(trace, value, tuple(numbers.shape[1:])), x)

    return call


def _embedding(trace: Tracing, result: Tensor, x: Traced, weight: Tensor, *settings: Any, **named: Any) -> Traced:
    if x.value != 0 or x.axis != 0:
        raise TypeError("indices that are computed")
    trace.rows = len(weight)
    table = numpy_of(weight, trace.path)
    return trace.like(result, trace.add(Embedding, x.value, rows=len(weight), numbers=table.reshape(-1)), x)


def product_of(weight: Any, bias: Any) -> Product:
    """Return a real product of arrays."""
    return Product(weight=weight, bias=bias, table=(((0, 1),),))


CALLS: dict[str, Handler] = {
    **SHAPING,
    **ELEMENTWISE,
    "mean": _reduction("mean"),
    "sum": _reduction("sum"),
    "amax": _reduction("max"),
    "amin": _reduction("min"),
    "max": _reduction("max"),
    "min": _reduction("min"),
    "softmax": _softmax(False),
    "log_softmax": _softmax(True),
    "cat": _concatenated,
    "concat": _concatenated,
    "concatenate": _concatenated,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "batch_norm": _batch_norm,
    "pad": _pad,
    "interpolate": _interpolate,
    "upsample": _interpolate,
    "max_pool2d": _layer(nn.MaxPool2d),
    "max_pool1d": _layer(nn.MaxPool1d),
    "avg_pool2d": _layer(nn.AvgPool2d),
    "avg_pool1d": _layer(nn.AvgPool1d),
    "adaptive_avg_pool2d": _adaptive("mean"),
    "adaptive_avg_pool1d": _adaptive("mean"),
    "adaptive_max_pool2d": _adaptive("max"),
    "adaptive_max_pool1d": _adaptive("max"),
    "conv2d": _with_weights(nn.Conv2d),
    "conv1d": _with_weights(nn.Conv1d),
    "conv_transpose2d": _with_weights(nn.ConvTranspose2d),
    "conv_transpose1d": _with_weights(nn.ConvTranspose1d),
    "embedding": _embedding,
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_alpha_dropout"), _dropout),
}
"""By what a call is named."""
