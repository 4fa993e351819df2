"""Every layer of ours, with an input, for laws that all of them obey."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fourfold import nn as fnn
from fourfold.algebra import get


class Case(NamedTuple):
    make: Callable[[str], nn.Module]
    """Makes the layer in an algebra, which rotation layers and learned algebras do not look at."""
    shapes: tuple[tuple[int, ...], ...]
    """Of the inputs, in multiples of the algebra's dimension along `axis`."""
    axis: int = 1

    def inputs(self, algebra: str, seed: int = 0) -> tuple[Tensor, ...]:
        """Return normal inputs, or indices for layers whose shape has no axis of numbers."""
        generator, n = torch.Generator().manual_seed(seed), get(algebra).n
        if self.axis is None:
            return tuple(torch.randint(0, 5, shape, generator=generator) for shape in self.shapes)
        sizes = [[size * n if i == self.axis % len(shape) else size for i, size in enumerate(shape)] for shape in self.shapes]
        return tuple(torch.randn(size, generator=generator) for size in sizes)


def _n(algebra: str) -> int:
    return get(algebra).n


def _maps(rank: int, channels: int = 2) -> tuple[tuple[int, ...], ...]:
    return ((2, channels, *(6, 5, 4)[:rank]),)


LAYERS: dict[str, Case] = {
    "Linear": Case(lambda a: fnn.Linear(3 * _n(a), 2 * _n(a), algebra=a), ((5, 3),)),
    "Bilinear": Case(lambda a: fnn.Bilinear(2 * _n(a), 3 * _n(a), _n(a), algebra=a), ((5, 2), (5, 3))),
    "Embedding": Case(lambda a: fnn.Embedding(5, 2 * _n(a), algebra=a), ((3, 4),), None),
    "EmbeddingBag": Case(lambda a: fnn.EmbeddingBag(5, 2 * _n(a), algebra=a), ((3, 4),), None),
    "ModReLU": Case(lambda a: fnn.ModReLU(2 * _n(a), init=-0.1, algebra=a), _maps(2)),
    "Cardioid": Case(lambda a: fnn.Cardioid(algebra=a), _maps(2)),
    "AmplitudeTanh": Case(lambda a: fnn.AmplitudeTanh(algebra=a), _maps(2)),
    "NormHead": Case(lambda a: fnn.NormHead(algebra=a), _maps(2)),
    "RealPartHead": Case(lambda a: fnn.RealPartHead(algebra=a), _maps(2)),
    "Dropout": Case(lambda a: fnn.Dropout(0.2, algebra=a), _maps(2)),
    "LayerNorm": Case(lambda a: fnn.LayerNorm(2 * _n(a), algebra=a), ((5, 2),)),
    "RMSNorm": Case(lambda a: fnn.RMSNorm(2 * _n(a), algebra=a), ((5, 2),)),
    "GroupNorm": Case(lambda a: fnn.GroupNorm(2, 4 * _n(a), algebra=a), _maps(2, 4)),
    "RNN": Case(lambda a: fnn.RNN(2 * _n(a), 2 * _n(a), algebra=a), ((3, 2, 2),), -1),
    "LSTM": Case(lambda a: fnn.LSTM(2 * _n(a), 2 * _n(a), algebra=a), ((3, 2, 2),), -1),
    "GRU": Case(lambda a: fnn.GRU(2 * _n(a), 2 * _n(a), algebra=a), ((3, 2, 2),), -1),
    "LiGRU": Case(lambda a: fnn.LiGRU(2 * _n(a), 2 * _n(a), algebra=a), ((3, 2, 2),), -1),
    "RNNCell": Case(lambda a: fnn.RNNCell(2 * _n(a), 2 * _n(a), algebra=a), ((3, 2),)),
    "LSTMCell": Case(lambda a: fnn.LSTMCell(2 * _n(a), 2 * _n(a), algebra=a), ((3, 2),)),
    "GRUCell": Case(lambda a: fnn.GRUCell(2 * _n(a), 2 * _n(a), algebra=a), ((3, 2),)),
    "MultiheadAttention": Case(lambda a: fnn.MultiheadAttention(2 * _n(a), 2, algebra=a), ((3, 2, 2),) * 3, -1),
    "TransformerEncoderLayer": Case(
        lambda a: fnn.TransformerEncoderLayer(2 * _n(a), 2, 2 * _n(a), algebra=a), ((3, 2, 2),), -1
    ),
}
for _rank in (1, 2, 3):
    _conv, _transposed = getattr(fnn, f"Conv{_rank}d"), getattr(fnn, f"ConvTranspose{_rank}d")
    _component, _whitening = getattr(fnn, f"BatchNorm{_rank}d"), getattr(fnn, f"WhiteningBatchNorm{_rank}d")
    _instance, _dropout = getattr(fnn, f"InstanceNorm{_rank}d"), getattr(fnn, f"Dropout{_rank}d")
    _pool, _adaptive = getattr(fnn, f"MaxPool{_rank}d"), getattr(fnn, f"AdaptiveMaxPool{_rank}d")
    LAYERS |= {
        f"Conv{_rank}d": Case(lambda a, c=_conv: c(2 * _n(a), 4 * _n(a), 3, padding=1, groups=2, algebra=a), _maps(_rank)),
        f"ConvTranspose{_rank}d": Case(lambda a, c=_transposed: c(2 * _n(a), _n(a), 3, stride=2, algebra=a), _maps(_rank)),
        f"BatchNorm{_rank}d": Case(lambda a, c=_component: c(2 * _n(a), algebra=a), _maps(_rank)),
        f"WhiteningBatchNorm{_rank}d": Case(lambda a, c=_whitening: c(2 * _n(a), algebra=a), _maps(_rank)),
        f"InstanceNorm{_rank}d": Case(lambda a, c=_instance: c(2 * _n(a), affine=True, algebra=a), _maps(_rank)),
        f"Dropout{_rank}d": Case(lambda a, c=_dropout: c(0.2, algebra=a), _maps(_rank)),
        f"MaxPool{_rank}d": Case(lambda a, c=_pool: c(2, algebra=a), _maps(_rank)),
        f"AdaptiveMaxPool{_rank}d": Case(lambda a, c=_adaptive: c(2, algebra=a), _maps(_rank)),
    }

FIXED: dict[str, Case] = {
    "PHMLinear": Case(lambda a: fnn.PHMLinear(12, 8, n=4), ((5, 3),)),
    "RotationLinear": Case(lambda a: fnn.RotationLinear(12, 8), ((5, 3),)),
    "PHMConv1d": Case(lambda a: fnn.PHMConv1d(8, 8, 3, n=4), _maps(1)),
    "PHMConv2d": Case(lambda a: fnn.PHMConv2d(8, 8, 3, n=4), _maps(2)),
    "PHMConv3d": Case(lambda a: fnn.PHMConv3d(8, 8, 3, n=4), _maps(3)),
    "RotationConv1d": Case(lambda a: fnn.RotationConv1d(8, 8, 3), _maps(1)),
    "RotationConv2d": Case(lambda a: fnn.RotationConv2d(8, 8, 3), _maps(2)),
    "RotationConv3d": Case(lambda a: fnn.RotationConv3d(8, 8, 3), _maps(3)),
}
"""Layers that choose their algebra themselves, of dimension 4."""


def every(*algebras: str) -> list[tuple[str, str]]:
    """Return every layer with every one of these algebras, and layers that choose their own with `quaternion`."""
    return [(name, algebra) for algebra in algebras for name in (LAYERS | FIXED if algebra == "quaternion" else LAYERS)]


def case(name: str) -> Case:
    return LAYERS[name] if name in LAYERS else FIXED[name]


def outputs(layer: nn.Module, *inputs: Tensor) -> list[Tensor]:
    """Return the tensors of a layer's output, flattened: states of recurrent layers, weights of attention."""
    found = layer(*inputs)
    pending, tensors = [found], []
    while pending:
        item = pending.pop(0)
        if isinstance(item, Tensor):
            tensors.append(item)
        elif item is not None:
            pending = [*item, *pending]
    return tensors
