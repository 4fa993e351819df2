"""`from_pairs`: images with a label image of each, in two folders."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from fourfold.data.components import Components, check_components
from fourfold.data.normalizing import Normalization
from fourfold.data.own.arrays import digest_of_parts
from fourfold.data.own.image_files import BadImageError, Form, decode, suffixes
from fourfold.data.own.label_images import MOST_CLASSES, Labelling
from fourfold.data.own.parts import Part, Role, held_out
from fourfold.data.own.source import Source
from fourfold.data.own.values import named_classes
from fourfold.data.splits import Splits
from fourfold.data.stores import Arrays, Augment
from fourfold.record.errors import UserError
from fourfold.record.spec import DataSpec

Folder: TypeAlias = str | os.PathLike[str]
Pair: TypeAlias = tuple[Folder, Folder]
"""A folder of images, and one of their label images."""


def from_pairs(
    train: Pair,
    test: Pair | float = 0.2,
    validation: Pair | float | None = None,
    *,
    classes: Sequence[str] | int,
    palette: Sequence[tuple[int, int, int]] | None = None,
    void: Sequence[Any] = (),
    label_suffix: str = "",
    size: int | tuple[int, int] | None = None,
    name: str | None = None,
    normalization: Normalization = "training",
    components: Components = "zero",
    augment: Augment | None = None,
) -> Splits:
    """Return images whose targets are label images, for `segmentation`; they are decoded into memory.

    An image and its label image have the same path below their folders, whatever the endings: `photos/a/1.jpg` and
    `labels/a/1.png`. Batches are float32 (B, 3, H, W), and int64 (B, H, W) in which void is -100.

    Args:
        train: `(images, labels)`, two folders.
        test: The same; or how many training images to hold out, or which part of them.
        validation: The same; None means no validation part.
        classes: Names of the classes by label, or their number.
        palette: The colour (red, green, blue) of each class, where label images are of colours; None means that the value of
            a pixel is its label (of an image with a palette of its own, the index).
        void: Values, or colours where `palette` is given, that are no class: neither trained on nor measured.
        label_suffix: What names of label images have more than those of images, such as `_L`.
        size: Height and width that images are scaled to, or one number for both; None if they have one size already. Label
            images take the nearest pixel.
        name: What to call the data; None means the name of the folder of training images.
        normalization: See `from_folder`.
        components: See `from_folder`.
        augment: Function of a batch `(inputs, targets)`, uint8 (B, 3, H, W) and int16 (B, H, W), and a `torch.Generator`, such
            as `augmentation.Views`.

    Raises:
        UserError: an image without a label image or the reverse, a label image of another size, an unknown value or colour,
            a file that cannot be read, or images of several sizes without `size`; it names the file.
    """
    check_components(components)
    names = named_classes(classes, 0, "label map")
    if not 2 <= len(names) < MOST_CLASSES:
        raise UserError(f"`classes` (={len(names)}) must be from 2 to {MOST_CLASSES - 1}")
    labelling = Labelling(num_classes=len(names), palette=palette, void=tuple(void))
    target = _size(size)
    by_role: dict[Role, Any] = {"train": train, "validation": validation, "test": test}
    parts: dict[Role, Part] = {}
    for role, pair in by_role.items():
        if role == "train" or isinstance(pair, tuple | list):
            files = _files(_folders(pair, role), label_suffix)
            target, part = _read(files, labelling, target)
            parts[role] = part
    for role in ("test", "validation"):
        if role not in parts and by_role[role] is not None:
            parts["train"], parts[role] = held_out(parts["train"], by_role[role], role, by_class=False)
    if "test" not in parts:
        raise UserError("`test` (=None) must be (images, labels), or a part of the training items, such as 0.2")
    assert target is not None
    source = Source(
        name=name or Path(train[0]).expanduser().absolute().name,
        train=parts["train"],
        validation=parts.get("validation"),
        test=parts["test"],
        kind="label map",
        classes=names,
        outputs=len(names),
        shape=(3, *target),
        axis=1,
        normalization=normalization,
        components=components,
        augment=augment,
        find_digest=lambda: digest_of_parts(parts),
    )
    return source.splits(DataSpec(name=source.name), 1, torch.device("cpu"))


def _size(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2 or not all(
        isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= 2**14 for side in sides
    ):
        raise UserError(f"`size` (={size!r}) must be None, or height and width from 1 to {2**14}, or one number for both")
    return sides[0], sides[1]


def _folders(pair: Any, role: Role) -> tuple[Path, Path]:
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(one, str | os.PathLike) for one in pair):
        raise UserError(f"`{role}` (={pair!r}) must be (images, labels), two folders")
    images, labels = (Path(one).expanduser() for one in pair)
    for folder in (images, labels):
        if not folder.is_dir():
            raise UserError(f"{folder}: expected a folder of images, found {'a file' if folder.exists() else 'nothing'}")
    return images, labels


def _files(folders: tuple[Path, Path], suffix: str) -> list[tuple[Path, Path]]:
    """Return each image with its label image, sorted by path."""
    images, labels = (_by_stem(folder, ending) for folder, ending in zip(folders, ("", suffix), strict=True))
    for mine, other, what in ((images, folders[1], "label image"), (labels, folders[0], "image")):
        present = labels if mine is images else images
        alone = next((stem for stem in mine if stem not in present), None)
        if alone is not None:
            raise UserError(f"{mine[alone]}: expected its {what} in {other}, found none")
    if not images:
        raise UserError(f"{folders[0]}: expected images, found none")
    return [(path, labels[stem]) for stem, path in images.items()]


def _by_stem(folder: Path, suffix: str) -> dict[str, Path]:
    """Return the images below a folder by their path without its ending; hidden files and other endings are left out."""
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        if path.suffix.lower() not in suffixes() or any(part.startswith(".") for part in below.parts) or not path.is_file():
            continue
        stem = below.with_suffix("").as_posix()
        if not stem.endswith(suffix):
            raise UserError(f"{path}: expected a name that ends with `label_suffix` (={suffix!r}), found another")
        stem = stem.removesuffix(suffix)
        if stem in files:
            raise UserError(f"{path}: expected one image of that name, found {files[stem].name} too")
        files[stem] = path
    return files


def _read(files: list[tuple[Path, Path]], labelling: Labelling, target: tuple[int, int] | None) -> tuple[tuple[int, int], Part]:
    """Return the size of all images, and a part of them in memory."""
    fixed = target is not None
    images, maps = [], []
    for image_file, label_file in files:
        try:
            image = decode(image_file, Form(size=None, resize="stretch", colour="rgb"))
            size = (image.shape[1], image.shape[2])
            target = size if target is None else target
            if size != target and fixed:
                image = decode(image_file, Form(size=target, resize="stretch", colour="rgb"))
        except BadImageError as error:
            raise UserError(f"{image_file}: expected an image, found a file that {error}") from error
        if image.shape[1:] != target:
            raise UserError(
                f"{image_file}: expected {target[0]}×{target[1]} pixels as images before have, found {size[0]}×{size[1]}; give "
                "a `size` for all"
            )
        images.append(image)
        maps.append(labelling.read(label_file, size, target))
    assert target is not None
    return target, Part(store=Arrays(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(maps))))
