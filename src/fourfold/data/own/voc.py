"""`from_voc`: images with boxes in the layout of Pascal VOC (Everingham et al. 2010), and the sets that have it."""

import os
from collections.abc import Sequence
from pathlib import Path

from fourfold.data.components import Components, check_components
from fourfold.data.normalizing import Normalization
from fourfold.data.own.augmentation import Views
from fourfold.data.own.decoded import BadImages
from fourfold.data.own.parts import Role
from fourfold.data.own.voc_reading import BadBoxes, Lists, Reading, list_file
from fourfold.data.places import data_directory
from fourfold.data.splits import Splits
from fourfold.data.stores import Augment
from fourfold.record.errors import UserError

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)

BCCD_CLASSES = ("RBC", "WBC", "Platelets")

VOC_SIZE, BCCD_SIZE = 448, 224
"""Height and width that images are scaled to: those of YOLOv1 and of YOLO-tiny."""


def from_voc(
    path: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] = BCCD_SIZE,
    train: str = "train",
    test: str | float = "test",
    validation: str | None = None,
    classes: Sequence[str] | None = None,
    bad_boxes: BadBoxes = "refuse",
    bad_images: BadImages = "refuse",
    name: str | None = None,
    normalization: Normalization = "training",
    components: Components = "zero",
    augment: Augment | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> Splits:
    """Return images with boxes from a folder in Pascal VOC's layout, for `detection`.

    The folder has `JPEGImages`, `Annotations` (an XML file for each image) and `ImageSets/Main` (lists of names). Images are
    decoded once into the data directory, scaled to one size whatever their proportions. Batches are float32 (B, 3, H, W), and a
    dict of `boxes` (B, M, 4) as parts of the image's sides, `labels` (B, M), -1 where an image has fewer boxes, and
    `difficult`. Boxes are cut to their images.

    Args:
        path: The folder.
        size: Height and width of all images, or one number for both.
        train: The list of training images.
        test: The list of test images; or how many training images to hold out, or which part of them.
        validation: The list of validation images; None means no validation part.
        classes: Names of the classes by label; None means those of the training part, sorted.
        bad_boxes: Whether a box without area, outside its image or of an unknown class is refused, or left out and counted in
            `notices`.
        bad_images: Whether a file that cannot be decoded is refused, or left out and counted in `notices`.
        name: What to call the data; None means the folder's name.
        normalization: See `from_folder`.
        components: See `from_folder`.
        augment: Function of a batch `(images, targets)` and a `torch.Generator`, such as `Views`, which moves boxes too.
        data_dir: Where decoded images are kept; None means `$FOURFOLD_DATA`, else the user's cache directory.
        progress: Whether to draw a bar while images are decoded; None means if standard error is a terminal.

    Raises:
        UserError: a file or a folder that is missing or damaged, an annotation that lacks a field or is of an image of another
            size, or a bad box or image that is refused; it names the file.
    """
    check_components(components)
    root = Path(path).expanduser().absolute()
    lists: dict[Role, Lists] = {"train": [(".", train)]}
    if validation is not None:
        lists["validation"] = [(".", validation)]
    if isinstance(test, str):
        lists["test"] = [(".", test)]
    reading = Reading(root=root, lists=lists, size=_sides(size), classes=classes, bad_boxes=bad_boxes, bad_images=bad_images)
    return reading.splits(
        name=name or root.name,
        test=None if isinstance(test, str) else test,
        normalization=normalization,
        components=components,
        augment=augment,
        directory=data_directory(None if data_dir is None else Path(data_dir)),
        progress=progress,
    )


def load_voc(directory: Path) -> Splits:
    """Return Pascal VOC: 2007's and 2012's training and validation images, tested on 2007's test images.

    Raises:
        UserError: a folder is not there, or its files are not as they should be.
    """
    root = directory / "VOCdevkit"
    lists: dict[Role, Lists] = {"train": [("VOC2007", "trainval"), ("VOC2012", "trainval")], "test": [("VOC2007", "test")]}
    for folder, part in (pair for pairs in lists.values() for pair in pairs):
        if not list_file(root / folder, part).is_file():
            raise UserError(
                f"voc is not in {directory} (VOCdevkit/{folder}/ImageSets/Main/{part}.txt is missing); `fourfold data get voc` "
                "downloads it, or name the folder that holds it with --data-dir"
            )
    reading = Reading(root=root, lists=lists, size=(VOC_SIZE, VOC_SIZE), classes=VOC_CLASSES, bad_boxes="skip")
    # Paper 2's code scales by 0.8 to 1.2 and crops, but leaves the boxes where they were.
    return reading.splits(name="voc", augment=Views(flip=False, scale=(0.8, 1.2)), directory=directory)


def load_bccd(directory: Path) -> Splits:
    """Return BCCD (Shenggan, MIT): blood cells under a microscope, in the repository's own split.

    Raises:
        UserError: a folder is not there, or its files are not as they should be.
    """
    root = directory / "BCCD"
    if not (root / "Annotations").is_dir():
        raise UserError(
            f"bccd is not in {directory} (BCCD/Annotations is missing); put the folder BCCD of github.com/Shenggan/BCCD_Dataset"
            " there, or name the folder that holds it with --data-dir"
        )
    lists: dict[Role, Lists] = {"train": [(".", "train")], "validation": [(".", "val")], "test": [(".", "test")]}
    reading = Reading(root=root, lists=lists, size=(BCCD_SIZE, BCCD_SIZE), classes=BCCD_CLASSES, bad_boxes="skip")
    return reading.splits(name="bccd", directory=directory)


def _sides(size: int | tuple[int, int]) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= 2**14 for side in sides):
        raise UserError(f"`size` (={size!r}) must be height and width from 1 to {2**14}, or one number for both")
    return sides[0], sides[1]
