"""`get`: the task of a spec, built in or of user code."""

from collections.abc import Callable
from typing import Any

from fourfold.record import Code, Spec, TaskSpec, UserError
from fourfold.record.errors import unknown
from fourfold.record.references import entry_point_names, resolve
from fourfold.tasks.classification import Classification
from fourfold.tasks.detection import Detection
from fourfold.tasks.language import Language
from fourfold.tasks.multilabel import Multilabel
from fourfold.tasks.protocol import Task
from fourfold.tasks.regression import Regression
from fourfold.tasks.segmentation import Segmentation


def _fields(spec: TaskSpec, *names: str) -> dict[str, Any]:
    """Return the fields of a spec that are not None, the others having the task's own defaults."""
    values = {name: getattr(spec, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


TASKS: dict[str, Callable[[TaskSpec], Task]] = {
    "classification": lambda spec: Classification(
        label_smoothing=spec.label_smoothing, class_weights=spec.class_weights, ignore_index=spec.ignore_index
    ),
    "multilabel": lambda spec: Multilabel(class_weights=spec.class_weights),
    "segmentation": lambda spec: Segmentation(
        label_smoothing=spec.label_smoothing, class_weights=spec.class_weights, ignore_index=spec.ignore_index
    ),
    "detection": lambda spec: Detection(**_fields(spec, "grid", "boxes", "coordinate_factor", "no_object_factor")),
    "language": lambda spec: Language(),
    "regression": lambda spec: Regression(),
}
"""Every task that fourfold knows, by name."""


def get(spec: Spec) -> Task:
    """Return the task of a spec.

    Raises:
        UserError: there is none of that name, or its code cannot be imported or is no task.
    """
    if spec.task.name in TASKS:
        return TASKS[spec.task.name](spec.task)
    code = resolve(spec.task.name, "task", spec.trust)
    if code is None:
        raise unknown("task", spec.task.name, [*TASKS, *entry_point_names("task")], "or code such as roads.py:task")
    return _task_of(code)


def _task_of(code: Code) -> Task:
    """Return the task that user code is, or that it returns: a class or a function without arguments."""
    value: Any = code.value
    if isinstance(value, type) or not hasattr(value, "loss"):
        value = code.call(takes="")
    missing = [name for name in ("metric", "loss", "meter") if not hasattr(value, name)]
    if missing:
        raise UserError(
            f"{code.file}: expected `{code.attribute}` to be a task with `metric`, `loss` and `meter`, found a "
            f"{type(value).__name__} without {' and '.join(missing)}"
        )
    if not hasattr(value.metric, "higher_is_better") or not hasattr(value.metric, "is_percent"):
        raise UserError(
            f"{code.file}: expected the `metric` of `{code.attribute}` to be a `fourfold.tasks.Metric`, found a "
            f"{type(value.metric).__name__}"
        )
    task: Task = value
    return task
