"""A data set split into training, validation and test images, on a device or read from disk batch by batch."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.data.encoding import encoded_channels, input_channels, normalization
from fourfold.data.images import ImageSet
from fourfold.data.resident import Resident, lay_out
from fourfold.data.split import stratified
from fourfold.data.splits import Splits
from fourfold.data.streamed import Rows, Streamed, streams
from fourfold.data.subset import check_counts, info_for, members_of
from fourfold.record.spec import DataSpec

VALIDATION_SEED = 0
"""Draws the validation images: the same for every algebra, trial and level, so that they are never trained on."""


Chosen = NDArray[np.int64] | None


def prepare(
    image_set: ImageSet | Splits,
    spec: DataSpec,
    n: int,
    device: torch.device | str,
    *,
    stream: bool | None = None,
) -> Splits:
    """Put a data set on a device, or get ready to read it from disk.

    The validation images are a fixed choice from the training images, each class in proportion.

    Args:
        image_set: the data set that `spec` names, or data of one's own, see `Splits.prepare`.
        spec: encoding, crop, flip, normalization, validation, classes.
        n: dimension of the algebra, 1 for real and 4 for quaternion.
        device: where the batches shall be.
        stream: whether images of packed files are read batch by batch; None means where they would fill the memory. The
            batches are the same bit for bit.

    Raises:
        UserError: the spec does not fit the images, or asks for more validation images than there are.
    """
    if isinstance(image_set, Splits):
        return image_set.prepare(n, device, spec, stream=stream)
    about, place = image_set.info, torch.device(device)
    assert about.name == spec.name, f"{about.name} was loaded, {spec.name} is asked for"
    num_channels, height, width = input_channels(spec, about, n)
    channels = encoded_channels(spec, about, n)
    kept, labels = members_of(image_set.train_labels, spec)
    test_kept, test_labels = members_of(image_set.test_labels, spec)
    count = len(labels)
    check_counts(image_set, spec)
    mean, std = normalization(spec, about)

    def splits_of(images: NDArray[np.uint8], kept: Chosen, labels: NDArray[np.int64], choices: list[Chosen]) -> list[Resident]:
        """Return a split for each choice among the kept images of a file, whose labels these are; None chooses all."""
        make, kept = _maker(images, kept, spec, n, place, stream)
        splits = []
        for chosen in choices:
            members = chosen if kept is None else kept if chosen is None else kept[chosen]
            splits.append(
                make(
                    torch.from_numpy(labels if chosen is None else labels[chosen]).to(place),
                    None if members is None else torch.from_numpy(members).to(place),
                    spec=spec,
                    mean=mean,
                    std=std,
                    n=n,
                    channels=channels,
                )
            )
        return splits

    held_out = stratified(labels, spec.validation, VALIDATION_SEED) if spec.validation else None
    rest = None if held_out is None else np.setdiff1d(np.arange(count), held_out)
    choices = [rest] if held_out is None else [rest, held_out]
    train, *validation = splits_of(image_set.train_images, kept, labels, choices)
    (test,) = splits_of(image_set.test_images, test_kept, test_labels, [None])
    chosen = info_for(spec)
    return Splits(
        train=train,
        validation=validation[0] if validation else None,
        test=test,
        channels=channels,
        image_size=(height, width),
        name=about.name,
        classes=chosen.class_names,
        outputs=chosen.num_classes,
        network_shape=(num_channels, height, width),
        mean=mean,
        std=std,
        notices=image_set.notices,
    )


def _maker(
    images: NDArray[np.uint8], kept: Chosen, spec: DataSpec, n: int, device: torch.device, stream: bool | None
) -> tuple[Callable[..., Resident], Chosen]:
    """Return what makes a split of images from its labels, members and transforms, and the images that members count in."""
    if isinstance(images, np.memmap) and (streams(images, kept, device) if stream is None else stream):
        return partial(Streamed, Rows(Path(str(images.filename)), images.shape)), kept
    there = images if kept is None else images[kept]
    return partial(Resident, lay_out(torch.from_numpy(there).to(device), spec, n)), None
