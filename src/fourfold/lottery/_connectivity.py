"""Instability analysis (Frankle et al. 2020): linear mode connectivity of two copies trained in different orders.

If the error rises on the straight line between them, the data order decides which minimum training finds, and a ticket
rewound to that step is not stable to SGD noise.
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fourfold import pruning
from fourfold.data import Resident, Splits
from fourfold.lottery.levels import Experiment
from fourfold.lottery.seeds import derive_seed
from fourfold.lottery.training import drawing
from fourfold.nn import named_weights
from fourfold.parts import build
from fourfold.pruning import Masks
from fourfold.record import Connectivity, UserError
from fourfold.record.store import Arrays
from fourfold.tasks import Task
from fourfold.train import Evaluation, TrainingFailedError, evaluate
from fourfold.train.evaluation import forward
from fourfold.train.memory_format import laid_out
from fourfold.train.precision import computing

BATCH_SIZE = 500
"""Images at a time when running statistics are estimated anew."""


def connectivity(
    experiment: Experiment, trial: int, step: int, *, level: int = 0, mask: Arrays | None = None, points: int = 11
) -> Connectivity:
    """Train a level's network to a step, then two copies of it to the end in different orders, and look between them.

    Both copies take over the optimiser's averages. The weights, biases and scales between them are linear; running
    statistics are estimated anew from the training images, as those of neither copy are right.

    Args:
        experiment: The spec and its images.
        trial: The trial whose start is drawn.
        step: Optimiser step up to which there is one network, from 0 (its start).
        level: Whose images are trained on before the step.
        mask: The level's, bit-packed; None keeps everything.
        points: Networks to measure, both ends included.

    Raises:
        UserError: the step leaves nothing to train, or there are fewer than two points.
        TrainingFailedError: a loss became NaN or infinite, in training or on the line.
    """
    spec = experiment.spec
    steps = spec.train.epochs * experiment.steps_per_epoch
    if not 0 <= step < steps:
        raise UserError(f"`step` (={step}) must lie in [0, {steps}), the steps of a training")
    if points < 2:
        raise UserError(f"`points` (={points}) must be at least 2")
    network = build(spec, derive_seed(trial, "weights")).to(experiment.device)
    weights = named_weights(network)
    masks = pruning.unpack(mask, weights) if mask is not None else pruning.dense(weights)
    moments = _train_to(step, experiment, trial, level, network, masks)
    ends = []
    for number in (1, 2):
        end = copy.deepcopy(network)

        def seed_of_epoch(epoch: int, number: int = number) -> int:
            return derive_seed(trial, f"copy-{number}", level, epoch)

        with drawing(experiment, trial, level, f"network of copy-{number}"):
            experiment.trainer(
                end,
                experiment.splits,
                spec.train,
                seed_of_epoch=seed_of_epoch,
                weights=named_weights(end),
                masks=masks,
                first_step=step,
                moments=moments,
                task=experiment.training_task,
            )
        ends.append({name: value.clone() for name, value in end.state_dict().items()})
    positions = tuple(number / (points - 1) for number in range(points))
    precision = spec.train.precision
    with computing(precision, experiment.device), laid_out(network, experiment.splits, precision) as splits:
        points_on_line = [
            _between(network, ends[0], ends[1], position, splits, experiment.training_task) for position in positions
        ]
    metric = experiment.task.metric
    errors = tuple(metric.error(test.metrics[metric.name]) for test in points_on_line)
    losses = tuple(test.loss for test in points_on_line)
    if not all(map(math.isfinite, (*errors, *losses))):
        raise TrainingFailedError(f"the test loss or {metric.name} became infinite or no number on the line between the copies")
    return Connectivity(step=step, positions=positions, errors=errors, losses=losses)


def rewinding_sweep(
    experiment: Experiment, trial: int, steps: Iterable[int], *, level: int = 0, mask: Arrays | None = None, points: int = 11
) -> list[Connectivity]:
    """Return the connectivity for several steps: where the barrier vanishes, tickets can be rewound to."""
    return [connectivity(experiment, trial, step, level=level, mask=mask, points=points) for step in steps]


def estimate_statistics(network: nn.Module, images: Resident) -> None:
    """Set the running statistics of batch norm to the plain averages over batches of some images, in place."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    momenta, training = [norm.momentum for norm in norms], [module for module in network.modules() if module.training]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for batch, _ in images.batches(BATCH_SIZE):
            forward(network, batch)
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module in training:
        module.training = True


def _train_to(
    step: int, experiment: Experiment, trial: int, level: int, network: nn.Module, masks: Masks
) -> dict[str, Tensor] | None:
    """Train as the level does up to a step, and return the optimiser's state; None before the first step."""
    with drawing(experiment, trial, level):
        trained = experiment.trainer(
            network,
            experiment.splits,
            replace(experiment.spec.train, early_stopping=None),
            seed_of_epoch=lambda epoch: derive_seed(trial, "images", level, epoch),
            weights=named_weights(network),
            masks=masks,
            until_step=step,
            task=experiment.training_task,
        )
    return trained.moments if step else None


def _between(
    network: nn.Module, one: dict[str, Tensor], other: dict[str, Tensor], position: float, splits: Splits, task: Task | None
) -> Evaluation:
    """Return what the test set says at a position between two states."""
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.lerp(one[name], other[name], position))
    estimate_statistics(network, splits.train)
    return evaluate(network, splits.test, task=task)
