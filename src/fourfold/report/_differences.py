"""At which sizes the gap between two networks is shown: where its whole 95 % interval over paired trials excludes zero.

One interval in twenty excludes zero by chance alone, so a difference is shown only where `NEIGHBOURS` sizes in a row agree.
Simulated without any difference, 3, 5 and 10 trials of 18 sizes gave one such size in 51–56 % of the cases, two in a row in
12–14 %, three in a row in 2 %; of 46 sizes, three in a row in 2–6 % (`python benchmarks/intervals.py --noise 400`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from fourfold.report._curves import Curve
from fourfold.report.compare import AT_END
from fourfold.report.gaps import Quantity, pairs, read_all
from fourfold.report.statistics import Array, Interval, interval

NEIGHBOURS = 3
"""Measured sizes in a row whose intervals exclude zero on the same side; all of them where fewer were measured."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """The sizes (fractions of real) at which one network is shown to be better than the other."""

    ranges: tuple[tuple[float, float], ...]
    """Largest and smallest size of each range, largest first; every measured size within has an interval that excludes zero."""
    at: float
    """The size of the largest mean gap among them."""
    gap: Interval
    """The gap there, in the metric's own sign: the first network's value minus the second's."""


@dataclass(frozen=True, kw_only=True)
class Differences:
    """What paired trials show about two networks over all sizes that both reached."""

    trials: int
    """Pairs at the size that most pairs reached."""
    sizes: tuple[float, ...]
    """Measured sizes (fractions of real unless another quantity was asked for), largest first."""
    gaps: tuple[Interval, ...]
    """The gap at every size, in the metric's own sign."""
    ahead_at: int
    """Number of sizes at which the first network's mean is better."""
    behind_at: int
    ahead: Side | None
    """Where the first network is shown to be better; None if nowhere, and with one trial."""
    behind: Side | None

    @property
    def is_shown(self) -> bool:
        """Whether one network is shown to be better at any size."""
        return self.ahead is not None or self.behind is not None

    @property
    def is_shown_everywhere(self) -> bool:
        """Whether one network is shown to be better at every measured size."""
        ranges = [one for side in (self.ahead, self.behind) if side is not None for one in side.ranges]
        return all(any(low <= size <= high for high, low in ranges) for size in self.sizes)


def differences(curve: Curve, other: Curve, quantity: Quantity = "fraction_of_real") -> Differences | None:
    """Return at which sizes one network is shown to be better or worse than another; None without a common trial and size."""
    both = pairs(curve.traces, other.traces)
    sizes = _sizes(curve, other, quantity)
    gaps = np.array([read_all(ours, sizes, quantity) - read_all(theirs, sizes, quantity) for ours, theirs in both])
    gaps = gaps.reshape(len(both), len(sizes))
    measured = [index for index in range(len(sizes)) if not np.isnan(gaps[:, index]).all()]
    if not measured:
        return None
    sizes, gaps = [sizes[index] for index in measured], gaps[:, measured]
    intervals = [interval(column[~np.isnan(column)]) for column in gaps.T]
    better = 1 if curve.metric.higher_is_better else -1
    signs = [better * _sign(one) for one in intervals]
    means = better * np.array([one.mean for one in intervals])
    return Differences(
        trials=max(one.trials for one in intervals),
        sizes=tuple(sizes),
        gaps=tuple(intervals),
        ahead_at=int((means > 0).sum()),
        behind_at=int((means < 0).sum()),
        ahead=_side(1, signs, sizes, intervals, means),
        behind=_side(-1, signs, sizes, intervals, means),
    )


def _sizes(curve: Curve, other: Curve, quantity: Quantity) -> list[float]:
    """Return the sizes of both networks' levels, largest first; of sizes within 2 % of each other only the largest."""
    sizes: list[float] = []
    for size in sorted((getattr(point, quantity) for one in (curve, other) for point in one.points), reverse=True):
        if size > 0 and (not sizes or size * AT_END < sizes[-1]):
            sizes.append(size)
    return sizes


def _sign(gap: Interval) -> int:
    """Return 1 or −1 where the whole interval is above or below zero, 0 where it holds zero or is not known."""
    if gap.low is None or gap.high is None:
        return 0
    return 1 if gap.low > 0 else -1 if gap.high < 0 else 0


def _side(sign: int, signs: Sequence[int], sizes: Sequence[float], gaps: Sequence[Interval], means: Array) -> Side | None:
    runs = [
        [index for index, _ in group] for value, group in groupby(enumerate(signs), key=lambda one: one[1]) if value == sign
    ]
    long_runs = [run for run in runs if len(run) >= min(NEIGHBOURS, len(sizes))]
    if not long_runs:
        return None
    largest = max((index for run in long_runs for index in run), key=lambda index: sign * means[index])
    ranges = tuple((sizes[run[0]], sizes[run[-1]]) for run in long_runs)
    return Side(ranges=ranges, at=sizes[largest], gap=gaps[largest])
