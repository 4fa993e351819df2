"""Lowering of functions of single numbers, arithmetic of values and constants, and products of matrices."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fourfold.deploy.frontend.layers import lower_layer
from fourfold.deploy.frontend.lowering import numpy_of
from fourfold.deploy.frontend.shaping import reshaped
from fourfold.deploy.frontend.traced import Traced, Tracing
from fourfold.deploy.ir.ops import (
    Activation,
    Add,
    Affine,
    Binary,
    MatMul,
    PRelu,
    Relu,
)

Handler = Callable[..., Any]


# ---- functions of single numbers


def _relu(trace: Tracing, result: Tensor, x: Traced, inplace: bool = False) -> Traced:
    return trace.like(result, trace.add(Relu, x.value), x)


def activation(trace: Tracing, result: Tensor, x: Traced, function: str, alpha: float = 0.0, beta: float = 0.0) -> Traced:
    """Append a function of single numbers."""
    return trace.like(result, trace.add(Activation, x.value, function=function, alpha=float(alpha), beta=float(beta)), x)


def _function(name: str, alpha: float = 0.0, beta: float = 0.0) -> Handler:
    def call(trace: Tracing, result: Tensor, x: Traced, inplace: bool = False) -> Traced:
        return activation(trace, result, x, name, alpha, beta)

    return call


def _gelu(trace: Tracing, result: Tensor, x: Traced, approximate: str = "none") -> Traced:
    return activation(trace, result, x, "gelu" if approximate == "none" else "gelu_tanh")


def _leaky(trace: Tracing, result: Tensor, x: Traced, negative_slope: float = 0.01, inplace: bool = False) -> Traced:
    return activation(trace, result, x, "leaky_relu", negative_slope)


def _elu(trace: Tracing, result: Tensor, x: Traced, alpha: float = 1.0, inplace: bool = False) -> Traced:
    return activation(trace, result, x, "elu", alpha, 1.0)


def _softplus(trace: Tracing, result: Tensor, x: Traced, beta: float = 1.0, threshold: float = 20.0) -> Traced:
    return activation(trace, result, x, "softplus", beta, threshold)


def _hardtanh(
    trace: Tracing, result: Tensor, x: Traced, min_val: float = -1, max_val: float = 1, inplace: bool = False
) -> Traced:
    return activation(trace, result, x, "clip", min_val, max_val)


UNBOUNDED = 1e6
"""What stands for no bound of a clip."""


def _clamp(trace: Tracing, result: Tensor, x: Traced, min: Any = None, max: Any = None) -> Traced:
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        raise TypeError("bounds that are tensors")
    if max is None and min == 0:
        return _relu(trace, result, x)
    low, high = (-UNBOUNDED if min is None else float(min)), (UNBOUNDED if max is None else float(max))
    return activation(trace, result, x, "clip", low, high)


def _power(trace: Tracing, result: Tensor, x: Any, exponent: Any) -> Traced:
    if not isinstance(x, Traced) or isinstance(exponent, Tensor):
        raise TypeError("an exponent that is computed")
    known = {2: "square", 0.5: "sqrt", -1: "reciprocal"}
    return activation(trace, result, x, known.get(exponent, "power"), 0.0 if exponent in known else exponent)


def _negative(trace: Tracing, result: Tensor, x: Traced) -> Traced:
    return scaled(trace, result, x, -1.0, 0.0)


def _prelu(trace: Tracing, result: Tensor, x: Traced, weight: Tensor) -> Traced:
    slope = numpy_of(weight, trace.path).reshape(-1)
    if slope.size == 1:
        return activation(trace, result, x, "leaky_relu", float(slope[0]))
    if x.axis != 0 or x.fold != 1:
        raise TypeError("images along another axis")
    return trace.like(result, trace.add(PRelu, x.value, slope=slope), x)


# ---- arithmetic


def scaled(trace: Tracing, result: Tensor, x: Traced, scale: Any, shift: Any) -> Traced:
    """Append a scale and a shift: one, or one for each channel."""
    channels = trace.shape(x.value)[0]
    scales, shifts = (np.broadcast_to(np.asarray(each, np.float32).reshape(-1), (channels,)).copy() for each in (scale, shift))
    if not (np.isfinite(scales).all() and np.isfinite(shifts).all()):
        raise TypeError("numbers that are nan or infinite")
    return trace.like(result, trace.add(Affine, x.value, scale=scales, shift=shifts), x)


def _arithmetic(function: str) -> Handler:
    def call(
        trace: Tracing, result: Tensor, x: Any, y: Any, *, alpha: Any = 1, rounding_mode: Any = None, out: Any = None
    ) -> Any:
        if alpha != 1 or rounding_mode is not None or out is not None:
            raise TypeError("with `alpha`, `rounding_mode` or `out`")
        if isinstance(x, Traced) and isinstance(y, Traced):
            return of_two(trace, result, function, x, y)
        return _with_constant(trace, result, function, x, y)

    return call


def _reversed(handler: Handler) -> Handler:
    return lambda trace, result, x, y: handler(trace, result, y, x)


def _with_constant(trace: Tracing, result: Tensor, function: str, x: Any, y: Any) -> Traced:
    traced, other, left = (x, y, False) if isinstance(x, Traced) else (y, x, True)
    assert isinstance(traced, Traced)
    if isinstance(other, Tensor):
        axis = traced.axis + result.ndim - traced.ndim
        constant = trace.constant(other, axis, result.ndim, traced.fold)
    else:
        constant = torch.tensor(float(other))
    shape = trace.shape(traced.value)
    numbers = constant.detach().float().cpu()
    per_channel = numbers.numel() == 1 or (
        numbers.numel() == shape[0] and traced.ndim == result.ndim and numbers.ndim and numbers.shape[0] == shape[0]
    )
    same = tuple(result.shape) == tuple(traced.shape)
    if per_channel and same and function in ("add", "subtract", "multiply", "divide"):
        scale_shift = _as_affine(function, numbers.double().reshape(-1).numpy(), left)
        if scale_shift is not None:
            return scaled(trace, result, traced, *scale_shift)
        inverse = activation(trace, result, traced, "reciprocal")
        return scaled(trace, result, inverse, numbers.reshape(-1).numpy(), 0.0)
    value = trace.constant_value(numbers.reshape(1) if numbers.ndim == 0 else numbers)
    stand_in = trace.wrap(other if isinstance(other, Tensor) else torch.tensor(float(other)), value)
    stand_in.axis, stand_in.fold = traced.axis, traced.fold
    pair = (stand_in, traced) if left else (traced, stand_in)
    return _joined(trace, result, function, *pair, axis=traced.axis + result.ndim - traced.ndim, fold=traced.fold)


def _as_affine(function: str, numbers: Any, left: bool) -> tuple[Any, Any] | None:
    """Return scale and shift; None for a constant divided by the value."""
    if function == "add":
        return 1.0, numbers
    if function == "subtract":
        return (-1.0, numbers) if left else (1.0, -numbers)
    if function == "multiply":
        return numbers, 0.0
    return None if left else (1 / numbers, 0.0)


def of_two(trace: Tracing, result: Tensor, function: str, x: Traced, y: Traced) -> Traced:
    """Append a function of two values."""
    axis = x.axis + result.ndim - x.ndim
    if axis != y.axis + result.ndim - y.ndim or x.fold != y.fold:
        raise TypeError("values whose images lie along different axes")
    return _joined(trace, result, function, x, y, axis, x.fold)


def _joined(trace: Tracing, result: Tensor, function: str, x: Traced, y: Traced, axis: int, fold: int) -> Traced:
    rank = result.ndim - (fold == 1)
    values = []
    for each in (x, y):
        shape = trace.shape(each.value)
        padded = (*(1,) * (rank - len(shape)), *shape)[-rank:] if rank else (1,)
        values.append(each.value if padded == shape else reshaped(trace, each.value, padded))
    if function == "add" and trace.shape(values[0]) == trace.shape(values[1]):
        return trace.wrap(result, trace.add(Add, *values), axis, fold)
    return trace.wrap(result, trace.add(Binary, *values, function=function), axis, fold)


def _matmul(trace: Tracing, result: Tensor, x: Any, y: Any) -> Traced:
    if isinstance(x, Traced) and not isinstance(y, Traced):
        if y.ndim != 2:
            raise TypeError("a product with a constant of other than two axes")
        return linear(trace, result, x, y.t())
    if not isinstance(x, Traced) or x.ndim != y.ndim or x.axis != y.axis or x.fold != y.fold or x.axis >= x.ndim - 2:
        raise TypeError("matrices whose images do not lie along the same axis before them")
    return trace.like(result, trace.add(MatMul, x.value, y.value), x)


def linear(trace: Tracing, result: Tensor, x: Traced, weight: Tensor, bias: Tensor | None = None) -> Traced:
    """Append a linear layer of given weights."""
    if isinstance(weight, Traced):
        raise TypeError("weights that are computed")
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    layer.weight = nn.Parameter(weight.detach())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach())
    if x.axis == x.ndim - 1:
        raise TypeError("a product along the axis of the images")
    return trace.like(result, lower_layer(trace.lowering, layer, trace._name, x.value), x)


_ACTIVATIONS = (
    "sigmoid",
    "tanh",
    "silu",
    "hardswish",
    "hardsigmoid",
    "mish",
    "softsign",
    "abs",
    "square",
    "sqrt",
    "exp",
    "log",
)

ELEMENTWISE: dict[str, Handler] = {
    **{name: _function(name) for name in (*_ACTIVATIONS, "reciprocal")},
    "relu": _relu,
    "relu6": _function("clip", 0, 6),
    "selu": _function("elu", 1.6732632423543772, 1.0507009873554805),
    "rsqrt": _function("power", -0.5),
    "gelu": _gelu,
    "leaky_relu": _leaky,
    "elu": _elu,
    "softplus": _softplus,
    "hardtanh": _hardtanh,
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": lambda trace, result, x, low: _clamp(trace, result, x, min=low),
    "clamp_max": lambda trace, result, x, high: _clamp(trace, result, x, max=high),
    "pow": _power,
    "neg": _negative,
    "negative": _negative,
    "prelu": _prelu,
    "add": _arithmetic("add"),
    "sub": _arithmetic("subtract"),
    "subtract": _arithmetic("subtract"),
    "mul": _arithmetic("multiply"),
    "multiply": _arithmetic("multiply"),
    "div": _arithmetic("divide"),
    "divide": _arithmetic("divide"),
    "true_divide": _arithmetic("divide"),
    "maximum": _arithmetic("maximum"),
    "minimum": _arithmetic("minimum"),
    "rsub": _reversed(_arithmetic("subtract")),
    "rdiv": _reversed(_arithmetic("divide")),
    "matmul": _matmul,
    "bmm": _matmul,
    "rmatmul": _reversed(_matmul),
    "linear": linear,
}
"""By what a call is named."""
