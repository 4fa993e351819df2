"""What a network takes: one tensor, or a tuple or dict of tensors for several arguments."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fourfold.record import UserError

Inputs = Any
"""A tensor, a tuple or list of tensors (arguments in order), or a dict of tensors (arguments by name)."""


def arguments_of(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and named arguments that inputs stand for."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (tuple(inputs), {}) if isinstance(inputs, tuple | list) else ((inputs,), {})


def tensors_in(tree: Any) -> Iterator[Tensor]:
    """Yield the tensors of a tensor, tuple, list or dict, however deep they lie."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from tensors_in(value)
    elif isinstance(tree, tuple | list):
        for value in tree:
            yield from tensors_in(value)


def map_tensors(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Return a tree with every tensor in it replaced by a function of it; what is no tensor stays."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {name: map_tensors(function, value) for name, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(map_tensors(function, value) for value in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(map_tensors(function, value) for value in tree)
    return tree


def batch_size(name: str, tree: Any) -> int:
    """Return the length of the first axis, which all tensors of a batch share.

    Raises:
        UserError: there is no tensor, or their first axes differ.
    """
    sizes = {len(tensor) if tensor.dim() else None for tensor in tensors_in(tree)}
    if len(sizes) != 1 or None in sizes:
        raise UserError(f"`{name}` must be a tensor, or a tuple or dict of tensors, with one entry for each image of a batch")
    (size,) = sizes
    assert size is not None
    if size == 0:
        raise UserError(f"`{name}` (=0 entries) must have at least one")
    return size


def entry(tree: Any, index: int) -> Any:
    """Return one entry of a batch, as a batch of one."""
    return map_tensors(lambda tensor: tensor[index : index + 1], tree)


def widened_inputs(tree: Any) -> Any:
    """Return the tensors with those in half precision in float32."""
    return map_tensors(lambda tensor: tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor, tree)


def call_with(model: nn.Module, replace: Callable[[Tensor], Tensor], inputs: Inputs) -> Any:
    """Return what a network computes with a function of each parameter and buffer in its place; the network stays as it is.

    What several layers share is replaced once. torch's own `functional_call` loses the parameters of a module that is
    registered under two names, unless each is named once.
    """
    replaced: dict[int, Tensor] = {}
    state = {}
    for where, module in model.named_modules():
        for local, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                if id(tensor) not in replaced:
                    replaced[id(tensor)] = replace(tensor)
                state[f"{where}.{local}".removeprefix(".")] = replaced[id(tensor)]
    args, kwargs = arguments_of(inputs)
    return functional_call(model, state, args, kwargs, tie_weights=False)
