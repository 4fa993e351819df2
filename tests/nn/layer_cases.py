"""Every layer of `fourfold.nn`, small, with inputs for it: what laws over all layers go through."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fourfold import nn as fnn
from fourfold.algebra import get


@dataclass(frozen=True)
class Case:
    """A layer as it is built over an algebra, with the shapes of its inputs."""

    kind: str
    make: Callable[[str], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    indices: bool = False
    """Whether the input is integers below 6."""
    algebras: tuple[str, ...] = ("complex", "quaternion", "octonion")

    def layer(self, algebra: str, dtype: torch.dtype = torch.float64) -> nn.Module:
        """Return the layer with weights that no constructor would give, so that nothing hides behind zeros and ones."""
        layer = self.make(algebra).to(dtype)
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=dtype))
        return layer

    def inputs(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        if self.indices:
            return [torch.randint(6, shape, generator=generator) for shape in self.shapes]
        return [torch.randn(shape, generator=generator, dtype=dtype) for shape in self.shapes]


def first(output: Any) -> Tensor:
    """Return the main output of a layer."""
    return output[0] if isinstance(output, tuple) else output


def _cases() -> list[Case]:
    def rotation(kind: str, *arguments: Any, **options: Any) -> Callable[[str], nn.Module]:
        return lambda algebra: getattr(fnn, kind)(*arguments, **options)

    def learned(kind: str, *arguments: Any, **options: Any) -> Callable[[str], nn.Module]:
        return lambda algebra: getattr(fnn, kind)(*arguments, n=get(algebra).n, **options)

    def usual(kind: str, *arguments: Any, **options: Any) -> Callable[[str], nn.Module]:
        return lambda algebra: getattr(fnn, kind)(*arguments, algebra=algebra, **options)

    quaternion = ("quaternion",)
    sequence, image = (5, 3, 16), (3, 16, 4, 4)
    maps = {1: (3, 16, 16), 2: image, 3: (3, 16, 2, 3, 4)}
    cases = [
        Case("Linear", usual("Linear", 16, 24), ((3, 5, 16),)),
        Case("Bilinear", usual("Bilinear", 16, 8, 8), ((3, 16), (3, 8))),
        Case("Embedding", usual("Embedding", 6, 16), ((3, 5),), indices=True),
        Case("EmbeddingBag", usual("EmbeddingBag", 6, 16), ((3, 5),), indices=True),
        Case("PHMLinear", learned("PHMLinear", 16, 24), ((3, 5, 16),)),
        Case("RotationLinear", rotation("RotationLinear", 16, 24), ((3, 5, 16),), algebras=quaternion),
        Case("RotationLinear norm", rotation("RotationLinear", 16, 8, scale="norm"), ((3, 16),), algebras=quaternion),
        Case("LayerNorm", usual("LayerNorm", 16), (sequence,)),
        Case("RMSNorm", usual("RMSNorm", 16), (sequence,)),
        Case("GroupNorm", usual("GroupNorm", 2, 16), (image,)),
        Case("Dropout", usual("Dropout", 0.0), (image,)),
        Case("ModReLU", usual("ModReLU", 16, -0.1), (image,)),
        Case("Cardioid", usual("Cardioid"), (image,)),
        Case("AmplitudeTanh", usual("AmplitudeTanh"), (image,)),
        Case("NormHead", usual("NormHead"), (image,)),
        Case("RealPartHead", usual("RealPartHead"), (image,)),
        Case("MultiheadAttention", usual("MultiheadAttention", 16, 2), ((5, 3, 16),) * 3, algebras=("complex", "quaternion")),
        Case(
            "TransformerEncoderLayer",
            usual("TransformerEncoderLayer", 16, 2, 16, dropout=0.0),
            (sequence,),
            algebras=("complex", "quaternion"),
        ),
        Case("LiGRU", usual("LiGRU", 16, 8, normalization="layer", bidirectional=True), (sequence,)),
    ]
    for kind in ("RNN", "LSTM", "GRU"):
        cases.append(Case(kind, usual(kind, 16, 8, bidirectional=True), (sequence,)))
        cases.append(Case(f"{kind}Cell", usual(f"{kind}Cell", 16, 8), ((3, 16),)))
    for rank, shape in maps.items():
        cases += [
            Case(f"Conv{rank}d", usual(f"Conv{rank}d", 16, 24, 2, padding=1), (shape,)),
            Case(f"Conv{rank}d grouped", usual(f"Conv{rank}d", 16, 16, 2, groups=2), (shape,)),
            Case(f"ConvTranspose{rank}d", usual(f"ConvTranspose{rank}d", 16, 24, 2, stride=2), (shape,)),
            Case(f"PHMConv{rank}d", learned(f"PHMConv{rank}d", 16, 24, 2), (shape,)),
            Case(f"RotationConv{rank}d", rotation(f"RotationConv{rank}d", 16, 24, 2), (shape,), algebras=quaternion),
            Case(f"BatchNorm{rank}d", usual(f"BatchNorm{rank}d", 16), (shape,)),
            Case(f"WhiteningBatchNorm{rank}d", usual(f"WhiteningBatchNorm{rank}d", 16, eps=0.1), ((16, *shape[1:]),)),
            Case(f"InstanceNorm{rank}d", usual(f"InstanceNorm{rank}d", 16, affine=True), (shape,)),
            Case(f"Dropout{rank}d", usual(f"Dropout{rank}d", 0.0), (shape,)),
            Case(f"MaxPool{rank}d", usual(f"MaxPool{rank}d", 2), (shape,)),
            Case(f"AdaptiveMaxPool{rank}d", usual(f"AdaptiveMaxPool{rank}d", 2), (shape,)),
        ]
    cases.append(Case("WhiteningBatchNorm1d, features", usual("WhiteningBatchNorm1d", 16, eps=0.1), ((20, 16),)))
    return cases


CASES = {case.kind: case for case in _cases()}
EVERY = [(kind, algebra) for kind, case in CASES.items() for algebra in case.algebras]
"""Every layer with every algebra that it takes."""
