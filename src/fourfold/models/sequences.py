"""Networks that classify series of unequal length: `lstm`, `gru` and `transformer-encoder`, in every algebra.

Inputs are series (B, T, F), features blocked by component, and lengths (B,), or None where all steps count. What lies behind a
series in its batch changes nothing: recurrent layers read forward, attention and the mean over steps leave it out.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from fourfold import nn as fnn
from fourfold.models.layers import PHM, Layers, dimension
from fourfold.record import UserError

HIDDEN = 128
"""Real neurons of a recurrent layer."""

MODEL, HEADS, FEEDFORWARD, DEPTH = 64, 4, 128, 2
"""Real neurons of a transformer's tokens and of its inner layers, its heads and its encoder layers."""

_PERIOD = 10_000.0
"""Of the slowest sine, over 2π (Vaswani et al. 2017)."""


def recurrent(
    shape: tuple[int, int], num_classes: int, layers: Layers, *, kind: Literal["lstm", "gru"], every_step: bool = False
) -> nn.Module:
    """Return one recurrent layer and an output layer, for the mean of the steps or for every step."""
    check_fixed(layers, kind)
    hidden = layers.scaled(HIDDEN)
    layer = {"lstm": fnn.LSTM, "gru": fnn.GRU}[kind](shape[-1], hidden, batch_first=True, algebra=layers.algebra)
    return (StepClassifier if every_step else RecurrentClassifier)(layer, layers.output(hidden, num_classes))


def transformer(shape: tuple[int, int], num_classes: int, layers: Layers) -> nn.Module:
    """Return a linear layer to tokens, encoder layers that normalise first, and an output layer behind the mean of tokens."""
    check_fixed(layers, "transformer-encoder")
    per_head = dimension(layers.algebra) * HEADS
    size = max(1, round(layers.scaled(MODEL) / per_head)) * per_head
    inner = layers.scaled(FEEDFORWARD)
    encoders = [
        fnn.TransformerEncoderLayer(size, HEADS, inner, 0.0, batch_first=True, norm_first=True, algebra=layers.algebra)
        for _ in range(DEPTH)
    ]
    return TransformerClassifier(layers.linear(shape[-1], size), encoders, layers.output(size, num_classes))


class RecurrentClassifier(nn.Module):
    """A recurrent layer whose mean over the steps of each series is classified.

    Shapes: series (B, T, F), lengths (B,) or None → (B, classes).
    """

    def __init__(self, recurrent: nn.Module, output: nn.Module) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.output = output

    def forward(self, series: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the scores of classes."""
        series = trimmed(series, lengths)
        steps, _ = self.recurrent(series)
        scores: Tensor = self.output(mean_steps(steps, lengths))
        return scores


class StepClassifier(nn.Module):
    """A recurrent layer of which every step is classified.

    Shapes: series (B, T, F) → (B, classes, T).
    """

    def __init__(self, recurrent: nn.Module, output: nn.Module) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.output = output

    def forward(self, series: Tensor) -> Tensor:
        """Return the scores of classes at every step."""
        steps, _ = self.recurrent(series)
        scores: Tensor = self.output(steps)
        return scores.transpose(1, 2)


class TransformerClassifier(nn.Module):
    """Encoder layers over the steps of each series, whose mean is classified.

    Shapes: series (B, T, F), lengths (B,) or None → (B, classes).
    """

    def __init__(self, tokens: nn.Module, encoders: list[fnn.TransformerEncoderLayer], output: nn.Module) -> None:
        super().__init__()
        self.tokens = tokens
        self.encoders = nn.ModuleList(encoders)
        self.output = output

    def forward(self, series: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the scores of classes."""
        series = trimmed(series, lengths)
        tokens = self.tokens(series)
        tokens = tokens + positions(tokens.shape[1], tokens.shape[2], tokens)
        padding = None if lengths is None else ~valid(lengths, series.shape[1])
        for encoder in self.encoders:
            tokens = encoder(tokens, src_key_padding_mask=padding)
        scores: Tensor = self.output(mean_steps(tokens, lengths))
        return scores


def trimmed(series: Tensor, lengths: Tensor | None) -> Tensor:
    """Return series without the steps that are padding in all of a batch; all steps where sizes must not depend on values."""
    if lengths is None or _is_traced(series) or series.is_meta or torch.compiler.is_compiling():
        return series
    return series[:, : int(lengths.max())]


def _is_traced(value: Any) -> bool:
    """Whether a value is what `torch.fx` hands round in place of a tensor."""
    return isinstance(value, fx.Proxy)


def valid(lengths: Tensor, steps: int) -> Tensor:
    """Return which steps belong to each series, bool (B, steps)."""
    return torch.arange(steps, device=lengths.device) < lengths.unsqueeze(1)


def mean_steps(outputs: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the mean (B, F) over the steps of each series."""
    if lengths is None:
        return outputs.mean(1)
    kept = valid(lengths, outputs.shape[1]).unsqueeze(2)
    return torch.where(kept, outputs, 0).sum(1) / lengths.unsqueeze(1)


def positions(steps: int, features: int, like: Tensor) -> Tensor:
    """Return sines and cosines of the step, (steps, features), which tell steps apart (Vaswani et al. 2017)."""
    step = torch.arange(steps, device=like.device, dtype=torch.float32).unsqueeze(1)
    rate = torch.exp(torch.arange(0, features, 2, device=like.device, dtype=torch.float32) * (-math.log(_PERIOD) / features))
    waves = torch.stack([torch.sin(step * rate), torch.cos(step * rate)], dim=2).flatten(1)
    return waves[:, :features].to(like.dtype)


def check_fixed(layers: Layers, name: str) -> None:
    """Raise `UserError` for a learned algebra, which these layers do not have."""
    if layers.algebra == PHM:
        raise UserError(f"`algebra` (='phm') cannot be combined with {name}, whose layers need a fixed algebra")
