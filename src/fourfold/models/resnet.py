"""Residual networks (He et al. 2016) with the stem for small images: 3×3, stride 1, no max-pooling.

ResNet-18/34/50/101/152 have four stages from 64 channels on (its table 1). ResNet-20 has three from 16 on (its section 4.2),
and ResNet-8, which MLPerf Tiny measures devices with, one block in each of those. All their shortcuts between shapes are
1×1 convolutions.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from fourfold.models.layers import Layers
from fourfold.models.small import Shape


def _conv_norm(in_channels: int, out_channels: int, kernel_size: int, stride: int, layers: Layers) -> nn.Sequential:
    """A convolution that keeps the map's size up to the stride, and its batch norm."""
    convolution = layers.convolution(in_channels, out_channels, kernel_size, stride, bias=False)
    return nn.Sequential(OrderedDict(conv=convolution, norm=layers.batch_norm(out_channels)))


class Block(nn.Module):
    """A residual block: relu(body(x) + shortcut(x)), the shortcut a 1×1 convolution where the shape changes."""

    def __init__(self, body: nn.Sequential, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, in, H, W) → (N, out, H / stride, W / stride)."""
        return nn.functional.relu(self.body(x) + self.shortcut(x))


def _block(in_channels: int, width: int, stride: int, bottleneck: bool, layers: Layers) -> Block:
    if bottleneck:
        out_channels = 4 * width
        body = nn.Sequential(
            _conv_norm(in_channels, width, 1, 1, layers),
            nn.ReLU(),
            _conv_norm(width, width, 3, stride, layers),
            nn.ReLU(),
            _conv_norm(width, out_channels, 1, 1, layers),
        )
    else:
        out_channels = width
        body = nn.Sequential(
            _conv_norm(in_channels, width, 3, stride, layers),
            nn.ReLU(),
            _conv_norm(width, width, 3, 1, layers),
        )
    same = stride == 1 and in_channels == out_channels
    shortcut = nn.Identity() if same else _conv_norm(in_channels, out_channels, 1, stride, layers)
    return Block(body, shortcut)


def residual_network(
    shape: Shape, num_classes: int, layers: Layers, *, depths: Sequence[int], bottleneck: bool, first: int = 64
) -> nn.Sequential:
    """Return a ResNet: stem, stages, mean, linear layer.

    Args:
        shape: Channels, height and width of the images.
        num_classes: Outputs.
        layers: What to build from.
        depths: Blocks of each stage.
        bottleneck: Whether blocks have three layers and give four times their channels.
        first: Channels of the first stage; every other one has twice those of the stage before.
    """
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    in_channels = layers.scaled(first)
    modules.update(stem=_conv_norm(shape[0], in_channels, 3, 1, layers), relu=nn.ReLU())
    for stage, depth in enumerate(depths):
        channels = layers.scaled(first * 2**stage)
        blocks = []
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            blocks.append(_block(in_channels, channels, stride, bottleneck, layers))
            in_channels = 4 * channels if bottleneck else channels
        modules[f"stage{stage + 1}"] = nn.Sequential(*blocks)
    modules["mean"] = nn.AdaptiveAvgPool2d(1)
    modules["flatten"] = nn.Flatten()
    modules["fc"] = layers.output(in_channels, num_classes)
    return nn.Sequential(modules)
