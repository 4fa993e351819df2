"""`from_arrays`: data of one's own in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from fourfold.data.boxes import NO_BOX
from fourfold.data.components import Components, check_components
from fourfold.data.normalizing import Normalization
from fourfold.data.own.npz import parts_of, read_arrays
from fourfold.data.own.parts import Part, Role, content_digest, held_out
from fourfold.data.own.source import Source
from fourfold.data.own.values import (
    IGNORED,
    TargetKind,
    as_inputs,
    as_targets,
    check_labels,
    class_labels,
    in_form,
    kind_of,
    named_classes,
)
from fourfold.data.splits import Splits
from fourfold.data.stores import Arrays, Augment
from fourfold.data.trees import Tree, item_shape, length
from fourfold.record.errors import UserError
from fourfold.record.spec import DataSpec

Channels = Literal["first", "last"]

MOST_CLASSES = 2**20

_COLOURS = (1, 3, 4)
"""Numbers of channels that tell the channel axis from height and width: grey, RGB, RGBA."""

_CPU = torch.device("cpu")


def from_arrays(
    train: Any,
    test: Any = 0.2,
    validation: Any = None,
    *,
    name: str | None = None,
    classes: Sequence[str] | int | None = None,
    targets: TargetKind | None = None,
    ignore: int | None = None,
    channels: Channels | None = None,
    normalization: Normalization = "training",
    components: Components = "zero",
    augment: Augment | None = None,
) -> Splits:
    """Return data of one's own from numpy arrays, torch tensors or an .npz file, for a real network on the CPU.

    `Splits.prepare` makes them ready for another algebra or device. Inputs are one array, or a dict or tuple of arrays:

    - bytes (N, H, W, C), (N, C, H, W) or (N, H, W): images, which stay bytes until they are used
    - floats (N, F), (N, T, F) or with channels as images have them: features, sequences, maps
    - other integers (N,) or (N, T): tokens, which are neither normalised nor encoded

    Args:
        train: `(inputs, targets)`; or the path of an .npz file with arrays x_train, y_train, x_test, y_test, and x_val, y_val.
        test: `(inputs, targets)`; or how many training items to hold out, or which part of them.
        validation: The same; None means no validation part. Items are held out with seeds of their own, every class in
            proportion where targets are classes, else each with the same chance.
        name: What to call the data; None means the file's name, or `arrays`.
        classes: Names of the classes by label, or their number; None takes them from labels that are text, sorted, or from the
            largest label of the training part.
        targets: What the targets are, see `TargetKind`. None tells by type and shape: integers (N,) or text are classes,
            integers (N, K) of zeros and ones `multi-hot`, other integers a `label map`, floats `values`. `boxes` are a dict of
            `boxes` (N, M, 4) and `labels` (N, M), as `from_voc` has them.
        ignore: A label of label maps that is no class, such as 255; None means -100.
        channels: Whether channels or features are the first or the last axis of an item. None tells by the sizes of images, and
            takes the last axis of sequences.
        normalization: training (means and deviations of each channel over the training part, without what is held out of it),
            none (bytes divided by 255), imagenet, or means and deviations, of bytes such that 1 is white.
        components: How inputs become elements of n components, where n is larger than 1: zero, repeat, grey, pixels, learned,
            none, or a function of a batch of normalised inputs and n.
        augment: Function of a batch `(inputs, targets)`, as they were given, and a `torch.Generator`, that returns the batch to
            train on. It is called for each batch of training.

    Raises:
        UserError: arrays of wrong type, shape or length, NaN, labels that are no classes; or a file that is none.
    """
    check_components(components)
    by_role: dict[Role, Any] = {"train": train, "validation": validation, "test": test}
    if isinstance(train, str | Path):
        path = Path(train).expanduser()
        arrays = parts_of(read_arrays(path), path)
        name = path.stem if name is None else name
        by_role = {
            "train": arrays["train"],
            "validation": arrays.get("validation", validation),
            "test": arrays.get("test", test),
        }
    inputs, labels = {}, {}
    for role, pair in by_role.items():
        if role == "train" or not (pair is None or isinstance(pair, int | float | np.number)):
            inputs[role], labels[role] = _pair(pair, role)
    checked, axis = _inputs(inputs, channels)
    kind, labels, names = _targets(labels, classes, targets, ignore)
    parts: dict[Role, Part] = {}
    for role, tree in checked.items():
        if length(tree) != length(labels[role]):
            raise UserError(
                f"`{role}[1]` (of length {length(labels[role]):,}) must have one target for each of {length(tree):,} inputs"
            )
        parts[role] = Part(store=Arrays(tree, labels[role]))
    for role in ("test", "validation"):
        if role not in parts and by_role[role] is not None:
            parts["train"], parts[role] = held_out(parts["train"], by_role[role], role, by_class=kind == "classes")
    if "test" not in parts:
        raise UserError("`test` (=None) must be (inputs, targets), or a part of the training items, such as 0.2")
    source = Source(
        name=name or "arrays",
        train=parts["train"],
        validation=parts.get("validation"),
        test=parts["test"],
        kind=kind,
        classes=names,
        outputs=num_outputs(kind, names, labels["train"]),
        shape=item_shape(checked["train"]),
        axis=axis,
        normalization=normalization,
        components=components if axis is not None or callable(components) else "none",
        augment=augment,
        find_digest=lambda: digest_of_parts(parts),
        void=IGNORED if ignore is None else ignore,
    )
    return source.splits(DataSpec(name=source.name), 1, _CPU)


def digest_of_parts(parts: dict[Role, Part]) -> str:
    """Return the SHA-256 of all inputs and targets of parts in memory."""
    order: tuple[Role, ...] = ("train", "validation", "test")
    digests = {}
    for role in order:
        if role in parts:
            store = parts[role].store
            assert isinstance(store, Arrays)
            digests[role] = (store.inputs, store.targets), parts[role].members
    return content_digest(digests)


def num_outputs(kind: TargetKind, names: tuple[str, ...], targets: Tree) -> int | None:
    """Return how many outputs a network needs; None where only the task knows."""
    if kind == "other":
        return None
    return len(names) if kind != "values" else targets[0].numel()


def _pair(pair: Any, role: Role) -> tuple[Any, Any]:
    if isinstance(pair, tuple | list) and len(pair) == 2:
        return pair[0], pair[1]
    choice = "" if role == "train" else ", a number of items from 1, or a part of them below 1"
    what = f"={pair!r}" if isinstance(pair, str) or pair is None else f"a {type(pair).__name__}"
    raise UserError(f"`{role}` ({what}) must be (inputs, targets){choice or ', or the path of an .npz file'}")


def _inputs(by_role: dict[Role, Any], channels: Channels | None) -> tuple[dict[Role, Tree], int | None]:
    """Return the inputs of every part as tensors, channels first for images, and the axis of their channels."""
    trees = {role: as_inputs(value, f"{role}[0]") for role, value in by_role.items()}
    first = trees["train"]
    axis: int | None = None
    if isinstance(first, Tensor):
        axis, move = layout_of(first, channels)
        for role, tree in trees.items():
            if not isinstance(tree, Tensor) or tree.dim() != first.dim() or tree.dtype != first.dtype:
                raise UserError(f"`{role}[0]` ({_described(tree)}) must be of the type of `train[0]` ({_described(first)})")
        trees = {role: move(tree) for role, tree in trees.items()}
    shape = item_shape(trees["train"])
    for role, tree in trees.items():
        if item_shape(tree) != shape:
            raise UserError(f"`{role}[0]` (with items of shape {item_shape(tree)}) must have those of `train[0]`: {shape}")
    return trees, axis


def layout_of(inputs: Tensor, channels: Channels | None, name: str = "train[0]") -> tuple[int | None, Any]:
    """Return the axis of the channels of inputs and what brings any inputs of that layout into ours.

    Raises:
        UserError: images whose channel axis cannot be determined.
    """
    if channels not in (None, "first", "last"):
        raise UserError(f"`channels` (={channels!r}) must be 'first', 'last' or None")
    if inputs.dtype == torch.int64:
        if inputs.dim() > 3:
            raise UserError(
                f"`{name}` (integers of shape {tuple(inputs.shape)}) must be uint8 or floats for images; "
                "integers of other types are tokens"
            )
        return None, _same
    if inputs.dim() == 1:
        return 1, lambda tensor: tensor.unsqueeze(1)
    if inputs.dim() == 2:
        return 1, _same
    if inputs.dim() == 3:
        if channels == "first":
            return 1, _same
        if inputs.dtype == torch.uint8 and channels is None:
            return 1, lambda tensor: tensor.unsqueeze(1)
        return 2, _same
    if channels is None:
        channels = _declared_channels(inputs, name)
    return 1, _same if channels == "first" else _first


def _declared_channels(inputs: Tensor, name: str) -> Channels:
    first, last = inputs.shape[1] in _COLOURS, inputs.shape[-1] in _COLOURS
    if first == last:
        raise UserError(
            f"`{name}` (of shape {tuple(inputs.shape)}) does not tell channels from height and width; "
            "give `channels`, 'first' or 'last'"
        )
    return "first" if first else "last"


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _first(tensor: Tensor) -> Tensor:
    return tensor.movedim(-1, 1).contiguous()


def _described(tree: Tree) -> str:
    return f"{tree.dtype}, {tree.dim()} axes" if isinstance(tree, Tensor) else f"a {type(tree).__name__}"


def _targets(
    by_role: dict[Role, Any], classes: Any, kind: TargetKind | None, ignore: int | None
) -> tuple[TargetKind, dict[Role, Tree], tuple[str, ...]]:
    """Return the kind of the targets, those of every part, and the names of the classes."""
    text = class_labels(by_role["train"])
    if text is not None:
        classes = sorted(set(text)) if classes is None else classes
        numbers = {name: number for number, name in enumerate(classes)}
        by_role = {role: _numbered(labels, numbers, role) for role, labels in by_role.items()}
    trees = {role: as_targets(labels, f"{role}[1]") for role, labels in by_role.items()}
    kind = kind or kind_of(trees["train"])
    if kind not in get_args(TargetKind):
        raise UserError(f"`targets` (={kind!r}) must be {', '.join(map(repr, get_args(TargetKind)))} or None")
    trees = {role: in_form(tree, kind, f"{role}[1]") for role, tree in trees.items()}
    shape = item_shape(trees["train"])
    for role, tree in trees.items():
        if kind in ("multi-hot", "values") and item_shape(tree) != shape:
            raise UserError(f"`{role}[1]` (with items of shape {item_shape(tree)}) must have those of `train[1]`: {shape}")
    return kind, trees, class_names(trees, classes, kind, ignore)


def class_names(trees: dict[Role, Tree], classes: Any, kind: TargetKind, ignore: int | None) -> tuple[str, ...]:
    """Return the names of the classes of targets, whose labels must be among them; none where targets are no classes.

    Raises:
        UserError: labels that are no classes, or a number of names that does not fit.
    """
    if kind in ("values", "other"):
        return ()
    if kind == "multi-hot":
        columns = trees["train"].shape[1]
        names = named_classes(classes, columns, kind)
        if len(names) != columns:
            raise UserError(f"`classes` (of length {len(names)}) must have a name for each of {columns} columns of `train[1]`")
        return names
    if kind == "boxes":
        trees = {role: tree["labels"] for role, tree in trees.items()}
        ignore = NO_BOX
    ignored = None if kind == "classes" else IGNORED if ignore is None else ignore
    train = trees["train"]
    real = train if ignored is None else train[train != ignored]
    columns = int(real.max()) + 1 if real.numel() else 0
    if columns > MOST_CLASSES:
        raise UserError(f"`train[1]` (={columns - 1}) must be classes from 0 to {MOST_CLASSES - 1}; number them anew")
    names = named_classes(classes, columns, kind)
    for role, tree in trees.items():
        check_labels(tree, len(names), f"{role}[1]", ignored)
    return names


def _numbered(labels: Any, numbers: dict[Any, int], role: Role) -> Any:
    text = class_labels(labels)
    if text is None:
        raise UserError(f"`{role}[1]` must be text, as `train[1]` is")
    unknown = next((label for label in text if str(label) not in numbers), None)
    if unknown is not None:
        raise UserError(f"`{role}[1]` (={str(unknown)!r}) must be one of the classes of the training part, or of `classes`")
    return np.array([numbers[str(label)] for label in text], dtype=np.int64)
