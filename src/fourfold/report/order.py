"""The order of experiments in a report: the strongest evidence first."""

from collections.abc import Iterable

from fourfold.report._comparisons import comparisons
from fourfold.report._differences import Differences
from fourfold.report._experiments import Experiment
from fourfold.report.compare import departures
from fourfold.report.scaling import scale_of


def strongest_first(experiments: Iterable[Experiment]) -> list[Experiment]:
    """Return experiments of more paired trials first; then whole presets, shown differences, names."""
    return sorted(experiments, key=_rank)


def shows_a_difference(experiment: Experiment) -> bool:
    """Whether intervals show any network of an experiment to be better or worse than its real twin."""
    return any(one.is_shown for one in _differences(experiment))


def _rank(experiment: Experiment) -> tuple[int, int, bool, bool, str]:
    differences = _differences(experiment)
    paired = max((one.trials for one in differences), default=0)
    is_reduced = scale_of(experiment.preset) is not None or bool(departures(experiment))
    trials = max((curve.most_trials for curve in experiment.tickets), default=0)
    return -paired, -trials, is_reduced, not any(one.is_shown for one in differences), experiment.preset


def _differences(experiment: Experiment) -> list[Differences]:
    return [one.by_parameters for one in comparisons(experiment) if one.by_parameters is not None]
