"""Networks that give a class to every pixel: U-Net (Ronneberger et al. 2015) and SegNet (Badrinarayanan et al. 2017).

Both have batch norm behind every 3×3 convolution, halve the map by 2×2 max-pooling and double the channels from stage to stage.
Maps of any size fit: a decoder's stage has the size of the encoder's.
"""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from fourfold import nn as fnn
from fourfold.models.layers import Layers, numbers
from fourfold.models.small import Shape

Sizes = Sequence[int]


def _stage(in_channels: int, out_channels: int, layers: Layers, depth: int = 2) -> nn.Sequential:
    """Return 3×3 convolutions, each with batch norm and ReLU."""
    modules: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, depth + 1):
        modules[f"conv{number}"] = layers.convolution(in_channels, out_channels, bias=False)
        modules[f"norm{number}"] = layers.batch_norm(out_channels)
        modules[f"relu{number}"] = nn.ReLU()
        in_channels = out_channels
    return nn.Sequential(modules)


class Doubled(nn.Module):
    """A transposed convolution that doubles a map, with batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int, layers: Layers) -> None:
        super().__init__()
        self.conv = layers.transposed_convolution(in_channels, out_channels)
        self.norm = layers.batch_norm(out_channels)

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Return a map of a size, which has twice the rows and columns of x, or one more."""
        larger: Tensor = self.norm(self.conv(x, output_size=size))
        return F.relu(larger)


class UNet(nn.Module):
    """Encoder and decoder, each decoder stage seeing the map of the encoder's stage of its size.

    The decoder's map is enlarged by its nearest pixels before a 3×3 convolution, which halves the channels: resize and
    convolution, which leaves no checkerboard as transposed convolutions do (Odena et al. 2016). `transposed` takes these, as
    the original does.

    Args:
        in_channels: Of the images.
        num_classes: Outputs.
        layers: What to build from.
        channels: Of each stage of the encoder, the last being the bottom.
        transposed: Whether 2×2 transposed convolutions enlarge maps.
    """

    def __init__(
        self, in_channels: int, num_classes: int, layers: Layers, channels: Sizes, *, transposed: bool = False
    ) -> None:
        super().__init__()
        sizes = [layers.scaled(size) for size in channels]
        self.algebra_of_cat = numbers(layers.algebra).name
        pairs = list(zip([in_channels, *sizes], sizes, strict=False))
        self.down = nn.ModuleList(_stage(before, size, layers) for before, size in pairs)
        self.pool = nn.MaxPool2d(2)
        backwards = list(zip(sizes[:0:-1], sizes[-2::-1], strict=True))
        self.resized = nn.ModuleList(
            Doubled(below, size, layers) if transposed else _stage(below, size, layers, 1) for below, size in backwards
        )
        self.up = nn.ModuleList(_stage(2 * size, size, layers) for _, size in backwards)
        self.head = layers.output_convolution(sizes[0], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, in_channels, H, W) → (N, num_classes, H, W)."""
        skips: list[Tensor] = []
        for stage in self.down:
            x = stage(self.pool(x) if skips else x)
            skips.append(x)
        skips.pop()
        for resized, stage in zip(self.resized, self.up, strict=True):
            skip = skips.pop()
            size = skip.shape[2:]
            x = resized(x, size) if isinstance(resized, Doubled) else resized(F.interpolate(x, size))
            x = stage(fnn.cat([skip, x], algebra=self.algebra_of_cat))
        return self.head(x)  # type: ignore[no-any-return]


class SegNet(nn.Module):
    """Encoder and decoder without skips: the decoder puts values back to the places that max-pooling took them from.

    Args:
        in_channels: Of the images.
        num_classes: Outputs.
        layers: What to build from.
        channels: Of each stage; pooling follows every one.
    """

    def __init__(self, in_channels: int, num_classes: int, layers: Layers, channels: Sizes) -> None:
        super().__init__()
        sizes = [layers.scaled(size) for size in channels]
        pairs = list(zip([in_channels, *sizes], sizes, strict=False))
        self.down = nn.ModuleList(_stage(before, size, layers) for before, size in pairs)
        backwards = list(zip(sizes[::-1], [*sizes[-2::-1], sizes[0]], strict=True))
        self.up = nn.ModuleList(_stage(below, size, layers) for below, size in backwards)
        self.head = layers.output_convolution(sizes[0], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, in_channels, H, W) → (N, num_classes, H, W)."""
        places: list[tuple[Tensor, tuple[int, int]]] = []
        for stage in self.down:
            x = stage(x)
            size = (x.shape[2], x.shape[3])
            x, indices = F.max_pool2d(x, 2, return_indices=True)
            places.append((indices, size))
        for stage in self.up:
            indices, size = places.pop()
            x = stage(_unpool(x, indices, size))
        return self.head(x)  # type: ignore[no-any-return]


def _unpool(x: Tensor, places: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return torch's `max_unpool2d` of windows without overlap, as a scatter, which is deterministic on CUDA too."""
    flat = x.new_zeros(x.shape[0], x.shape[1], size[0] * size[1]).scatter(2, places.flatten(2), x.flatten(2))
    return flat.reshape(x.shape[0], x.shape[1], size[0], size[1])


def unet(shape: Shape, num_classes: int, layers: Layers, *, channels: Sizes, transposed: bool = False) -> nn.Sequential:
    """Return a U-Net."""
    return nn.Sequential(OrderedDict(unet=UNet(shape[0], num_classes, layers, channels, transposed=transposed)))


def segnet(shape: Shape, num_classes: int, layers: Layers, *, channels: Sizes) -> nn.Sequential:
    """Return a SegNet."""
    return nn.Sequential(OrderedDict(segnet=SegNet(shape[0], num_classes, layers, channels)))
