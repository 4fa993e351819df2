"""Random networks of every module of ours and torch's that fits, with random masks: what `shrink` must leave as it is.

Modules are found by trying: every class of `torch.nn` and `fourfold.nn` with the arguments in `_ARGUMENTS`, on the features
that the network has at that point. Layers run twice, have shortcuts and hooks, share modules, and see maps, tokens and vectors.
"""

import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourfold import nn as fnn
from fourfold.nn import named_weights

SHAPES = ((8, 6, 6), (8, 8, 8), (8, 8), (4, 8), (8,), (8, 4, 4))
"""Inputs: maps, tokens or one-dimensional maps, vectors; some with equal sides, so that a wrong axis has the right length."""

_ARGUMENTS: tuple[Callable[[int, int], tuple[Any, ...]], ...] = (
    lambda c, f: (),
    lambda c, f: (c,),
    lambda c, f: (f,),
    lambda c, f: (2,),
    lambda c, f: (3,),
    lambda c, f: (1,),
    lambda c, f: (2, c),
    lambda c, f: (2, 2, 1),
    lambda c, f: (3, 1, 1),
    lambda c, f: (1, 0),
    lambda c, f: (0.5,),
    lambda c, f: (c, c, 3),
    lambda c, f: (f, f),
    lambda c, f: (f, 2),
)
_LEFT_OUT = ("Loss", "Lazy", "Container", "Sequential", "ModuleList", "ModuleDict", "Parameter", "Transformer", "Embedding")
_RANDOM = ("RReLU", "FractionalMaxPool")  # draw even in evaluation, or another part each time

_CLASSES = sorted(
    {
        value
        for room in (nn, fnn)
        for name, value in vars(room).items()
        if isinstance(value, type) and issubclass(value, nn.Module) and not any(word in name for word in (*_LEFT_OUT, *_RANDOM))
    },
    key=lambda cls: (cls.__module__, cls.__name__),
)
_FUNCTIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    F.relu,
    torch.tanh,
    lambda x: F.leaky_relu(x, 0.3),
    lambda x: torch.flatten(x, 1),
    lambda x: x.flatten(2) if x.dim() > 2 else x,
    lambda x: x.mean(-1) if x.dim() > 2 else x,
    lambda x: x.transpose(1, -1),
    lambda x: x + 1,
    lambda x: torch.cat([x, x], 1),
    lambda x: x.relu().sigmoid(),
)


class First(nn.Module):
    """The first of the outputs of a layer that has several, of attention to its own input."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        arguments = [x] * (3 if isinstance(self.layer, nn.MultiheadAttention) else 1)
        return self.layer(*arguments)[0]  # type: ignore[no-any-return]


_MORE: tuple[Callable[[int, int], nn.Module], ...] = (
    lambda c, f: First(nn.LSTM(f, 8, batch_first=True)),
    lambda c, f: First(fnn.GRU(f, 8, batch_first=True, algebra="quaternion")),
    lambda c, f: First(fnn.LiGRU(f, 8, batch_first=True, algebra="complex")),
    lambda c, f: First(nn.MultiheadAttention(f, 2, batch_first=True)),
    lambda c, f: First(fnn.MultiheadAttention(f, 2, batch_first=True, algebra="complex")),
    lambda c, f: First(nn.MaxPool2d(2, return_indices=True)),
    lambda c, f: nn.TransformerEncoderLayer(f, 2, 8, batch_first=True),
    lambda c, f: fnn.convert(nn.TransformerEncoderLayer(f, 2, 8, batch_first=True)),
    lambda c, f: fnn.PHMLinear(f, 8, n=4),
    lambda c, f: fnn.PHMConv2d(c, 8, 3, n=2),
    lambda c, f: fnn.RotationLinear(f, 8),
    lambda c, f: fnn.RotationConv2d(c, 8, 3),
    lambda c, f: nn.Unflatten(1, (2, c // 2)),
    lambda c, f: fnn.MaxPool2d(2, algebra="quaternion"),
    lambda c, f: fnn.MaxPool1d(2, algebra="complex"),
    lambda c, f: fnn.AdaptiveMaxPool2d(2, algebra="quaternion"),
    lambda c, f: nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False),
    lambda c, f: nn.AvgPool2d(2, ceil_mode=True),
    lambda c, f: nn.MaxPool2d(3, 1, 1),
)
"""Modules with other arguments, and those that are often between two layers."""


class RandomNetwork(nn.Module):
    """Runs its steps one after the other; a step is a module, a function, or the number of steps that a shortcut spans."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList()
        self.plan: list[tuple[str, Any]] = []

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for kind, what in self.plan:
            if kind == "module":
                x = self.steps[what](x)
            elif kind == "function":
                x = what(x)
            else:
                x = x + seen[-what]
            seen.append(x)
        return x


def random_network(seed: int) -> tuple[RandomNetwork, dict[str, Tensor], tuple[int, ...], bool]:
    """Return a network in evaluation mode and double precision, masks, the shape of an image, and whether it may be told."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    shape = draw.choice(SHAPES)
    model, x = RandomNetwork().double().eval(), torch.randn(4, *shape, dtype=torch.float64)
    for _ in range(draw.randint(3, 9)):
        x = _grow(model, x, draw)
    _settle(model, draw)
    return model, _masks(model, draw), shape, draw.random() < 0.5


def _grow(model: RandomNetwork, x: Tensor, draw: random.Random) -> Tensor:
    """Add a step that runs, and return what the network computes with it."""
    for _ in range(30):
        step: tuple[str, Any]
        choice, module = draw.random(), None
        if choice < 0.45:
            module = _weighted(x, draw)
        elif choice < 0.8:
            module = _other(x, draw)
        if module is not None:
            if draw.random() < 0.1:
                module = nn.Sequential(nn.Identity(), module, nn.Identity())
            elif isinstance(module, nn.TransformerEncoderLayer):
                _share(module, model, draw)
            step = ("module", len(model.steps))
        elif choice < 0.85 and len(model.steps):
            step = ("module", draw.randrange(len(model.steps)))  # once more
        elif choice < 0.9:
            step = ("shortcut", draw.randint(1, len(model.plan) + 1))
        else:
            step = ("function", draw.choice(_FUNCTIONS))
        if module is not None:
            model.steps.append(module.double().eval())
        model.plan.append(step)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                start = torch.randn(4, *_first_shape(model, x), dtype=torch.float64)
                found = model(start)
            if isinstance(found, Tensor) and found.is_floating_point() and 2 <= found.dim() <= 4 and 0 < found.numel() < 20_000:
                return found
        except Exception:
            pass
        model.plan.pop()
        if module is not None:
            del model.steps[-1]
    return x


def _share(encoder: nn.TransformerEncoderLayer, model: RandomNetwork, draw: random.Random) -> None:
    """Let an encoder, which is traced as a whole, use a linear layer that the network has elsewhere."""
    linears = [step for step in model.steps if type(step) is nn.Linear]
    fitting = [step for step in linears if step.weight.shape == encoder.linear1.weight.shape]
    if fitting:
        encoder.linear1 = draw.choice(fitting)


def _first_shape(model: RandomNetwork, x: Tensor) -> tuple[int, ...]:
    if not hasattr(model, "input_shape"):
        model.input_shape = tuple(x.shape[1:])
    return model.input_shape  # type: ignore[no-any-return]


def _weighted(x: Tensor, draw: random.Random) -> nn.Module | None:
    """A linear layer or a convolution for the features at hand."""
    channels, features, outputs = x.shape[1], x.shape[-1], draw.choice((4, 8, 12))
    ours = draw.random() < 0.5
    options: dict[str, Any] = {"algebra": draw.choice(("real", "complex", "quaternion"))} if ours else {}
    room: Any = fnn if ours else nn
    try:
        if x.dim() == 2 or draw.random() < 0.3:
            return room.Linear(features, outputs, bias=draw.random() < 0.7, **options)  # type: ignore[no-any-return]
        side = draw.choice((1, 2, 3))
        options |= {"padding": draw.choice((0, 0, 1, "same")), "bias": draw.random() < 0.7}
        options |= {"groups": 2} if draw.random() < 0.15 else {}
        if options["padding"] != 0:
            options["padding_mode"] = draw.choice(("zeros", "zeros", "reflect", "replicate", "circular"))
        if draw.random() < 0.1:
            options |= {"padding": 0, "padding_mode": "zeros"}
            kinds = {3: room.ConvTranspose1d, 4: room.ConvTranspose2d}
        else:
            kinds = {3: room.Conv1d, 4: room.Conv2d}
        return kinds[x.dim()](channels, outputs, side, **options)  # type: ignore[no-any-return]
    except ValueError:
        return None


def _other(x: Tensor, draw: random.Random) -> nn.Module | None:
    """Any module of torch's or ours that can be made."""
    if draw.random() < 0.3:
        try:
            return draw.choice(_MORE)(x.shape[1], x.shape[-1])
        except Exception:
            return None
    cls, arguments = draw.choice(_CLASSES), draw.choice(_ARGUMENTS)(x.shape[1], x.shape[-1])
    options = {"algebra": draw.choice(("complex", "quaternion"))} if cls.__module__.startswith("fourfold") else {}
    try:
        return cls(*arguments, **(options if draw.random() < 0.8 else {}))  # type: ignore[no-any-return]
    except Exception:
        return None


def _settle(model: nn.Module, draw: random.Random) -> None:
    """Give norms statistics that are not those of new ones, and some modules a hook."""
    for module in model.modules():
        for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if value.is_floating_point() and isinstance(module, nn.modules.batchnorm._BatchNorm) and value.dim() == 1:
                value.data.copy_(torch.rand_like(value) + (0.2 if "var" in name or name == "weight" else -0.5))
    for module in list(model.modules())[1:]:
        if draw.random() < 0.04:
            kind = draw.random()
            if kind < 0.4:
                module.register_forward_hook(lambda m, i, o: o * 2 if isinstance(o, Tensor) else o)
            elif kind < 0.7:
                module.register_forward_hook(lambda m, i, o: o.flip(1) if isinstance(o, Tensor) else o)
            else:
                module.register_forward_pre_hook(lambda m, i: (i[0].flip(1), *i[1:]))


def _masks(model: nn.Module, draw: random.Random) -> dict[str, Tensor]:
    """Masks that remove whole rows, whole inputs and single weights."""
    masks = {}
    for name, weight in named_weights(model).items():
        mask = torch.rand_like(weight.detach()) < draw.choice((1.1, 0.7, 0.3))
        n = draw.choice((1, 2, 4))
        if weight.shape[0] % n == 0:
            parts = mask.view(n, weight.shape[0] // n, *weight.shape[1:])
            parts[:, torch.rand(parts.shape[1]) < draw.choice((0, 0.3, 0.6, 0.6))] = False
            parts[:, :, torch.rand(parts.shape[2]) < draw.choice((0, 0, 0.3, 0.6))] = False
        masks[name] = mask
    return masks


def seeds(first: int, count: int) -> Iterator[int]:
    """Yield seeds."""
    return iter(range(first, first + count))
