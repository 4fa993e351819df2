"""How near rows are to a paper's experiment, and whether they decide its claims.

Rows of the experiment itself do. So do rows whose only departures cost nothing that a claim is about: levels that prune several
of the published levels at once, so that every density is a published one, and training in bf16 once the study `precisions` has
shown what it costs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fourfold.record import Spec
from fourfold.report._curves import Curve
from fourfold.report._experiments import Experiment
from fourfold.report.gaps import accuracy_at, gaps_everywhere
from fourfold.report.statistics import Interval, interval

AS_PUBLISHED = "as the paper's text"
OTHER_SETTINGS = "other settings than the preset's"

MOST_BF16_POINTS = 0.5
"""Points of accuracy that bf16 may cost by the whole 95 % interval of a study."""

ALIVE = 0.5
"""Part of its dense accuracy below which a network says nothing about a precision: whether a trial is lost there is chance."""

DENSITY_TOLERANCE = 1e-3
"""Of a level's density, relative, as `--prune-fraction 0.488` for three levels of 0.2 (0.8³ = 0.512)."""

_EVERY = {2: "every second level", 3: "every third level", 4: "every fourth level", 5: "every fifth level"}


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What a verdict stands on."""

    words: str
    distance: float
    """From the paper's experiment; of several, the nearest is taken."""
    decides: bool


def basis_of(spec: Spec | None, scale: float | None, preset_spec: Spec, bf16_is_free: bool) -> Basis:
    """Return how near an experiment is to a paper's.

    Args:
        spec: The experiment; None where only rows are known.
        scale: Of a smaller version; None for one that is not.
        asked: The paper's experiment, in the same algebra.
        bf16_is_free: Whether bf16 has been shown to cost no accuracy.
    """
    if scale is not None:
        return Basis(words=f"scaled to {scale:g}", distance=3 - scale, decides=False)
    if spec is None:
        return Basis(words=OTHER_SETTINGS, distance=1, decides=False)
    as_asked = replace(spec, stop=preset_spec.stop)
    if as_asked == preset_spec:
        return Basis(words=AS_PUBLISHED, distance=0, decides=True)
    merged = _merged_levels(spec, preset_spec)
    in_bf16 = spec.train.precision == "bf16"
    if merged is None or replace(as_asked, prune=preset_spec.prune, train=replace(spec.train, precision=None)) != preset_spec:
        return Basis(words=OTHER_SETTINGS, distance=1, decides=False)
    departures = [_EVERY[merged]] if merged > 1 else []
    if in_bf16:
        departures.append("bf16" if bf16_is_free else "bf16, which no study here shows to cost nothing")
    return Basis(words=", ".join(departures), distance=0.5, decides=bf16_is_free or not in_bf16)


def _merged_levels(spec: Spec, preset_spec: Spec) -> int | None:
    """Return how many published levels one level prunes; None if it differs in more than that."""
    if spec.prune == preset_spec.prune:
        return 1
    if replace(spec.prune, fraction=preset_spec.prune.fraction) != preset_spec.prune:
        return None
    density, kept = 1 - spec.prune.fraction, 1 - preset_spec.prune.fraction
    return next((levels for levels in _EVERY if math.isclose(density, kept**levels, rel_tol=DENSITY_TOLERANCE)), None)


def bf16_is_free(experiments: Sequence[Experiment]) -> bool:
    """Whether studies of precisions, of convolutions among them, show for every network that bf16 costs below half a point."""
    costs = bf16_gaps(experiments)
    harmless = [gap.low is not None and gap.low > -MOST_BF16_POINTS for _, gap in costs]
    return all(harmless) and any(curve.model.startswith(("conv", "resnet", "vgg")) for curve, _ in costs)


def bf16_gaps(experiments: Sequence[Experiment]) -> list[tuple[Curve, Interval]]:
    """Return every network that was trained in bf16 and in float32 by a study, and how many points bf16 is ahead.

    Of each trial it is the mean over all sizes at which both networks have at least half of their dense accuracy.
    """
    gaps = []
    for experiment in experiments:
        if not experiment.preset.endswith("-precisions"):
            continue
        for curve in experiment.tickets:
            spec = experiment.specs.get(curve.run)
            if spec is None or spec.train.precision != "bf16":
                continue
            exact = replace(spec, train=replace(spec.train, precision=None))
            twin = next((other for other in experiment.tickets if experiment.specs.get(other.run) == exact), None)
            if twin is not None and (gap := _mean_gap(curve, twin)):
                gaps.append((curve, gap))
    return gaps


def _mean_gap(ours: Curve, theirs: Curve) -> Interval | None:
    places, gaps = gaps_everywhere(ours.traces, theirs.traces)
    alive = [index for index, place in enumerate(places) if min(_kept(ours, place), _kept(theirs, place)) >= ALIVE]
    return interval(np.nanmean(gaps[:, alive], axis=1)) if alive else None


def _kept(curve: Curve, fraction: float) -> float:
    """Return the part of its dense accuracy that a network has at a size."""
    accuracy, dense = accuracy_at(curve.traces, fraction), curve.traces[0].top1[0]
    return accuracy.mean / dense if accuracy else 0.0
