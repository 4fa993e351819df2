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
    """Return the program of a level's network, which knows where it comes from, and of images how to encode their bytes."""
    from fourfold import data, deploy, parts
    from fourfold.deploy.ir.encoding import encoded_shape

    spec = store.spec()
    own: Any = parts.prepared(spec) if parts.is_own_data(spec) else None
    encoding = _encoding(spec) if own is None else _own_encoding(spec, own)
    row = next((row for row in store.rows(trial) if row.level == level), None)
    known = {"run": spec.id, "trial": str(trial), "level": str(level), "dataset": spec.data.name}
    known["algebra"] = spec.model.algebra
    if row is not None:
        known |= {
            row.metric.name: f"{row.value:.2f}" if row.metric.is_percent else f"{row.value:.6g}",
            "weights": str(row.weights),
            "fraction_of_real": f"{row.fraction_of_real:.6f}",
            **row.provenance.versions,
            **({} if row.data is None else {"data": row.data}),
        }
    shape = encoded_shape(encoding) if encoding else own.shape
    names = data.info_for(spec.data).class_names if own is None else own.classes if own.kind == "classes" else ()
    return deploy.lower(network, shape, encoding=encoding, class_names=names, provenance=known)


def _encoding(spec: "Spec") -> "Encoding":
    """Return how the spec's images reach its network; the `learned` encoding is a part of the network."""
    from fourfold import data, deploy
    from fourfold.data.encoding import normalization
    from fourfold.parts import components

    info = data.info_for(spec.data)
    mean, std = normalization(spec.inputs, info)
    return deploy.Encoding(
        kind="none" if spec.inputs.encoding == "learned" else spec.inputs.encoding,
        n=components(spec),
        shape=(info.channels, info.size, info.size),
        mean=mean,
        std=std,
    )


def _own_encoding(spec: "Spec", own: Any) -> "Encoding | None":
    """Return how bytes of images of the user's own reach the network; None where programs begin with what it sees."""
    from fourfold import deploy
    from fourfold.data.resident import Resident
    from fourfold.data.streamed import Streamed
    from fourfold.parts import components

    if type(own.train) not in (Resident, Streamed):
        return None
    n = components(spec)
    named = own.source.components if spec.inputs.encoding == "none" else spec.inputs.encoding
    kind = "none" if n == 1 or named == "learned" else named
    channels, height, width = own.source.shape
    if kind not in ("none", "pixels") and channels != 3:  # as `zero` makes four channels of a grey image
        return None
    return deploy.Encoding(kind=kind, n=n, shape=(channels, height, width), mean=own.mean, std=own.std)


def own_calibration(store: "RunStore") -> "NDArray[np.float32]":
    """Return training items of the user's own, as the network sees them.

    Raises:
        UserError: an item is several tensors, or of integers.
    """
    from fourfold.parts import example

    inputs, _ = example(store.spec(), CALIBRATION_IMAGES)
    if not hasattr(inputs, "is_floating_point") or not inputs.is_floating_point():
        raise UserError(
            f"`--values int8` cannot be combined with {store.spec().data.name}: an item must be one array of floats"
        )
    items: NDArray[np.float32] = inputs.numpy()
    return items


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


def own_test_set(store: "RunStore") -> "tuple[NDArray[np.uint8], NDArray[np.int64]]":
    """Return all test images of the user's own, uint8 (N, H, W, C), and their classes.

    Raises:
        UserError: they are no images of classes, which C reads as bytes.
    """
    from fourfold import parts

    spec = store.spec()
    own = parts.prepared(spec)
    if _own_encoding(spec, own) is None or own.kind != "classes":
        raise UserError(f"`--verify` cannot be combined with {spec.data.name}: it compares images of bytes, of classes")
    part = own.source.test
    blocks = [inputs for inputs, _ in part.store.read([part.numbers()], own.test.device, None)]
    return blocks[0].numpy().transpose(0, 2, 3, 1), own.test.labels.numpy()


def _images(dataset: str, data_dir: Path | None, trained_on: str | None) -> Any:
    from fourfold import data

    try:
        images = data.load(dataset, data_dir, download=False)
    except UserError:
        return None
    if trained_on not in (None, images.digest):
        raise UserError(
            f"{dataset}: expected the data that the network was trained on (SHA-256 {str(trained_on)[:8]}), found others "
            f"({images.digest[:8]}); name the folder that has them with --data-dir"
        )
    return images
