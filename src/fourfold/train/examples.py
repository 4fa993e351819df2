"""What a trained network says of a few items of the test set, for the strips of examples in reports."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourfold import tasks
from fourfold.data import Splits
from fourfold.record import Spec
from fourfold.record.arrays import Arrays
from fourfold.record.examples import LEAST_SCORE, LONGEST_SIDE, MOST_BOXES, NUM_EXAMPLES, VOID
from fourfold.train.evaluation import evaluating, forward
from fourfold.train.memory_format import laid_out
from fourfold.train.precision import computing


def examples_of(
    task: tasks.Task, splits: Splits, spec: Spec, network: nn.Module, device: torch.device, *, with_items: bool
) -> Arrays:
    """Return the arrays of `fourfold.record.examples`; empty for other tasks than segmentation and detection of images.

    Args:
        task: What the network is asked.
        splits: Of whose test set the examples are.
        spec: Of the run.
        network: The trained network.
        device: Where it is.
        with_items: Whether to return the items and what is right, too, as the dense level has them.
    """
    if splits.source is None or not splits.source.images or not len(splits.test):
        return {}
    if not isinstance(task, tasks.Segmentation | tasks.Detection):
        return {}
    precision = spec.train.precision
    with computing(precision, device), laid_out(network, splits, precision) as batches, evaluating(network):
        pairs = [batches.test.batch(batches.test.in_order(), slice(item, item + 1)) for item in _items(len(splits.test))]
        outputs = torch.cat([forward(network, inputs) for inputs, _ in pairs])
    truths = [targets for _, targets in pairs]
    arrays = _maps(task, outputs, torch.cat(truths)) if isinstance(task, tasks.Segmentation) else _boxes(task, outputs, truths)
    if not with_items:
        arrays = {name: array for name, array in arrays.items() if not name.startswith("truth.")}
    elif arrays:
        arrays["images"] = _images(splits, spec)
    return {name: tensor.cpu().contiguous().numpy() for name, tensor in arrays.items()}


def _items(count: int) -> list[int]:
    """Return which items of a test set are examples: evenly spread, each once."""
    number = min(NUM_EXAMPLES, count)
    return [count * (2 * index + 1) // (2 * number) for index in range(number)]


def _step(size: tuple[int, ...]) -> int:
    """Return by what an image's sides are divided."""
    return -(-max(size) // LONGEST_SIDE)


def _maps(task: tasks.Segmentation, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the label maps that a network draws, and those that are right; none of more classes than a byte has."""
    if outputs.dim() != 4 or outputs.shape[1] > VOID:
        return {}
    step = _step(tuple(outputs.shape[2:]))
    void = (labels < 0) | (labels >= outputs.shape[1])
    if task.ignore_index is not None:
        void |= labels == task.ignore_index
    truth = labels.masked_fill(void, VOID).to(torch.uint8)
    return {"map": outputs.argmax(1).to(torch.uint8)[:, ::step, ::step], "truth.map": truth[:, ::step, ::step]}


def _boxes(task: tasks.Detection, outputs: Tensor, truths: list[Any]) -> dict[str, Tensor]:
    """Return the boxes that a network detects, best first, and those that are right."""
    corners, labels, scores = [], [], []
    for one in task.decode(outputs):
        likely = one["scores"] >= LEAST_SCORE
        corners.append(_filled(one["boxes"][likely], 0))
        labels.append(_filled(one["labels"][likely], -1))
        scores.append(_filled(one["scores"][likely], 0))
    return {
        "boxes": torch.stack(corners).float(),
        "labels": torch.stack(labels).to(torch.int16),
        "scores": torch.stack(scores).float(),
        "truth.boxes": torch.stack([_filled(truth["boxes"][0], 0) for truth in truths]).float(),
        "truth.labels": torch.stack([_filled(truth["labels"][0], -1) for truth in truths]).to(torch.int16),
    }


def _filled(values: Tensor, empty: float) -> Tensor:
    """Return the first `MOST_BOXES` values of one image, filled up to that number."""
    values = values[:MOST_BOXES]
    rest = values.new_full((MOST_BOXES - len(values), *values.shape[1:]), empty)
    return torch.cat([values, rest])


def _images(encoded: Splits, spec: Spec) -> Tensor:
    """Return the examples as images that can be looked at, uint8 (N, 1 or 3, H, W), small enough for a page."""
    splits = _as_given(encoded, spec)
    test = splits.test
    images = torch.cat([test.batch(test.in_order(), slice(item, item + 1))[0] for item in _items(len(test))]).cpu().float()
    if splits.mean:
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (splits.mean, splits.std))
        images = images * std + mean
    images = images[:, : 3 if images.shape[1] >= 3 else 1]
    low, high = images.min().item(), images.max().item()
    if low < -0.01 or high > 1.01:  # not of bytes
        images = (images - low) / max(high - low, 1e-12)
    small = F.avg_pool2d(images, _step(tuple(images.shape[2:])), ceil_mode=True)
    return (small * 255).round().clamp(0, 255).to(torch.uint8)


def _as_given(encoded: Splits, spec: Spec) -> Splits:
    """Return the data as a real network sees them: other networks get their channels encoded."""
    assert encoded.source is not None, "built-in images have neither label maps nor boxes"
    return encoded.source.splits(replace(spec.data, encoding="none"), 1, torch.device("cpu"))
