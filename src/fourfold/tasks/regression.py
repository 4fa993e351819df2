"""Regression: one number or several of every item."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fourfold.record import Metric, UserError
from fourfold.tasks.protocol import check_tensor

RMSE = Metric(name="rmse", higher_is_better=False, title="root mean squared error")


@dataclass(frozen=True, kw_only=True)
class Regression:
    """Numbers: mean squared error, judged by its root, in the unit of the targets; less is better.

    Shapes: outputs and targets (batch, …) alike; (batch, 1) fits (batch,).
    """

    metric: Metric = RMSE

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """Return the mean squared error.

        Raises:
            UserError: outputs and targets do not fit each other.
        """
        values, right = _checked(outputs, targets)
        return F.mse_loss(values, right.to(values.dtype))

    def meter(self) -> "RegressionMeter":
        """Return a meter that has seen no batch."""
        return RegressionMeter()


class RegressionMeter:
    """Sums errors and the targets' squares about their mean, in float64."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self._count = 0
        self._sums: Tensor | None = None
        self._shift = torch.zeros(())

    def update(self, outputs: Any, targets: Any) -> None:
        """Take in outputs and targets (batch, …)."""
        values, right = _checked(outputs, targets)
        values, right = (tensor.double().reshape(len(tensor), -1) for tensor in (values, right))
        if self._sums is None:
            self._shift = right.mean(0)  # about which squares are small, whatever the targets' mean
        error, centred = values - right, right - self._shift
        sums = torch.stack([error.square().sum(0), error.abs().sum(0), centred.sum(0), centred.square().sum(0)])
        self._sums = sums if self._sums is None else self._sums + sums
        self._count += len(right)

    def compute(self) -> dict[str, float]:
        """Return `rmse`, `mae` (mean absolute error) and `r2`, the mean over outputs of 1 - squared error / variance.

        R² of targets that are all equal is 1 without errors and else 0, as in scikit-learn.
        """
        if self._sums is None:
            raise UserError("there is nothing to measure: the meter has seen no batch")
        squares, absolutes, sums, targets = self._sums.cpu()
        variance = targets - sums.square() / self._count
        constant = variance <= 1e-12 * targets.clamp(min=1e-300)
        r2 = torch.where(constant, (squares == 0).double(), 1 - squares / torch.where(constant, 1.0, variance))
        return {
            "rmse": float((squares / self._count).mean().sqrt()),
            "mae": float((absolutes / self._count).mean()),
            "r2": float(r2.mean()),
        }


def _checked(outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    values, right = check_tensor("network's output", outputs), check_tensor("targets", targets)
    if values.dim() == right.dim() + 1 and values.shape[-1] == 1:
        values = values.squeeze(-1)
    elif right.dim() == values.dim() + 1 and right.shape[-1] == 1:
        right = right.squeeze(-1)
    if values.shape != right.shape or values.dim() == 0:
        raise UserError(
            f"the network's output (of shape {tuple(outputs.shape)}) must have the shape of the targets "
            f"{tuple(targets.shape)} for `task.name` (='regression')"
        )
    return values, right
