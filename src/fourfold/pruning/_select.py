"""Choosing the units that stay from their scores, with exact counts: ties go to the unit that comes first."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fourfold.nn import Layout
from fourfold.pruning.counts import apportion, erdos_renyi_shares, num_kept
from fourfold.pruning.masks import Masks
from fourfold.pruning.scores import magnitude_scores
from fourfold.pruning.units import Units
from fourfold.record import UserError
from fourfold.record.errors import unknown

SCOPES = {
    "global": "units are compared over the whole network",
    "layer": "within each layer, all layers of one density",
    "erk": "within each layer, of the densities of Erdős–Rényi kernels",
    "component": "within each component of each layer, all of one density (paper 2's released code)",
}
"""What units are compared with, by name."""

_WEIGHTS = Units()

Part = tuple[str, slice]
"""Some units of a weight."""


def keep_largest(scores: Tensor, count: int) -> Tensor:
    """Return a mask with exactly `count` True, at the largest scores; of equal scores the first ones.

    Shapes: scores (m,), finite or −∞ → bool (m,).
    """
    if not 0 <= count <= scores.numel():
        raise ValueError(f"`count` (={count}) must lie in [0, {scores.numel()}], the number of scores")
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = torch.kthvalue(scores, scores.numel() - count + 1).values
    above = scores > threshold
    ties = scores == threshold
    mask = above | (ties & (ties.cumsum(0) <= count - above.sum()))
    assert int(mask.sum()) == count
    return mask


def select(scores: Mapping[str, Tensor], masks: Masks, density: float, units: Units = _WEIGHTS, scope: str = "global") -> Masks:
    """Return the masks that keep the units of the largest scores among those that have a weight left.

    Single weights are counted exactly: `round(density · weights)` of every group that `scope` compares. Of larger units so
    many are kept, from the largest score down, that their weights are as near to that as can be (of two equally near
    numbers the smaller), and at least one where weights are to be kept at all. Weights that are untouched count, so the
    others make up for them.

    Args:
        scores: Of every unit, by weight name.
        masks: What is kept now; the result keeps a part of it.
        density: Weights to keep / all weights of the dense network, or of each of its groups.
        units: What is kept or removed together.
        scope: One of `SCOPES`.

    Raises:
        ValueError: a score is not finite, or the masks keep fewer weights than asked for, by more than rounding explains.
    """
    check_finite(scores)
    sizes = {name: units.split(name, mask).sum(1) for name, mask in masks.items()}
    kept = {name: torch.full_like(size, name in units.untouched, dtype=torch.bool) for name, size in sizes.items()}
    for parts, count in _groups(masks, density, units, scope):
        here = torch.cat([scores[name][part].double() for name, part in parts])
        size = torch.cat([sizes[name][part] for name, part in parts])
        total = sum(_part_numel(masks[name], part, sizes[name]) for name, part in parts)
        spare = max(_rounding(masks[name], sizes[name]) for name, _ in parts)
        count = _attainable(count, int(size.sum()), spare, density, total)
        ranked = torch.where(size > 0, here, -torch.inf)
        chosen = keep_largest(ranked, count) if units.unit == "weight" else _keep_nearest(ranked, size, count)
        for (name, part), mask in zip(
            parts, torch.split(chosen, [len(sizes[name][part]) for name, part in parts]), strict=True
        ):
            kept[name][part] = mask
    return {name: units.join(name, kept[name], mask) for name, mask in masks.items()}


def magnitude(weights: Mapping[str, Tensor], masks: Masks, density: float, scope: str = "global") -> Masks:
    """Return the masks that keep the largest absolute weights among those that are kept now: `select` by magnitude."""
    return select(magnitude_scores(weights, _WEIGHTS), masks, density, _WEIGHTS, scope)


def select_n_of_m(scores: Mapping[str, Tensor], masks: Masks, kept: int, of: int, units: Units = _WEIGHTS) -> Masks:
    """Return the masks that keep the `kept` largest scores of every `of` successive inputs of a row.

    Inputs are those that are stored (in / n), at each position of a kernel apart, as sparse tensor cores take them. What
    is left over at the end of a row is treated as if filled up with zeros, so it keeps no more than `kept` either.

    Args:
        scores: Of single weights, by weight name.
        masks: What is kept now; groups that have fewer left keep these.
        kept: Weights to keep in a group.
        of: Weights of a group.
        units: Says which axis of a weight the inputs are.

    Raises:
        ValueError: the numbers make no sense, or a score is not finite.
    """
    check_n_of_m((kept, of))
    check_finite(scores)
    result: Masks = {}
    for name, mask in masks.items():
        layout, ranked = units.layout(name), torch.where(mask, scores[name].view(mask.shape).double(), -torch.inf)
        numbers = layout.numbers(ranked)  # (n, outputs, inputs, positions)
        rows = numbers.movedim(2, -1) if mask.dim() > 1 else ranked.view(1, -1)
        inputs = rows.shape[-1]
        groups = torch.nn.functional.pad(rows, (0, -inputs % of), value=-torch.inf)
        groups = groups.view(*groups.shape[:-1], -1, of)
        order = groups.argsort(dim=-1, descending=True, stable=True)
        chosen = torch.zeros_like(groups, dtype=torch.bool).scatter_(-1, order[..., :kept], True)
        flat = chosen.flatten(-2)[..., :inputs]
        shape = tuple(mask.shape)
        result[name] = (layout.stored(flat.movedim(-1, 2), shape) if mask.dim() > 1 else flat.view(shape)) & mask
    return result


def check_n_of_m(n_of_m: Any) -> None:
    """Raise `UserError` unless a value is a pair of numbers of weights, the first below the second."""
    pair = n_of_m if isinstance(n_of_m, tuple | list) and all(isinstance(number, int) for number in n_of_m) else ()
    if len(pair) != 2 or not 0 < pair[0] < pair[1]:
        raise UserError(f"`n_of_m` (={n_of_m!r}) must be two integers, the first above 0 and below the second")


def check_finite(scores: Mapping[str, Tensor]) -> None:
    """Raise `ValueError` for a score that has no rank."""
    for name, score in scores.items():
        if not bool(score.isfinite().all()):
            raise ValueError(f"weight {name!r} is not finite, so it has no rank")


def _groups(masks: Masks, density: float, units: Units, scope: str) -> list[tuple[list[Part], int]]:
    """Return what is compared with each other, and the weights that each such group keeps."""
    if scope not in SCOPES:
        raise unknown("scope", scope, SCOPES)
    pruned, density = _without_untouched(masks, density, units)
    sizes = {name: mask.numel() for name, mask in pruned.items()}
    if scope == "global":
        return [([(name, slice(None)) for name in pruned], num_kept(density, sum(sizes.values())))] if pruned else []
    if scope == "layer":
        return [([(name, slice(None))], num_kept(density, size)) for name, size in sizes.items()]
    if scope == "component":
        if units.unit != "weight":
            raise UserError(f"`scope` (='component') must be another for `unit` (={units.unit!r}), which joins components")
        parts = [(name, part) for name in pruned for part in _components(sizes[name], units.layout(name))]
        return [([(name, part)], num_kept(density, part.stop - part.start)) for name, part in parts]
    shares, now = (
        erdos_renyi_shares(shapes_of(pruned, units), {name: units.dimension(name) for name in pruned}),
        [int(mask.sum()) for mask in pruned.values()],
    )
    spare, total = sum(_rounding(mask, units.split(name, mask)) for name, mask in pruned.items()), sum(sizes.values())
    target = _attainable(num_kept(density, total), sum(now), spare, density, total)
    counts = apportion(target, [shares[name] for name in pruned], now)
    return [([(name, slice(None))], count) for name, count in zip(pruned, counts, strict=True)]


def shapes_of(masks: Masks, units: Units) -> dict[str, tuple[int, ...]]:
    """Return the shapes of weights as those of convolutions, (out, in / n, *kernel), by name."""
    return {name: units.layout(name).kernel_shape(tuple(mask.shape)) for name, mask in masks.items()}


def _without_untouched(masks: Masks, density: float, units: Units) -> tuple[Masks, float]:
    """Return the masks of the weights that are pruned, and the density of them that gives all weights the density asked for."""
    pruned = {name: mask for name, mask in masks.items() if name not in units.untouched}
    if len(pruned) == len(masks) or not pruned:
        return pruned, density
    total = sum(mask.numel() for mask in masks.values())
    untouched = sum(int(mask.sum()) for name, mask in masks.items() if name in units.untouched)
    left = (density * total - untouched) / max(1, sum(mask.numel() for mask in pruned.values()))
    return pruned, min(1.0, max(0.0, left))


def _components(size: int, layout: Layout) -> Sequence[slice]:
    """Return where each component of each block of rows lies in a stored weight."""
    count = layout.n * (layout.blocks if layout.n > 1 else 1)
    return [slice(i * size // count, (i + 1) * size // count) for i in range(count)]


def _part_numel(mask: Tensor, part: slice, sizes: Tensor) -> int:
    return mask.numel() * len(sizes[part]) // max(1, len(sizes))


def _rounding(mask: Tensor, by_unit: Tensor) -> int:
    """Return how many weights of a group its last unit may have been too large for: half of a unit."""
    return mask.numel() // max(1, len(by_unit)) // 2


def _attainable(count: int, now: int, spare: int, density: float, total: int) -> int:
    """Return the count, or what is left now where no more than rounding to units explains that it is less."""
    if count > now + spare:
        raise ValueError(f"`density` (={density}) asks for {count} of {total} weights, but only {now} are kept now")
    return min(count, now)


def _keep_nearest(ranked: Tensor, sizes: Tensor, count: int) -> Tensor:
    """Keep units from the largest score down until their weights are nearest to `count`."""
    order = ranked.argsort(descending=True, stable=True)
    added = torch.cat([sizes.new_zeros(1), sizes[order].cumsum(0)])
    distance = (added - count).abs()
    number = int((distance == distance.min()).nonzero()[0])
    number = max(number, min(1, count, int((sizes > 0).sum())))
    mask = torch.zeros_like(sizes, dtype=torch.bool)
    mask[order[:number]] = True
    return mask & (sizes > 0)
