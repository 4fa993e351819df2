"""The scores by name: what each looks at, and how it adds up over a unit."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from fourfold.nn import weights_with_layers
from fourfold.nn.inputs import Inputs
from fourfold.pruning import derivatives, scores
from fourfold.pruning.losses import Loss
from fourfold.pruning.scores import Scores, power_of_two
from fourfold.pruning.units import Units


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """What a score may look at."""

    model: nn.Module
    """Its pruned weights are zero."""
    weights: dict[str, Tensor]
    units: Units
    images: Inputs | None
    labels: Any
    loss: Loss
    generator: Generator | None

    def batch(self) -> tuple[Inputs, Any]:
        """Return the images and labels; the caller has checked that they are there."""
        assert self.images is not None
        assert self.labels is not None
        return self.images, self.labels


def _magnitude(scored: Scored) -> Scores:
    ranked = dict(scored.weights)
    for name, (layer, local, _) in weights_with_layers(scored.model, leave_computed=True).items():
        own = getattr(layer, "ranked_weights", None)
        if callable(own):
            ranked[name] = own()[local].detach()
    return scores.magnitude_scores(ranked, scored.units)


def _gradients(scored: Scored) -> dict[str, Tensor]:
    return derivatives.gradients(scored.model, *scored.batch(), scored.loss, leave_computed=True)


def _fisher(scored: Scored) -> Scores:
    of_images = derivatives.gradients_of_images(scored.model, *scored.batch(), scored.loss, leave_computed=True)
    return scores.fisher_scores(scored.weights, of_images, scored.units)


def _taylor(scored: Scored) -> Scores:
    gradients, products = derivatives.hessian_times(
        scored.model, *scored.batch(), scored.weights, scored.loss, leave_computed=True
    )
    return scores.taylor_scores(scored.weights, gradients, products, scored.units)


def _grasp(scored: Scored) -> Scores:
    _, products = derivatives.hessian_times(scored.model, *scored.batch(), loss=scored.loss, leave_computed=True)
    return scores.grasp_scores(scored.weights, products, scored.units)


def _synflow(scored: Scored) -> Scores:
    assert scored.images is not None
    flow = derivatives.flow_gradients(scored.model, scored.images, leave_computed=True)
    return scores.gradient_scores(*flow, scored.units)


SCORES: dict[str, Callable[[Scored], Scores]] = {
    "magnitude": _magnitude,
    "random": lambda scored: scores.random_scores(scored.weights, scored.units, scored.generator),
    "gradient": lambda scored: scores.gradient_scores(scored.weights, _gradients(scored), scored.units),
    "taylor": _taylor,
    "fisher": _fisher,
    "snip": lambda scored: scores.snip_scores(scored.weights, _gradients(scored), scored.units),
    "grasp": _grasp,
    "synflow": _synflow,
}
"""How units are ranked, by name; the functions of `fourfold.pruning.scores` describe them."""

NEED_IMAGES = frozenset(SCORES) - {"magnitude", "random"}
NEED_LABELS = NEED_IMAGES - {"synflow"}


def additive(score: str, values: Mapping[str, Tensor]) -> Scores:
    """Return scores that add up over units, as comparing by weight or MAC wants: magnitudes squared, roots of taylor's.

    Before magnitudes are squared, they are divided by a power of two near the largest, so that no square over- or underflows.
    """
    if score == "taylor":
        return {name: value.sqrt() for name, value in values.items()}
    if score != "magnitude":
        return dict(values)
    largest = max((float(value.max()) for value in values.values() if value.numel()), default=0.0)
    scale = power_of_two(torch.tensor(-math.frexp(largest)[1]))
    return {name: (value.double() * scale.to(value.device)).square() for name, value in values.items()}
