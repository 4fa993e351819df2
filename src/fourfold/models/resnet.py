"""ResNet-18/34/50/101/152 (He et al. 2016) with the stem for small images: 3×3, stride 1, no max-pooling."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from fourfold import nn as fnn
from fourfold.algebra import Algebra
from fourfold.models.small import Shape, scaled


def _conv_norm(in_channels: int, out_channels: int, kernel_size: int, stride: int, algebra: Algebra) -> nn.Sequential:
    """A convolution that keeps the map's size up to the stride, and its batch norm."""
    padding = kernel_size // 2
    convolution = fnn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False, algebra=algebra)
    return nn.Sequential(OrderedDict(conv=convolution, norm=fnn.BatchNorm2d(out_channels, algebra=algebra)))


class Block(nn.Module):
    """A residual block: relu(body(x) + shortcut(x)), the shortcut a 1×1 convolution where the shape changes."""

    def __init__(self, body: nn.Sequential, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, in, H, W) → (N, out, H / stride, W / stride)."""
        return nn.functional.relu(self.body(x) + self.shortcut(x))


def _block(in_channels: int, width: int, stride: int, bottleneck: bool, algebra: Algebra) -> Block:
    if bottleneck:
        out_channels = 4 * width
        body = nn.Sequential(
            _conv_norm(in_channels, width, 1, 1, algebra),
            nn.ReLU(),
            _conv_norm(width, width, 3, stride, algebra),
            nn.ReLU(),
            _conv_norm(width, out_channels, 1, 1, algebra),
        )
    else:
        out_channels = width
        body = nn.Sequential(
            _conv_norm(in_channels, width, 3, stride, algebra),
            nn.ReLU(),
            _conv_norm(width, width, 3, 1, algebra),
        )
    same = stride == 1 and in_channels == out_channels
    shortcut = nn.Identity() if same else _conv_norm(in_channels, out_channels, 1, stride, algebra)
    return Block(body, shortcut)


def resnet(
    shape: Shape, num_classes: int, algebra: Algebra, head: Algebra, width: float, *, depths: Sequence[int], bottleneck: bool
) -> nn.Sequential:
    """Return a ResNet: stem, four stages of 64, 128, 256 and 512 channels (times four in bottlenecks), mean, linear layer."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    in_channels = scaled(64, width, algebra)
    layers.update(stem=_conv_norm(shape[0], in_channels, 3, 1, algebra), relu=nn.ReLU())
    for stage, depth in enumerate(depths):
        channels = scaled(64 * 2**stage, width, algebra)
        blocks = []
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            blocks.append(_block(in_channels, channels, stride, bottleneck, algebra))
            in_channels = 4 * channels if bottleneck else channels
        layers[f"stage{stage + 1}"] = nn.Sequential(*blocks)
    layers["mean"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = fnn.Linear(in_channels, num_classes, algebra=head)
    return nn.Sequential(layers)
