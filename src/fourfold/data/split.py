"""A choice of images that has every class in proportion and is always the same."""

import numpy as np
from numpy.typing import NDArray


def stratified(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Return the sorted positions of `count` images with the classes in the proportions of `labels`.

    Each class gives its share rounded down; the images still missing come from the classes with the largest remainders,
    ties going to the lower label. Within a class the choice is drawn from `seed`.

    Args:
        labels: the class of each image.
        count: images to choose, at most `len(labels)`.
        seed: the same seed gives the same images on every machine and with every version of numpy.
    """
    assert 0 <= count <= len(labels)
    # RandomState's streams are frozen by numpy's policy; those of default_rng may change with a version.
    random = np.random.RandomState(seed)
    classes, sizes = np.unique(labels, return_counts=True)
    shares, remainders = np.divmod(sizes * count, max(len(labels), 1))
    missing = count - int(shares.sum())
    shares[np.argsort(-remainders, kind="stable")[:missing]] += 1
    chosen = [random.permutation(np.flatnonzero(labels == label))[:share] for label, share in zip(classes, shares, strict=True)]
    return np.sort(np.concatenate([*chosen, np.empty(0, dtype=np.int64)])).astype(np.int64)
