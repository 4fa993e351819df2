"""The numbers that a page's own script draws: curves with axes to choose, training and layers level by level."""

import math
from collections.abc import Sequence
from typing import Any

from fourfold.record import TICKET, TOP1, Metric
from fourfold.report._curves import Curve, Training
from fourfold.report._experiments import Experiment
from fourfold.report._style import COLOURS, OTHER, style
from fourfold.report.wording import network_words

MOST_LEVELS = 12
"""Levels of which a page holds training curves; `figures/` and the rows have the others."""

COLUMNS = ("level", "density", "fraction", "macs", "bytes", "weights", "top1", "std", "n")
"""What the numbers of a point are, in their order: a page has hundreds of points, and their names once."""

MOST_EPOCHS = 60
"""Points of one training curve."""


def explored(experiment: Experiment) -> dict[str, Any]:
    """Return the numbers of an experiment, rounded to what a screen can show."""
    return {
        "title": experiment.title,
        "metric": {
            "name": "Top-1" if experiment.metric == TOP1 else experiment.metric.short,
            "axis": experiment.metric.axis,
            "unit": experiment.metric.unit,
            "percent": experiment.metric.is_percent,
            "reverse": not experiment.metric.higher_is_better,
        },
        "columns": COLUMNS,
        "curves": [_curve(curve, experiment) for curve in experiment.curves],
        "published": [
            {
                "label": f"{curve.algebra.capitalize()}, {curve.label}",
                "source": curve.label,
                "colour": COLOURS.get(curve.algebra, OTHER),
                "algebra": curve.algebra,
                "points": [[_digits(x), y] for x, y in curve.points],
            }
            for curve in experiment.published
        ],
    }


def _curve(curve: Curve, experiment: Experiment) -> dict[str, Any]:
    look = style(curve)
    is_ticket = curve.control == TICKET
    return {
        "label": _label(curve, experiment),
        "run": curve.run,
        "algebra": curve.algebra,
        "ticket": is_ticket,
        "colour": [look.light, look.dark],
        "marker": look.marker,
        "dash": list(look.dash),
        "most": curve.most_trials,
        "points": [
            [
                point.level,
                _digits(point.density),
                _digits(point.fraction_of_real),
                round(point.macs),
                round(point.stored_bytes),
                round(point.weights),
                _rounded(point.top1.mean, curve.metric, 3),
                None if point.top1.std is None else _rounded(point.top1.std, curve.metric, 3),
                point.top1.n,
            ]
            for point in curve.points
        ],
        # Only tickets have charts of their training and layers; of a control they would be bytes that are never drawn.
        "training": [_training(training, curve.metric) for training in _levels(curve.training)] if is_ticket else [],
        "layers": {
            name: [None if math.isnan(value) else _digits(value) for value in values] for name, values in curve.layers.items()
        }
        if is_ticket
        else {},
    }


def _label(curve: Curve, experiment: Experiment) -> str:
    """Return what a switch says; a control also says whose it is."""
    name = network_words(curve, experiment)
    if curve.control == TICKET:
        return name
    return f"{curve.algebra.capitalize()}: {name[0].lower()}{name[1:]}"


def _training(training: Training, metric: Metric) -> dict[str, Any]:
    every = max(1, math.ceil(len(training.epochs) / MOST_EPOCHS))
    kept = [index for index in range(len(training.epochs)) if index % every == 0 or index == len(training.epochs) - 1]
    stats = [training.top1[index] for index in kept]
    return {
        "level": training.level,
        "epochs": [training.epochs[index] for index in kept],
        "top1": [_rounded(stat.mean, metric, 2) for stat in stats],
        "std": [None if stat.std is None else _rounded(stat.std, metric, 2) for stat in stats],
        "n": [stat.n for stat in stats],
    }


def _levels(trained: Sequence[Training]) -> list[Training]:
    """Return the training curves of at most twelve levels, the first and the last among them."""
    if len(trained) <= MOST_LEVELS:
        return list(trained)
    step = (len(trained) - 1) / (MOST_LEVELS - 1)
    return [trained[round(step * index)] for index in range(MOST_LEVELS)]


def _rounded(value: float, metric: Metric, digits: int) -> float:
    """Return a value of a metric, of percentages to so many decimals."""
    return round(value, digits) if metric.is_percent else _digits(value)


def _digits(value: float) -> float:
    """Round to four significant digits."""
    return float(f"{value:.4g}")
