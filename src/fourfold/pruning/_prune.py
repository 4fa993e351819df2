"""`prune`: a model's weights scored, chosen and set to zero, in one call."""

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor, nn

from fourfold.nn import named_weights
from fourfold.nn.conversion.selecting import Skip
from fourfold.nn.inputs import Inputs
from fourfold.nn.weights import check_there, copied
from fourfold.pruning._select import select, select_n_of_m
from fourfold.pruning.budgets import check_macs, select_macs
from fourfold.pruning.choice import Choice, shares_of
from fourfold.pruning.counts import num_kept
from fourfold.pruning.losses import Loss, cross_entropy
from fourfold.pruning.masks import Masks, apply_, collapsed, dense, kept, matched
from fourfold.pruning.scores import Scores
from fourfold.pruning.scoring import NEED_IMAGES, NEED_LABELS, SCORES, Scored, additive
from fourfold.pruning.units import Units, units_of
from fourfold.record import UserError


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Weights that are compared with each other, and what is to stay of them."""

    names: tuple[str, ...]
    density: float
    scope: str
    budget: str
    units: Units
    total: int
    """What the budget counts of them, dense."""
    left: int
    """And of what is kept before the first round."""

    def density_of(self, number: int, rounds: int) -> float:
        """Return the density after a round: geometric from what is left; the last has the density itself, whatever rounding."""
        if number == rounds or not self.left:
            return self.density
        return self.left / self.total * float((self.density * self.total / self.left) ** (number / rounds))


def choose(
    model: nn.Module,
    choice: Choice,
    *,
    images: Inputs | None = None,
    labels: Any = None,
    masks: Mapping[str, Tensor] | None = None,
    macs_per_weight: Mapping[str, int] | None = None,
    generator: Generator | None = None,
    loss: Loss | None = None,
) -> Masks:
    """Return the masks of a choice; the model stays as it is. The arguments are those of `prune`."""
    _check(model, choice, images, labels, generator, loss)
    units = units_of(model, choice.unit, leave_computed=True)
    shares = shares_of(model, choice.skip, choice.densities, choice.unit)
    network = copied(model) if choice.rounds > 1 or masks is not None else model
    weights = {name: weight.detach() for name, weight in named_weights(network, leave_computed=True).items()}
    if not weights:
        raise UserError("the model has no linear or convolution layer, so there is nothing to prune")
    scored = Scored(
        model=network,
        weights=weights,
        units=units,
        images=images,
        labels=labels,
        loss=loss or cross_entropy,
        generator=generator,
    )
    now = dense(weights) if masks is None else matched(masks, weights)
    if choice.budget == "macs":
        check_macs(macs_per_weight, shares.rest)
    per_weight = dict(macs_per_weight or {}) if choice.budget == "macs" else {}

    def group(names: Collection[str], density: float, scope: str, budget: str) -> _Group:
        each = {name: per_weight[name] if budget == "macs" else 1 for name in names}
        total, left = (_cost(counts, each) for counts in (dense({name: weights[name] for name in names}), now))
        alone = names if not shares.rest or names != shares.rest else ()  # who names the output layer means it
        own_units = replace(units, untouched=units.untouched - set(alone))
        return _Group(names=tuple(names), density=density, scope=scope, budget=budget, units=own_units, total=total, left=left)

    groups = []
    if choice.density is not None:
        groups += [group(shares.rest, float(choice.density), choice.scope, choice.budget)] if shares.rest else []
        scope = choice.scope if choice.scope == "component" else "layer"
        groups += [group((name,), density, scope, "weights") for name, density in shares.own.items()]
    for number in range(1, choice.rounds + 1):
        if network is not model:
            apply_(weights, now)
        all_scores = SCORES[choice.score](scored)
        if network is not model:  # what is pruned may have no derivative, as the norm of a quaternion at zero
            alive = {name: units.split(name, mask).any(1) for name, mask in now.items()}
            all_scores = {name: torch.where(alive[name], score, 0) for name, score in all_scores.items()}
        _check_scores(choice, all_scores, now if number == 1 else None)
        if choice.n_of_m is not None:
            chosen = {name: mask for name, mask in now.items() if name in shares.rest}
            return now | select_n_of_m({name: all_scores[name] for name in chosen}, chosen, *choice.n_of_m, units)
        for part in groups:
            now |= _selected(part, choice, all_scores, now, per_weight, part.density_of(number, choice.rounds))
    return now


def _selected(
    group: _Group, choice: Choice, all_scores: Scores, now: Masks, macs_per_weight: Mapping[str, int], density: float
) -> Masks:
    """Return the masks of a group at a density."""
    scores, masks = ({name: tensors[name] for name in group.names} for tensors in (all_scores, now))
    if group.budget == "macs":
        budget = num_kept(density, group.total)
        return select_macs(additive(choice.score, scores), masks, budget, macs_per_weight, group.units)
    if choice.unit == "weight" or choice.score == "random":
        return select(scores, masks, density, group.units, group.scope)
    # Units of many weights would be kept before units of few, such as a real output layer's, by their size alone.
    values = additive(choice.score, scores)
    each = {name: value / max(1, group.units.split(name, masks[name]).shape[1]) for name, value in values.items()}
    return select(each, masks, density, group.units, group.scope)


def _check(
    model: nn.Module,
    choice: Choice,
    images: Inputs | None,
    labels: Any,
    generator: Generator | None,
    loss: Loss | None,
) -> None:
    """Raise `UserError` for arguments of the wrong kind, or that are missing."""
    check_model(model)
    if not isinstance(choice, Choice):
        raise UserError(f"`choice` (={type(choice).__name__}) must be a `Choice`")
    if generator is not None and not isinstance(generator, Generator):
        raise UserError(f"`generator` (={generator!r}) must be a torch.Generator")
    if loss is not None and not callable(loss):
        raise UserError(f"`loss` (={loss!r}) must be a function of outputs and labels")
    if choice.score in NEED_IMAGES and (images is None or (labels is None and choice.score in NEED_LABELS)):
        needed = "`images` and `labels`" if choice.score in NEED_LABELS else "`images`"
        raise UserError(f"`score` (={choice.score!r}) needs {needed}: a batch as the model takes it")


def check_model(model: Any) -> None:
    """Raise `UserError` unless a value is a network whose weights are there."""
    if not isinstance(model, nn.Module):
        raise UserError(f"`model` (={type(model).__name__}) must be a torch.nn.Module")
    check_there(model)


def _check_scores(choice: Choice, all_scores: Scores, dense_masks: Masks | None) -> None:
    """Refuse scores of zero everywhere, by which weights would go by their position alone.

    A network that has collapsed on its way has such scores: there, position is all that is left.
    """
    if choice.score not in NEED_IMAGES or dense_masks is None or not all(bool(mask.all()) for mask in dense_masks.values()):
        return
    if not any(bool(score.any()) for score in all_scores.values()):
        raise UserError(
            f"`score` (={choice.score!r}) is 0 for all weights, so none ranks before another: does the loss depend on them?"
        )


def _cost(masks: Masks, per_weight: Mapping[str, int]) -> int:
    return sum(int(masks[name].sum()) * each for name, each in per_weight.items())


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
    images: Inputs | None = None,
    labels: Any = None,
    masks: Mapping[str, Tensor] | None = None,
    macs_per_weight: Mapping[str, int] | None = None,
    generator: Generator | None = None,
    loss: Loss | None = None,
    skip: Skip = (),
    densities: Mapping[str, float] | None = None,
) -> Masks:
    """Set all but the best weights of a model to zero, and return what was kept.

    To train on, call `apply_(model, masks)` after every optimiser step.

    Args:
        model: Any network of linear, convolution, recurrent and attention layers, ours or torch's own; changed in place.
        density: Share of the weights (or of the MACs, see `budget`) of the dense network that stays.
        n_of_m: Instead of a density: weights to keep of how many successive inputs of a row, such as (2, 4).
        score: How weights are ranked, one of `SCORES`.
        unit: What is kept or removed together, one of `UNITS`.
        scope: What is compared with each other, one of `SCOPES`.
        budget: What `density` counts, one of `BUDGETS`.
        iterations: Rounds of scoring and pruning; default 100 for synflow, 1 for others.
        images: A batch as the model takes it, for scores other than magnitude and random: a tensor, a tuple of tensors
            (arguments in order) or a dict (arguments by name).
        labels: Their classes, or what `loss` compares the outputs with; synflow does without.
        masks: What is kept now; default: everything.
        macs_per_weight: For `budget="macs"`: `fourfold.models.measure(model, shape).macs_per_weight`.
        generator: What random scores are drawn from; default torch's global one.
        loss: From outputs and labels to the mean loss of the batch; default cross-entropy, for classifiers.
        skip: Modules whose weights all stay and do not count: names, patterns such as `*.downsample`, or classes.
        densities: Layers with a density of their own, by name or pattern; `density` is that of all others.

    Warns:
        UserWarning: a layer has no weight left, so that nothing of the image may reach the output.

    Raises:
        UserError: settings that are unknown, contradict each other or lack what they need; masks of another network; a layer
            that computes its weights and is not skipped.
    """
    choice = Choice(
        density=density,
        n_of_m=n_of_m,
        score=score,
        unit=unit,
        scope=scope,
        budget=budget,
        iterations=iterations,
        skip=skip,
        densities={} if densities is None else densities,
    )
    chosen = choose(
        model,
        choice,
        images=images,
        labels=labels,
        masks=masks,
        macs_per_weight=macs_per_weight,
        generator=generator,
        loss=loss,
    )
    apply_(model, chosen)
    if empty := collapsed(chosen):
        warnings.warn(f"no weight is left in {', '.join(empty)}: the network has collapsed there", stacklevel=2)
    elif not any(kept(chosen).values()):
        warnings.warn("no weight is left in the whole network", stacklevel=2)
    return chosen
