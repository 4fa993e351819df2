"""`build`: a network by name, in any algebra, from a seed."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import nn

from fourfold.algebra import Algebra
from fourfold.models import detection, language, resnet, segmentation, sequences, small
from fourfold.models.encoding import LearnedChannel
from fourfold.models.layers import Layers, numbers
from fourfold.nn import WhiteningBatchNorm2d, check_divisible, initialize
from fourfold.record import UserError
from fourfold.record.errors import canonical, unknown
from fourfold.record.task_spec import BOXES, GRID

MOST_CLASSES = 2**31 - 1
"""Outputs of the largest network whose sizes can still be counted."""

Make = Callable[..., nn.Module]
"""Of the shape of an item, classes, and what to build from; of detectors, also `grid` and `boxes`."""


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A network that `build` knows."""

    make: Make
    title: str
    shape: tuple[int, ...] = (3, 32, 32)
    """The images it was published for; steps and features of a network of series."""
    series: bool = False
    """Whether it takes series (steps, features), with their lengths, and no images."""
    tokens: bool = False
    """Whether it takes tokens, integers below its outputs, and no images."""
    smallest: int = 1
    """Height and width below which its poolings leave nothing."""
    outputs: Literal["classes", "label map", "boxes"] = "classes"
    """Whether it gives outputs to an image, to every pixel, or to every cell of a grid with its boxes."""
    num_classes: int = 10
    """Of the data that it was published for, or is meant for."""


def _resnet(depths: tuple[int, ...], bottleneck: bool, first: int = 64) -> Make:
    return partial(resnet.residual_network, depths=depths, bottleneck=bottleneck, first=first)


MODELS: dict[str, ModelInfo] = {
    "lenet-300-100": ModelInfo(make=partial(small.lenet, hidden=(300, 100)), title="Lenet-300-100", shape=(1, 28, 28)),
    "lenet-12": ModelInfo(make=partial(small.lenet, hidden=(12,)), title="Lenet-12", shape=(1, 28, 28)),
    "conv-2": ModelInfo(make=partial(small.conv, channels=(64,)), title="Conv-2", smallest=2),
    "conv-4": ModelInfo(make=partial(small.conv, channels=(64, 128)), title="Conv-4", smallest=4),
    "conv-6": ModelInfo(make=partial(small.conv, channels=(64, 128, 256)), title="Conv-6", smallest=8),
    "vgg-16": ModelInfo(make=small.vgg16, title="VGG-16", smallest=32),
    "resnet-8": ModelInfo(make=_resnet((1, 1, 1), False, 16), title="ResNet-8"),
    "resnet-20": ModelInfo(make=_resnet((3, 3, 3), False, 16), title="ResNet-20"),
    "resnet-18": ModelInfo(make=_resnet((2, 2, 2, 2), False), title="ResNet-18"),
    "resnet-34": ModelInfo(make=_resnet((3, 4, 6, 3), False), title="ResNet-34"),
    "resnet-50": ModelInfo(make=_resnet((3, 4, 6, 3), True), title="ResNet-50"),
    "resnet-101": ModelInfo(make=_resnet((3, 4, 23, 3), True), title="ResNet-101"),
    "resnet-152": ModelInfo(make=_resnet((3, 8, 36, 3), True), title="ResNet-152"),
    "unet": ModelInfo(
        make=partial(segmentation.unet, channels=(32, 64, 128, 256)),
        title="U-Net",
        shape=(3, 120, 160),
        smallest=8,
        outputs="label map",
    ),
    "unet-8": ModelInfo(
        make=partial(segmentation.unet, channels=(8, 16, 32, 64)),
        title="U-Net-8",
        shape=(3, 120, 160),
        smallest=8,
        outputs="label map",
    ),
    "unet-transposed": ModelInfo(
        make=partial(segmentation.unet, channels=(32, 64, 128, 256), transposed=True),
        title="U-Net transposed",
        shape=(3, 120, 160),
        smallest=8,
        outputs="label map",
    ),
    "segnet": ModelInfo(
        make=partial(segmentation.segnet, channels=(32, 64, 128)),
        title="SegNet",
        shape=(3, 120, 160),
        smallest=8,
        outputs="label map",
    ),
    "yolov1": ModelInfo(
        make=detection.yolov1, title="YOLOv1", shape=(3, 448, 448), smallest=64, outputs="boxes", num_classes=20
    ),
    "yolo-tiny": ModelInfo(
        make=detection.yolo_tiny, title="YOLO-tiny", shape=(3, 224, 224), smallest=32, outputs="boxes", num_classes=20
    ),
    "lstm": ModelInfo(make=partial(sequences.recurrent, kind="lstm"), title="LSTM", shape=(100, 6), series=True),
    "gru": ModelInfo(make=partial(sequences.recurrent, kind="gru"), title="GRU", shape=(100, 6), series=True),
    "lstm-steps": ModelInfo(
        make=partial(sequences.recurrent, kind="lstm", every_step=True),
        title="LSTM steps",
        shape=(30, 10),
        series=True,
        outputs="label map",
    ),
    "gpt": ModelInfo(make=language.gpt, title="GPT", shape=(128,), tokens=True, outputs="label map", num_classes=256),
    "transformer-encoder": ModelInfo(make=sequences.transformer, title="transformer encoder", shape=(100, 6), series=True),
}


def is_known(name: str) -> bool:
    """Whether there is a model of that name, in any spelling."""
    return canonical(name, MODELS) in MODELS


def canonical_name(name: str) -> str:
    """Return the model's name as `MODELS` has it: `conv4`, `conv_4` and `Conv-4` all give `conv-4`.

    Raises:
        ValueError: there is no such model.
    """
    known = canonical(name, MODELS)
    if known not in MODELS:
        raise unknown("model", name, MODELS)
    return known


def build(
    name: str,
    *,
    algebra: str | Algebra = "real",
    num_classes: int = 10,
    shape: tuple[int, ...] | None = None,
    head: str = "real",
    init: str = "torch",
    seed: int | None = None,
    learned_from: int | None = None,
    device: torch.device | str | None = None,
    width: float = 1.0,
    norm: str = "component",
    grid: int | None = None,
    boxes: int | None = None,
) -> nn.Module:
    """Return a network of the papers.

    Args:
        name: One of `MODELS`, in any spelling of the separators.
        algebra: The algebra of all layers but the head; `phm` is one of four components that every layer learns for itself.
        num_classes: Outputs, of detectors the classes of boxes; at most `MOST_CLASSES`.
        shape: Channels, height and width that the network sees. Default: as published, with channels filled up to a
            multiple of the algebra's dimension (and to 4 from 3, as RGB + grey). Of networks of series, steps and features.
        head: `real` for a real output layer (paper 1), `algebra` for one in the algebra (paper 2).
        init: The variance scheme of the weights, see `fourfold.nn.SCHEMES`.
        seed: Draw the weights from this seed, whatever torch's global state; None draws from that state.
        learned_from: Put a `LearnedChannel` in front that makes `shape[0]` channels out of this many.
        device: Where to build it; `meta` for its shapes alone.
        width: Factor of the sizes of all hidden layers, each rounded to elements of the algebra.
        norm: Batch norm, where the network has it: of each `component` alone, or `whitening`.
        grid: Of detectors, cells along each side of an image; None means 7.
        boxes: Of detectors, boxes that each cell predicts; None means 2.

    Raises:
        ValueError: an unknown name, or sizes that the algebra does not divide.
    """
    name = canonical_name(name)
    info = MODELS[name]
    layers = Layers(algebra=algebra, head=head, norm=norm, width=width)
    if not 1 <= num_classes <= MOST_CLASSES:
        raise UserError(f"`num_classes` (={num_classes}) must lie in [1, {MOST_CLASSES}]")
    options = {} if info.outputs != "boxes" else {"grid": grid or GRID, "boxes": boxes or BOXES}
    if not options and (grid, boxes) != (None, None):
        raise UserError(f"`grid` (={grid}) and `boxes` (={boxes}) must be None for {name}, which is no detector")
    if head == "algebra":
        outputs = ("num_classes + 5 · boxes", num_classes + 5 * options["boxes"]) if options else ("num_classes", num_classes)
        check_divisible(*outputs, numbers(algebra))
    sides = tuple(shape) if shape is not None else input_shape(name, algebra)
    if len(sides) != len(info.shape):
        raise UserError(f"`shape` (={sides}) must be {_axes(info)}")
    channels = sides[-1 if info.series else 0]
    if learned_from is not None and info.tokens:
        raise UserError(f"`learned_from` (={learned_from}) must be None for {name}, which takes tokens")
    if learned_from is not None and not 0 < learned_from < channels:
        raise UserError(f"`learned_from` (={learned_from}) must be fewer channels than the {channels} that the network sees")
    if not (info.series or info.tokens) and min(sides[1:]) < info.smallest:
        raise UserError(f"images of {sides[1]}×{sides[2]} are too small for {name}: it needs {info.smallest}×{info.smallest}")

    with torch.device("meta"):
        network: nn.Module = info.make(sides, num_classes, layers, **options)
        if norm == "whitening" and not any(isinstance(module, WhiteningBatchNorm2d) for module in network.modules()):
            raise UserError(f"`norm` (={norm!r}) needs a network with batch norm; {name} has none")
        if learned_from is not None:
            network = nn.Sequential(OrderedDict(encoding=LearnedChannel(learned_from, channels), network=network))
    device = torch.device(device or "cpu")
    if device.type != "meta":
        # As `to_empty` does, whose `empty_like` of a tensor on the meta device imports sympy, which takes half a second.
        network._apply(  # type: ignore[no-untyped-call]
            lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
        )
        initialize(network, init, None if seed is None else torch.Generator(device).manual_seed(seed))
    return network


def input_shape(name: str, algebra: str | Algebra = "real") -> tuple[int, ...]:
    """Return channels, height and width of the images that a model was published for, as it sees them in an algebra.

    Of a network of series, steps and features, with zeros up to a multiple of n.

    One channel becomes n, each n pixels of a row being a number; three become RGB + grey, with zeros up to a multiple
    of n.

    Raises:
        ValueError: unknown names, or a row of pixels that n does not divide.
    """
    info = MODELS[canonical_name(name)]
    algebra = numbers(algebra)
    n = algebra.n
    if info.tokens:
        return info.shape
    if info.series:
        steps, features = info.shape
        return steps, -(-features // n) * n
    channels, height, width = info.shape
    if n == 1:
        return channels, height, width
    if channels == 1:
        check_divisible("image width", width, algebra)
        return n, height, width // n
    return -(-(channels + 1) // n) * n, height, width


def _axes(info: ModelInfo) -> str:
    return "(steps,)" if info.tokens else "(steps, features)" if info.series else "(channels, height, width)"
