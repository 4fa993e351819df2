"""How often a layer's weights work: the MACs that each of them does in one run, for every kind of layer."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.rnn import PackedSequence

from fourfold.nn import LiGRU, algebra_of, stored_weights
from fourfold.nn.inputs import tensors_in
from fourfold.record import UserError

Run = tuple[nn.Module, str, int]
"""A layer, the local name of its weight, and the MACs that each stored weight did."""

Rule = Callable[[Any, dict[str, Any], Any], Iterator[Run]]
"""From a layer, its arguments by name and its output to what each of its weights did."""


def rule_of(layer: nn.Module) -> Rule | None:
    """Return how the MACs of a layer are counted; None if that is not known."""
    return next((rule for kinds, rule in _RULES if isinstance(layer, kinds)), None)


def _by_outputs(layer: Any, _: dict[str, Any], output: Any) -> Iterator[Run]:
    """Every output of a linear layer or convolution is a sum over one row of its real matrix."""
    channels = output.shape[-1] if isinstance(layer, nn.Linear | nn.Bilinear) else layer.out_channels
    yield from _of_weight(layer, output.numel() // max(1, channels))


def _by_inputs(layer: Any, arguments: dict[str, Any], _: Any) -> Iterator[Run]:
    """Every input of a transposed convolution is multiplied by all weights that it has."""
    yield from _of_weight(layer, arguments["input"].numel() // layer.in_channels)


def _of_weight(layer: nn.Module, positions: int) -> Iterator[Run]:
    """The matrix of a layer is made of `weight`; what else is stored, such as scales of rotations, goes into that."""
    n = algebra_of(layer).n
    each = n**2 if isinstance(layer, nn.Bilinear) else n
    for local in stored_weights(layer):
        yield layer, local, positions * each if local == "weight" else 0


def _by_steps(layer: Any, arguments: dict[str, Any], _: Any) -> Iterator[Run]:
    """All weights of a recurrent layer work at every step."""
    steps_input = arguments["input"]
    data = steps_input.data if isinstance(steps_input, PackedSequence) else steps_input
    n = getattr(layer, "algebra", algebra_of(layer)).n
    for local in stored_weights(layer):
        yield layer, local, data.numel() // layer.input_size * n


def _by_tokens(layer: Any, arguments: dict[str, Any], output: Any) -> Iterator[Run]:
    """The projections of attention work at every query, key or value."""
    n = getattr(layer, "algebra", algebra_of(layer)).n
    sizes = {"q": layer.embed_dim, "k": layer.kdim, "v": layer.vdim}
    tokens = {part: arguments[word].numel() // sizes[part] for part, word in zip("qkv", _ATTENDED, strict=True)}
    for local in stored_weights(layer):
        if local == "in_proj_weight" and len(set(tokens.values())) > 1:
            raise UserError(
                "cannot count the MACs of an attention whose queries and keys differ in number but share `in_proj_weight`: "
                "give it a `kdim` or `vdim`, or leave `budget` at 'weights'"
            )
        yield layer, local, tokens[local[0] if local != "in_proj_weight" else "q"] * n
    attended = next(tensors_in(output))
    yield layer.out_proj, "weight", attended.numel() // layer.embed_dim * n


_ATTENDED = ("query", "key", "value")

ARGUMENTS: list[tuple[Any, tuple[str, ...]]] = [(nn.MultiheadAttention, _ATTENDED), (nn.Module, ("input", "hx"))]
"""Names of the first arguments that a layer takes, by kind."""

_RULES: list[tuple[Any, Rule]] = [
    (nn.MultiheadAttention, _by_tokens),
    ((nn.RNNBase, nn.RNNCellBase, LiGRU), _by_steps),
    (_ConvTransposeNd, _by_inputs),
    ((nn.Linear, nn.Bilinear, _ConvNd), _by_outputs),
]


def arguments_by_name(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what a layer was called with, positional arguments by the names that the rules use."""
    names = next(names for kind, names in ARGUMENTS if isinstance(layer, kind))
    return dict(zip(names, args, strict=False)) | kwargs


def first_tensor(output: Any) -> Tensor | None:
    """Return the first tensor of an output, that of a packed sequence its data."""
    return output.data if isinstance(output, PackedSequence) else next(tensors_in(output), None)
