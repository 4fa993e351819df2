"""The pickled batches of CIFAR and of the downsampled ImageNets: images as rows of red, green and blue planes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.data.damage import BadFileError
from fourfold.data.datasets import DataInfo
from fourfold.data.official import Source
from fourfold.data.unpickle import read_pickle


def read_batches(
    paths: Sequence[Path], about: DataInfo, source: Source
) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[int]]:
    """Return the images uint8 (N, C, H, W) and labels int64 (N,) of several files, one after the other, and how many each has.

    Raises:
        BadFileError: a file is damaged, or of another kind, image size or number of classes.
    """
    parts = [read_batch(path, about, source) for path in paths]
    labels, counts = np.concatenate([labels for _, labels in parts]), [len(labels) for _, labels in parts]
    images = np.empty((len(labels), about.channels, about.size, about.size), dtype=np.uint8)
    # One file after the other is copied and let go, so that Imagenet64 never needs its 16 GB twice.
    end = len(labels)
    while parts:
        part, _ = parts.pop()
        images[end - len(part) : end] = part
        end -= len(part)
    return images, labels, counts


def read_batch(path: Path, about: DataInfo, source: Source) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images uint8 (N, C, H, W) and labels int64 (N,) of one file; the images cannot be written to.

    Raises:
        BadFileError: as `read_batches`.
    """
    content = read_pickle(path)
    for key in ("data", source.label_key):
        if key not in content:
            raise BadFileError(
                path, f"has no entry {key!r} (only {', '.join(sorted(content)) or 'none'})", f"{about.title} has one"
            )
    data = content["data"]
    width = about.channels * about.size**2
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != width or not len(data):
        wrong = f"{data.dtype} of shape {data.shape}" if isinstance(data, np.ndarray) else f"a {type(data).__name__}"
        raise BadFileError(path, f"holds images as {wrong}", f"uint8 of shape (images, {width}) is right")
    labels = _labels(path, content[source.label_key], source.first_label, about.num_classes)
    if len(labels) != len(data):
        raise BadFileError(path, f"holds {len(labels):,} labels", f"{len(data):,}, one for each image, is right")
    return data.reshape(-1, about.channels, about.size, about.size), labels


def _labels(path: Path, values: Any, first: int, num_classes: int) -> NDArray[np.int64]:
    """Return the labels from 0, from a list or array of integers that begin at `first`."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu" and values.ndim == 1:
        values = values.tolist()
    if not isinstance(values, list) or any(type(value) is not int for value in values):
        raise BadFileError(path, "holds labels that are not integers", f"{first} to {first + num_classes - 1} is right")
    bad = next((value for value in values if not first <= value < first + num_classes), None)
    if bad is not None:
        raise BadFileError(path, f"holds the label {bad}", f"{first} to {first + num_classes - 1} is right")
    return np.array(values, dtype=np.int64) - first
