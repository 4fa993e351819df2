"""Which layers of torch.nn have a counterpart in an algebra, and the arguments that make it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from fourfold.nn import attention, bilinear, conv, conv_transpose, linear, norm, recurrent


@dataclass(frozen=True)
class Rule:
    """How one class of torch.nn is taken to an algebra, and back."""

    ours: type[nn.Module]
    """The class of the same arguments and `algebra=`."""
    arguments: Callable[[Any], dict[str, Any]]
    """Reads the constructor's arguments, but for device, dtype and algebra, from a layer of either class."""
    can_be_head: bool = False
    """Whether a network's last layer of this class counts as its output layer."""


def rule_of(layer: nn.Module) -> tuple[type[nn.Module], Rule] | None:
    """Return the class of torch.nn that a layer is of, or derives from, and its rule."""
    return next(((torch_class, rule) for torch_class, rule in RULES.items() if isinstance(layer, torch_class)), None)


def _attributes(*names: str) -> Callable[[Any], dict[str, Any]]:
    return lambda layer: {name: getattr(layer, name) for name in names}


def _with_bias(*names: str) -> Callable[[Any], dict[str, Any]]:
    return lambda layer: {**_attributes(*names)(layer), "bias": layer.bias is not None}


def _batch_norm(layer: Any) -> dict[str, Any]:
    arguments = _attributes("num_features", "eps", "momentum", "affine", "track_running_stats")(layer)
    # torch before 2.11 has no `bias=` here
    return arguments if layer.bias is not None or not layer.affine else {**arguments, "bias": False}


def _recurrent(*more: str) -> Callable[[Any], dict[str, Any]]:
    def read(layer: Any) -> dict[str, Any]:
        names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional", *more)
        # torch warns of dropout in a single layer, where it does nothing
        return {**_attributes(*names)(layer), "dropout": layer.dropout if layer.num_layers > 1 else 0.0}

    return read


def _attention(layer: Any) -> dict[str, Any]:
    arguments = _attributes("embed_dim", "num_heads", "dropout", "add_zero_attn", "kdim", "vdim", "batch_first")(layer)
    return {**arguments, "bias": layer.in_proj_bias is not None, "add_bias_kv": layer.bias_k is not None}


_CHANNELS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
_CELL = ("input_size", "hidden_size", "bias")

RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: Rule(linear.Linear, _with_bias("in_features", "out_features"), can_be_head=True),
    nn.Conv1d: Rule(conv.Conv1d, _with_bias(*_CHANNELS), can_be_head=True),
    nn.Conv2d: Rule(conv.Conv2d, _with_bias(*_CHANNELS), can_be_head=True),
    nn.Conv3d: Rule(conv.Conv3d, _with_bias(*_CHANNELS), can_be_head=True),
    nn.ConvTranspose1d: Rule(conv_transpose.ConvTranspose1d, _with_bias(*_CHANNELS, "output_padding"), can_be_head=True),
    nn.ConvTranspose2d: Rule(conv_transpose.ConvTranspose2d, _with_bias(*_CHANNELS, "output_padding"), can_be_head=True),
    nn.ConvTranspose3d: Rule(conv_transpose.ConvTranspose3d, _with_bias(*_CHANNELS, "output_padding"), can_be_head=True),
    nn.Bilinear: Rule(bilinear.Bilinear, _with_bias("in1_features", "in2_features", "out_features"), can_be_head=True),
    nn.RNN: Rule(recurrent.RNN, _recurrent("nonlinearity")),
    nn.LSTM: Rule(recurrent.LSTM, _recurrent("proj_size")),
    nn.GRU: Rule(recurrent.GRU, _recurrent()),
    nn.RNNCell: Rule(recurrent.RNNCell, _attributes(*_CELL, "nonlinearity")),
    nn.LSTMCell: Rule(recurrent.LSTMCell, _attributes(*_CELL)),
    nn.GRUCell: Rule(recurrent.GRUCell, _attributes(*_CELL)),
    nn.MultiheadAttention: Rule(attention.MultiheadAttention, _attention),
    nn.BatchNorm1d: Rule(norm.BatchNorm1d, _batch_norm),
    nn.BatchNorm2d: Rule(norm.BatchNorm2d, _batch_norm),
    nn.BatchNorm3d: Rule(norm.BatchNorm3d, _batch_norm),
}
"""The layers that `convert` knows; others may be added. What is not listed, such as layer norm, stays as it is."""
