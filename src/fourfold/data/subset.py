"""Some of a data set's classes, as a `DataSpec` names them. No torch in this file, so that plans can be made without it."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fourfold.data.datasets import DataInfo, info
from fourfold.record.errors import UserError
from fourfold.record.spec import DataSpec

if TYPE_CHECKING:
    from fourfold.data.images import ImageSet

CLASSES_SEED = 0
"""Draws the classes where their number is given: the same for every algebra, trial and machine."""


def chosen_classes(spec: DataSpec) -> NDArray[np.int64] | None:
    """Return the labels of the classes that a spec names, rising; None for all.

    Raises:
        UserError: the data set has no such class, or not so many.
    """
    known = info(spec.name).num_classes
    if spec.classes is None:
        return None
    if isinstance(spec.classes, int):
        if spec.classes > known:
            raise UserError(f"`data.classes` (={spec.classes}) must be at most the {known} classes of {spec.name}")
        # RandomState's streams are frozen by numpy's policy; those of default_rng may change with a version.
        return np.sort(np.random.RandomState(CLASSES_SEED).permutation(known)[: spec.classes]).astype(np.int64)
    if spec.classes[-1] >= known:
        raise UserError(f"`data.classes` (={spec.classes[-1]}) must be labels of {spec.name}, 0 to {known - 1}")
    return np.array(spec.classes, dtype=np.int64)


def info_for(spec: DataSpec) -> DataInfo:
    """Return what is known about a spec's data: of some classes, their names and the images that they have in proportion.

    Raises:
        UserError: there is no such data set or class.
    """
    about, classes = info(spec.name), chosen_classes(spec)
    if classes is None:
        return about
    part = len(classes) / about.num_classes
    return replace(
        about,
        num_classes=len(classes),
        train_images=round(part * about.train_images),
        test_images=round(part * about.test_images),
        class_names=tuple(about.class_names[label] for label in classes) if about.class_names else (),
    )


def members_of(labels: NDArray[np.int64], spec: DataSpec) -> tuple[NDArray[np.int64] | None, NDArray[np.int64]]:
    """Return which images are of a spec's classes (None: all), and their labels, counted from 0 over those classes."""
    classes = chosen_classes(spec)
    if classes is None:
        return None, labels
    kept = np.flatnonzero(np.isin(labels, classes))
    return kept, np.searchsorted(classes, labels[kept]).astype(np.int64)


def check_counts(image_set: "ImageSet", spec: DataSpec) -> None:
    """Check that a spec leaves images to train and test on.

    Raises:
        UserError: its classes have none, or all training images would be held out.
    """
    about = image_set.info
    _, labels = members_of(image_set.train_labels, spec)
    _, test_labels = members_of(image_set.test_labels, spec)
    for what, targets in (("training", labels), ("test", test_labels)):
        if not len(targets):
            of = f" of `data.classes` (={spec.classes})" if spec.classes else ""
            raise UserError(f"{about.name} has no {what} images{of}: name other classes or other data")
    if spec.validation >= len(labels):
        raise UserError(
            f"`data.validation` (={spec.validation}) must be less than the {len(labels)} training images of {about.name}"
        )
