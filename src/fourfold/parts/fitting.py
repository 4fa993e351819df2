"""Whether data and the network's outputs are what a built-in task is for."""

from typing import Any

from torch import Tensor

from fourfold.data import Splits
from fourfold.parts import named
from fourfold.record import Spec, UserError
from fourfold.record.task_spec import BOXES, GRID

KINDS = {
    "classification": ("classes", "label map"),
    "segmentation": ("label map",),
    "detection": ("boxes",),
    "language": ("label map",),
    "multilabel": ("multi-hot",),
}
"""Kinds of targets (`Splits.kind`) by task; regression takes any numbers, and a task of the user's own what it likes."""

FITTING = {
    "classes": "classification",
    "label map": "segmentation, classification or language",
    "multi-hot": "multilabel",
    "values": "regression",
    "boxes": "detection",
    "other": "one of your own",
}
"""The task for each kind of targets."""


def check_kind(spec: Spec) -> None:
    """Refuse targets that a built-in task would take for what they are not, such as numbers for probabilities of classes.

    Raises:
        UserError: they are of another kind.
    """
    kinds = KINDS.get(spec.task.name)
    if kinds is None:
        return
    splits = named.prepared(spec) if named.is_own_data(spec) else None
    kind = splits.kind if splits else "classes"
    if kind in kinds or (kind == "values" and spec.task.name == "multilabel" and _are_zeros_and_ones(splits)):
        return
    raise UserError(
        f"`task.name` (={spec.task.name!r}) cannot be combined with `data.name` (={spec.data.name!r}), whose targets are of "
        f"kind {kind!r}: the task for them is {FITTING[kind]}, or `targets` says where they are made that they are "
        f"{kinds[0]!r}"
    )


def check_outputs(spec: Spec, outputs: Any) -> None:
    """Refuse a network that has not one output for each class, where the task has classes.

    Raises:
        UserError: it has more, or fewer.
    """
    if spec.task.name == "detection":
        _check_cells(spec, outputs)
    if spec.task.name not in ("classification", "segmentation", "language") or not isinstance(outputs, Tensor):
        return
    classes = named.facts(spec).outputs
    if classes is not None and (outputs.dim() < 2 or outputs.shape[1] != classes):
        raise UserError(
            f"the network's output (of shape {tuple(outputs.shape)}) must be (batch, classes, …) with the {classes} classes of "
            f"`data.name` (={spec.data.name!r}), for `task.name` (={spec.task.name!r})"
        )


def _check_cells(spec: Spec, outputs: Any) -> None:
    """Refuse a detector that has not the outputs of the grid that the task asks for."""
    classes = named.facts(spec).outputs
    grid, boxes = spec.task.grid or GRID, spec.task.boxes or BOXES
    if classes is None or not isinstance(outputs, Tensor):
        return
    expected = grid**2 * (classes + 5 * boxes)
    if outputs.dim() != 2 or outputs.shape[1] != expected:
        raise UserError(
            f"the network's output (of shape {tuple(outputs.shape)}) must be (batch, {expected}) with {grid} × {grid} cells of "
            f"{classes} classes and {boxes} boxes of 5 values, for `data.name` (={spec.data.name!r}) and `task.name` "
            "(='detection')"
        )


def _are_zeros_and_ones(splits: Splits | None) -> bool:
    """Whether all targets are in memory, and zeros and ones."""
    for part in (splits.train, splits.validation, splits.test) if splits else ():
        if part is None:
            continue
        targets = part.labels
        if not isinstance(targets, Tensor) or len(targets) != len(part) or bool(((targets != 0) & (targets != 1)).any()):
            return False
    return splits is not None
