"""Numbers and findings in words; every sentence is computed from the rows."""

from fourfold.record import TOP1, Metric
from fourfold.report.compare import TARGETS, at_fraction, common_range, crossover, real_twin
from fourfold.report.curves import ALGEBRAS, Curve, Stat
from fourfold.report.experiments import Experiment
from fourfold.report.gaps import overtaking
from fourfold.report.statistics import Crossing

NOT_RUN = "not run"
MISSING = "–"

MACS_NOTE = (
    "At equal stored weights a quaternion network does four times the multiply-accumulates (MACs) of a real one: "
    "compare the MACs too."
)
"""Said wherever weights are compared."""


def percent(fraction: float) -> str:
    """Return a fraction as percent with three digits, such as `12.5 %`."""
    value = 100 * fraction
    digits = 1 if value >= 9.995 else 2 if value >= 0.9995 else 3 if value >= 0.0995 else 4
    return "100 %" if value >= 99.95 else f"{value:.{digits}f} %"


def count(number: float) -> str:
    """Return a count with three digits and k, M or G, such as `4.30 M`."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size * 0.9995:
            value = number / size
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{unit}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Return bytes with three digits, such as `312 kB` (1 kB is 1,000 bytes)."""
    text = count(number)
    return f"{text}B" if text[-1].isalpha() else f"{text} B"


def accuracy(stat: Stat, metric: Metric = TOP1) -> str:
    """Return the mean and, of several trials, the sample standard deviation, such as `82.41 ± 0.32`."""
    mean = metric.number(stat.mean)
    return mean if stat.std is None else f"{mean} ± {metric.number(stat.std)}"


def gap(points: float, metric: Metric = TOP1) -> str:
    """Return a difference, of percentages in points, with its sign."""
    return (f"{points:+.2f}" if metric.is_percent else f"{points:+.4g}").replace("-", "−")


def trials(n: int, most: int | None = None) -> str:
    """Return a number of trials, such as `5`, or `3 of 5` where some ended earlier."""
    return str(n) if most is None or n == most else f"{n} of {most}"


def seconds(total: float) -> str:
    """Return a time in its two largest units, such as `2 h 05 min`."""
    if total < 60:
        return f"{total:.0f} s" if total >= 10 else f"{total:.1f} s"
    minutes = round(total / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def crossing_interval(found: Crossing) -> str:
    """Return the interval of a crossing, such as `[1.75 %, 0.582 %]`, dense end first; empty for a single trial."""
    if found.dense_end is None:
        return ""
    return f"[{percent(found.dense_end)}, {'beyond' if found.sparse_end is None else percent(found.sparse_end)}]"


def sentences(experiment: Experiment) -> list[str]:
    """Return what the rows of an experiment say, in a few sentences."""
    tickets = experiment.tickets
    if not tickets:
        return ["No level of a ticket has finished yet."]
    pairs = [(curve, real) for curve in tickets if (real := real_twin(curve, experiment)) is not None]
    said = [_overtakes(curve, real) for curve, real in pairs]
    said.append(_dense(tickets))
    said += [sentence for curve, real in pairs if (sentence := _at_sparsest_target(curve, real)) is not None]
    if all(curve.algebra == "real" for curve in tickets):
        said.append("No other algebra was run, so there is nothing to compare with.")
    if not any(curve.algebra == "real" for curve in tickets):
        said.append("The real twin was not run, so there is nothing to compare with.")
    return said


def _dense(tickets: tuple[Curve, ...]) -> str:
    parts = []
    for curve in tickets:
        dense = curve.dense
        if dense is None:
            continue
        n = f"{dense.top1.n} trial{'s' if dense.top1.n > 1 else ''}"
        share = "" if curve.algebra == "real" else f" with {percent(dense.fraction_of_real)} of the real twin's parameters"
        unit = f" {curve.metric.unit}" if curve.metric.unit else ""
        parts.append(f"{curve.label} {accuracy(dense.top1, curve.metric)}{unit}{share} ({n})")
    if not parts:
        return "No dense network (level 0) was trained."
    metric = tickets[0].metric
    less = "" if metric.higher_is_better else " (less is better)"
    return f"Dense {metric.title or metric.name}{less}: {'; '.join(parts)}."


def _at_sparsest_target(curve: Curve, real: Curve) -> str | None:
    for target in sorted(TARGETS):
        ours, theirs = at_fraction(curve, target), at_fraction(real, target)
        if ours is not None and theirs is not None:
            return (
                f"At {100 * target:g} % of the real twin's parameters: {curve.label} {curve.metric.text(ours.top1)}, "
                f"{_within(real.label)} {curve.metric.text(theirs.top1)}, a gap of "
                f"{gap(ours.top1 - theirs.top1, curve.metric)}{' points' if curve.metric.is_percent else ''} "
                f"({_basis(curve, real)})."
            )
    return None


def _within(label: str) -> str:
    """Return a label as it is written within a sentence."""
    return label.lower() if label in ALGEBRAS.values() else label


def _basis(curve: Curve, real: Curve) -> str:
    """Return what a comparison rests on: single trials say so, for their spread is not known."""
    single = [one.label for one in (curve, real) if one.most_trials == 1]
    if len(single) == 2:
        return "one trial each, interpolated"
    return f"means, interpolated; only one trial of {_within(single[0])}" if single else "means, interpolated"


def _overtakes(curve: Curve, real: Curve) -> str:
    named, real_named = curve.label, _within(real.label)
    both = common_range(curve, real)
    if both is None:
        return f"{named} and {real_named} have not been measured at any common fraction of real yet."
    high, low = (percent(value) for value in both)
    found = crossover(curve, real)
    if found is None:
        if high == low:
            only = "the only fraction that both reached"
            return f"{named} does not exceed {real_named} at {high} of the real twin's parameters, {only}."
        return f"{named} does not exceed {real_named} anywhere between {high} and {low} of the real twin's parameters."
    if found.from_start:
        largest = "the largest fraction that both reached"
        start = f"{named} is ahead of {real_named} from {high} of the real twin's parameters, {largest},"
    else:
        sure = overtaking(curve.traces, real.traces)
        ends = crossing_interval(sure) if sure else ""
        between = f", 95 % interval {ends}" if ends else ""
        where = f"{percent(found.fraction)} of the real twin's parameters ({_basis(curve, real)}{between})"
        start = f"{named} overtakes {real_named} at {where}"
    if found.behind_again is None:
        return f"{start} and stays ahead down to {low}, the smallest fraction that both reached."
    return f"{start} but not for good: it falls behind again at {percent(found.behind_again)}."
