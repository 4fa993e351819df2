"""Which levels are held against each other where a page has no room for all: dense, and tickets of about equal size."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from fourfold.report._curves import Curve, Point
from fourfold.report._experiments import Experiment
from fourfold.report.wording import network_words
from fourfold.report.words import percent

MOST_NETWORKS = 3
"""Networks that are held against each other; of a study, the first ones."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ChosenLevel:
    """One level of one network."""

    curve: Curve
    point: Point
    network: str
    """In words."""

    @property
    def words(self) -> str:
        """Such as `Real, dense` or `Quaternion at 3.12 %`."""
        return (
            f"{self.network}, dense" if self.point.level == 0 else f"{self.network} at {percent(self.point.fraction_of_real)}"
        )


def chosen_levels(experiment: Experiment, is_known: Callable[[Curve, Point], bool]) -> list[ChosenLevel]:
    """Return the dense level of each ticket, and those nearest to two sizes that all of them reached: the smallest, and the
    geometric mean of that and the largest.

    Args:
        experiment: Whose tickets they are.
        is_known: Whether a level has what is shown of it.
    """
    known = [(curve, [point for point in curve.points if is_known(curve, point)]) for curve in experiment.tickets]
    known = [(curve, points) for curve, points in known if points][:MOST_NETWORKS]
    if not known:
        return []
    smallest = max(min(point.fraction_of_real for point in points) for _, points in known)
    largest = min(max(point.fraction_of_real for point in points) for _, points in known)
    sizes = (math.sqrt(smallest * max(largest, smallest)), smallest)
    chosen = []
    for curve, points in known:
        tickets = [point for point in points if point.level > 0]
        near = [min(tickets, key=lambda point: abs(math.log(point.fraction_of_real / size))) for size in sizes if tickets]
        levels = {point.level: point for point in [*(point for point in points if point.level == 0), *near]}
        name = network_words(curve, experiment)
        chosen += [ChosenLevel(curve=curve, point=levels[level], network=name) for level in sorted(levels)]
    return chosen
