# ruff: noqa: E501 -- a network a line
"""A hundred small networks as users write them: what can be deployed of them?

    python tests/deploy/user_networks.py          # in numpy alone: seconds
    python tests/deploy/user_networks.py --all    # compiled C, ONNX and int8 too, each compared with torch

prints a line for each that cannot be deployed, and how many can.
"""

import argparse
import math
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourfold import nn as fnn

Shape = tuple[int, ...]


@dataclass(frozen=True)
class User:
    """A network, what it is given, and whether that is indices of an embedding."""

    make: Callable[[], nn.Module]
    shapes: tuple[Shape, ...]
    indices: int = 0

    def inputs(self, count: int = 2, seed: int = 0) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        if self.indices:
            return tuple(torch.randint(self.indices, (count, *shape), generator=generator) for shape in self.shapes)
        return tuple(torch.randn((count, *shape), generator=generator) for shape in self.shapes)


class Net(nn.Module):
    """A network whose forward is a function of itself and its inputs."""

    def __init__(self, forward: Callable[..., Any], **layers: nn.Module) -> None:
        super().__init__()
        self._function = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Any:
        return self._function(self, x)


class Pair(Net):
    """The same of two inputs."""

    def forward(self, a: Tensor, b: Tensor) -> Any:
        return self._function(self, a, b)


class UNet(nn.Module):
    def __init__(self, up: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.down1 = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(inplace=True))
        self.up = up(16, 8)
        self.last = nn.Sequential(nn.Conv2d(16, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        return self.last(torch.cat([first, self.up(self.down2(first))], dim=1))


def upsampled(mode: str, **settings: Any) -> Callable[[int, int], nn.Module]:
    return lambda i, o: nn.Sequential(nn.Upsample(scale_factor=2, mode=mode, **settings), nn.Conv2d(i, o, 3, padding=1))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, gate: nn.Module) -> None:
        super().__init__()
        self.pool, self.gate = nn.AdaptiveAvgPool2d(1), gate
        self.reduce, self.expand = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.expand(F.relu(self.reduce(self.pool(x)))))


class SqueezeLinear(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(channels, 4), nn.ReLU(), nn.Linear(4, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        b, c, _, _ = x.size()
        y = self.fc(x.mean((2, 3))).view(b, c, 1, 1)
        return x * y.expand_as(x)


class InvertedResidual(nn.Module):
    def __init__(self, channels: int, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        wide = 2 * channels
        self.conv = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False), nn.BatchNorm2d(wide), activation(),
            nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), activation(),
            nn.Conv2d(wide, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class Attention(nn.Module):
    """Self-attention of (N, T, d) as everyone writes it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) / math.sqrt(d // self.heads)).softmax(dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, t, d))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(width), Attention(width, heads), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.token, self.position = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        self.block, self.norm, self.head = Block(8, 2), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], dim=1) + self.position
        return self.head(self.norm(self.block(x))[:, 0])


class ConvNextBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise, self.norm = nn.Conv2d(width, width, 7, padding=3, groups=width), nn.LayerNorm(width, eps=1e-6)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.gamma = nn.Parameter(0.5 * torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.narrow(F.gelu(self.wide(y)))
        return x + y.permute(0, 3, 1, 2)


class DenseBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.BatchNorm2d(4 + 4 * i), nn.ReLU(), nn.Conv2d(4 + 4 * i, 4, 3, padding=1)) for i in range(3))  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


class Shuffle(nn.Module):
    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.size()
        return x.view(b, self.groups, c // self.groups, h, w).transpose(1, 2).contiguous().view(b, c, h, w)


class TemporalBlock(nn.Module):
    """A causal convolution with its end cut off, as in TCNs."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv1d(channels, channels, 3, padding=4, dilation=2))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x)[:, :, :-4].contiguous() + x)


def head(activation: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4), activation)


def with_activation(activation: Callable[[], nn.Module]) -> User:
    return User(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), activation(), nn.Flatten(), nn.Linear(6 * 36, 4)), ((3, 8, 8),))


def with_layer(*layers: Callable[[], nn.Module], channels: int = 6) -> User:
    """Between a convolution and one of its outputs."""
    return User(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), *(layer() for layer in layers), nn.Conv2d(channels, 2, 1)), ((3, 8, 8),))  # fmt: skip


def with_function(function: Callable[[Tensor], Tensor], out: int = 6) -> User:
    def make() -> nn.Module:
        first, last = nn.Conv2d(3, 6, 3), nn.Conv2d(out, 2, 1)
        return Net(lambda self, x: self.last(function(self.first(x))), first=first, last=last)

    return User(make, ((3, 8, 8),))


def with_vector(function: Callable[[Tensor], Tensor], features: int) -> User:
    def make() -> nn.Module:
        first, last = nn.Conv2d(3, 6, 3), nn.Linear(features, 2)
        return Net(lambda self, x: self.last(function(self.first(x))), first=first, last=last)

    return User(make, ((3, 8, 8),))


def recurrent(make: Callable[..., nn.Module], last: Callable[[Any], Tensor], outputs: int, **settings: Any) -> User:
    def network() -> nn.Module:
        rnn, fc = make(4, 6, batch_first=True, **settings), nn.Linear(outputs, 3)
        return Net(lambda self, x: self.fc(last(self.rnn(x))), rnn=rnn, fc=fc)

    return User(network, ((7, 4),))


def parameters() -> nn.Module:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.scale, self.shift = nn.Conv2d(3, 4, 3), nn.Parameter(torch.randn(1, 4, 1, 1)), nn.Parameter(torch.randn(4, 1, 1))  # fmt: skip
            self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return self.scale * self.conv((x - self.mean) / 0.25) + self.shift

    return Scaled()


def two_heads(form: str) -> Callable[[], nn.Module]:
    def forward(self: Any, x: Tensor) -> Any:
        y = F.relu(self.trunk(x))
        first, second = self.a(y.flatten(1)), self.b(y)
        return {"tuple": (first, second), "list": [first, second], "dict": {"classes": first, "map": second}}[form]

    return lambda: Net(forward, trunk=nn.Conv2d(3, 4, 3), a=nn.Linear(144, 3), b=nn.Conv2d(4, 1, 1))


def two_inputs() -> nn.Module:
    def forward(self: Any, image: Tensor, extra: Tensor) -> Tensor:
        return self.fc(torch.cat([self.conv(image).flatten(1), self.side(extra)], dim=1))

    return Pair(forward, conv=nn.Conv2d(3, 4, 3), side=nn.Linear(5, 6), fc=nn.Linear(150, 2))


def siamese() -> nn.Module:
    def forward(self: Any, a: Tensor, b: Tensor) -> Tensor:
        return self.fc(torch.abs(self.trunk(a) - self.trunk(b)))

    return Pair(forward, trunk=nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten()), fc=nn.Linear(144, 1))


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(True), nn.Flatten(), nn.Linear(64, 8))
        self.decoder = nn.Sequential(
            nn.Linear(8, 64), nn.ReLU(True), nn.Unflatten(1, (4, 4, 4)), nn.ConvTranspose2d(4, 1, 3, 2, 1, output_padding=1), nn.Sigmoid()
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))


def keyword_spotting() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 8, 5, 2), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def embedding_bag() -> nn.Module:
    return Net(lambda self, x: self.fc(self.table(x).mean(dim=1)), table=nn.Embedding(20, 6), fc=nn.Linear(6, 2))


def text_convolution() -> nn.Module:
    return Net(
        lambda self, x: self.fc(F.relu(self.conv(self.table(x).transpose(1, 2))).max(dim=2)[0]),
        table=nn.Embedding(20, 6), conv=nn.Conv1d(6, 8, 3), fc=nn.Linear(8, 2),
    )  # fmt: skip


def pointnet() -> nn.Module:
    return Net(
        lambda self, x: self.fc(torch.max(F.relu(self.conv(x.permute(0, 2, 1))), 2, keepdim=False)[0]),
        conv=nn.Conv1d(3, 8, 1), fc=nn.Linear(8, 2),
    )  # fmt: skip


def wrapped(wrap: Callable[[nn.Module], Any]) -> Callable[[], nn.Module]:
    return lambda: wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval())


def inception() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.pool(F.max_pool2d(x, 3, 1, 1))], 1)

    return Net(forward, one=nn.Conv2d(3, 4, 1), three=nn.Conv2d(3, 4, 3, padding=1), pool=nn.Conv2d(3, 2, 1))


def fire() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat((F.relu(self.left(x)), F.relu(self.right(x))), dim=-3)

    return Net(forward, squeeze=nn.Conv2d(3, 2, 1), left=nn.Conv2d(2, 4, 1), right=nn.Conv2d(2, 4, 3, padding=1))


def aspp() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        wide = F.interpolate(self.c(F.adaptive_avg_pool2d(x, 1)), size=x.shape[2:], mode="bilinear", align_corners=False)
        return self.last(torch.cat([self.a(x), self.b(x), wide], 1))

    return Net(
        forward,
        a=nn.Conv2d(3, 4, 1),
        b=nn.Conv2d(3, 4, 3, padding=2, dilation=2),
        c=nn.Conv2d(3, 4, 1),
        last=nn.Conv2d(12, 2, 1),
    )


def yolo_head() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = self.conv(x)
        b, _, h, w = y.shape
        y = y.view(b, 2, 5, h, w).permute(0, 1, 3, 4, 2)
        return torch.cat((torch.sigmoid(y[..., :2]), torch.exp(y[..., 2:4]), torch.sigmoid(y[..., 4:])), -1)

    return Net(forward, conv=nn.Conv2d(3, 10, 1))


def gated() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        a, b = self.conv(x).chunk(2, dim=1)
        return self.last(torch.tanh(a) * torch.sigmoid(b))

    return Net(forward, conv=nn.Conv2d(3, 8, 3), last=nn.Conv2d(4, 2, 1))


def csp() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        a, b = torch.split(self.conv(x), 4, dim=1)
        return self.last(torch.cat([a, F.silu(self.inner(b)) + b], 1))

    return Net(forward, conv=nn.Conv2d(3, 8, 1), inner=nn.Conv2d(4, 4, 3, padding=1), last=nn.Conv2d(8, 2, 1))


def dueling() -> nn.Module:
    def forward(self: Any, x: Tensor) -> Tensor:
        y = F.relu(self.trunk(x))
        value, advantage = self.value(y), self.advantage(y)
        return value + advantage - advantage.mean(dim=1, keepdim=True)

    return Net(forward, trunk=nn.Linear(6, 8), value=nn.Linear(8, 1), advantage=nn.Linear(8, 4))


def normalised() -> nn.Module:
    return Net(lambda self, x: F.normalize(self.fc(x.flatten(1)), dim=1), fc=nn.Linear(48, 6))


def spatial_transformer_free() -> nn.Module:
    """A network that returns early by its flag, prints nothing, and asserts its shape."""

    class Checked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(64, 2)

        def forward(self, x: Tensor, features: bool = False) -> Tensor:
            assert x.shape[1] == 3
            y = F.relu(self.conv(x))
            return y if features else self.fc(y.flatten(1))

    return Checked()


class Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.tokens, self.channels = nn.LayerNorm(6), nn.Linear(5, 5), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return (x + self.channels(F.gelu(x))).mean(1)


class Stateful(nn.Module):
    """Loops over time by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.fc = nn.GRUCell(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros(x.size(0), 6)
        for step in range(5):
            h = self.cell(x[:, step], h)
        return self.fc(h)


def data_dependent() -> nn.Module:
    return Net(lambda self, x: self.a(x) if x.sum() > 0 else self.b(x), a=nn.Linear(4, 2), b=nn.Linear(4, 2))


IMAGE = ((3, 8, 8),)

NETWORKS: dict[str, User] = {
    # what could be deployed before
    "perceptron": User(lambda: nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)), ((8,),)),
    "lenet": User(lambda: nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 4)), ((1, 8, 8),)),
    "batch norm": User(lambda: nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)), IMAGE),
    "residual": with_function(lambda y: F.relu(y + y.relu())),
    "quaternion": User(lambda: nn.Sequential(fnn.Conv2d(4, 8, 3, algebra="quaternion"), nn.ReLU(), nn.Flatten(), fnn.Linear(288, 4, algebra="quaternion")), ((4, 8, 8),)),
    "depthwise": with_layer(lambda: nn.Conv2d(6, 6, 3, groups=6)),
    # activations
    "sigmoid": with_activation(nn.Sigmoid),
    "tanh": with_activation(nn.Tanh),
    "gelu": with_activation(nn.GELU),
    "gelu by tanh": with_activation(lambda: nn.GELU("tanh")),
    "silu": with_activation(nn.SiLU),
    "hardswish": with_activation(nn.Hardswish),
    "hardsigmoid": with_activation(nn.Hardsigmoid),
    "relu6": with_activation(lambda: nn.ReLU6(inplace=True)),
    "leaky relu": with_activation(lambda: nn.LeakyReLU(0.1, inplace=True)),
    "prelu": with_activation(lambda: nn.PReLU(6)),
    "prelu of one slope": with_activation(nn.PReLU),
    "elu": with_activation(nn.ELU),
    "selu": with_activation(nn.SELU),
    "mish": with_activation(nn.Mish),
    "softplus": with_activation(nn.Softplus),
    "hardtanh": with_activation(nn.Hardtanh),
    "functions": with_function(lambda y: torch.tanh(F.leaky_relu(y, 0.2)) + F.gelu(y)),
    "clamp": with_function(lambda y: y.clamp(0, 1)),
    "swish by hand": with_function(lambda y: y * torch.sigmoid(y)),
    # heads
    "softmax head": User(head(nn.Softmax(dim=1)), ((6,),)),
    "log-softmax head": User(head(nn.LogSoftmax(dim=1)), ((6,),)),
    "sigmoid head": User(head(nn.Sigmoid()), ((6,),)),
    "F.log_softmax": User(lambda: Net(lambda self, x: F.log_softmax(self.fc(x), dim=-1), fc=nn.Linear(6, 4)), ((6,),)),
    "softmax of a map": with_layer(lambda: nn.Softmax(dim=1)),
    "softmax2d": with_layer(nn.Softmax2d),
    # dropout
    "dropout variants": User(lambda: nn.Sequential(nn.Dropout2d(), nn.Conv2d(3, 4, 3), nn.AlphaDropout(), nn.SELU(), nn.FeatureAlphaDropout(), nn.Flatten(), nn.Linear(144, 2)), IMAGE),
    "F.dropout2d": with_function(lambda y: F.dropout2d(F.dropout(y, 0.3, False), 0.5, False)),
    # concatenation
    "u-net, transposed": User(lambda: UNet(lambda i, o: nn.ConvTranspose2d(i, o, 2, 2)), IMAGE),
    "u-net, bilinear": User(lambda: UNet(upsampled("bilinear", align_corners=True)), IMAGE),
    "u-net, nearest": User(lambda: UNet(upsampled("nearest")), IMAGE),
    "inception": User(inception, IMAGE),
    "fire": User(fire, IMAGE),
    "dense block": User(DenseBlock, ((4, 8, 8),)),
    "aspp": User(aspp, IMAGE),
    "csp": User(csp, IMAGE),
    # transposed convolution, resize, padding, pooling
    "transposed, of every setting": with_layer(lambda: nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1, groups=2), channels=4),
    "autoencoder": User(Autoencoder, ((1, 8, 8),)),
    "interpolate": with_function(lambda y: F.interpolate(y, scale_factor=2)),
    "interpolate, bilinear": with_function(lambda y: F.interpolate(y, size=(9, 13), mode="bilinear", align_corners=False)),
    "pixel shuffle": User(lambda: nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2), nn.ReLU()), IMAGE),
    "zero padding": with_layer(lambda: nn.ZeroPad2d((1, 2, 0, 1))),
    "reflect padding": with_layer(lambda: nn.ReflectionPad2d(2)),
    "padding mode": with_layer(lambda: nn.Conv2d(6, 6, 3, padding=1, padding_mode="reflect")),
    "replicate padding": with_layer(lambda: nn.ReplicationPad2d(1)),
    "F.pad": with_function(lambda y: F.pad(y, (1, 1, 2, 0))),
    "odd adaptive pooling": with_layer(lambda: nn.AdaptiveAvgPool2d(4)),
    "adaptive max pooling": User(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2)), IMAGE),
    "amax": with_vector(lambda y: y.amax(dim=(2, 3)), 6),
    "generalised mean": with_vector(lambda y: y.clamp(min=1e-3).pow(3).mean((2, 3)).pow(1 / 3), 6),
    # norms
    "layer norm": User(lambda: nn.Sequential(nn.Linear(8, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3)), ((8,),)),
    "group norm": with_layer(lambda: nn.GroupNorm(3, 6)),
    "instance norm": with_layer(lambda: nn.InstanceNorm2d(6, affine=True)),
    "layer norm of maps": with_layer(lambda: nn.LayerNorm([6, 6, 6])),
    "local response norm": with_layer(lambda: nn.LocalResponseNorm(3)),
    "normalised embedding": User(normalised, ((3, 4, 4),)),
    # shapes
    "permute": with_vector(lambda y: y.permute(0, 2, 3, 1).reshape(y.size(0), -1), 216),
    "view": with_vector(lambda y: y.contiguous().view(y.shape[0], -1), 216),
    "squeeze": with_vector(lambda y: F.adaptive_avg_pool2d(y, 1).squeeze(-1).squeeze(-1), 6),
    "first pixel": with_vector(lambda y: F.adaptive_avg_pool2d(y, 1)[:, :, 0, 0], 6),
    "unflatten": User(lambda: nn.Sequential(nn.Linear(8, 12), nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 2, 2)), ((8,),)),
    "slices": with_function(lambda y: y[:, ::2, 1:-1, :4], 3),
    "gated": User(gated, IMAGE),
    "channel shuffle": with_layer(lambda: Shuffle(2)),
    "nn.ChannelShuffle": with_layer(lambda: nn.ChannelShuffle(3)),
    "flip": with_function(lambda y: y + torch.flip(y, [3])),
    "stack": with_vector(lambda y: torch.stack([y.mean((2, 3)), y.amax((2, 3))], dim=1).flatten(1), 12),
    # arithmetic
    "scalars": with_function(lambda y: 2 * y - 0.5 + y / 3),
    "subtraction": with_function(lambda y: y - y.mean((2, 3), keepdim=True)),
    "parameters in forward": User(parameters, IMAGE),
    "dueling": User(dueling, ((6,),)),
    "product of maps": with_function(lambda y: y * F.relu(y)),
    "absolute value and powers": with_function(lambda y: torch.sqrt(y.abs() + 1) + y**2),
    "statistics": with_vector(lambda y: torch.cat([y.mean((2, 3)), y.std((2, 3))], 1), 12),
    # blocks
    "squeeze and excitation": User(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), SqueezeExcite(6, nn.Sigmoid())), IMAGE),
    "squeeze and excitation, linear": User(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), SqueezeLinear(6)), IMAGE),
    "mobilenet v2": User(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), InvertedResidual(6, nn.ReLU6)), IMAGE),
    "mobilenet v3": User(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), InvertedResidual(6, nn.Hardswish), SqueezeExcite(6, nn.Hardsigmoid())), IMAGE),
    "convnext": User(lambda: nn.Sequential(nn.Conv2d(3, 6, 2, 2), ConvNextBlock(6)), IMAGE),
    "yolo head": User(yolo_head, IMAGE),
    "mixer": User(Mixer, ((5, 6),)),
    # sequences
    "keyword spotting": User(keyword_spotting, ((4, 40),)),
    "temporal convolutions": User(lambda: nn.Sequential(TemporalBlock(4), nn.Flatten(), nn.Linear(48, 2)), ((4, 12),)),
    "pointnet": User(pointnet, ((10, 3),)),
    "linear on the last axis": User(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), ((5, 4),)),
    "lstm": recurrent(nn.LSTM, lambda made: made[0][:, -1], 6),
    "lstm, last state": recurrent(nn.LSTM, lambda made: made[1][0][-1], 6),
    "gru": recurrent(nn.GRU, lambda made: made[0][:, -1, :], 6),
    "bidirectional lstm": recurrent(nn.LSTM, lambda made: made[0].mean(1), 12, bidirectional=True),
    "gru, by hand": User(Stateful, ((5, 4),)),
    "embedding": User(embedding_bag, ((7,),), 20),
    "text convolution": User(text_convolution, ((9,),), 20),
    "attention": User(lambda: Block(8, 2), ((5, 8),)),
    "vision transformer": User(ViT, IMAGE),
    "nn.TransformerEncoderLayer": User(lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu"), ((5, 8),)),
    "nn.MultiheadAttention": User(lambda: Net(lambda self, x: self.attention(x, x, x)[0], attention=nn.MultiheadAttention(8, 2, batch_first=True)), ((5, 8),)),
    "3-d convolution": User(lambda: nn.Sequential(nn.Conv3d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 2)), ((1, 6, 6, 6),)),
    # ends and wrappers
    "two inputs": User(two_inputs, ((3, 8, 8), (5,))),
    "siamese": User(siamese, ((1, 8, 8), (1, 8, 8))),
    "two outputs": User(two_heads("tuple"), IMAGE),
    "named outputs": User(two_heads("dict"), IMAGE),
    "compiled": User(wrapped(lambda model: torch.compile(model, backend="eager")), IMAGE),
    "data parallel": User(wrapped(nn.DataParallel), IMAGE),
    "scripted": User(wrapped(torch.jit.script), IMAGE),
    "optional argument": User(spatial_transformer_free, ((3, 6, 6),)),
    "data-dependent": User(data_dependent, ((4,),)),
}  # fmt: skip
"""By what they are about."""


def built(name: str) -> nn.Module:
    """Return a network with lively norms, in evaluation."""
    torch.manual_seed(0)
    model = NETWORKS[name].make()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.InstanceNorm2d) and module.weight is not None:
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_(0, 0.3)
    return model.eval()


def shape_of(name: str) -> Any:
    """Return the shape that `lower` is given for a network."""
    shapes = NETWORKS[name].shapes
    return shapes[0] if len(shapes) == 1 else shapes


def flat(outputs: Any) -> np.ndarray:
    """Return the outputs of a network, however it gives them, as one array."""
    parts = outputs.values() if isinstance(outputs, dict) else outputs if isinstance(outputs, list | tuple) else [outputs]
    arrays = [part.detach().numpy() if isinstance(part, Tensor) else part for part in parts]
    return np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)


def error_of(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the size of the difference by that of what is wanted."""
    return float(np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-6))


NEAR, NEAR_IN_INT8 = 1e-4, 0.35
"""What an error may be: of float32, and of int8 with ranges from 32 drawn images and weights that nobody trained."""


def refusal_of(name: str, compiled: bool, folder: Path) -> tuple[str, str]:
    """Return why a network cannot be deployed in float32 and in int8; empty where it can, by every backend asked."""
    from fourfold import deploy
    from fourfold.deploy import quantize
    from fourfold.deploy.backends import numpy as reference
    from fourfold.record import UserError

    model, inputs = built(name), NETWORKS[name].inputs()
    try:
        program = deploy.lower(model, shape_of(name))
        with torch.no_grad():
            wanted = flat(getattr(model, "_orig_mod", model)(*inputs))
        images = np.concatenate([each.numpy().reshape(len(each), -1) for each in inputs], axis=1).astype(np.float32)
        images = images.reshape(len(images), *program.shapes[0])
        if error_of(flat(reference.run(program, images)), wanted) > NEAR:
            return "numpy computes something else", ""
        if compiled and error_of(flat(deploy.load(program)(*(each.numpy() for each in inputs))), wanted) > NEAR:
            return "C computes something else", ""
        if compiled and error_of(in_onnxruntime(program, images, folder), wanted) > NEAR:
            return "ONNX computes something else", ""
    except UserError as error:
        return str(error), str(error)
    try:
        drawn = np.random.default_rng(1).standard_normal((32, *program.shapes[0])).astype(np.float32)
        calibrated = quantize.calibrate(program, np.concatenate([drawn, images]))
        quantize.check_quantized(calibrated)
        unsupported = [each for each in program.operations if type(each) in reference.UNSUPPORTED_INT8]
        if unsupported:
            return "", reference.UNSUPPORTED_INT8[type(unsupported[0])]
        found = reference.run_int8(calibrated, images)
        if compiled and not np.array_equal(flat(deploy.load(calibrated)(*(each.numpy() for each in inputs))), flat(found)):
            return "", "C in int8 computes something else"
        if (error := error_of(flat(found), wanted)) > NEAR_IN_INT8:
            return "", f"int8 is {error:.0%} away"
    except UserError as error:
        return "", str(error)
    return "", ""


def in_onnxruntime(program: Any, images: np.ndarray, folder: Path) -> np.ndarray:
    """Return what onnxruntime makes of a program's ONNX."""
    import onnxruntime

    from fourfold import deploy

    deploy.to_onnx(program, folder / "a.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(folder / "a.onnx", options, providers=["CPUExecutionProvider"])
    feed = {"image": images}
    if program.inputs:
        ends = np.cumsum([math.prod(port.shape) for port in program.inputs])[:-1]
        parts = np.split(images, ends, axis=1)
        feed = {port.name: part.reshape(-1, *port.shape) for port, part in zip(program.inputs, parts, strict=True)}
    return flat(session.run(None, feed))


def main() -> None:
    """Print what cannot be deployed, and how many can."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="compiled C and onnxruntime too")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    counts = [0, 0]
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            for number, (kind, why) in enumerate(
                zip(("float32", "int8"), refusal_of(name, given.all, Path(folder)), strict=True)
            ):
                counts[number] += not why
                if why:
                    print(f"{name}, {kind}: {why:.150}")
    by = "numpy, C and ONNX" if given.all else "numpy"
    print(f"{counts[0]} of {len(NETWORKS)} networks can be deployed in float32, {counts[1]} in int8 ({by} compared with torch)")


if __name__ == "__main__":
    main()
