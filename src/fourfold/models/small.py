"""Networks without shortcuts: paper 1's Lenets and Conv-2/4/6 (Frankle & Carbin 2019), and VGG-16."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from torch import nn

from fourfold.models.layers import Layers

Shape = tuple[int, int, int]
"""Channels, height and width."""

VGG16_CHANNELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def lenet(shape: Shape, num_classes: int, layers: Layers, *, hidden: Sequence[int]) -> nn.Sequential:
    """Return a fully connected network with ReLU between its layers (LeCun et al. 1998)."""
    features = shape[0] * shape[1] * shape[2]
    return _sequence(_fully_connected(features, hidden, num_classes, layers))


def conv(shape: Shape, num_classes: int, layers: Layers, *, channels: Sequence[int]) -> nn.Sequential:
    """Return pairs of 3×3 convolutions, each pair followed by 2×2 max-pooling, then layers of 256, 256 and the classes."""
    modules: list[tuple[str, nn.Module]] = []
    in_channels, height, columns = shape
    for size in channels:
        out_channels = layers.scaled(size)
        for _ in range(2):
            modules += [("conv", layers.convolution(in_channels, out_channels)), ("relu", nn.ReLU())]
            in_channels = out_channels
        modules.append(("pool", nn.MaxPool2d(2)))
        height, columns = height // 2, columns // 2
    features = in_channels * height * columns
    return _sequence(modules + _fully_connected(features, (256, 256), num_classes, layers))


def vgg16(shape: Shape, num_classes: int, layers: Layers) -> nn.Sequential:
    """Return VGG-16 with batch norm in the form used for small images: 13 convolutions, mean over the map, one linear layer."""
    modules: list[tuple[str, nn.Module]] = []
    in_channels = shape[0]
    for block in VGG16_CHANNELS:
        for size in block:
            out_channels = layers.scaled(size)
            modules += [
                ("conv", layers.convolution(in_channels, out_channels, bias=False)),
                ("norm", layers.batch_norm(out_channels)),
                ("relu", nn.ReLU()),
            ]
            in_channels = out_channels
        modules.append(("pool", nn.MaxPool2d(2)))
    modules.append(("mean", nn.AdaptiveAvgPool2d(1)))
    return _sequence(modules + _fully_connected(in_channels, (), num_classes, layers))


def _fully_connected(features: int, hidden: Sequence[int], num_classes: int, layers: Layers) -> list[tuple[str, nn.Module]]:
    modules: list[tuple[str, nn.Module]] = [("flatten", nn.Flatten())]
    for size in hidden:
        out_features = layers.scaled(size)
        modules += [("fc", layers.linear(features, out_features)), ("relu", nn.ReLU())]
        features = out_features
    return [*modules, ("fc", layers.output(features, num_classes))]


def _sequence(layers: Iterable[tuple[str, nn.Module]]) -> nn.Sequential:
    """Number the layers of each kind: conv1, relu1, conv2, … fc1."""
    named: OrderedDict[str, nn.Module] = OrderedDict()
    counts: dict[str, int] = {}
    for kind, layer in layers:
        counts[kind] = counts.get(kind, 0) + 1
        named[f"{kind}{counts[kind]}"] = layer
    return nn.Sequential(named)
