"""A network of every kind of layer that has weights, ours in an algebra and torch's own, with a batch for it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fourfold import nn as fnn

SHAPES = {"features": (8,), "sequence": (3, 8), "map": (8, 5), "image": (8, 4, 4), "volume": (8, 3, 3, 3)}
"""Inputs by name, without the batch."""


class Network(nn.Module):
    """A layer and a real output layer; recurrent layers give their outputs, attention attends to its own input."""

    def __init__(self, layer: nn.Module, kind: str) -> None:
        super().__init__()
        self.layer, self.kind = layer, kind
        with torch.no_grad():
            self.head = nn.Linear(self.features(torch.zeros(2, *SHAPES[kind])).shape[1], 3)

    def features(self, x: Tensor) -> Tensor:
        arguments = 3 if isinstance(self.layer, nn.MultiheadAttention) else 2 if isinstance(self.layer, nn.Bilinear) else 1
        output: Any = self.layer(*[x] * arguments)
        return (output if isinstance(output, Tensor) else output[0]).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(x))
        return logits


_Q: dict[str, Any] = {"algebra": "quaternion"}

LAYERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "Linear": (lambda: fnn.Linear(8, 16, **_Q), "features"),
    "Bilinear": (lambda: fnn.Bilinear(8, 8, 16, **_Q), "features"),
    "Conv1d": (lambda: fnn.Conv1d(8, 16, 3, **_Q), "map"),
    "Conv2d": (lambda: fnn.Conv2d(8, 16, 3, groups=2, **_Q), "image"),
    "Conv3d": (lambda: fnn.Conv3d(8, 16, 2, **_Q), "volume"),
    "ConvTranspose1d": (lambda: fnn.ConvTranspose1d(8, 16, 3, stride=2, **_Q), "map"),
    "ConvTranspose2d": (lambda: fnn.ConvTranspose2d(8, 16, 3, groups=2, **_Q), "image"),
    "ConvTranspose3d": (lambda: fnn.ConvTranspose3d(8, 16, 2, **_Q), "volume"),
    "RNN": (lambda: fnn.RNN(8, 16, batch_first=True, **_Q), "sequence"),
    "LSTM": (lambda: fnn.LSTM(8, 16, 2, batch_first=True, bidirectional=True, **_Q), "sequence"),
    "GRU": (lambda: fnn.GRU(8, 16, batch_first=True, **_Q), "sequence"),
    "LiGRU": (lambda: fnn.LiGRU(8, 16, batch_first=True, **_Q), "sequence"),
    "RNNCell": (lambda: fnn.RNNCell(8, 16, **_Q), "features"),
    "LSTMCell": (lambda: fnn.LSTMCell(8, 16, **_Q), "features"),
    "GRUCell": (lambda: fnn.GRUCell(8, 16, **_Q), "features"),
    "MultiheadAttention": (lambda: fnn.MultiheadAttention(8, 2, batch_first=True, **_Q), "sequence"),
    "MultiheadAttention of other keys": (
        lambda: fnn.MultiheadAttention(8, 2, kdim=8, vdim=8, batch_first=True, **_Q),
        "sequence",
    ),
    "PHMLinear": (lambda: fnn.PHMLinear(8, 16, n=4), "features"),
    "PHMConv2d": (lambda: fnn.PHMConv2d(8, 16, 3, n=2), "image"),
    "RotationLinear": (lambda: fnn.RotationLinear(8, 16), "features"),
    "RotationLinear by norm": (lambda: fnn.RotationLinear(8, 16, scale="norm"), "features"),
    "RotationConv2d": (lambda: fnn.RotationConv2d(8, 16, 3, groups=2), "image"),
    "nn.Linear": (lambda: nn.Linear(8, 16), "features"),
    "nn.Bilinear": (lambda: nn.Bilinear(8, 8, 16), "features"),
    "nn.Conv2d": (lambda: nn.Conv2d(8, 16, 3, groups=4), "image"),
    "nn.ConvTranspose1d": (lambda: nn.ConvTranspose1d(8, 16, 3), "map"),
    "nn.ConvTranspose2d": (lambda: nn.ConvTranspose2d(8, 16, 3, groups=2), "image"),
    "nn.RNN": (lambda: nn.RNN(8, 16, batch_first=True), "sequence"),
    "nn.LSTM": (lambda: nn.LSTM(8, 16, batch_first=True), "sequence"),
    "nn.GRUCell": (lambda: nn.GRUCell(8, 16), "features"),
    "nn.MultiheadAttention": (lambda: nn.MultiheadAttention(8, 2, batch_first=True), "sequence"),
    "nn.TransformerEncoderLayer": (lambda: nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), "sequence"),
    "TransformerEncoderLayer": (
        lambda: fnn.convert(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)),
        "sequence",
    ),
}
"""A layer and the name of its input, by name."""


def network(name: str) -> Network:
    """Return a network of a layer, drawn from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        make, kind = LAYERS[name]
        return Network(make(), kind)


def batch(name: str, size: int = 5) -> tuple[Tensor, Tensor]:
    """Return images and labels for a network."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(size, *SHAPES[LAYERS[name][1]], generator=generator), torch.arange(size) % 3
