"""What claims come down to: each function makes a check, which measures one quantity and says what would bear the claim out."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fourfold.report.evidence import FAILS, HOLDS, NOT_MEASURED, UNDECIDED, Evidence, Finding, Traces, above, at, finding
from fourfold.report.gaps import (
    accuracy_at,
    gap_at,
    gap_to_dense,
    gap_when_dense,
    gaps_everywhere,
    overtaking,
    pairs,
    survival,
)
from fourfold.report.statistics import Interval, interval
from fourfold.report.words import percent

COMPARABLE = 2.0
"""Points by which accuracies may differ that the papers call comparable, or almost as good."""

SAME = 1.0
"""Points by which a pruned network may be below the dense one and still match it."""

ALIVE = 20.0
"""Percent of accuracy below which paper 2 takes a network for lost; paper 1's curves end above it."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """How a claim is put to the test."""

    criterion: str
    """What must be so for the claim to hold."""
    measure: Callable[[Evidence], Finding]


def dense_behind() -> Check:
    """Quaternion cannot be trained to the same accuracy."""
    return Check(
        criterion="the dense quaternion network is below the dense real one",
        measure=lambda evidence: _below(gap_when_dense(evidence.quaternion, evidence.real), 0, evidence, "when dense"),
    )


def dense_comparable() -> Check:
    """Quaternion is almost as good when dense."""
    return Check(
        criterion=f"the dense quaternion network is at most {COMPARABLE:g} points below the dense real one",
        measure=lambda evidence: above(gap_when_dense(evidence.quaternion, evidence.real), -COMPARABLE, evidence, "when dense"),
    )


def dense_unsatisfactory() -> Check:
    """Quaternion is not satisfactory when dense: more than comparable networks differ."""
    return Check(
        criterion=f"the dense quaternion network is more than {COMPARABLE:g} points below the dense real one",
        measure=lambda evidence: _below(
            gap_when_dense(evidence.quaternion, evidence.real), -COMPARABLE, evidence, "when dense"
        ),
    )


def ticket(density: float) -> Check:
    """A network pruned to a density matches or exceeds the dense one."""
    return Check(
        criterion=f"the quaternion network with {percent(density)} of its weights is at most {SAME:g} point below dense",
        measure=lambda evidence: above(
            gap_to_dense(evidence.quaternion, density), -SAME, evidence, f"to dense with {percent(density)} of its weights"
        ),
    )


def declines(density: float) -> Check:
    """Accuracy falls from the first weights on."""
    return Check(
        criterion=f"the quaternion network with {percent(density)} of its weights is over {SAME:g} point below dense",
        measure=lambda evidence: _below(
            gap_to_dense(evidence.quaternion, density), -SAME, evidence, f"to dense with {percent(density)} of its weights"
        ),
    )


def gap_above(fraction: float, points: float, stated: float) -> Check:
    """Quaternion is ahead by more than so many points at a fraction of real; says where the stated gap is reached first."""

    def measure(evidence: Evidence) -> Finding:
        finding_above = above(gap_at(evidence.quaternion, evidence.real, fraction), points, evidence, at(fraction))
        places, gaps = gaps_everywhere(evidence.quaternion, evidence.real)
        reached = [place for place, column in zip(places, gaps.T, strict=True) if np.nanmean(column) >= stated]
        where = f"+{stated:g} is first measured at {percent(reached[0])}" if reached else f"+{stated:g} is measured nowhere"
        return (
            finding_above
            if finding_above is NOT_MEASURED
            else Finding(**{**vars(finding_above), "text": f"{finding_above.text}; {where}"})
        )

    return Check(criterion=f"quaternion is more than {points:g} points ahead {at(fraction)}", measure=measure)


def crosses_near(fraction: float, factor: float = 1.25) -> Check:
    """The curves cross near a fraction of real: within a level of pruning of it."""
    low, high = fraction / factor, fraction * factor

    def measure(evidence: Evidence) -> Finding:
        crossing = overtaking(evidence.quaternion, evidence.real)
        if crossing is None:
            return _never_ahead(evidence, low)
        verdict = UNDECIDED
        if evidence.of_means:
            verdict = HOLDS if low <= crossing.at <= high else FAILS
        elif crossing.dense_end is not None:
            sparse_end = 0.0 if crossing.sparse_end is None else crossing.sparse_end
            inside, outside = low <= sparse_end and crossing.dense_end <= high, crossing.dense_end < low or sparse_end > high
            verdict = HOLDS if inside else FAILS if outside else UNDECIDED
        return Finding(
            verdict=verdict,
            text=f"the mean gap first exceeds zero {at(crossing.at)}",
            estimate=100 * crossing.at,
            low=None if crossing.sparse_end is None else 100 * crossing.sparse_end,
            high=None if crossing.dense_end is None else 100 * crossing.dense_end,
            trials=crossing.trials,
        )

    return Check(criterion=f"quaternion overtakes real between {percent(high)} and {percent(low)}", measure=measure)


def _never_ahead(evidence: Evidence, low: float) -> Finding:
    """Judge curves whose mean gap never exceeds zero: they have not crossed if the interval at the sparse end says so."""
    places, _ = gaps_everywhere(evidence.quaternion, evidence.real)
    if not places:
        return NOT_MEASURED
    if evidence.of_means:
        return Finding(verdict=FAILS, text="never ahead", trials=_trials(evidence))
    end = gap_at(evidence.quaternion, evidence.real, low)
    fails = end is not None and end.high is not None and end.high < 0
    return Finding(verdict=FAILS if fails else UNDECIDED, text="the mean gap never exceeds zero", trials=_trials(evidence))


def ahead_below(fraction: float) -> Check:
    """Quaternion is ahead at all fractions of real from one down, as far as either network is alive."""
    return Check(
        criterion=f"quaternion is ahead wherever both were measured at {percent(fraction)} and below",
        measure=lambda evidence: _everywhere(evidence, fraction, sign=1),
    )


def behind_below(fraction: float = 1.0) -> Check:
    """Real is at least as good at all fractions of real from one down, as far as either network is alive."""
    place = "wherever both were measured" + ("" if fraction == 1 else f" at {percent(fraction)} and below")
    return Check(
        criterion=f"quaternion is not ahead {place}", measure=lambda evidence: _everywhere(evidence, fraction, sign=-1)
    )


def outlives() -> Check:
    """Quaternion still trains where real has failed."""

    def measure(evidence: Evidence) -> Finding:
        places, _ = gaps_everywhere(evidence.quaternion, evidence.real)
        means = [(place, accuracy_at(evidence.real, place)) for place in places]
        failed = next((place for place, mean in means if mean is not None and mean.mean < ALIVE), None)
        if failed is None:
            return NOT_MEASURED
        where = f"{at(failed)}, where real has fallen below {ALIVE:g} %"
        return above(accuracy_at(evidence.quaternion, failed), ALIVE, evidence, where, "% quaternion accuracy")

    return Check(criterion=f"quaternion is above {ALIVE:g} % where real has fallen below it", measure=measure)


def stays_longer() -> Check:
    """Quaternion stays comparable to itself dense down to fewer parameters than real does."""

    def measure(evidence: Evidence) -> Finding:
        ratios = []
        for ours, theirs in pairs(evidence.quaternion, evidence.real):
            lost_by, twin = survival([ours], COMPARABLE), survival([theirs], COMPARABLE)
            if lost_by is None or twin is None:
                return NOT_MEASURED
            ratios.append(float(np.log(twin.at / lost_by.at)))
        if not ratios:
            return NOT_MEASURED
        logs = interval(ratios)
        ends = [None if end is None else float(np.exp(end)) for end in (logs.low, logs.high)]
        ratio = Interval(mean=float(np.exp(logs.mean)), low=ends[0], high=ends[1], trials=logs.trials)
        return above(ratio, 1, evidence, f"as few parameters when {COMPARABLE:g} points are lost", "times")

    return Check(
        criterion=f"quaternion loses {COMPARABLE:g} points on itself dense at fewer parameters than real does", measure=measure
    )


def ticket_beats(control: str) -> Check:
    """A quaternion ticket is ahead of one of its controls wherever that was trained; the dense network is no ticket."""

    def measure(evidence: Evidence) -> Finding:
        rivals = evidence.controls.get(control, ())
        dense = max((trace.fraction_of_real[0] for trace in evidence.quaternion), default=1.0)
        pruned = math.nextafter(dense, 0)
        return _everywhere(Evidence(quaternion=evidence.quaternion, real=rivals), pruned, sign=1, where=rivals)

    return Check(
        criterion=f"the quaternion ticket is ahead of its control `{control}` wherever that was trained, but dense",
        measure=measure,
    )


def _below(gap: Interval | None, bound: float, evidence: Evidence, where: str) -> Finding:
    result = above(gap, bound, evidence, where)
    opposite = {HOLDS: FAILS, FAILS: HOLDS, UNDECIDED: UNDECIDED}[result.verdict]
    return result if gap is None else finding(gap, opposite, where)


def _everywhere(evidence: Evidence, fraction: float, *, sign: int, where: Traces = ()) -> Finding:
    """Judge a sign of the gap at every measured fraction; the finding is the fraction that speaks most against it.

    It is refuted if one interval in ten contradicts it (by chance alone one in forty does), and holds if no mean
    contradicts it and half of the intervals exclude a tie.
    """
    places, gaps = gaps_everywhere(evidence.quaternion, evidence.real, where=where)
    result = []
    for place, column in zip(places, gaps.T, strict=True):
        accuracies = [accuracy_at(traces, place) for traces in (evidence.quaternion, evidence.real)]
        if place <= fraction and any(one is not None and one.mean >= ALIVE for one in accuracies):
            result.append((place, interval(column[~np.isnan(column)])))
    if not result:
        return NOT_MEASURED
    ends = [sorted((sign * one.low, sign * one.high)) for _, one in result if one.low is not None and one.high is not None]
    agree = sum(sign * one.mean > 0 or (sign < 0 and one.mean == 0) for _, one in result)
    against, clear = sum(high < 0 for _, high in ends), sum(low > 0 for low, _ in ends)
    if evidence.of_means:
        verdict = HOLDS if agree == len(result) else FAILS
    elif 10 * against >= len(result):
        verdict = FAILS
    else:
        verdict = HOLDS if agree == len(result) and 2 * clear >= len(result) else UNDECIDED
    place, worst = min(result, key=lambda pair: _best_for(pair[1], sign))
    side = "ahead" if sign > 0 else "not ahead"
    return finding(worst, verdict, f"{at(place)}, most against it; {side} at {agree} of {len(result)} fractions")


def _best_for(gap: Interval, sign: int) -> float:
    """Return the end of an interval (the mean where there is none) that is best for a sign, times that sign."""
    end = gap.high if sign > 0 else gap.low
    return sign * (gap.mean if end is None else end)


def _trials(evidence: Evidence) -> int:
    return len(pairs(evidence.quaternion, evidence.real))
