"""`from_folder`: data of one's own as images in class folders."""

import hashlib
import os
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from fourfold.data.components import Components, check_components
from fourfold.data.digest import SAMPLED
from fourfold.data.normalizing import Normalization
from fourfold.data.own.class_folders import Listing, listed
from fourfold.data.own.decoded import BadImages, Decoded, decode_listing
from fourfold.data.own.image_files import Colour, Form, Resize, suffixes
from fourfold.data.own.parts import Part, Role, held_out
from fourfold.data.own.source import Source
from fourfold.data.places import data_directory
from fourfold.data.splits import Splits
from fourfold.data.stores import Augment, RowsOnDisk
from fourfold.record.errors import UserError
from fourfold.record.spec import DataSpec
from fourfold.record.text import shortened

_CPU = torch.device("cpu")

_LARGEST = 2**14
"""Pixels of a side at most."""


def from_folder(
    path: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    resize: Resize = "crop",
    colour: Colour = "rgb",
    bad_images: BadImages = "refuse",
    test: float = 0.2,
    validation: float | None = None,
    name: str | None = None,
    normalization: Normalization = "training",
    components: Components = "zero",
    augment: Augment | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> Splits:
    """Return data of one's own from a folder of class folders, for a real network on the CPU.

    Class folders lie in the folder itself, or in `train`, `val` or `validation`, and `test` below it. Without `test`, what is
    in `val` is the test part; without both, some images are held out. Images of any format that Pillow reads are
    decoded once into the data directory, where they are found again until a file changes.

    Args:
        path: The folder.
        size: Height and width of all images, or one number for both; None if they have one size already.
        resize: crop: scaled until the shorter side fits, and the middle taken; fit: scaled until the longer side fits, black
            beside it; stretch: scaled whatever the proportions.
        colour: Whether images become red, green and blue, or grey.
        bad_images: Whether a file that cannot be decoded is refused, or left out and counted in `notices`.
        test: How many training images to hold out, or which part of them, where the folder has no test part; every class in
            proportion.
        validation: The same for the validation part; None takes the folder's, or none.
        name: What to call the data; None means the folder's name.
        normalization: training (means and deviations of the training part), none (bytes divided by 255), imagenet, or means and
            deviations such that 1 is white.
        components: How images become elements of n components, where n is larger than 1: zero, repeat, grey, pixels, learned,
            none, or a function of a batch of normalised images and n.
        augment: Function of a batch `(inputs, targets)`, uint8 (B, C, H, W) and int64 (B,), and a `torch.Generator`.
        data_dir: Where decoded images are kept; None means `$FOURFOLD_DATA`, else the user's cache directory.
        progress: Whether to draw a bar while images are decoded; None means if standard error is a terminal.

    Raises:
        UserError: no folder of class folders, a bad file that is refused, images of several sizes without `size`, or no space
            to decode them.
    """
    check_components(components)
    form = _form(size, resize, colour)
    if bad_images not in get_args(BadImages):
        raise UserError(f"`bad_images` (={bad_images!r}) must be 'refuse' or 'skip'")
    listing = listed(Path(path).expanduser().absolute(), suffixes())
    images = decode_listing(listing, form, bad_images, data_directory(None if data_dir is None else Path(data_dir)), progress)
    bad = np.array([number for number, _ in images.contents.bad], dtype=np.int64)
    kept = np.setdiff1d(np.arange(len(listing.files)), bad)
    labels = torch.from_numpy(listing.labels[kept])
    store = RowsOnDisk(images.pixels, images.contents.shape, labels, images.sums)
    parts: dict[Role, Part] = {}
    for role, places in listing.roles.items():
        members = np.flatnonzero((kept >= places.start) & (kept < places.stop))
        parts[role] = Part(store=store, members=torch.from_numpy(members))
    _check_parts(listing, parts)
    if validation is not None and "validation" in parts:
        raise UserError(f"`validation` (={validation!r}) cannot be combined with {listing.root}, which has a validation part")
    if "test" not in parts:
        parts["train"], parts["test"] = held_out(parts["train"], test, "test", by_class=True)
    if validation is not None:
        parts["train"], parts["validation"] = held_out(parts["train"], validation, "validation", by_class=True)
    source = Source(
        name=name or listing.root.name or "folder",
        train=parts["train"],
        validation=parts.get("validation"),
        test=parts["test"],
        kind="classes",
        classes=listing.classes,
        outputs=len(listing.classes),
        shape=images.contents.shape[1:],
        axis=1,
        normalization=normalization,
        components=components,
        augment=augment,
        find_digest=lambda: _digest(images, parts),
        notices=_notices(listing, images),
    )
    return source.splits(DataSpec(name=source.name), 1, _CPU)


def _form(size: int | tuple[int, int] | None, resize: Resize, colour: Colour) -> Form:
    if resize not in get_args(Resize):
        raise UserError(f"`resize` (={resize!r}) must be 'crop', 'fit' or 'stretch'")
    if colour not in get_args(Colour):
        raise UserError(f"`colour` (={colour!r}) must be 'rgb' or 'grey'")
    sides = (size, size) if isinstance(size, int) else size
    if sides is not None:
        whole = isinstance(sides, tuple | list) and len(sides) == 2 and all(type(side) is int for side in sides)
        if not whole or not all(1 <= side <= _LARGEST for side in sides):
            raise UserError(f"`size` (={size!r}) must be a height and a width, 1 to {_LARGEST} pixels, or one number for both")
        sides = sides[0], sides[1]
    return Form(size=sides, resize=resize, colour=colour)


def _check_parts(listing: Listing, parts: dict[Role, Part]) -> None:
    """Raise `UserError` where the files that were left out were all of a class, or all of a part."""
    for role, part in parts.items():
        if not len(part):
            raise UserError(f"{listing.root}: expected images in the {role} part, found none that can be read")
    targets = parts["train"].targets()
    assert targets is not None
    counts = np.bincount(targets.numpy(), minlength=len(listing.classes))
    if not counts.all():
        empty = listing.classes[int(counts.argmin())]
        raise UserError(f"{listing.root}: expected images of the class {empty!r}, found none that can be read")


def _notices(listing: Listing, images: Decoded) -> tuple[str, ...]:
    notices = []
    if images.contents.bad:
        number, why = images.contents.bad[0]
        total, bad = len(listing.files), len(images.contents.bad)
        first = f"{shortened(listing.files[number], 100)} {why}"
        notices.append(f"{bad:,} of {total:,} images are left out: {first}{', …' if bad > 1 else ''}")
    if listing.ignored:
        notices.append(f"{listing.ignored:,} images in no class folder are left out")
    return tuple(notices)


def _digest(images: Decoded, parts: dict[Role, Part]) -> str:
    """Return the SHA-256 of the checksum of all pixels, of an evenly spaced choice of images, and of every part's labels."""
    digest = hashlib.sha256(f"{images.contents.shape} {images.contents.sha256}\n".encode())
    count = images.contents.shape[0]
    pixels = np.memmap(images.pixels, np.uint8, "r", shape=images.contents.shape)
    chosen = np.unique(np.linspace(0, count - 1, min(count, SAMPLED)).round().astype(np.int64))
    for number in chosen:
        digest.update(np.ascontiguousarray(pixels[number]).data)
    order: tuple[Role, ...] = ("train", "validation", "test")
    for role in (role for role in order if role in parts):
        targets = parts[role].targets()
        assert targets is not None
        digest.update(f"{role} {len(targets)}\n".encode())
        digest.update(parts[role].numbers().numpy().astype("<i8").data)
        digest.update(targets.numpy().astype("<i8").data)
    return digest.hexdigest()
