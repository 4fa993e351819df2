"""Layers of `fourfold.nn` with random options and inputs, made from a seed."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fourfold import nn as fnn
from fourfold.algebra import ALGEBRAS, Algebra, get

SPLIT = Algebra("split-complex", (((1, 0), (0, 1)), ((0, 1), (1, 0))))
"""An algebra of the user's own: commutative, with divisors of zero."""


@dataclass(frozen=True)
class Drawn:
    """A layer and inputs for it."""

    kind: str
    algebra: str | Algebra
    options: str
    """What it was made with, to be read in a failure."""
    make: Callable[[str | Algebra], nn.Module]
    """Makes the layer, or with `real` its real twin: sizes are those of the drawn algebra's layer."""
    shapes: tuple[tuple[int, ...], ...]
    batch_axis: int | None = 0
    """Of the inputs; None where there is none."""
    indices: bool = False
    """Whether inputs are integers below 6, not numbers."""
    more: dict[str, Tensor] = field(default_factory=dict)
    """Arguments by name."""


class Random:
    """Draws options, in numbers of the algebra."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.take(self.pick(*ALGEBRAS, "quaternion", "quaternion", SPLIT))
        self.batch = self.pick(0, 1, 2, 3, 5)

    def take(self, algebra: str | Algebra) -> None:
        """Draw sizes for this algebra from here on."""
        self.algebra, self.n = algebra, get(algebra).n

    def pick(self, *choices: Any) -> Any:
        """Return one of the choices."""
        return self._random.choice(choices)

    def chance(self, probability: float) -> bool:
        """Return whether something of this probability happens."""
        return self._random.random() < probability

    def numbers(self, low: int = 1, high: int = 3) -> int:
        """Return a size: so many numbers of the algebra, in components."""
        return self.n * self._random.randint(low, high)

    def sides(self, rank: int) -> tuple[int, ...]:
        """Return the size of a map."""
        return tuple(self._random.randint(5, 7 - (rank == 3)) for _ in range(rank))

    def per_axis(self, rank: int, *choices: int) -> int | tuple[int, ...]:
        """Return a size for all axes, or for each."""
        return self.pick(*choices) if self.chance(0.5) else tuple(self.pick(*choices) for _ in range(rank))

    def maps(self, channels: int, rank: int, *, unbatched: bool = True) -> tuple[tuple[int, ...], int | None]:
        """Return the shape of maps and its axis of the batch, now and then of one map without a batch."""
        shape = (channels, *self.sides(rank))
        if unbatched and self.chance(0.15):
            return shape, None
        return (self.batch, *shape), 0

    def seed(self) -> int:
        """Return a seed for torch."""
        return self._random.randrange(2**31)


Family = Callable[[Random], Drawn]


def drawn(seed: int) -> Drawn:
    """Return the layer of a seed."""
    random = Random(seed)
    family: Family = random.pick(*FAMILIES)
    return family(random)


def _layer(
    random: Random,
    kind: str,
    arguments: tuple[Any, ...],
    options: dict[str, Any],
    shapes: Any,
    batch_axis: int | None = 0,
    **more: Any,
) -> Drawn:
    of_products = kind.removeprefix("PHM").removeprefix("Rotation")

    def make(algebra: str | Algebra) -> nn.Module:
        if kind == of_products:
            built: nn.Module = getattr(fnn, kind)(*arguments, **options, algebra=algebra)
        elif algebra == "real":
            shared = {name: value for name, value in options.items() if name not in OWN}
            built = getattr(fnn, of_products)(*arguments, **shared)
        else:
            built = getattr(fnn, kind)(*arguments, **options)
        return built

    text = ", ".join([*map(str, arguments), *(f"{name}={value!r}" for name, value in options.items())])
    return Drawn(kind, random.algebra, text, make, tuple(shapes), batch_axis, **more)


def _leading(random: Random) -> tuple[int, ...]:
    """Return the axes before features."""
    return random.pick((random.batch,), (random.batch,), (random.batch, 3), (random.batch, 2, 2), ())


def linear(random: Random) -> Drawn:
    kind = random.pick("Linear", "Linear", "Linear", "PHMLinear", "RotationLinear")
    own = _own_options(random, kind)
    sizes = random.numbers(1, 9), random.numbers(1, 9)
    leading = _leading(random)
    options = {"bias": random.chance(0.7)} | own
    return _layer(random, kind, sizes, options, [(*leading, sizes[0])], 0 if leading else None)


OWN = ("n", "start", "scale", "real_part")
"""Options that products of a fixed algebra lack."""


def _own_options(random: Random, kind: str) -> dict[str, Any]:
    """Return the options of layers that take no `algebra=`, and draw its dimension."""
    if kind.startswith("PHM"):
        if random.n == 1:
            random.take("quaternion")
        return {"n": random.n, "start": random.pick(None, random.algebra) if random.algebra in ALGEBRAS else None}
    if kind.startswith("Rotation"):
        random.take("quaternion")
        return {"scale": random.pick("learned", "norm"), "real_part": random.pick("carry", "zero")}
    return {}


def bilinear(random: Random) -> Drawn:
    sizes = random.numbers(), random.numbers(), random.numbers()
    leading = _leading(random)
    options = {"bias": random.chance(0.7)}
    return _layer(random, "Bilinear", sizes, options, [(*leading, size) for size in sizes[:2]], 0 if leading else None)


def convolution(random: Random) -> Drawn:
    rank, groups = random.pick(1, 2, 2, 3), random.pick(1, 1, 2)
    kind = f"{random.pick('', '', '', 'PHM', 'Rotation')}Conv{rank}d"
    own = _own_options(random, kind)
    sizes = groups * random.numbers(1, 2), groups * random.numbers(1, 2), random.per_axis(rank, 1, 2, 3)
    mode = random.pick("zeros", "zeros", "zeros", "reflect", "replicate", "circular")
    stride = random.per_axis(rank, 1, 1, 2, 3)
    padding: Any = random.per_axis(rank, 0, 1, 2)
    if random.chance(0.15):
        padding, stride = random.pick("same", "valid"), 1
    options = {
        "stride": stride,
        "padding": padding,
        "dilation": random.per_axis(rank, 1, 1, 2),
        "groups": groups,
        "bias": random.chance(0.7),
        "padding_mode": mode,
    }
    shape, axis = random.maps(sizes[0], rank)
    return _layer(random, kind, sizes, options | own, [shape], axis)


def wide_convolution(random: Random) -> Drawn:
    """One that the native kernels and the few products know."""
    random.take(random.pick("quaternion", "complex"))
    sizes = random.numbers(16, 16), random.numbers(16, 16), random.pick(1, 3)
    options = {"padding": sizes[2] // 2, "bias": random.chance(0.7), "stride": random.pick(1, 1, 2)}
    return _layer(random, "Conv2d", sizes, options, [(random.batch, sizes[0], *random.sides(2))])


def transposed(random: Random) -> Drawn:
    rank, groups = random.pick(1, 2, 2, 3), random.pick(1, 1, 2)
    sizes = groups * random.numbers(1, 2), groups * random.numbers(1, 2), random.per_axis(rank, 1, 2, 3)
    stride = random.pick(1, 2, 3)
    options = {
        "stride": stride,
        "padding": random.per_axis(rank, 0, 1),
        "output_padding": random.pick(*range(stride)),
        "groups": groups,
        "bias": random.chance(0.7),
        "dilation": random.per_axis(rank, 1, 1, 2),
    }
    shape, axis = random.maps(sizes[0], rank)
    return _layer(random, f"ConvTranspose{rank}d", sizes, options, [shape], axis)


def embedding(random: Random) -> Drawn:
    options: dict[str, Any] = {"padding_idx": random.pick(None, 2)}
    kind = random.pick("Embedding", "EmbeddingBag")
    shape: tuple[int, ...] = (random.batch, 4)
    if kind == "EmbeddingBag":
        options["mode"] = random.pick("mean", "sum", "max")
    elif random.chance(0.3):
        shape = (random.batch,)
    if random.chance(0.2):
        options["max_norm"] = 1.0
    return _layer(random, kind, (6, random.numbers()), options, [shape], indices=True)


def batch_norm(random: Random) -> Drawn:
    rank = random.pick(1, 2, 3)
    size = random.numbers()
    options = {
        "eps": random.pick(1e-5, 0.1),
        "momentum": random.pick(0.1, 0.5, None),
        "affine": random.chance(0.7),
        "track_running_stats": random.chance(0.8),
    }
    kind = f"{random.pick('', 'Whitening')}BatchNorm{rank}d"
    if kind.startswith("Whitening"):
        options["eps"] = 0.1  # few samples: their covariance alone has no inverse
    shape = (random.batch, size) if rank == 1 and random.chance(0.4) else (random.batch, size, *random.sides(rank))
    return _layer(random, kind, (size,), options, [shape])


def other_norm(random: Random) -> Drawn:
    kind, rank, size = (
        random.pick("GroupNorm", "LayerNorm", "RMSNorm", "InstanceNorm"),
        random.pick(1, 2, 3),
        random.numbers(2, 3),
    )
    if kind == "GroupNorm":
        groups = random.pick(1, 2)
        shape = (random.batch, groups * size, *random.sides(rank)[: random.pick(0, rank)])
        return _layer(random, kind, (groups, groups * size), {"affine": random.chance(0.7)}, [shape])
    if kind == "InstanceNorm":
        options = {"affine": random.chance(0.7), "track_running_stats": random.chance(0.3)}
        shape, axis = random.maps(size, rank)
        return _layer(random, f"{kind}{rank}d", (size,), options, [shape], axis)
    shape, sizes = (*_leading(random), size), size
    if random.chance(0.3):
        shape, sizes = (random.batch, size, 3), (size, 3)
    options = {"elementwise_affine": random.chance(0.7), "eps": random.pick(1e-5, 1e-2)}
    if kind == "LayerNorm":
        options["bias"] = random.chance(0.7)
    return _layer(random, kind, (sizes,), options, [shape], 0 if len(shape) > 1 else None)


def max_pool(random: Random) -> Drawn:
    rank, size = random.pick(1, 2, 3), random.numbers()
    shape, axis = random.maps(size, rank)
    if random.chance(0.3):
        outputs = random.pick(1, 2, tuple(random.pick(1, 2, 3) for _ in range(rank)))
        return _layer(random, f"AdaptiveMaxPool{rank}d", (outputs,), {"return_indices": random.chance(0.3)}, [shape], axis)
    options = {
        "stride": random.pick(None, 1, 2),
        "padding": random.pick(0, 1),
        "dilation": random.pick(1, 1, 2),
        "ceil_mode": random.chance(0.3),
        "return_indices": random.chance(0.3),
    }
    return _layer(random, f"MaxPool{rank}d", (random.per_axis(rank, 2, 3),), options, [shape], axis)


def activation(random: Random) -> Drawn:
    rank, size = random.pick(0, 1, 2, 3), random.numbers()
    shape = (random.batch, size, *random.sides(3)[:rank])
    kind = random.pick("ModReLU", "Cardioid", "AmplitudeTanh", "NormHead", "RealPartHead", "Dropout")
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = {}
    if kind == "ModReLU":
        arguments = (size, random.pick(-0.3, 0.0, 0.2))
    if kind == "Dropout":
        options["p"] = 0.3
        if rank and random.chance(0.5):
            kind = f"Dropout{rank}d"
    if not kind[-2].isdigit() and random.chance(0.4):
        shape, options["dim"] = (*shape[:1], *shape[2:], size), -1
    return _layer(random, kind, arguments, options, [shape])


def recurrent(random: Random) -> Drawn:
    kind, sizes = random.pick("RNN", "LSTM", "GRU", "LiGRU"), (random.numbers(1, 2), random.numbers(1, 2))
    batch_first = random.chance(0.5)
    options: dict[str, Any] = {
        "num_layers": random.pick(1, 1, 2),
        "batch_first": batch_first,
        "bidirectional": random.chance(0.4),
        "dropout": random.pick(0.0, 0.0, 0.3),
    }
    if kind != "LiGRU":
        options["bias"] = random.chance(0.7)
    if kind in ("RNN", "LiGRU"):
        options["nonlinearity"] = random.pick("tanh", "relu")
    if kind == "LiGRU":
        options |= {
            "normalization": random.pick("batch", "layer", None),
            "orthogonal": random.chance(0.3) and random.algebra != SPLIT,
        }
    steps = random.pick(1, 2, 4)
    if random.chance(0.15):
        return _layer(random, kind, sizes, options, [(steps, sizes[0])], None)
    shape = (random.batch, steps, sizes[0]) if batch_first else (steps, random.batch, sizes[0])
    return _layer(random, kind, sizes, options, [shape], 0 if batch_first else 1)


def cell(random: Random) -> Drawn:
    kind, sizes = random.pick("RNNCell", "LSTMCell", "GRUCell"), (random.numbers(), random.numbers())
    options: dict[str, Any] = {"bias": random.chance(0.7)}
    if kind == "RNNCell":
        options["nonlinearity"] = random.pick("tanh", "relu")
    if random.chance(0.2):
        return _layer(random, kind, sizes, options, [(sizes[0],)], None)
    return _layer(random, kind, sizes, options, [(random.batch, sizes[0])])


def attention(random: Random) -> Drawn:
    heads = random.pick(1, 2)
    size = heads * random.numbers(2, 3)
    batch_first = random.chance(0.5)
    if random.chance(0.4):
        options: dict[str, Any] = {
            "dropout": random.pick(0.0, 0.3),
            "batch_first": batch_first,
            "norm_first": random.chance(0.5),
            "bias": random.chance(0.7),
            "activation": random.pick("relu", "gelu"),
        }
        shape = (random.batch, 3, size) if batch_first else (3, random.batch, size)
        arguments = (size, heads, random.numbers())
        return _layer(random, "TransformerEncoderLayer", arguments, options, [shape], 0 if batch_first else 1)
    key, value = random.pick((size, size), (random.numbers(), random.numbers()))
    options = {
        "bias": random.chance(0.7),
        "add_bias_kv": random.chance(0.2),
        "add_zero_attn": random.chance(0.2),
        "batch_first": batch_first,
        "dropout": random.pick(0.0, 0.3),
    }
    if (key, value) != (size, size):
        options |= {"kdim": key, "vdim": value}
    lengths = (3, 4, 4)
    widths = (size, key, value)
    pairs = list(zip(lengths, widths, strict=True))
    if random.chance(0.15):
        shapes, axis = [(length, width) for length, width in pairs], None
    elif batch_first:
        shapes, axis = [(random.batch, length, width) for length, width in pairs], 0
    else:
        shapes, axis = [(length, random.batch, width) for length, width in pairs], 1
    more = {"attn_mask": torch.triu(torch.ones(3, 4, dtype=torch.bool), 2)} if random.chance(0.3) else {}
    return _layer(random, "MultiheadAttention", (size, heads), options, shapes, axis, more=more)


FAMILIES: list[Family] = [linear, linear, bilinear, convolution, convolution, convolution, wide_convolution, transposed]
FAMILIES += [transposed, embedding, batch_norm, batch_norm, other_norm, max_pool, activation, recurrent, recurrent, cell]
FAMILIES += [attention]


def numbers_of(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Return normal numbers in float64."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)
