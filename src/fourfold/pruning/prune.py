"""`prune`: a model's weights scored, chosen and set to zero, in one call."""

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from fourfold.nn import named_weights
from fourfold.pruning import derivatives, scores
from fourfold.pruning.budgets import BUDGETS, select_macs
from fourfold.pruning.counts import num_kept
from fourfold.pruning.masks import Masks, apply_, collapsed, dense, kept
from fourfold.pruning.scores import Scores
from fourfold.pruning.select import SCOPES, select, select_n_of_m
from fourfold.pruning.units import UNITS, Units, units_of
from fourfold.record import UserError
from fourfold.record.errors import unknown

SYNFLOW_ITERATIONS = 100
"""As Tanaka et al. 2020: pruned at once by its scores, a network loses whole layers."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """What a score may look at."""

    model: nn.Module
    """Its pruned weights are zero."""
    weights: dict[str, Tensor]
    units: Units
    images: Tensor | None
    labels: Tensor | None
    generator: Generator | None

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return the images and labels; the caller has checked that they are there."""
        assert self.images is not None
        assert self.labels is not None
        return self.images, self.labels


def _gradient(scored: Scored) -> Scores:
    return scores.gradient_scores(scored.weights, derivatives.gradients(scored.model, *scored.batch()), scored.units)


def _snip(scored: Scored) -> Scores:
    return scores.snip_scores(scored.weights, derivatives.gradients(scored.model, *scored.batch()), scored.units)


def _fisher(scored: Scored) -> Scores:
    return scores.fisher_scores(scored.weights, derivatives.gradients_of_images(scored.model, *scored.batch()), scored.units)


def _taylor(scored: Scored) -> Scores:
    gradients, products = derivatives.hessian_times(scored.model, *scored.batch(), scored.weights)
    return scores.taylor_scores(scored.weights, gradients, products, scored.units)


def _grasp(scored: Scored) -> Scores:
    _, products = derivatives.hessian_times(scored.model, *scored.batch())
    return scores.grasp_scores(scored.weights, products, scored.units)


def _synflow(scored: Scored) -> Scores:
    assert scored.images is not None
    return scores.gradient_scores(*derivatives.flow_gradients(scored.model, scored.images), scored.units)


SCORES: dict[str, Callable[[Scored], Scores]] = {
    "magnitude": lambda scored: scores.magnitude_scores(scored.weights, scored.units),
    "random": lambda scored: scores.random_scores(scored.weights, scored.units, scored.generator),
    "gradient": _gradient,
    "taylor": _taylor,
    "fisher": _fisher,
    "snip": _snip,
    "grasp": _grasp,
    "synflow": _synflow,
}
"""How units are ranked, by name; the functions of `fourfold.pruning.scores` describe them."""

ADDS_UP: dict[str, Callable[[Tensor], Tensor]] = {"magnitude": torch.square, "taylor": torch.sqrt}
"""What turns a score into one that adds up over units, as a budget of MACs wants; the others do as they are."""

NEED_IMAGES = frozenset(SCORES) - {"magnitude", "random"}
NEED_LABELS = NEED_IMAGES - {"synflow"}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which weights shall stay."""

    density: float | None = None
    """Share of what `budget` counts that stays, of the dense network; None with `n_of_m`."""
    n_of_m: tuple[int, int] | None = None
    """Weights to keep of how many successive inputs of a row, such as (2, 4); None with `density`."""
    score: str = "magnitude"
    """One of `SCORES`."""
    unit: str = "weight"
    """One of `UNITS`."""
    scope: str = "global"
    """One of `SCOPES`."""
    budget: str = "weights"
    """One of `BUDGETS`."""
    iterations: int | None = None
    """Rounds of scoring and pruning, of densities in a geometric series; None means 100 for synflow and 1 for others."""

    def __post_init__(self) -> None:
        for kind, known in (("score", SCORES), ("unit", UNITS), ("scope", SCOPES), ("budget", BUDGETS)):
            if getattr(self, kind) not in known:
                raise unknown(kind, getattr(self, kind), known)
        if (self.density is None) == (self.n_of_m is None):
            raise UserError(f"`density` (={self.density}) must be given where `n_of_m` (={self.n_of_m}) is not, and only there")
        if self.density is not None and not 0 <= self.density <= 1:
            raise UserError(f"`density` (={self.density}) must lie in [0, 1]")
        if self.n_of_m is not None and (self.unit, self.scope, self.budget) != ("weight", "global", "weights"):
            raise UserError(f"`n_of_m` (={self.n_of_m}) must stand without `unit`, `scope` and `budget`: it fixes every row")
        if self.budget == "macs" and self.scope != "global":
            raise UserError(f"`scope` (={self.scope!r}) must be 'global' for `budget` (='macs')")
        if self.iterations is not None and self.iterations < 1:
            raise UserError(f"`iterations` (={self.iterations}) must be at least 1")

    @property
    def rounds(self) -> int:
        """Rounds of scoring and pruning."""
        if not self.density:
            return 1
        return self.iterations or (SYNFLOW_ITERATIONS if self.score == "synflow" else 1)


def choose(
    model: nn.Module,
    choice: Choice,
    *,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    masks: Masks | None = None,
    macs_per_weight: Mapping[str, int] | None = None,
    generator: Generator | None = None,
) -> Masks:
    """Return the masks of a choice; the model stays as it is. The arguments are those of `prune`."""
    units = units_of(model, choice.unit)
    network = copy.deepcopy(model) if choice.rounds > 1 or masks is not None else model
    weights = {name: weight.detach() for name, weight in named_weights(network).items()}
    if not weights:
        raise UserError("the model has no linear or convolution layer, so there is nothing to prune")
    if choice.score in NEED_IMAGES and (images is None or (labels is None and choice.score in NEED_LABELS)):
        needed = "`images` and `labels`" if choice.score in NEED_LABELS else "`images`"
        raise UserError(f"`score` (={choice.score!r}) needs {needed}: a batch as the model takes it")
    scored = Scored(model=network, weights=weights, units=units, images=images, labels=labels, generator=generator)
    now = dense(weights) if masks is None else masks

    per_weight = dict.fromkeys(weights, 1) if choice.budget == "weights" else dict(macs_per_weight or {})
    total, left = (_cost(counts, per_weight) for counts in (dense(weights), now))
    rounds = choice.rounds
    for number in range(1, rounds + 1):
        if network is not model:
            apply_(weights, now)
        found = SCORES[choice.score](scored)
        if choice.n_of_m is not None:
            return select_n_of_m(found, now, *choice.n_of_m)
        assert choice.density is not None
        # Geometric from what is left now; the last round has the density itself, whatever the rounding.
        density = choice.density if number == rounds else left / total * (choice.density * total / left) ** (number / rounds)
        values = {name: ADDS_UP.get(choice.score, torch.positive)(score) for name, score in found.items()}
        if choice.budget == "macs":
            now = select_macs(values, now, num_kept(density, total), per_weight, units)
        elif choice.unit == "weight" or choice.score == "random":
            now = select(found, now, density, units, choice.scope)
        else:
            # Units of many weights would be kept before units of few, such as a real output layer's, by their size alone.
            each = {name: value / units.split(name, weights[name]).shape[1] for name, value in values.items()}
            now = select(each, now, density, units, choice.scope)
    return now


def _cost(masks: Masks, per_weight: Mapping[str, int]) -> int:
    return sum(count * per_weight.get(name, 0) for name, count in kept(masks).items())


def prune(
    model: nn.Module,
    *,
    density: float | None = None,
    n_of_m: tuple[int, int] | None = None,
    score: str = "magnitude",
    unit: str = "weight",
    scope: str = "global",
    budget: str = "weights",
    iterations: int | None = None,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    masks: Masks | None = None,
    macs_per_weight: Mapping[str, int] | None = None,
    generator: Generator | None = None,
) -> Masks:
    """Set all but the best weights of a model to zero, and return what was kept.

    To train on, call `apply_(named_weights(model), masks)` after every optimiser step.

    Args:
        model: Any network of linear and convolution layers, ours or torch's own; changed in place.
        density: Share of the weights (or of the MACs, see `budget`) of the dense network that stays.
        n_of_m: Instead of a density: weights to keep of how many successive inputs of a row, such as (2, 4).
        score: How weights are ranked, one of `SCORES`.
        unit: What is kept or removed together, one of `UNITS`.
        scope: What is compared with each other, one of `SCOPES`.
        budget: What `density` counts, one of `BUDGETS`.
        iterations: Rounds of scoring and pruning; default 100 for synflow, 1 for others.
        images: A batch as the model takes it, for scores other than magnitude and random.
        labels: Their classes; synflow does without.
        masks: What is kept now; default: everything.
        macs_per_weight: For `budget="macs"`: `fourfold.models.measure(model, shape).macs_per_weight`.
        generator: What random scores are drawn from; default torch's global one.

    Warns:
        UserWarning: a layer has no weight left, so that nothing of the image may reach the output.

    Raises:
        ValueError: settings that are unknown, contradict each other or lack what they need.
    """
    choice = Choice(density=density, n_of_m=n_of_m, score=score, unit=unit, scope=scope, budget=budget, iterations=iterations)
    chosen = choose(
        model,
        choice,
        images=images,
        labels=labels,
        masks=masks,
        macs_per_weight=macs_per_weight,
        generator=generator,
    )
    apply_(named_weights(model), chosen)
    empty = collapsed(chosen)
    if empty:
        warnings.warn(f"no weight is left in {', '.join(empty)}: the network has collapsed there", stacklevel=2)
    return chosen
