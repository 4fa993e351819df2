"""Networks that detect objects: YOLOv1 as paper 2's released code has it, and one for processors of two cores.

Each gives, of every cell of a grid, values of classes and boxes: (N, grid² · (classes + 5 · boxes)), the cells row by row, as
`fourfold.tasks.Detection` reads them. Images of any size fit: the last map is averaged to the grid.
"""

from collections import OrderedDict

from torch import Tensor, nn

from fourfold.models.layers import Layers
from fourfold.models.small import Shape

SLOPE = 0.1
"""Of the leaky ReLU below 0."""

_POOL = "pool"

_Plan = tuple[tuple[int, int, int] | str, ...]
"""Kernel size, channels and stride of convolutions, and poolings between them."""

YOLOV1: _Plan = (
    *((7, 64, 2), _POOL, (3, 192, 1), _POOL),
    *((1, 128, 1), (3, 256, 1), (1, 256, 1), (3, 512, 1), _POOL),
    *((1, 256, 1), (3, 512, 1)) * 4,
    *((1, 512, 1), (3, 1024, 1), _POOL),
    *((1, 512, 1), (3, 1024, 1)) * 2,
    *((3, 1024, 1), (3, 1024, 2), (3, 1024, 1), (3, 1024, 1)),
)
"""The 24 convolutions of figure 3 of Redmon et al. 2016."""

YOLO_TINY: _Plan = (
    *((3, 16, 2), _POOL, (3, 32, 1), _POOL, (3, 64, 1), (3, 128, 1), _POOL),
    *((3, 128, 1), _POOL, (3, 256, 1), (3, 256, 1)),
)
"""Seven of eight convolutions; the last gives the outputs."""

HIDDEN = 4096
"""Real neurons of YOLOv1's hidden linear layer."""


def yolov1(shape: Shape, num_classes: int, layers: Layers, *, grid: int, boxes: int) -> nn.Sequential:
    """Return YOLOv1: 24 convolutions with batch norm and leaky ReLU, and two linear layers without dropout.

    Paper 2's code adds batch norm to the original, averages the last map to the grid, and leaves dropout out.
    """
    stages, channels = _convolutions(shape[0], YOLOV1, layers)
    hidden = layers.scaled(HIDDEN)
    stages["mean"] = nn.AdaptiveAvgPool2d(grid)
    stages["flatten"] = nn.Flatten()
    stages["fc1"] = layers.linear(channels * grid**2, hidden)
    stages["leaky"] = nn.LeakyReLU(SLOPE)
    stages["fc2"] = layers.output(hidden, grid**2 * (num_classes + 5 * boxes))
    return nn.Sequential(stages)


def yolo_tiny(shape: Shape, num_classes: int, layers: Layers, *, grid: int, boxes: int) -> nn.Sequential:
    """Return eight convolutions, the last of which, 1×1, gives the outputs of each cell."""
    stages, channels = _convolutions(shape[0], YOLO_TINY, layers)
    stages["mean"] = nn.AdaptiveAvgPool2d(grid)
    stages["head"] = layers.output_convolution(channels, num_classes + 5 * boxes)
    stages["cells"] = CellByCell()
    return nn.Sequential(stages)


class CellByCell(nn.Module):
    """Brings the outputs of a map in the order of its cells, row by row."""

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, outputs, grid, grid) → (N, grid² · outputs)."""
        return x.permute(0, 2, 3, 1).flatten(1)


def _convolutions(channels: int, plan: _Plan, layers: Layers) -> tuple[OrderedDict[str, nn.Module], int]:
    """Return convolutions with batch norm and leaky ReLU, and the channels of the last."""
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    pools = convolutions = 0
    for step in plan:
        if isinstance(step, str):
            pools += 1
            stages[f"pool{pools}"] = nn.MaxPool2d(2)
            continue
        kernel_size, size, stride = step
        convolutions += 1
        out_channels = layers.scaled(size)
        stages[f"conv{convolutions}"] = layers.convolution(channels, out_channels, kernel_size, stride, bias=False)
        stages[f"norm{convolutions}"] = layers.batch_norm(out_channels)
        stages[f"leaky{convolutions}"] = nn.LeakyReLU(SLOPE)
        channels = out_channels
    return stages, channels
