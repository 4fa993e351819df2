"""Smaller versions of an experiment, which say that they are smaller wherever they are shown."""

import math
import re
from dataclasses import replace

from fourfold.record import PruneSpec, Spec, UserError

_SUFFIX = re.compile(r"-scale-(0\.\d+)$")

_LEAST_KEPT = 0.45
"""Of the weights that a level may keep of the one before: coarser steps than this find worse tickets."""


def check_scale(scale: float) -> None:
    """Raise `UserError` unless a scale lies above 0 and up to 1, in steps of a thousandth."""
    if not 0 < scale <= 1 or round(scale, 3) != scale:
        raise UserError(f"`--scale` (={scale:g}) must lie in (0, 1] and have at most three decimals, such as 0.1")


def scaled(spec: Spec, scale: float) -> Spec:
    """Return a smaller version of an experiment, under a name and so an id of its own; at scale 1 the experiment itself.

    Epochs (and the epochs at which the learning rate falls) are multiplied by the scale, at least one is left. A level takes
    the place of `1 / √scale` levels, rounded, as long as it keeps 45 % of the weights: densities are then every second or
    third of the full experiment's, down to the same stop rule or the first that is as sparse as its last level. Images,
    batches, networks and everything else are the same.
    """
    if scale == 1:
        return spec
    train, kept = spec.train, 1 - spec.prune.fraction
    epochs = max(1, round(train.epochs * scale))
    milestones = sorted({max(1, round(milestone * scale)) for milestone in train.milestones} - {epochs})
    steps = max(1, round(scale**-0.5))
    while steps > 1 and kept**steps < _LEAST_KEPT:
        steps -= 1
    prune: PruneSpec = replace(spec.prune, fraction=1 - kept**steps)
    last = spec.stop.max_level
    return replace(
        spec,
        preset=f"{spec.preset}-scale-{scale:g}",
        train=replace(train, epochs=epochs, milestones=tuple(milestones)),
        prune=prune,
        stop=spec.stop if last is None else replace(spec.stop, max_level=-(-last // steps)),
    )


def scaled_trials(trials: int, scale: float) -> int:
    """Return the trials of a smaller version: at least two, so that a spread is known, where there are two."""
    return max(min(2, trials), math.ceil(trials * scale))


def scale_of(preset: str) -> float | None:
    """Return the scale that an experiment's name tells; None for one that is not scaled."""
    suffix = _SUFFIX.search(preset)
    return float(suffix[1]) if suffix else None


def unscaled(preset: str) -> str:
    """Return the name of the full experiment."""
    return _SUFFIX.sub("", preset)
