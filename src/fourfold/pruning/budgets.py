"""Budgets other than weights: multiply-accumulates, and the time that a device was measured to take."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from fourfold.pruning._select import check_finite
from fourfold.pruning.masks import Masks
from fourfold.pruning.units import Units
from fourfold.record import UserError

BUDGETS = {
    "weights": "density is the share of the weights that stay",
    "macs": "density is the share of the multiply-accumulates that stay",
}
"""What `density` counts, by name."""


def select_macs(
    scores: Mapping[str, Tensor],
    masks: Masks,
    macs: int,
    macs_per_weight: Mapping[str, int],
    units: Units,
    per_mac: bool = True,
) -> Masks:
    """Return the masks that keep the best units that so many multiply-accumulates allow.

    Units are taken by their score per MAC from the largest down, and the first that does not fit is the end. That is the
    greedy rule of the knapsack problem: where scores add up, no choice of as many MACs has a larger sum, so the sum is
    within one unit of the largest possible. Compared with plain scores it removes weights of early convolutions, which are
    used at many positions, before those of linear layers.

    Args:
        scores: Of every unit, by weight name, none negative; such as add up: of magnitudes, their squares.
        masks: What is kept now; the result keeps a part of it.
        macs: MACs for one image that are allowed.
        macs_per_weight: MACs for one image that each stored weight does, by weight name (`Sizes.macs_per_weight`).
        units: What is kept or removed together.
        per_mac: False ranks by the scores themselves: the criterion is then that of `select`, and only the end differs.

    Raises:
        ValueError: a score is negative or not finite, or a weight's MACs are not given.
    """
    check_finite(scores)
    check_macs(macs_per_weight, masks)
    if per_mac and any(bool((score < 0).any()) for score in scores.values()):
        raise UserError("`budget` (='macs') must be 'weights' for scores below 0, which cannot be divided by MACs")
    sizes = {name: units.split(name, mask).sum(1) for name, mask in masks.items()}
    each = torch.cat([torch.full_like(sizes[name], macs_per_weight[name]) for name in masks])
    size, score = torch.cat(list(sizes.values())), torch.cat([scores[name].double() for name in masks])
    cost = size * each
    value = score / cost.clamp_min(1) if per_mac else score
    untouched = torch.cat([torch.full_like(sizes[name], name in units.untouched, dtype=torch.bool) for name in masks])
    untouched |= (each == 0) & (size > 0)  # what costs nothing stays: scales of rotations, layers that do not run
    ranked = torch.where(size > 0, value, -torch.inf).masked_fill(untouched, torch.inf)
    order = ranked.argsort(descending=True, stable=True)
    kept = untouched.clone()
    kept[order[cost[order].cumsum(0) <= macs]] = True
    parts = torch.split(kept, [len(sizes[name]) for name in masks])
    return {name: units.join(name, part, masks[name]) for name, part in zip(masks, parts, strict=True)}


def check_macs(macs_per_weight: Mapping[str, int] | None, names: Iterable[str]) -> None:
    """Raise `UserError` unless the MACs of every weight are given."""
    how = "as `fourfold.models.measure(model, shape).macs_per_weight` does"
    if macs_per_weight is not None and not isinstance(macs_per_weight, Mapping):
        raise UserError(f"`macs_per_weight` (={type(macs_per_weight).__name__}) must be a dict by weight name, {how}")
    missing = [name for name in names if name not in (macs_per_weight or {})]
    if missing:
        raise UserError(f"`macs_per_weight` must name {missing[0]!r}, {how}")


class FoundDensity(NamedTuple):
    """The outcome of a search for a density."""

    density: float
    masks: Masks
    seconds: float
    """What was measured for these masks."""


def prune_to_latency(
    masks_at: Callable[[float], Masks],
    latency: Callable[[Masks], float],
    seconds: float,
    *,
    trials: int = 12,
) -> FoundDensity:
    """Return the largest density tried whose network takes no longer than `seconds`, halving the interval every time.

    The search believes what it measures and that fewer weights take no longer; where the clock is noisy, `latency` should
    return the median of several runs. With 12 trials the density is within 1/4096 of where the time is crossed.

    Args:
        masks_at: The masks of a density in [0, 1], such as `lambda d: choose(model, density=d)`.
        latency: Seconds that the network with these masks takes, measured where it shall run.
        seconds: What it may take, above 0.
        trials: Densities to measure between 0 and 1.

    Raises:
        ValueError: even the network without weights takes longer.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise UserError(f"`seconds` (={seconds!r}) must be above 0")
    masks = masks_at(1.0)
    measured = latency(masks)
    if measured <= seconds:
        return FoundDensity(1.0, masks, measured)
    masks = masks_at(0.0)
    best = FoundDensity(0.0, masks, latency(masks))
    if best.seconds > seconds:
        raise UserError(
            f"`seconds` (={seconds:g}) must be at least {best.seconds:g}, which the network takes without any weight"
        )
    above = 1.0
    for _ in range(trials):
        middle = (best.density + above) / 2
        masks = masks_at(middle)
        measured = latency(masks)
        if measured <= seconds:
            best = FoundDensity(middle, masks, measured)
        else:
            above = middle
    return best
