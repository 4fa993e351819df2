"""`TaskSpec`: what the network is asked."""

from dataclasses import dataclass

from fourfold.record.checks import check_count, check_number
from fourfold.record.errors import UserError
from fourfold.record.references import parse


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """What the network is asked: loss and metrics."""

    name: str = "classification"
    """classification, segmentation, multilabel, regression, or code such as roads.py:task."""
    label_smoothing: float = 0.0
    """Classification, segmentation: part of the probability that is spread over all classes."""
    class_weights: tuple[float, ...] | None = None
    """Classification, segmentation: factor of the loss of each class; multilabel: of each label where it is 1. None means 1."""
    ignore_index: int | None = None
    """Classification, segmentation: a label that neither loss nor metrics count, such as 255; None means none."""

    def __post_init__(self) -> None:
        check_name("task", self.name)
        check_number(self, "task", "label_smoothing", 0, 1, "[)")
        if self.class_weights is not None:
            weights = self.class_weights
            numbers = isinstance(weights, tuple | list) and all(
                isinstance(weight, int | float) and not isinstance(weight, bool) and 0 <= weight < 1e9 for weight in weights
            )
            if not numbers or not weights or not any(weights):
                raise UserError(f"`task.class_weights` (={weights!r}) must be None or one number of at least 0 per class")
            object.__setattr__(self, "class_weights", tuple(map(float, weights)))
        if self.ignore_index is not None and self.ignore_index != -100:  # torch's own
            check_count(self, "task", "ignore_index", 0)
        for name in ("label_smoothing", "class_weights", "ignore_index"):
            value = getattr(self, name)
            users = ("classification", "segmentation", *(("multilabel",) if name == "class_weights" else ()))
            if value and self.name not in users:
                raise UserError(f"`task.{name}` (={value!r}) cannot be combined with `task.name` (={self.name!r}): it has none")


def check_name(part: str, name: object) -> None:
    """Check that a value is the name of a part of a spec, or a reference to code."""
    if not isinstance(name, str) or not name or not name.isprintable():
        raise UserError(f"`{part}.name` (={name!r}) must be a name")
    try:
        parse(name)
    except UserError:
        raise UserError(
            f"`{part}.name` (={name!r}) must be a name, or code such as roads.py:{part} or package.module:{part}"
        ) from None
