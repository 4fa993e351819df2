"""A network held against its real twin: computed once an experiment, and read by sentences, tables, figures and pages."""

from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

from fourfold.report._curves import Curve
from fourfold.report._differences import Differences, differences
from fourfold.report._experiments import Experiment
from fourfold.report.compare import real_twin
from fourfold.report.gaps import Quantity, gap_at
from fourfold.report.statistics import Interval


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One network and its real twin."""

    curve: Curve
    real: Curve
    by_parameters: Differences | None
    """By fraction of real; None where no trial has measured both at a common size."""
    _gaps: dict[tuple[Quantity, float], Interval | None] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def by_macs(self) -> Differences | None:
        """The same at equal multiply-accumulates."""
        return differences(self.curve, self.real, "macs")

    def size(self, share: float, quantity: Quantity) -> float | None:
        """Return a share of the dense real network's size; None where that is not known."""
        if quantity == "macs":
            return share * self.curve.macs_real
        if quantity == "stored_bytes":
            return share * self.real.dense.stored_bytes if self.real.dense else None
        return share

    def gap(self, share: float, quantity: Quantity) -> Interval | None:
        """Return the gap where both have a share of the dense real network's size; None where not both were measured."""
        if (quantity, share) not in self._gaps:
            size = self.size(share, quantity)
            difference = None if size is None else gap_at(self.curve.traces, self.real.traces, size, quantity)
            self._gaps[quantity, share] = difference
        return self._gaps[quantity, share]


_KNOWN: WeakKeyDictionary[Experiment, tuple[Comparison, ...]] = WeakKeyDictionary()
"""Experiments do not change, and their intervals over a hundred trials take a second."""


def comparisons(experiment: Experiment) -> tuple[Comparison, ...]:
    """Return every ticket that has a real twin with it, in the order of the curves."""
    if experiment not in _KNOWN:
        twins = [(curve, real) for curve in experiment.tickets if (real := real_twin(curve, experiment)) is not None]
        _KNOWN[experiment] = tuple(
            Comparison(curve=curve, real=real, by_parameters=differences(curve, real)) for curve, real in twins
        )
    return _KNOWN[experiment]


def comparison_of(curve: Curve, experiment: Experiment) -> Comparison | None:
    """Return what a ticket is held against; None for a real network and where its twin was not run."""
    return next((one for one in comparisons(experiment) if one.curve is curve), None)
