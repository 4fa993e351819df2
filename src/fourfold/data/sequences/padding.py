"""`from_sequences`: series of unequal length as `Splits` whose inputs are padded series and their lengths."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fourfold.data.components import encode
from fourfold.data.own.arrays import from_arrays
from fourfold.data.splits import Splits
from fourfold.record.errors import UserError, unknown

Grouping = Literal["neighbours", "pure"]
"""How features become numbers of n components: each n neighbours are one, or each three are a pure quaternion's."""

_AXES = 3


def from_sequences(
    train: tuple[Sequence[Any], Any],
    test: tuple[Sequence[Any], Any],
    *,
    name: str = "sequences",
    classes: Sequence[str] | None = None,
    features: Grouping | Callable[[Tensor, int], Tensor] = "neighbours",
) -> Splits:
    """Return series of unequal length with their classes, for a real network on the CPU; `Splits.prepare` takes any algebra.

    The inputs of a network are `(series, lengths)`: float32 (B, T, F), zeros behind each series, and int64 (B,). Features are
    normalised by means and deviations over the steps of the training series, padding left out.

    Args:
        train: Arrays (steps, F) or (steps,), and the class of each.
        test: The same.
        name: What to call the data.
        classes: Names of the classes, where labels are text in another order than the alphabet's.
        features: `neighbours` appends zeros until n divides F and makes a number of each n neighbours. `pure` makes a
            quaternion without a real part of each three; other algebras see neighbours. Or a function of a batch (B, T, F) of
            normalised series and n.

    Raises:
        UserError: a series that is empty, of another number of features, or holds NaN or an infinity.
    """
    parts = {"train": _arrays(train[0], "train[0]"), "test": _arrays(test[0], "test[0]")}
    num_features = parts["train"][0].shape[1]
    for role, arrays in parts.items():
        for number, array in enumerate(arrays):
            if array.shape[1] != num_features:
                raise UserError(
                    f"`{role}[0]` (item {number} with {array.shape[1]} features) must have {num_features} features, "
                    "as `train[0]` has"
                )
    if features not in ("neighbours", "pure") and not callable(features):
        raise unknown("`features`", features, ("neighbours", "pure"), "or a function of a batch and n")
    if features == "pure" and num_features % _AXES:
        raise UserError(f"`features` (='pure') needs threes of features, and each step has {num_features}")
    steps = np.concatenate(parts["train"]).astype(np.float64)
    mean, std = steps.mean(0), steps.std(0)
    std[std == 0] = 1  # a feature that never changes
    longest = max(len(array) for arrays in parts.values() for array in arrays)
    padded = {role: _padded(arrays, mean, std, longest) for role, arrays in parts.items()}
    return from_arrays(
        (padded["train"], train[1]),
        (padded["test"], test[1]),
        name=name,
        classes=classes,
        targets="classes",
        components=partial(_encoded, features=features),
    )


def pure_quaternions(series: Tensor, n: int) -> Tensor:
    """Return features (…, 3·M) as M quaternions without real parts, (…, 4·M) blocked by component; neighbours if n is not 4."""
    if n != _AXES + 1:
        return neighbours(series, n)
    vectors = series.reshape(*series.shape[:-1], -1, _AXES).movedim(-1, -2)
    return torch.cat([torch.zeros_like(vectors[..., :1, :]), vectors], dim=-2).flatten(-2)


def neighbours(series: Tensor, n: int) -> Tensor:
    """Return features whose n neighbours are one number, with zeros until n divides them, blocked by component."""
    encoded: Tensor = encode(series, n, "zero", series.dim() - 1)
    return encoded


def _encoded(inputs: tuple[Tensor, Tensor], n: int, *, features: Any) -> tuple[Tensor, Tensor]:
    series, lengths = inputs
    if callable(features):
        return features(series, n), lengths
    return (pure_quaternions if features == "pure" else neighbours)(series, n), lengths


def _arrays(series: Sequence[Any], name: str) -> list[NDArray[np.float32]]:
    """Return series as arrays (steps, F), checked."""
    arrays = []
    for number, one in enumerate(series):
        array = np.asarray(one)
        if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or not array.size:
            description = f"item {number} of dtype {array.dtype} and shape {array.shape}"
            raise UserError(f"`{name}` ({description}) must be arrays of numbers (steps, features) with at least one step")
        array = array.astype(np.float32).reshape(len(array), -1)
        if not np.isfinite(array).all():
            raise UserError(f"`{name}` must hold finite numbers, and item {number} has NaN or an infinity")
        arrays.append(array)
    if not arrays:
        raise UserError(f"`{name}` (=0 items) must have at least one")
    return arrays


def _padded(
    arrays: list[NDArray[np.float32]], mean: NDArray[np.float64], std: NDArray[np.float64], longest: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return normalised series (N, longest, F), zeros behind each, and their lengths."""
    series = np.zeros((len(arrays), longest, len(mean)), dtype=np.float32)
    for place, array in enumerate(arrays):
        series[place, : len(array)] = (array - mean) / std
    return series, np.array([len(array) for array in arrays], dtype=np.int64)
