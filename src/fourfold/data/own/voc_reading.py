"""Images and boxes are read from lists, annotations and files in the layout of Pascal VOC."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from fourfold.data.boxes import Boxes, padded
from fourfold.data.components import Components
from fourfold.data.normalizing import Normalization
from fourfold.data.own.annotations import Annotation, Object, read_annotation
from fourfold.data.own.class_folders import Listing
from fourfold.data.own.decoded import BadImages, Decoded, decode_listing
from fourfold.data.own.image_files import BadImageError, Form, suffixes, upright_size
from fourfold.data.own.parts import Part, Role, held_out
from fourfold.data.own.source import Source
from fourfold.data.own.values import named_classes
from fourfold.data.splits import Splits
from fourfold.data.stores import Augment, RowsOnDisk
from fourfold.record.errors import UserError
from fourfold.record.spec import DataSpec
from fourfold.record.text import shortened

BadBoxes = Literal["refuse", "skip"]

Lists = Sequence[tuple[str, str]]
"""Folders below the root, each with the name of a list in its `ImageSets/Main`."""

_BESIDE = 1.0
"""Pixels that a box may reach beyond its image without a word: some tools count pixels from 0, and some from 1."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is read, and how."""

    root: Path
    lists: Mapping[Role, Lists]
    size: tuple[int, int]
    classes: Sequence[str] | None
    bad_boxes: BadBoxes = "refuse"
    bad_images: BadImages = "refuse"
    _left_out: Counter[str] = field(default_factory=Counter)
    """Boxes by what is wrong with them, and those that are cut at the edge of their image."""
    _first: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("bad_boxes", self.bad_boxes), ("bad_images", self.bad_images)):
            if value not in get_args(BadBoxes):
                raise UserError(f"`{name}` (={value!r}) must be 'refuse' or 'skip'")

    def splits(
        self,
        *,
        name: str,
        directory: Path,
        test: float | None = None,
        normalization: Normalization = "training",
        components: Components = "zero",
        augment: Augment | None = None,
        progress: bool | None = None,
    ) -> Splits:
        """Return the images and their boxes."""
        places = {role: [place for pair in pairs for place in self._places(*pair)] for role, pairs in self.lists.items()}
        every = [place for role in places for place in places[role]]
        annotations = [read_annotation(self.root / annotation) for _, annotation in every]
        classes = self._class_names(annotations[: len(places["train"])])
        images = decode_listing(
            self._listing(places), Form(size=self.size, resize="stretch", colour="rgb"), self.bad_images, directory, progress
        )
        bad = {number for number, _ in images.contents.bad}
        kept = [number for number in range(len(every)) if number not in bad]
        targets = padded([self._boxes(every[number], annotations[number], classes) for number in kept])
        store = RowsOnDisk(images.pixels, images.contents.shape, targets, images.sums)
        parts: dict[Role, Part] = {}
        start = 0
        for role, ours in places.items():
            members = [place for place, number in enumerate(kept) if start <= number < start + len(ours)]
            if not members:
                raise UserError(f"{self.root}: expected images in the {role} part, found none that can be read")
            parts[role] = Part(store=store, members=torch.tensor(members))
            start += len(ours)
        if test is not None:
            parts["train"], parts["test"] = held_out(parts["train"], test, "test", by_class=False)
        source = Source(
            name=name,
            train=parts["train"],
            validation=parts.get("validation"),
            test=parts["test"],
            kind="boxes",
            classes=classes,
            outputs=len(classes),
            shape=images.contents.shape[1:],
            axis=1,
            normalization=normalization,
            components=components,
            augment=augment,
            find_digest=lambda: _digest(images, targets, parts),
            notices=self._notices(sum(len(annotation.objects) for annotation in annotations), images, every),
        )
        return source.splits(DataSpec(name=name), 1, torch.device("cpu"))

    def _places(self, folder: str, part: str) -> list[tuple[str, str]]:
        """Return image and annotation of every name in a list, below the root."""
        path = list_file(self.root / folder, part)
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise UserError(f"{path}: expected a list of images, found {reason}") from error
        names = [line.split()[0] for line in lines if line.strip()]
        if not names:
            raise UserError(f"{path}: expected names of images, found none")
        folders = {kind: self.root / folder / kind for kind in ("JPEGImages", "Annotations")}
        files = sorted(folders["JPEGImages"].iterdir()) if folders["JPEGImages"].is_dir() else []
        images = {file.stem: file for file in files if file.suffix.lower() in suffixes()}
        places = []
        for name in names:
            if name not in images:
                raise UserError(f"{path}: expected images of JPEGImages, found {shortened(name, 100)}, of which there is none")
            annotation = folders["Annotations"] / f"{name}.xml"
            places.append(tuple(file.relative_to(self.root).as_posix() for file in (images[name], annotation)))
        return [(image, annotation) for image, annotation in places]

    def _class_names(self, training: Sequence[Annotation]) -> tuple[str, ...]:
        if self.classes is not None:
            return named_classes(self.classes, 0, "boxes")
        names = {thing.name for annotation in training for thing in annotation.objects}
        if not names:
            raise UserError(f"{self.root}: expected boxes in the train part, found none; `classes` names them")
        return tuple(sorted(names))

    def _listing(self, places: Mapping[Role, Sequence[tuple[str, str]]]) -> Listing:
        digest, files, roles = hashlib.sha256(), list[str](), dict[Role, slice]()
        for role, pairs in places.items():
            roles[role] = slice(len(files), len(files) + len(pairs))
            for file, _ in pairs:
                about = (self.root / file).stat()
                digest.update(f"{file}\0{about.st_size}\0{about.st_mtime_ns}\n".encode(errors="surrogateescape"))
                files.append(file)
        return Listing(
            root=self.root,
            classes=(),
            files=tuple(files),
            labels=np.zeros(len(files), np.int64),
            roles=roles,
            fingerprint=digest.hexdigest(),
            ignored=0,
        )

    def _boxes(
        self, place: tuple[str, str], annotation: Annotation, classes: tuple[str, ...]
    ) -> list[tuple[int, tuple[float, ...], bool]]:
        """Return label, corners as parts of the image's sides, and difficulty of the boxes of an image."""
        image, file = self.root / place[0], self.root / place[1]
        try:
            width, height = upright_size(image)
        except BadImageError as error:
            raise UserError(f"{image} {error}") from error
        if annotation.size is not None and annotation.size != (width, height):
            sizes = [f"{size[0]}×{size[1]}" for size in ((width, height), annotation.size)]
            raise UserError(f"{file}: expected the size {sizes[0]} that its image has, found {sizes[1]}")
        boxes = []
        for thing in annotation.objects:
            wrong = _wrong(thing, (width, height), classes)
            if wrong is not None:
                self._leave_out(*wrong, file)
                continue
            left, top, right, bottom = thing.corners
            corners = np.array([left - 1, top - 1, right, bottom])
            inside = corners.clip(0, [width, height, width, height])
            if np.abs(inside - corners).max() > _BESIDE:
                self._count("reach beyond their image and are cut", f"{file.name} has {_numbers(thing)}")
            boxes.append((classes.index(thing.name), tuple(inside / [width, height, width, height]), thing.difficult))
        return boxes

    def _leave_out(self, expected: str, fault: str, what: str, file: Path) -> None:
        if self.bad_boxes == "refuse":
            raise UserError(f"{file}: expected {expected}, found {what}; `bad_boxes='skip'` leaves such boxes out")
        self._count(f"{fault} and are left out", f"{file.name} has {what}")

    def _count(self, fault: str, example: str) -> None:
        self._left_out[fault] += 1
        self._first.setdefault(fault, example)

    def _notices(self, total: int, images: Decoded, every: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        notices = [
            f"{count:,} of {total:,} boxes {fault}: {shortened(self._first[fault], 160)}{', …' if count > 1 else ''}"
            for fault, count in self._left_out.items()
        ]
        if images.contents.bad:
            number, why = images.contents.bad[0]
            count = len(images.contents.bad)
            first = f"{shortened(every[number][0], 100)} {why}"
            notices.append(f"{count:,} of {len(every):,} images are left out: {first}{', …' if count > 1 else ''}")
        return tuple(notices)


def _wrong(thing: Object, size: tuple[int, int], classes: tuple[str, ...]) -> tuple[str, str, str] | None:
    """Return what was expected of a box that cannot be used, what is wrong with such boxes, and what it is."""
    left, top, right, bottom = thing.corners
    if thing.name not in classes:
        known = shortened(", ".join(classes), 200)
        return f"boxes of the classes {known}", "are of an unknown class", f"the class {shortened(repr(thing.name), 60)}"
    if not (left < right and top < bottom):
        return "xmin below xmax and ymin below ymax", "have no area", _numbers(thing)
    if right <= 0 or bottom <= 0 or left > size[0] or top > size[1]:
        return f"boxes inside the image of {size[0]}×{size[1]}", "lie outside their image", _numbers(thing)
    return None


def _numbers(thing: Object) -> str:
    return f"({', '.join(f'{value:g}' for value in thing.corners)})"


def list_file(folder: Path, part: str) -> Path:
    """Return the file of a list of images."""
    return folder / "ImageSets" / "Main" / f"{part}.txt"


def _digest(images: Decoded, targets: Boxes, parts: Mapping[Role, Part]) -> str:
    """Return the SHA-256 of the checksum of all pixels and of every part's boxes."""
    digest = hashlib.sha256(f"{images.contents.shape} {images.contents.sha256}\n".encode())
    for role, part in parts.items():
        digest.update(f"{role} {len(part)}\n".encode())
        numbers = part.numbers()
        digest.update(numbers.numpy().astype("<i8").data)
        for key in sorted(targets):
            digest.update(np.ascontiguousarray(targets[key][numbers].numpy()).data)
    return digest.hexdigest()
