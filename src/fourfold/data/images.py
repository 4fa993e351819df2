"""`load`: a data set as plain arrays, from whichever official files lie in the data directory."""

import gzip
import importlib.util
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.data.batches import read_batches
from fourfold.data.damage import BadFileError
from fourfold.data.datasets import DataInfo, info
from fourfold.data.digest import digest_of, parts_of
from fourfold.data.folders import read_folder
from fourfold.data.idx import read_idx
from fourfold.data.official import SOURCES, Source
from fourfold.data.packed import open_split
from fourfold.data.places import absence, data_directory, find, missing, where
from fourfold.data.shards import Shard, Split, is_packed, listed, packed_folder
from fourfold.data.split import stratified
from fourfold.record.errors import UserError

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

_MNIST_LABELS = 0xBA07E8EF
"""CRC-32 of MNIST's 60,000 training labels: tells it from Fashion-MNIST, whose files have the same names."""
_FASHION_FOLDER = "put Fashion-MNIST's into FashionMNIST/raw"


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """A data set in memory: images uint8 (N, C, H, W), labels int64 (N,) from 0."""

    info: DataInfo
    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    notices: tuple[str, ...] = ()
    """What differs from the official data, one sentence each."""
    shards: tuple[Shard, ...] = ()
    """The parts that the files are; empty means one a split."""

    @cached_property
    def digest(self) -> str:
        """What tells these images and labels from others: see `fourfold.data.digest`."""
        return digest_of(self)

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class, by label; empty where the data set has none."""
        return self.info.class_names


def load(name: str, directory: Path | None = None, download: bool = True) -> ImageSet:
    """Return a data set, downloading it first if it is not there.

    Args:
        name: a key of `DATASETS`.
        directory: where the files lie; else `$FOURFOLD_DATA`, else the user's cache directory.
        download: whether missing files may be downloaded.

    Raises:
        UserError: the name is unknown, or a file is missing or damaged.
    """
    about = info(name)
    if name == "digits":
        return _digits(about)
    directory = data_directory(directory)
    if missing(name, directory):
        from fourfold.data.archives import unpack_archives

        unpack_archives(name, directory)
    if absent := missing(name, directory):
        if not download or SOURCES[name].url is None:
            raise UserError(absence(name, directory, absent[0].name))
        from fourfold.data.fetching import download as fetch

        fetch(name, directory)
    try:
        return _read(about, SOURCES[name], directory)
    except BadFileError as error:
        raise UserError(f"{error}; `fourfold data check {name}` looks at every file") from error


def _digits(about: DataInfo) -> ImageSet:
    """Return scikit-learn's digits, 0 … 16 scaled to 0 … 255; a fifth of each class, drawn with seed 0, is the test set."""
    values = _digits_table()
    images = np.round(values[:, :-1].reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = values[:, -1].astype(np.int64)
    test = np.zeros(len(labels), dtype=bool)
    test[stratified(labels, about.test_images, seed=0)] = True
    return ImageSet(
        info=about,
        train_images=images[~test],
        train_labels=labels[~test],
        test_images=images[test],
        test_labels=labels[test],
    )


def _digits_table() -> NDArray[np.float64]:
    """Return 64 pixels and the class of each digit, from scikit-learn's file: importing scikit-learn takes a second."""
    package = importlib.util.find_spec("sklearn")
    for folder in (package.submodule_search_locations or ()) if package else ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            with gzip.open(file, mode="rt", encoding="utf-8") as lines:
                return np.loadtxt(lines, delimiter=",")
    from sklearn.datasets import load_digits

    bunch = load_digits()  # the file is where another version keeps it
    return np.column_stack([bunch.data, bunch.target])


def _read(about: DataInfo, source: Source, directory: Path) -> ImageSet:
    train_images, train_labels, train = read_split(about, source, directory, "train")
    if about.name == "fashion-mnist" and _checksum(train_labels) == _MNIST_LABELS:
        raise UserError(
            f"the files in {where(about.name, directory)} are MNIST's, which have the same names; {_FASHION_FOLDER}"
        )
    test_images, test_labels, test = read_split(about, source, directory, "test")
    return ImageSet(
        info=about,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        notices=_notices(about, source, directory, train_labels, test_labels),
        shards=train + test,
    )


def read_split(about: DataInfo, source: Source, directory: Path, role: Split) -> tuple[Images, Labels, tuple[Shard, ...]]:
    """Return the images and labels of one split, which must be there, and the parts that its files are.

    Raises:
        BadFileError: a file is damaged or of another kind.
    """
    if is_packed(about.name, directory):
        folder = packed_folder(about.name, directory)
        assert folder is not None
        return *open_split(about, directory, role), tuple(shard for shard in listed(folder) if shard.split == role)
    paths = [path for file in source.files if file.role == role and (path := find(file, directory))]
    if source.form == "batches":
        images, labels, counts = read_batches(paths, about, source)
        return images, labels, parts_of([path.name for path in paths], counts, role)
    if source.form == "folders":
        return *read_folder(paths[0], about), ()
    official = about.train_images if role == "train" else about.test_images
    images = read_idx(paths[0], (about.size, about.size), official)
    labels = read_idx(paths[1], (), official).astype(np.int64)
    if len(images) != len(labels):
        raise BadFileError(paths[1], f"holds {len(labels):,} labels", f"{len(images):,}, one for each image in {paths[0].name}")
    if labels.max() >= about.num_classes:
        raise BadFileError(paths[1], f"holds the label {labels.max()}", f"0 to {about.num_classes - 1} is right")
    return images[:, None], labels, ()


def _notices(about: DataInfo, source: Source, directory: Path, train: Labels, test: Labels) -> tuple[str, ...]:
    """Say in one sentence how the data differ from the official ones, as far as that costs no time."""
    notices = [
        f"{have:,} of {right:,} {what}"
        for have, right, what in (
            (len(np.unique(train)), about.num_classes, "classes"),
            (len(train), about.train_images, "training images"),
            (len(test), about.test_images, "test images"),
        )
        if have != right
    ]
    if not notices:
        for file in source.files:
            path = find(file, directory)
            if path and path.name == file.name and file.size not in (None, path.stat().st_size):
                notices.append(f"{path.stat().st_size:,} of {file.size:,} bytes in {file.name}")
    if not notices and about.name == "mnist" and _checksum(train) != _MNIST_LABELS:
        notices.append("other training labels")
    if not notices:
        return ()
    return (f"{about.name} is not the official data: it has {', '.join(notices)}; see `fourfold data check {about.name}`",)


def _checksum(labels: Labels) -> int:
    return zlib.crc32(labels.astype(np.uint8).tobytes())
