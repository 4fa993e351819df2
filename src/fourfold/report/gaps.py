"""Gaps between two networks at equal parameters, stored bytes or MACs, with intervals over trials.

Trials of one number are compared with each other: real and quaternion networks of one trial see the same images in the same
order. In the committed rows of Lenet-300-100 and Lenet-12 their accuracies at one fraction of real correlate by anything from
−0.9 to +0.9 (`python benchmarks/intervals.py --correlation results`), so an interval that took them as independent would be too
short in some places and too long in others; the paired one is right in both, and costs degrees of freedom where there is no
correlation.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from fourfold.report._curves import Trace
from fourfold.report.compare import AT_END
from fourfold.report.statistics import Array, Crossing, Interval, crossing, interval

Quantity = Literal["density", "fraction_of_real", "stored_bytes", "macs"]

Traces = Sequence[Trace]


def read(trace: Trace, size: float, quantity: Quantity = "fraction_of_real") -> float:
    """Return a trial's value (accuracies in percent) at a size, linear in its logarithm; nan outside of what was measured.

    Within 2 % (relative) of either end, the end's own value is taken.
    """
    return float(read_all(trace, [size], quantity)[0])


def read_all(trace: Trace, sizes: Sequence[float], quantity: Quantity = "fraction_of_real") -> Array:
    """Return a trial's values at several sizes, each as `read` does."""
    sizes_read = np.asarray(sizes, dtype=np.float64)
    places, values = np.array(getattr(trace, quantity)[::-1], dtype=np.float64), np.array(trace.top1[::-1])
    some_left = places > 0  # a network without any MACs left has no place on a logarithmic axis
    places, values = places[some_left], values[some_left]
    if not len(places) or not len(sizes_read):
        return np.full(len(sizes_read), np.nan)
    inside = (places[0] / AT_END <= sizes_read) & (sizes_read <= places[-1] * AT_END)
    result = np.full(len(sizes_read), np.nan)
    result[inside] = np.interp(np.log(sizes_read[inside]), np.log(places), values)
    return result


def accuracy_at(traces: Traces, size: float, quantity: Quantity = "fraction_of_real") -> Interval | None:
    """Return the accuracy (percent) at a size over the trials that reached it; None if none did."""
    return _over_trials([read(trace, size, quantity) for trace in traces])


def gap_at(ours: Traces, theirs: Traces, size: float, quantity: Quantity = "fraction_of_real") -> Interval | None:
    """Return how many points `ours` is above `theirs` at a size, over the trials that both have; None if none reached it."""
    return _over_trials([read(our, size, quantity) - read(their, size, quantity) for our, their in pairs(ours, theirs)])


def gap_to_dense(traces: Traces, density: float) -> Interval | None:
    """Return how many points a network pruned to a density is above itself when dense; None if no trial reached it."""
    return _over_trials([read(trace, density, "density") - trace.top1[0] for trace in traces if trace.density[0] == 1])


def gap_when_dense(ours: Traces, theirs: Traces) -> Interval | None:
    """Return how many points the dense network of `ours` is above the dense one of `theirs`; None if one is missing."""
    both = [(our, their) for our, their in pairs(ours, theirs) if our.density[0] == their.density[0] == 1]
    return _over_trials([our.top1[0] - their.top1[0] for our, their in both])


def overtaking(ours: Traces, theirs: Traces) -> Crossing | None:
    """Return the fraction of real from which `ours` is first above `theirs`; None if it never is where both were measured."""
    places, gaps = gaps_everywhere(ours, theirs)
    return crossing(places, gaps) if places else None


def survival(traces: Traces, points: float, reference: Sequence[float] | None = None) -> Crossing | None:
    """Return the fraction of real below which accuracy is more than `points` below dense; None if it never falls so far.

    Args:
        traces: The trials of one network.
        points: Points of accuracy that may be lost.
        reference: Accuracy to hold it against, trial by trial; the network's own dense one unless given.
    """
    dense = [trace.top1[0] for trace in traces] if reference is None else list(reference)
    places = _places(traces)
    lost = [start - points - read_all(trace, places) for trace, start in zip(traces, dense, strict=True)]
    return crossing(places, np.array(lost))


def gaps_everywhere(ours: Traces, theirs: Traces, *, where: Traces = ()) -> tuple[list[float], Array]:
    """Return every fraction of real that was measured, largest first, and the gaps there (trials, fractions).

    Fractions that no trial reached with both networks are left out; `where` names the networks at whose fractions to look,
    both unless given.
    """
    both = pairs(ours, theirs)
    places = _places(where or [trace for pair in both for trace in pair])
    gaps = np.array([read_all(our, places) - read_all(their, places) for our, their in both]).reshape(len(both), len(places))
    measured = [index for index in range(len(places)) if not np.isnan(gaps[:, index]).all()]
    return [places[index] for index in measured], gaps[:, measured] if measured else np.empty((0, 0))


def pairs(ours: Traces, theirs: Traces) -> list[tuple[Trace, Trace]]:
    """Return the trials that both have."""
    by_trial = {trace.trial: trace for trace in theirs}
    return [(trace, by_trial[trace.trial]) for trace in ours if trace.trial in by_trial]


def _places(traces: Traces) -> list[float]:
    return sorted({place for trace in traces for place in trace.fraction_of_real}, reverse=True)


def _over_trials(values: Sequence[float]) -> Interval | None:
    measured = [value for value in values if not np.isnan(value)]
    return interval(measured) if measured else None
