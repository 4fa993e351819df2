"""A run's kept levels as programs that can be deployed, and the images of their data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fourfold.record import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from fourfold.deploy import Encoding, Program
    from fourfold.record import RunStore, Spec

CALIBRATION_IMAGES = 100
"""Of the training set: enough for the ranges of values, which are largest ones."""


def program_of(store: "RunStore", network: "nn.Module", trial: int, level: int) -> "Program":
    """Return the program of a level's network, which knows how to encode bytes and where it comes from."""
    from fourfold import data, deploy
    from fourfold.deploy.ir.encoding import encoded_shape

    spec = store.spec()
    encoding = _encoding(spec)
    row = next((row for row in store.rows(trial) if row.level == level), None)
    known = {"run": spec.id, "trial": str(trial), "level": str(level), "dataset": spec.data.name}
    known["algebra"] = spec.model.algebra
    if row is not None:
        known |= {
            "top1": f"{row.top1:.2f}",
            "weights": str(row.weights),
            "fraction_of_real": f"{row.fraction_of_real:.6f}",
            **row.provenance.versions,
            **({} if row.data is None else {"data": row.data}),
        }
    names = data.info_for(spec.data).class_names
    return deploy.lower(network, encoded_shape(encoding), encoding=encoding, class_names=names, provenance=known)


def _encoding(spec: "Spec") -> "Encoding":
    """Return how the spec's images reach its network; the `learned` encoding is a part of the network."""
    from fourfold import data, deploy
    from fourfold.data.encoding import normalization
    from fourfold.lottery.building import components

    info = data.info_for(spec.data)
    mean, std = normalization(spec.inputs, info)
    return deploy.Encoding(
        kind="none" if spec.inputs.encoding == "learned" else spec.inputs.encoding,
        n=components(spec),
        shape=(info.channels, info.size, info.size),
        mean=mean,
        std=std,
    )


def calibration_images(dataset: str, data_dir: Path | None, trained_on: str | None) -> "NDArray[np.uint8] | None":
    """Return training images, uint8 (N, H, W, C), or None where the data set is not here.

    Args:
        dataset: Its name.
        data_dir: Where it lies.
        trained_on: SHA-256 of the data that the network was trained on, as its row has it; None where that is not known.

    Raises:
        UserError: the data that are here are others.
    """
    images = _images(dataset, data_dir, trained_on)
    return None if images is None else images.train_images[:CALIBRATION_IMAGES].transpose(0, 2, 3, 1)


def test_set(
    dataset: str, data_dir: Path | None, trained_on: str | None
) -> "tuple[NDArray[np.uint8], NDArray[np.int64]] | None":
    """Return all test images, uint8 (N, H, W, C), and their classes, or None where the data set is not here.

    The arguments and what is raised are those of `calibration_images`.
    """
    images = _images(dataset, data_dir, trained_on)
    return None if images is None else (images.test_images.transpose(0, 2, 3, 1), images.test_labels)


def _images(dataset: str, data_dir: Path | None, trained_on: str | None) -> Any:
    from fourfold import data

    try:
        images = data.load(dataset, data_dir, download=False)
    except UserError:
        return None
    if trained_on not in (None, images.digest):
        raise UserError(
            f"the {dataset} data that are here (SHA-256 {images.digest[:8]}) are others than the network was trained on "
            f"({str(trained_on)[:8]}); name the folder that has them with --data-dir"
        )
    return images
