"""A loss and a metric of one's own: predicting the median and judging by the mean absolute error, where less is better.

fourfold run examples/custom_task/experiment.py --trials 3
"""

import torch
from sklearn.datasets import load_diabetes
from torch import nn

import fourfold as ff


def data():
    """Return 10 features of 442 patients, and how far the disease has gone a year later."""
    table = load_diabetes()
    return ff.data.from_arrays((table.data, table.target / 100))


def net(algebra, inputs, outputs):
    """Return a perceptron."""
    return nn.Sequential(
        ff.nn.Linear(inputs[0], 64, algebra=algebra),
        nn.ReLU(),
        ff.nn.Linear(64, 64, algebra=algebra),
        nn.ReLU(),
        nn.Linear(64, outputs),
    )


class MeanAbsoluteError:
    """A meter: `update`, `compute` and `reset`, as every metric of torchmetrics has them."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all batches."""
        self.total, self.count = 0.0, 0

    def update(self, outputs: torch.Tensor, targets: torch.Tensor) -> None:
        """Take in a batch."""
        self.total += float((outputs - targets).abs().sum())
        self.count += len(targets)

    def compute(self) -> dict[str, float]:
        """Return the values by name; the metric of the task must be among them."""
        return {"mae": 100 * self.total / self.count}


class Task:
    """A task: what is trained, and what it is judged by."""

    metric = ff.tasks.Metric(name="mae", unit="points", higher_is_better=False, title="mean absolute error")

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean of a batch."""
        return nn.functional.l1_loss(outputs, targets)

    def meter(self) -> MeanAbsoluteError:
        """Return a meter that has seen no batch."""
        return MeanAbsoluteError()


def experiment():
    """Return the experiment, whose trials end when two levels in a row are worse than 60 points."""
    return ff.presets.new(
        "custom-task",
        data="experiment.py:data",
        model="experiment.py:net",
        task="experiment.py:Task",
        epochs=30,
        max_level=12,
        settings={"stop.metric": 60.0},
    )
