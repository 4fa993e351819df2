"""Layers that are lowered as a whole: recurrent ones, attention, and wrappers around networks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourfold import nn as fnn
from fourfold.deploy.frontend.gates import cell_of, gates_product
from fourfold.deploy.frontend.shaping import sliced
from fourfold.deploy.frontend.traced import Traced, Tracing
from fourfold.deploy.ir.bounds import ALGEBRA_SIZES
from fourfold.deploy.ir.ops import Concat, Permute, Recurrent, Reshape

Handler = Callable[..., Any]


def _recurrent(trace: Tracing, layer: Any, x: Any, state: Any = None) -> Any:
    """Append an operation for each layer and direction; the state of memory cells is no value."""
    if state is not None or layer.__dict__.get("proj_size", 0) or not isinstance(x, Traced) or x.fold != 1 or x.ndim != 3:
        raise trace.refuse(", given a state of its own, without images, or with `proj_size`")
    if x.axis != (0 if layer.batch_first else 1):
        raise trace.refuse(f" with `batch_first` (={layer.batch_first}), given images along axis {x.axis}")
    if layer.mode == "RNN_RELU":
        raise trace.refuse(" with `nonlinearity` (='relu'), which must be 'tanh'")
    if trace.streaming and layer.bidirectional:
        raise trace.refuse(" with `bidirectional`, which begins with the last step, as a stream")
    if getattr(getattr(layer, "algebra", None), "n", 1) not in ALGEBRA_SIZES:
        layer = fnn.to_real(layer)
    with torch._C.DisableTorchFunctionSubclass(), torch.no_grad():
        weight = next(layer.parameters())
        outputs, hidden = layer.forward(x.as_subclass(Tensor).to(weight.dtype))
    value, states = x.value, []
    for number in range(layer.num_layers):
        directions = []
        for suffix in ("", "_reverse")[: 1 + layer.bidirectional]:
            product = gates_product(layer, f"l{number}{suffix}", trace.path)
            settings = {"cell": cell_of(layer), "reverse": bool(suffix), "streaming": trace.streaming}
            directions.append(trace.add(Recurrent, value, product=product, **settings))
            steps = trace.shape(directions[-1])
            last = trace.wrap(torch.empty(steps), directions[-1])
            last.axis = 2
            end = sliced(trace, torch.empty(1, steps[1], device="meta"), last, 0, 0 if suffix else steps[0] - 1)
            states.append(end.value)
        value = directions[0] if len(directions) == 1 else _side_by_side(trace, directions, product.n)
    state_value = states[0] if len(states) == 1 else trace.add(Concat, *states, axis=0)
    output = trace.like(outputs, value, x)
    first = hidden[0] if isinstance(hidden, tuple) else hidden
    final = trace.wrap(first, state_value, 1)
    return output, ((final, _Untold()) if isinstance(hidden, tuple) else final)


def _side_by_side(trace: Tracing, directions: list[int], n: int) -> int:
    """Return the states of both directions, in each component those of the one behind those of the other."""
    steps, hidden = trace.shape(directions[0])
    value = trace.add(Concat, *directions, axis=1)
    if n == 1:
        return value
    value = trace.add(Reshape, value, shape=(steps, 2, n, hidden // n))
    return trace.add(Reshape, trace.add(Permute, value, order=(0, 2, 1, 3)), shape=(steps, 2 * hidden))


class _Untold:
    """The memory of an LSTM's cells at its end, which is no value of a program."""

    def __getattr__(self, name: str) -> Any:
        raise TypeError("the state of an LSTM's memory cells, which deployed networks do not give")


def _multihead(trace: Tracing, layer: Any, query: Any, key: Any = None, value: Any = None, **named: Any) -> Any:
    """Attention as its documentation has it, with heads as an axis of their own."""
    masked = {
        name: argument
        for name, argument in named.items()
        if name in ("attn_mask", "is_causal", "key_padding_mask") and argument is not None
    }
    mask = masked.get("attn_mask")
    if (
        masked.get("key_padding_mask") is not None
        or isinstance(mask, Traced)
        or layer.bias_k is not None
        or layer.add_zero_attn
    ):
        raise trace.refuse(", with a mask that is computed, `bias_k` or `add_zero_attn`")
    if getattr(getattr(layer, "algebra", None), "n", 1) > 1:
        layer = fnn.to_real(layer)
    width, heads = layer.embed_dim, layer.num_heads
    if layer.in_proj_weight is None:
        matrices: Any = (layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight)
    else:
        matrices = layer.in_proj_weight.detach().chunk(3)
    biases = (None,) * 3 if layer.in_proj_bias is None else layer.in_proj_bias.detach().chunk(3)
    parts = []
    for sequence, matrix, bias in zip(
        (query, query if key is None else key, query if value is None else value), matrices, biases, strict=True
    ):
        x = sequence if layer.batch_first else sequence.transpose(0, 1)
        projected = F.linear(x, matrix.detach(), bias)
        parts.append(projected.reshape(x.shape[0], x.shape[1], heads, width // heads).transpose(1, 2))
    joined = F.scaled_dot_product_attention(
        parts[0], parts[1], parts[2], attn_mask=mask if mask is None or mask.dtype != torch.bool else ~mask
    )
    flat: Any = joined.transpose(1, 2).reshape(joined.shape[0], joined.shape[2], width)
    bias = None if layer.out_proj.bias is None else layer.out_proj.bias.detach()
    out = F.linear(flat, layer.out_proj.weight.detach(), bias)
    return (out if layer.batch_first else out.transpose(0, 1)), None


def _elements(layer: Any, x: Any) -> tuple[Any, int]:
    """Return a value with an axis of components before that of its elements."""
    n, dim = layer.algebra.n, layer.dim % x.ndim
    return x.reshape(*x.shape[:dim], n, x.shape[dim] // n, *x.shape[dim + 1 :]), dim


def _norm_head(trace: Tracing, layer: Any, x: Any) -> Any:
    elements, dim = _elements(layer, x)
    return elements.square().sum(dim).sqrt()


def _mod_relu(trace: Tracing, layer: Any, x: Any) -> Any:
    """As q · relu(1 + b / |q|)."""
    elements, dim = _elements(layer, x)
    inverse = elements.square().sum(dim, keepdim=True).sqrt().clamp(min=torch.finfo(torch.float32).eps).reciprocal()
    bias = layer.bias.detach().view(-1, *[1] * (x.dim() - 1 - dim))
    return (elements * torch.relu(inverse * bias + 1)).reshape(x.shape)


def _wrapped(attribute: str) -> Handler:
    return lambda trace, module, *args, **kwargs: getattr(module, attribute)(*args, **kwargs)


def _scripted(trace: Tracing, module: Any, *args: Any, **kwargs: Any) -> Any:
    raise trace.refuse(", which is scripted: deploy the network that it was made from")


WHOLE_LAYERS: dict[type[nn.Module], Handler] = {
    nn.LSTM: _recurrent,
    nn.GRU: _recurrent,
    nn.RNN: _recurrent,
    nn.MultiheadAttention: _multihead,
    fnn.NormHead: _norm_head,
    fnn.ModReLU: _mod_relu,
    nn.DataParallel: _wrapped("module"),
    nn.parallel.DistributedDataParallel: _wrapped("module"),
    torch.jit.ScriptModule: _scripted,
}
"""What stands for the forward of a layer."""
