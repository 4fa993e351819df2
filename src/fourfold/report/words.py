"""Numbers and findings in words; every sentence is computed from the rows."""

from math import isnan

from fourfold.record import TOP1, Metric
from fourfold.report._comparisons import Comparison, comparisons
from fourfold.report._curves import ALGEBRAS, Curve, Stat
from fourfold.report._differences import Differences, Side
from fourfold.report._experiments import Experiment
from fourfold.report.compare import TARGETS
from fourfold.report.gaps import pairs, read
from fourfold.report.statistics import Crossing, Interval, interval

NOT_RUN = "not run"
MISSING = "–"

MACS_NOTE = (
    "At equal stored weights a quaternion network does four times the multiply-accumulates (MACs) of a real one: "
    "compare the MACs too."
)
"""Said once a document, where weights are compared."""

MACS_CAPTION = "Equal weights are not equal MACs."
"""The same in the caption of a figure, which may be shown alone."""


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


def metric_words(metric: Metric) -> str:
    """Return a metric's name within a sentence, such as `top-1 accuracy`, and that less is better where it is."""
    return f"{metric.title or metric.name}{'' if metric.higher_is_better else ' (less is better)'}"


def unit_words(metric: Metric) -> str:
    """Return what a metric's values are in, such as `in percent`."""
    return "in percent" if metric.is_percent else f"in {metric.unit}" if metric.unit else "without a unit"


def difference_words(metric: Metric) -> str:
    """Return what differences of a metric's values are in, such as `in points`, and which sign is better where less is."""
    unit = "in points" if metric.is_percent else unit_words(metric)
    return unit if metric.higher_is_better else f"{unit} (below 0 is better)"


def capital(text: str) -> str:
    """Return a text as a sentence begins."""
    return text[:1].upper() + text[1:]


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


def crossing_interval(crossing: Crossing) -> str:
    """Return the interval of a crossing, such as `[1.75 %, 0.582 %]`, dense end first; empty for a single trial."""
    if crossing.dense_end is None:
        return ""
    return f"[{percent(crossing.dense_end)}, {'beyond' if crossing.sparse_end is None else percent(crossing.sparse_end)}]"


def sentences(experiment: Experiment) -> list[str]:
    """Return what the rows of an experiment say, in a few sentences."""
    tickets = experiment.tickets
    if not tickets:
        return ["No level of a ticket has finished yet."]
    twins = comparisons(experiment)
    result = [_difference(one) for one in twins]
    result.append(_dense(tickets))
    result += [sentence for one in twins if (sentence := _at_sparsest_target(one.curve, one.real)) is not None]
    if all(curve.algebra == "real" for curve in tickets):
        result.append("No other algebra was run, so there is nothing to compare with.")
    if not any(curve.algebra == "real" for curve in tickets):
        result.append("The real twin was not run, so there is nothing to compare with.")
    return result


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
    """Return the gap at the smallest of `TARGETS` that both networks reached, over the trials that reached it with both."""
    for target in sorted(TARGETS):
        both = [(read(ours, target), read(theirs, target)) for ours, theirs in pairs(curve.traces, real.traces)]
        both = [(ours, theirs) for ours, theirs in both if not isnan(ours - theirs)]
        if both:
            metric = curve.metric
            ours, theirs = (sum(values) / len(both) for values in zip(*both, strict=True))
            difference = interval([one - other for one, other in both])
            return (
                f"At {100 * target:g} % of the real twin's parameters: {curve.label} {metric.text(ours)}, "
                f"{_within(real.label)} {metric.text(theirs)}, a gap of {gap_interval(difference, metric)} "
                f"({_number(difference.trials)}, interpolated)."
            )
    return None


def _within(label: str) -> str:
    """Return a label as it is written within a sentence."""
    return label.lower() if label in ALGEBRAS.values() else label


def _number(trials: int) -> str:
    return "one trial each" if trials == 1 else f"{trials} trials"


def gap_interval(difference: Interval, metric: Metric = TOP1, *, with_unit: bool = True) -> str:
    """Return a gap with its unit and its 95 % interval, such as `+3.31 points [+1.60, +5.02]`; a single trial has none."""
    unit = "points" if metric.is_percent else metric.unit
    text = f"{gap(difference.mean, metric)} {unit}".rstrip() if with_unit else gap(difference.mean, metric)
    if difference.low is None or difference.high is None:
        return text
    return f"{text} [{gap(difference.low, metric)}, {gap(difference.high, metric)}]"


def size_ranges(side: Side) -> str:
    """Return the sizes at which a difference is shown, such as `3.61 % to 1.77 % and 1.28 % to 0.889 %`."""
    return " and ".join(percent(high) if high == low else f"{percent(high)} to {percent(low)}" for high, low in side.ranges)


def _difference(one: Comparison) -> str:
    """Return at which sizes the intervals show one network to be better than the other."""
    curve, differences = one.curve, one.by_parameters
    named, real_named = curve.label, _within(one.real.label)
    if differences is None:
        return f"No trial has measured {named} and {real_named} at a common fraction of real yet."
    high, low = percent(differences.sizes[0]), percent(differences.sizes[-1])
    everywhere = f"at {high}" if high == low else f"from {high} to {low}"
    if differences.trials == 1:
        mostly = _mostly(differences, named, real_named)
        return f"One trial only, which shows no difference: {mostly} {everywhere} of the real parameters."
    basis = f"({differences.trials} trials, 95 % intervals of the paired gap)"
    sides = [(f"ahead of {real_named}", "ahead", differences.ahead), (f"behind {real_named}", "behind", differences.behind)]
    differing_sides = [(first, then, side) for first, then, side in sides if side is not None]
    if not differing_sides:
        return f"No difference is shown between {named} and {real_named} {everywhere} of the real parameters {basis}."
    parts: list[str] = []
    for first, then, side in sorted(differing_sides, key=lambda one: -abs(one[2].gap.mean)):
        where = f"{then} at {size_ranges(side)}" if parts else f"{first} at {size_ranges(side)} of the real parameters"
        parts.append(f"{where} (largest mean gap {gap_interval(side.gap, curve.metric)} at {percent(side.at)})")
    rest = "" if differences.is_shown_everywhere else f"; at other sizes {everywhere} no difference is shown"
    return f"{named} is {' and '.join(parts)}{rest} {basis}."


def _mostly(differences: Differences, named: str, real_named: str) -> str:
    """Return which network's mean is better at most sizes."""
    count = len(differences.sizes)
    of_sizes = f"of {count} sizes" if count > 1 else "of 1 size"
    if differences.ahead_at == differences.behind_at:
        return f"{named} is ahead of {real_named} at {differences.ahead_at} and behind at {differences.behind_at} {of_sizes}"
    if differences.ahead_at > differences.behind_at:
        return f"{named} is ahead of {real_named} at {differences.ahead_at} {of_sizes}"
    return f"{named} is behind {real_named} at {differences.behind_at} {of_sizes}"
