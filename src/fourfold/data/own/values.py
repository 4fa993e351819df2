"""Arrays of users as tensors: what they may hold, checked before anything is trained on them."""

import warnings
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fourfold.data.boxes import checked_boxes
from fourfold.data.trees import Tree, leaves, mapped
from fourfold.record.errors import UserError
from fourfold.record.text import first_line, shortened

TargetKind = Literal["classes", "multi-hot", "values", "label map", "boxes", "other"]
"""What targets are: one class an item, int64 (N,); several classes, float32 (N, K) of zeros and ones; values to predict,
float32 (N, K, …); a class for each of many places, int64 (N, …); boxes with a class each, as `data.boxes` has them; or a tree
of tensors, which only the task understands."""

IGNORED = -100
"""A label in label maps that is no class, as in torch's `ignore_index`."""

_BLOCK = 2**22
"""Values that are checked at a time."""


def as_inputs(value: Any, name: str) -> Tree:
    """Return inputs as tensors on the CPU: floats as float32, bytes as uint8, other integers as int64, which stay integers.

    Memory is shared where the type allows it.

    Args:
        value: An array, a tensor, nested lists, or a dict or tuple of such.
        name: What to call it in errors, such as `train[0]`.

    Raises:
        UserError: something that is not an array of finite real numbers, or has no items.
    """
    return _checked(value, name, _input_tensor)


def as_targets(value: Any, name: str) -> Tree:
    """Return targets as tensors on the CPU: floats as float32, uint8 and booleans as they are, other integers as int64.

    Raises:
        UserError: as `as_inputs`.
    """
    return _checked(value, name, lambda tensor: tensor)


def _checked(value: Any, name: str, convert: Any) -> Tree:
    if isinstance(value, list):
        value = _array(value, name)
    tree = mapped(lambda leaf: convert(as_tensor(leaf, name)), value)
    lengths = {path: len(leaf) for path, leaf in leaves(tree)}
    if not lengths:
        raise UserError(f"`{name}` must hold at least one array, and is an empty {type(value).__name__}")
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name}{path} of {count:,}" for path, count in lengths.items())
        raise UserError(f"`{name}` must hold arrays of equal length, and holds {listed}")
    for path, leaf in leaves(tree):
        check_finite(leaf, f"{name}{path}")
    return tree


def _input_tensor(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype == torch.bool else tensor


def as_tensor(value: Any, name: str) -> Tensor:
    """Return an array or tensor as one of float32, uint8, bool or int64 on the CPU.

    Raises:
        UserError: neither of them, not of real numbers, or without items.
    """
    tensor = _dense(value, name) if isinstance(value, Tensor) else _from_array(_array(value, name), name)
    if tensor.is_complex():
        raise UserError(f"`{name}` (of dtype {tensor.dtype}) must hold real numbers; give their real and imaginary parts")
    if tensor.is_floating_point():
        tensor = tensor.float()
    elif tensor.dtype not in (torch.uint8, torch.bool):
        tensor = tensor.long()
    if not tensor.dim() or not tensor.numel():
        raise UserError(f"`{name}` (of shape {tuple(tensor.shape)}) must have at least one item along its first axis")
    return tensor


def _dense(tensor: Tensor, name: str) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested or tensor.is_meta:
        raise UserError(f"`{name}` must be a dense tensor with values; `.to_dense()` makes one")
    return tensor.detach().cpu()


def _array(value: Any, name: str) -> np.ndarray[Any, Any]:
    if isinstance(value, np.ma.MaskedArray):
        raise UserError(f"`{name}` must not be a masked array; fill what is masked, or leave those items out")
    try:
        array = np.asarray(value)
    except Exception as error:  # ragged lists, and whatever another library's conversion raises
        reason = first_line(error)
        raise UserError(f"`{name}` (a {type(value).__name__}) must be an array of numbers: {reason}") from error
    if array.dtype.kind not in "biuf" + "c":
        content = "text" if array.dtype.kind in "US" else f"values of dtype {array.dtype}"
        raise UserError(f"`{name}` (a {type(value).__name__}) must be an array of numbers, and holds {content}")
    return array


def _from_array(array: np.ndarray[Any, Any], name: str) -> Tensor:
    if array.dtype.kind == "f" and array.dtype.itemsize != 4:
        with np.errstate(over="ignore"):  # what is too large for float32 is found as an infinity
            array = array.astype(np.float32)
    elif array.dtype.kind in "iu" and array.dtype != np.uint8:
        if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
            raise UserError(f"`{name}` (of dtype uint64) must hold integers below 2**63")
        array = array.astype(np.int64, copy=False)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if any(stride < 0 for stride in array.strides):
        array = array.copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes into inputs
        return torch.from_numpy(array)


def check_finite(tensor: Tensor, name: str) -> None:
    """Raise `UserError` naming the first item of a tensor that holds NaN or an infinity."""
    if not tensor.is_floating_point():
        return
    step = max(1, _BLOCK // max(1, tensor[0].numel()))
    for start in range(0, len(tensor), step):
        finite = (
            torch.isfinite(tensor[start : start + step]).flatten(1).all(1)
            if tensor.dim() > 1
            else (torch.isfinite(tensor[start : start + step]))
        )
        if not bool(finite.all()):
            place = start + int((~finite).nonzero()[0])
            raise UserError(f"`{name}` must hold finite numbers, and item {place} has NaN or an infinity")


def class_labels(value: Any) -> np.ndarray[Any, Any] | None:
    """Return labels that are text as an array of `str`; None for anything else."""
    if isinstance(value, Tensor | dict | tuple):
        return None
    try:
        array = np.asarray(value)
    except Exception:
        return None
    if array.ndim != 1 or not len(array):
        return None
    if array.dtype.kind == "U" or (array.dtype.kind == "O" and all(isinstance(label, str) for label in array)):
        return array.astype(str)
    if array.dtype.kind == "S":  # as HDF5 and old files hold text
        return np.array([label.decode(errors="backslashreplace") for label in array.tolist()])
    return None


def kind_of(targets: Tree) -> TargetKind:
    """Return what targets are, from their type and shape: see `TargetKind`.

    Integers (N, K) are `multi-hot` if all are zeros and ones, else `label map`.
    """
    if not isinstance(targets, Tensor):
        return "other"
    if targets.is_floating_point():
        return "values"
    if targets.dim() == 1 or tuple(targets.shape[1:]) == (1,):
        return "classes"
    binary = targets.dtype == torch.bool or (int(targets.min()) >= 0 and int(targets.max()) <= 1)
    return "multi-hot" if targets.dim() == 2 and binary else "label map"


def in_form(targets: Tree, kind: TargetKind, name: str) -> Tree:
    """Return targets in the form of their kind.

    Raises:
        UserError: they are of another kind.
    """
    if kind == "other":
        return targets
    if kind == "boxes":
        return checked_boxes(targets, name)
    if not isinstance(targets, Tensor):
        raise UserError(f"`{name}` must be one array for targets of kind {kind!r}, and is a {type(targets).__name__}")
    description = f"`{name}` (of dtype {targets.dtype} and shape {tuple(targets.shape)})"
    if kind == "values":
        return targets.float().unsqueeze(1) if targets.dim() == 1 else targets.float()
    if kind == "multi-hot":
        if targets.dim() != 2 or bool(((targets != 0) & (targets != 1)).any()):
            raise UserError(
                f"{description} must hold zeros and ones (N, K), one for each class, for targets of kind 'multi-hot'"
            )
        return targets.float()
    if targets.is_floating_point():
        raise UserError(f"{description} must hold integers for targets of kind {kind!r}")
    if kind == "classes":
        if tuple(targets.shape[1:]) not in ((), (1,)):
            raise UserError(f"{description} must have one integer an item for targets of kind 'classes'")
        return targets.flatten().long()
    if targets.dim() < 2:
        raise UserError(f"{description} must have several integers an item for targets of kind 'label map'")
    return targets.byte() if targets.dtype == torch.bool else targets


def check_labels(targets: Tensor, num_classes: int, name: str, ignore: int | None = None) -> None:
    """Raise `UserError` unless labels are 0 … num_classes - 1 or the ignored one."""
    flat = targets.flatten()
    wrong = (flat < 0) | (flat >= num_classes)
    if ignore is not None:
        wrong &= flat != ignore
    if bool(wrong.any()):
        place = int(wrong.nonzero()[0])
        item = place // max(1, targets[0].numel())
        rest = f", or {ignore}" if ignore is not None else ""
        raise UserError(f"`{name}` (={int(flat[place])} at item {item}) must be a class, 0 to {num_classes - 1}{rest}")


def named_classes(classes: Any, num_found: int, kind: TargetKind) -> tuple[str, ...]:
    """Return one name a class: those that are given, by a list or a number, or the numbers of those that were found.

    Raises:
        UserError: not distinct names, or more classes than names.
    """
    if classes is None:
        names = tuple(map(str, range(num_found)))
    elif isinstance(classes, int) and not isinstance(classes, bool):
        names = tuple(map(str, range(classes)))
    else:
        names = tuple(map(str, classes))
    if len(set(names)) != len(names):
        double = next(name for number, name in enumerate(names) if name in names[:number])
        raise UserError(f"`classes` must be distinct names, and has {shortened(repr(double), 100)} twice")
    if len(names) < 2 and kind == "classes":
        raise UserError(f"`classes` (={len(names)}) must be at least 2: with one there is nothing to tell apart")
    return names
