"""`Task` and `Meter`: the two interfaces of this room, which user code and torchmetrics fit."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from fourfold.record import Metric, UserError


@runtime_checkable
class Meter(Protocol):
    """Measures a network batch by batch. Every metric and every `MetricCollection` of torchmetrics is one."""

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in a batch: what the network says, and what is right."""

    def compute(self) -> Any:
        """Return the values of all batches so far by name, or one number, which is the task's metric."""

    def reset(self) -> None:
        """Forget all batches."""


@runtime_checkable
class Task(Protocol):
    """What a network is asked."""

    @property
    def metric(self) -> Metric:
        """What it is judged by: axes, stop rules and claims read its name, unit and direction."""

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the mean loss of a batch, a scalar: what is trained."""

    def meter(self) -> Meter:
        """Return a meter that has seen no batch."""


def loss_terms(task: Task, targets: Any) -> float:
    """Return what a task's loss of a batch is the mean over: its method `loss_terms` of the targets, or the number of samples.

    Processes that train together weigh the losses of their parts of a batch by it.
    """
    terms = getattr(task, "loss_terms", None)
    if terms is not None:
        return float(terms(targets))
    while not isinstance(targets, Tensor):
        targets = next(iter(targets.values() if isinstance(targets, Mapping) else targets))
    return len(targets)


def values_of(meter: Meter, metric: Metric) -> dict[str, float]:
    """Return what a meter has measured, by name.

    Raises:
        UserError: it has measured something else than a number, or not the metric.
    """
    result = meter.compute()
    named: Mapping[Any, Any] = result if isinstance(result, Mapping) else {metric.name: result}
    values = {str(name): _number(str(name), value) for name, value in named.items()}
    if metric.name not in values:
        raise UserError(f"`compute` of {type(meter).__name__} must return {metric.name!r}, found {', '.join(values) or 'none'}")
    return values


def _number(name: str, value: Any) -> float:
    """Return a value as a number."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, int | float) or isinstance(value, bool):
        what = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
        raise UserError(f"the metric {name!r} must be one number, found {what}")
    return float(value)


def check_tensor(what: str, value: Any) -> Tensor:
    """Return a tensor.

    Raises:
        UserError: it is something else.
    """
    if not isinstance(value, torch.Tensor):
        raise UserError(f"the {what} must be a tensor for this task, found a {type(value).__name__}")
    return value
