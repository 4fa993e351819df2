"""`fourfold data check`: what every file of a data set is, with all checksums and everything read."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fourfold.data.archives import unpack_archives
from fourfold.data.damage import BadFileError
from fourfold.data.datasets import DataInfo, info
from fourfold.data.idx import read_idx
from fourfold.data.official import SOURCES, OfficialFile, Source
from fourfold.data.packed import damaged, open_split, read_file
from fourfold.data.places import data_directory, find
from fourfold.data.shards import Split, is_packed
from fourfold.data.unpickle import read_pickle

State = Literal["official", "differs", "broken", "missing"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one file, or all files of a split together, turned out to be."""

    what: str
    """A file name, or `training images` or `test images`."""
    state: State
    """official: the published bytes. differs: in the right form and used, but not those bytes. broken, missing: unusable."""
    text: str
    """What was found, in one sentence without a full stop."""
    path: Path | None = None
    """Where the file lies; None if it is missing, or for a split."""
    size: int | None = None
    """Bytes of the file."""

    @property
    def usable(self) -> bool:
        """Whether `load` takes it."""
        return self.state in ("official", "differs")


@dataclass
class _Split:
    """What the files of a split hold together."""

    labels: list[NDArray[np.int64]] = field(default_factory=list)
    images: int = 0
    sums: NDArray[np.int64] | None = None
    """Sum of all pixels of each channel."""
    states: set[State] = field(default_factory=set)


def check(name: str, directory: Path | None = None) -> list[Finding]:
    """Return a finding for every file of a data set and one for each split that can be read.

    Args:
        name: a key of `DATASETS`.
        directory: where the files lie; else `$FOURFOLD_DATA`, else the user's cache directory.

    Raises:
        UserError: the name is unknown.
    """
    about = info(name)
    directory = data_directory(directory)
    if name not in SOURCES:
        return [Finding(what=name, state="official", text="part of scikit-learn, needs no files")]
    unpack_archives(name, directory)
    if is_packed(name, directory):
        return _check_packed(about, directory)
    source = SOURCES[name]
    splits = {"train": _Split(), "test": _Split(), "names": _Split()}
    findings = []
    for file in source.files:
        finding = _check_file(file, about, source, directory, splits[file.role])
        splits[file.role].states.add(finding.state)
        findings.append(finding)
    for role, what in (("train", "training images"), ("test", "test images")):
        split = splits[role]
        if split.states <= {"official", "differs"}:
            findings.append(_check_split(what, split, about))
    return findings


def _check_packed(about: DataInfo, directory: Path) -> list[Finding]:
    """Return a finding for every shard of a packed data set, and for its splits if none is damaged."""
    splits: tuple[tuple[Split, str], ...] = (("train", "training images"), ("test", "test images"))
    try:
        arrays = {split: open_split(about, directory, split) for split, _ in splits}
    except BadFileError as error:
        return [Finding(what=error.path.name, state="broken", text=error.wrong, path=error.path)]
    findings = []
    for shard, wrong in damaged(about, directory):
        text = "does not have the checksum that it was packed with; delete the folder to pack anew"
        if not wrong:
            text = f"{shard.images:,} images, packed, with the checksum from then; no official checksum is known"
        state: State = "broken" if wrong else "differs"
        findings.append(Finding(what=f"{shard.split} shard {shard.source}", state=state, text=text))
    if all(finding.usable for finding in findings):
        for split, what in splits:
            whole = _Split(labels=[arrays[split][1]], states={"differs"})
            _add_images(whole, arrays[split][0])
            findings.append(_check_split(what, whole, about))
    return findings


def _check_file(file: OfficialFile, about: DataInfo, source: Source, directory: Path, split: _Split) -> Finding:
    path = find(file, directory)
    if path is None:
        use = ", but only class names would be in it" if file.role == "names" else ""
        return Finding(what=file.name, state="missing", text=f"belongs in {directory / file.folders[0]}{use}")
    size = path.stat().st_size
    try:
        content = _read(path, file, about, source, split)
        md5 = _md5(path)
    except (BadFileError, OSError) as error:
        remedy = f"; delete it, and `fourfold data get {about.name}` fetches it" if source.url else ""
        text = f"{error.wrong if isinstance(error, BadFileError) else error}{remedy}"
        return Finding(what=file.name, state="broken", text=text, path=path, size=size)
    if md5 == file.md5:
        return Finding(what=file.name, state="official", text=f"{content}, official checksum", path=path, size=size)
    if file.md5 is None:
        reason = "no official checksum is known"
    elif path.name != file.name:
        reason = f"unpacked, and the official checksum is that of {file.name}"
    else:
        reason = f"MD5 {md5} where the official file has {file.md5}"
    return Finding(what=file.name, state="differs", text=f"{content}, in the right form; {reason}", path=path, size=size)


def _read(path: Path, file: OfficialFile, about: DataInfo, source: Source, split: _Split) -> str:
    """Read a file to its end, add what it holds to its split, and say what that is."""
    if file.role == "names":
        return f"{len(read_pickle(path))} entries"
    if source.form != "idx":
        images, labels = read_file(path, about, source)
        _add_images(split, images)
        split.labels.append(labels)
        return f"{len(images):,} images"
    if "labels" in file.name:
        labels = read_idx(path, ()).astype(np.int64)
        if labels.max() >= about.num_classes:
            raise BadFileError(path, f"holds the label {labels.max()}", f"0 to {about.num_classes - 1} is right")
        split.labels.append(labels)
        return f"{len(labels):,} labels"
    images = read_idx(path, (about.size, about.size))[:, None]
    _add_images(split, images)
    return f"{len(images):,} images"


def _add_images(split: _Split, images: NDArray[np.uint8]) -> None:
    sums = images.sum(axis=(0, 2, 3), dtype=np.int64)
    split.sums = sums if split.sums is None else split.sums + sums
    split.images += len(images)


def _check_split(what: str, split: _Split, about: DataInfo) -> Finding:
    """Compare a split as a whole with what is known: how many images, how many of each class, and the channel means."""
    labels = np.concatenate(split.labels)
    if len(labels) != split.images:
        return Finding(what=what, state="broken", text=f"{split.images:,} images but {len(labels):,} labels")
    official = about.train_images if what == "training images" else about.test_images
    parts = [f"{split.images:,} images" + (f" (official: {official:,})" if split.images != official else "")]
    parts.append(_class_sizes(np.bincount(labels, minlength=about.num_classes), about))
    assert split.sums is not None
    means = split.sums / (255 * split.images * about.size**2)
    parts.append(f"channel means {' '.join(f'{mean:.4f}' for mean in means)}")
    # ImageNet's constants are quoted with four digits and were not computed from these files.
    if what == "training images" and "imagenet" not in about.name:
        same = np.allclose(means, about.mean, rtol=0, atol=1e-7)
        parts[-1] += " as official" if same else f" (official: {' '.join(f'{mean:.4f}' for mean in about.mean)})"
    return Finding(what=what, state="official" if split.states == {"official"} else "differs", text=", ".join(parts))


def _class_sizes(sizes: NDArray[np.int64], about: DataInfo) -> str:
    """Say how many images the classes have, such as `100 of each class but 99 of baby`."""
    present = sizes[sizes > 0]
    classes = f"{len(present)} classes" + (f" (official: {about.num_classes})" if len(present) != about.num_classes else "")
    usual, count = Counter(present.tolist()).most_common(1)[0]
    odd = np.flatnonzero((sizes > 0) & (sizes != usual))
    if len(odd) == 0:
        return f"{classes} of {usual:,} images each"
    if len(odd) <= 3 and count > len(odd):
        names = [about.class_names[label] if about.class_names else f"class {label}" for label in odd]
        exceptions = ", ".join(f"{sizes[label]:,} of {name}" for label, name in zip(odd, names, strict=True))
        return f"{classes} of {usual:,} images each but {exceptions}"
    return f"{classes} of {present.min():,} to {present.max():,} images"


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()
