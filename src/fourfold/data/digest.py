"""What tells one data set's images and labels from another's, however they are stored: as batches, gzipped or packed."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fourfold.data.shards import Shard, Split

if TYPE_CHECKING:
    from fourfold.data.images import ImageSet

LABEL = np.dtype("<i2")
"""How labels are counted in, and stored in packed files."""

SAMPLED = 4096
"""Images of each split that are read even where a packed file is too large to be read whole: an evenly spaced choice."""


def digest_of(image_set: "ImageSet") -> str:
    """Return the SHA-256 of all images and labels, hexadecimal; it changes if one of them does.

    Of packed files that are mapped into memory, the checksums in their list stand for what is not read: labels and an evenly
    spaced choice of 4,096 images are. `fourfold data check` reads everything.
    """
    digest = hashlib.sha256()
    splits: tuple[tuple[Split, NDArray[np.uint8], NDArray[np.int64]], ...] = (
        ("train", image_set.train_images, image_set.train_labels),
        ("test", image_set.test_images, image_set.test_labels),
    )
    for split, images, labels in splits:
        digest.update(f"{split} {images.shape}\n".encode())
        start = 0
        for shard in [shard for shard in image_set.shards if shard.split == split] or [_whole(split, images)]:
            part = slice(start, start + shard.images)
            digest.update(f"{shard.images} {shard.sha256 or checksum(images[part], labels[part])}\n".encode())
            start += shard.images
        digest.update(labels.astype(LABEL).data)
        digest.update(np.ascontiguousarray(images[_spaced(len(images))]).data)
    return digest.hexdigest()


def checksum(images: NDArray[np.uint8], labels: NDArray[Any]) -> str:
    """Return the SHA-256 of a part of a split as packed files have it: its images' bytes and then its labels'."""
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels.astype(LABEL)).data)
    return digest.hexdigest()


def _whole(split: Split, images: NDArray[np.uint8]) -> Shard:
    return Shard(split=split, source="", images=len(images), sha256="")


def _spaced(count: int) -> NDArray[np.int64]:
    """Return the numbers of an evenly spaced choice among `count` images, the first and the last with it."""
    return np.unique(np.linspace(0, count - 1, min(count, SAMPLED)).round().astype(np.int64))


def parts_of(sources: Sequence[str], counts: Sequence[int], split: Split) -> tuple[Shard, ...]:
    """Return the parts of a split that some files are, their checksums still to be found."""
    return tuple(
        Shard(split=split, source=source, images=count, sha256="") for source, count in zip(sources, counts, strict=True)
    )
