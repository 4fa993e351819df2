"""Functions in terms of others: each is computed by calls that are lowered in turn."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fourfold.deploy.frontend.traced import Tracing
from fourfold.deploy.ir.ops import Normalize

Handler = Callable[..., Any]


def _normalize(
    trace: Tracing, result: Tensor, x: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None
) -> Any:
    if p != 2:
        raise TypeError("another norm than the second")
    axis, shape = trace.dim(x, dim) if isinstance(dim, int) else -1, trace.shape(x.value)
    if axis == len(shape) - 1:  # of neighbours, which a norm of roots of mean squares takes
        normalized = trace.add(Normalize, x.value, blocks=math.prod(shape[:-1]), eps=eps**2 / shape[-1], center=False)
        return trace.like(result, normalized, x) * shape[-1] ** -0.5
    return x / x.square().sum(dim, keepdim=True).sqrt().clamp(min=eps)


def _variance(
    trace: Tracing, result: Tensor, x: Any, dim: Any = None, unbiased: Any = None, keepdim: bool = False, **named: Any
) -> Any:
    if dim is None or isinstance(dim, bool):
        raise TypeError("without `dim`")
    correction = named.get("correction", 1 if unbiased is None else int(unbiased))
    variance = (x - x.mean(dim, keepdim=True)).square().mean(dim, keepdim=keepdim)
    dims = dim if isinstance(dim, tuple | list) else (dim,)
    count = math.prod(x.shape[each] for each in dims)
    return variance * (count / (count - correction))


def _deviation(trace: Tracing, result: Tensor, x: Any, *settings: Any, **named: Any) -> Any:
    return _variance(trace, result, x, *settings, **named).sqrt()


def _norm(trace: Tracing, result: Tensor, x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, **named: Any) -> Any:
    p = named.get("ord", p)
    if p not in (2, "fro", None, 1):
        raise TypeError("another norm than the first and the second")
    return x.abs().sum(dim, keepdim=keepdim) if p == 1 else x.square().sum(dim, keepdim=keepdim).sqrt()


def _log_sigmoid(trace: Tracing, result: Tensor, x: Any) -> Any:
    return -F.softplus(-x)


def _softmin(trace: Tracing, result: Tensor, x: Any, dim: Any = None, _stacklevel: int = 3, dtype: Any = None) -> Any:
    return (-x).softmax(dim)


def _softshrink(trace: Tracing, result: Tensor, x: Any, lambd: float = 0.5) -> Any:
    return F.relu(x - lambd) - F.relu(-x - lambd)


def _celu(trace: Tracing, result: Tensor, x: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    return F.elu(x / alpha) * alpha


def _glu(trace: Tracing, result: Tensor, x: Any, dim: int = -1) -> Any:
    first, second = x.chunk(2, dim)
    return first * second.sigmoid()


def _local_response(
    trace: Tracing, result: Tensor, x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Any:
    padded = F.pad(x.square(), (0, 0) * (x.ndim - 2) + (size // 2, (size - 1) // 2))
    total = padded[:, : x.shape[1]]
    for start in range(1, size):
        total = total + padded[:, start : start + x.shape[1]]
    return x * (total * (alpha / size) + k).pow(-beta)


def _stacked(trace: Tracing, result: Tensor, tensors: Any, dim: int = 0) -> Any:
    return torch.cat([tensor.unsqueeze(dim) for tensor in tensors], dim)


def _shuffled(trace: Tracing, result: Tensor, x: Any, upscale_factor: int) -> Any:
    images, channels, height, width = x.shape
    r = upscale_factor
    split = x.reshape(images, channels // r**2, r, r, height * width)
    rows = split.permute(0, 1, 4, 2, 3).reshape(images, channels // r**2, height, width * r * r)
    pixels = rows.reshape(images, channels // r**2 * height, width, r, r).permute(0, 1, 3, 2, 4)
    return pixels.reshape(images, channels // r**2, height * r, width * r)


def _unshuffled(trace: Tracing, result: Tensor, x: Any, downscale_factor: int) -> Any:
    images, channels, height, width = x.shape
    r = downscale_factor
    split = x.reshape(images, channels * (height // r), r, width // r, r).permute(0, 1, 2, 4, 3)
    split = split.reshape(images, channels, height // r, r * r, width // r).permute(0, 1, 3, 2, 4)
    return split.reshape(images, channels * r * r, height // r, width // r)


def _channel_shuffle(trace: Tracing, result: Tensor, x: Any, groups: int) -> Any:
    images, channels, height, width = x.shape
    return x.view(images, groups, channels // groups, height, width).transpose(1, 2).reshape(x.shape)


def _attended(
    trace: Tracing, result: Tensor, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: Any = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    if is_causal:
        attn_mask = torch.full((query.shape[-2], key.shape[-2]), -1e4).triu(1)
    weights = query @ key.transpose(-2, -1) * (scale or 1 / math.sqrt(query.shape[-1]))
    if attn_mask is not None:
        weights = weights + (torch.where(attn_mask, 0.0, -1e4) if attn_mask.dtype == torch.bool else attn_mask)
    return weights.softmax(-1) @ value


def _gru_cell(trace: Tracing, result: Tensor, x: Any, h: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> Any:
    reset, update, new = F.linear(x, w_ih, b_ih).chunk(3, 1)
    reset_state, update_state, new_state = F.linear(h, w_hh, b_hh).chunk(3, 1)
    keep = torch.sigmoid(update + update_state)
    candidate = torch.tanh(new + torch.sigmoid(reset + reset_state) * new_state)
    return candidate + keep * (h - candidate)


def _lstm_cell(
    trace: Tracing, result: Any, x: Any, state: Any, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None
) -> Any:
    h, c = state
    inward, forget, new, out = (F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).chunk(4, 1)
    memory = torch.sigmoid(forget) * c + torch.sigmoid(inward) * torch.tanh(new)
    return torch.sigmoid(out) * torch.tanh(memory), memory


COMPOSITES: dict[str, Handler] = {
    "normalize": _normalize,
    "var": _variance,
    "std": _deviation,
    "norm": _norm,
    "linalg_vector_norm": _norm,
    "vector_norm": _norm,
    "logsigmoid": _log_sigmoid,
    "log_sigmoid": _log_sigmoid,
    "softmin": _softmin,
    "tanhshrink": lambda trace, result, x: x - x.tanh(),
    "softshrink": _softshrink,
    "addcmul": lambda trace, result, x, a, b, *, value=1: x + a * b * value,
    "addcdiv": lambda trace, result, x, a, b, *, value=1: x + a / b * value,
    "lerp": lambda trace, result, x, end, weight: x + (end - x) * weight,
    "addmm": lambda trace, result, x, a, b: x + a @ b,
    "baddbmm": lambda trace, result, x, a, b: x + a @ b,
    "celu": _celu,
    "glu": _glu,
    "local_response_norm": _local_response,
    "stack": _stacked,
    "pixel_shuffle": _shuffled,
    "pixel_unshuffle": _unshuffled,
    "channel_shuffle": _channel_shuffle,
    "native_channel_shuffle": _channel_shuffle,
    "scaled_dot_product_attention": _attended,
    "gru_cell": _gru_cell,
    "lstm_cell": _lstm_cell,
}
"""By what a call is named."""
