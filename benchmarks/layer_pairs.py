"""The layers of `fourfold.nn` and their real twins, with inputs: what `benchmarks/layers.py --all` goes through."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fourfold import nn as fnn

BATCHES = (1, 64)


@dataclass(frozen=True)
class Pair:
    """A layer, its real twin, and their inputs."""

    name: str
    layer: nn.Module
    twin: nn.Module
    inputs: tuple[Tensor, ...]


def pairs() -> Iterator[Pair]:
    """Yield every layer at sizes of common networks, at batch 1 and 64 and in each memory format."""
    for batch in BATCHES:
        yield from _linear(batch)
        yield from _sequences(batch)
    for batch in (1, 16):
        yield from _images(batch)
    yield from _other_dimensions()


def _pair(name: str, ours: Any, theirs: Any, arguments: tuple[Any, ...], *inputs: Tensor, **options: Any) -> Pair:
    return Pair(name, ours(*arguments, algebra="quaternion", **options), theirs(*arguments, **options), inputs)


def _linear(batch: int) -> Iterator[Pair]:
    x, twin = torch.randn(batch, 512), nn.Linear(512, 512)
    layers: dict[str, nn.Module] = {
        f"Linear 512, {algebra}": fnn.Linear(512, 512, algebra=algebra) for algebra in ("complex", "quaternion", "octonion")
    }
    layers |= {f"PHMLinear 512, n = {n}": fnn.PHMLinear(512, 512, n=n) for n in (4, 8)}
    layers |= {f"RotationLinear 512, {scale}": fnn.RotationLinear(512, 512, scale=scale) for scale in ("learned", "norm")}
    for name, layer in layers.items():
        yield Pair(f"{name}, batch {batch}", layer, twin, (x,))
    bilinear = torch.randn(batch, 64), torch.randn(batch, 64)
    yield _pair(f"Bilinear 64, batch {batch}", fnn.Bilinear, nn.Bilinear, (64, 64, 64), *bilinear)
    yield _pair(f"Embedding 512, batch {batch}", fnn.Embedding, nn.Embedding, (1000, 512), torch.arange(batch))
    yield _pair(
        f"EmbeddingBag 512, batch {batch}", fnn.EmbeddingBag, nn.EmbeddingBag, (1000, 512), torch.arange(batch)[:, None]
    )
    yield _pair(
        f"WhiteningBatchNorm1d 512, batch {batch + 15}",
        fnn.WhiteningBatchNorm1d,
        nn.BatchNorm1d,
        (512,),
        torch.randn(batch + 15, 512),
    )


def _sequences(batch: int) -> Iterator[Pair]:
    state = torch.randn(batch, 512)
    for kind in ("RNNCell", "LSTMCell", "GRUCell"):
        yield _pair(f"{kind} 512, batch {batch}", getattr(fnn, kind), getattr(nn, kind), (512, 512), state)
    for kind in ("RNN", "LSTM", "GRU"):
        for steps in (1, 20):
            sequence = torch.randn(steps, batch, 512)
            yield _pair(
                f"{kind} 512, {steps} steps, batch {batch}", getattr(fnn, kind), getattr(nn, kind), (512, 512), sequence
            )
    yield Pair(
        f"LiGRU 512 / GRU, 20 steps, batch {batch}",
        fnn.LiGRU(512, 512, normalization="layer", algebra="quaternion"),
        nn.GRU(512, 512),
        (torch.randn(20, batch, 512),),
    )
    for tokens in (1, 64):
        x = torch.randn(tokens, batch, 256)
        yield _pair(
            f"attention 256, {tokens} tokens, batch {batch}", fnn.MultiheadAttention, nn.MultiheadAttention, (256, 8), x, x, x
        )
        sizes = (256, 8, 512, 0.0)
        yield _pair(
            f"encoder layer 256, {tokens} tokens, batch {batch}",
            fnn.TransformerEncoderLayer,
            nn.TransformerEncoderLayer,
            sizes,
            x,
        )
    x = torch.randn(64, batch, 512)
    yield _pair(f"LayerNorm 512, 64 tokens, batch {batch}", fnn.LayerNorm, nn.LayerNorm, (512,), x)
    yield _pair(f"RMSNorm 512, 64 tokens, batch {batch}", fnn.RMSNorm, nn.RMSNorm, (512,), x)


def _images(batch: int) -> Iterator[Pair]:
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(batch, 64, 32, 32).contiguous(memory_format=layout)
        where = f"64 × 32 × 32, batch {batch}{', channels last' if layout == torch.channels_last else ''}"
        convolutions: dict[str, tuple[Callable[..., nn.Module], Callable[..., nn.Module], tuple[Any, ...]]] = {
            "Conv2d 3 × 3": (fnn.Conv2d, nn.Conv2d, (64, 64, 3)),
            "Conv2d 1 × 1": (fnn.Conv2d, nn.Conv2d, (64, 64, 1)),
            "ConvTranspose2d 2 × 2": (fnn.ConvTranspose2d, nn.ConvTranspose2d, (64, 32, 2, 2)),
            "BatchNorm2d": (fnn.BatchNorm2d, nn.BatchNorm2d, (64,)),
            "WhiteningBatchNorm2d": (fnn.WhiteningBatchNorm2d, nn.BatchNorm2d, (64,)),
            "GroupNorm 4": (fnn.GroupNorm, nn.GroupNorm, (4, 64)),
            "InstanceNorm2d": (fnn.InstanceNorm2d, nn.InstanceNorm2d, (64,)),
            "Dropout2d": (fnn.Dropout2d, nn.Dropout2d, ()),
            "Dropout": (fnn.Dropout, nn.Dropout, ()),
            "MaxPool2d": (fnn.MaxPool2d, nn.MaxPool2d, (2,)),
            "AdaptiveMaxPool2d": (fnn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool2d, (4,)),
        }
        for name, (ours, theirs, arguments) in convolutions.items():
            pair = _pair(f"{name}, {where}", ours, theirs, arguments, x)
            yield Pair(pair.name, pair.layer.to(memory_format=layout), pair.twin.to(memory_format=layout), (x,))
        others = {
            "PHMConv2d 3 × 3": (fnn.PHMConv2d(64, 64, 3, n=4), nn.Conv2d(64, 64, 3)),
            "RotationConv2d 3 × 3": (fnn.RotationConv2d(64, 64, 3), nn.Conv2d(64, 64, 3)),
            "ModReLU / ReLU": (fnn.ModReLU(64, -0.1, algebra="quaternion"), nn.ReLU()),
            "Cardioid / ReLU": (fnn.Cardioid(algebra="quaternion"), nn.ReLU()),
            "AmplitudeTanh / Tanh": (fnn.AmplitudeTanh(algebra="quaternion"), nn.Tanh()),
        }
        for name, (layer, twin) in others.items():
            yield Pair(f"{name}, {where}", layer.to(memory_format=layout), twin.to(memory_format=layout), (x,))


def _other_dimensions() -> Iterator[Pair]:
    for rank, size in ((1, (256,)), (3, (8, 8, 8))):
        x = torch.randn(16, 64, *size)
        where = f"64 × {' × '.join(map(str, size))}, batch 16"
        yield _pair(f"Conv{rank}d 3, {where}", getattr(fnn, f"Conv{rank}d"), getattr(nn, f"Conv{rank}d"), (64, 64, 3), x)
        for kind, twin in (("WhiteningBatchNorm", "BatchNorm"), ("InstanceNorm", "InstanceNorm")):
            name = f"{kind}{rank}d"
            yield _pair(f"{name}, {where}", getattr(fnn, name), getattr(nn, f"{twin}{rank}d"), (64,), x)
