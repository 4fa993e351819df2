"""What a claim is judged by: the trials of a quaternion network and of its real twin, ours or published."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fourfold.report._curves import Trace
from fourfold.report.published import PublishedCurve
from fourfold.report.statistics import Interval
from fourfold.report.words import gap, percent

Verdict = Literal["holds", "does not hold", "not enough data"]

HOLDS: Verdict = "holds"
FAILS: Verdict = "does not hold"
UNDECIDED: Verdict = "not enough data"

Traces = tuple[Trace, ...]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One experiment's trials."""

    quaternion: Traces
    real: Traces
    controls: Mapping[str, Traces] = field(default_factory=dict)
    """Of the quaternion network, by the control's name."""
    of_means: bool = False
    """Whether only mean curves are known, as of published ones: they are judged by the mean, without an interval."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the evidence says on a claim."""

    verdict: Verdict
    text: str
    """What was found, such as `+12.9 points at 3.00 %`."""
    estimate: float | None = None
    low: float | None = None
    """Of the 95 % interval; None where there is none."""
    high: float | None = None
    trials: int = 0


NOT_MEASURED = Finding(verdict=UNDECIDED, text="not measured")
"""There are rows, but not at the sizes that the claim speaks of."""


def published_evidence(curves: tuple[PublishedCurve, ...]) -> Evidence | None:
    """Return the published pair of curves as evidence; None unless both networks are published."""
    traces = {curve.algebra: (published_trace(curve),) for curve in curves}
    if not {"real", "quaternion"} <= set(traces):
        return None
    return Evidence(quaternion=traces["quaternion"], real=traces["real"], of_means=True)


def published_trace(curve: PublishedCurve) -> Trace:
    """Return a published curve as one trial; its densest point is taken for the dense network."""
    start = curve.points[0][0]
    return Trace(
        trial=0,
        density=tuple(fraction / start for fraction, _ in curve.points),
        fraction_of_real=tuple(fraction for fraction, _ in curve.points),
        top1=tuple(top1 for _, top1 in curve.points),
    )


def above(value: Interval | None, bound: float, evidence: Evidence, where: str, unit: str = "points") -> Finding:
    """Return whether a quantity is above a bound: its whole interval must be, or be below for the claim to fail."""
    if value is None:
        return NOT_MEASURED
    verdict = UNDECIDED
    if evidence.of_means:
        verdict = HOLDS if value.mean > bound else FAILS
    elif value.low is not None and value.high is not None:
        verdict = HOLDS if value.low > bound else FAILS if value.high < bound else UNDECIDED
    return finding(value, verdict, where, unit)


def finding(value: Interval, verdict: Verdict, where: str, unit: str = "points") -> Finding:
    """Return a finding on one number, its interval said."""
    number = gap(value.mean) if unit == "points" else f"{value.mean:.2f}"
    return Finding(
        verdict=verdict,
        text=f"{number} {unit} {where}",
        estimate=value.mean,
        low=value.low,
        high=value.high,
        trials=value.trials,
    )


def at(fraction: float) -> str:
    """Return such as `at 12.5 % of the real parameters`."""
    return f"at {percent(fraction)} of the real parameters"
