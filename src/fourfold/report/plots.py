"""What is drawn: series of numbers, before any drawing, so that a figure and its CSV cannot disagree."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fourfold.record import TOP1, Metric
from fourfold.report.compare import departures
from fourfold.report.curves import Curve, Stat
from fourfold.report.experiments import Experiment
from fourfold.report.style import COLOURS, OTHER, Style, style
from fourfold.report.tables import Record
from fourfold.report.words import MACS_CAPTION, percent

Quantity = Literal["fraction_of_real", "macs", "epoch"]

_SIDES = "dense left, sparse right"

_FRACTION = "Trainable parameters as a fraction of the real twin's"

_LEVELS_SHOWN = 6
"""Training curves of more levels than this are not told apart by eye."""


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a plot."""

    label: str
    run: str
    """The run's id; empty for a published curve."""
    x: tuple[float, ...]
    y: tuple[float, ...]
    std: tuple[float | None, ...]
    trials: tuple[int, ...]
    levels: tuple[int | None, ...]
    full: tuple[bool, ...]
    """Whether a point has as many trials as its curve has anywhere; others are drawn hollow."""
    style: Style
    published: bool = False


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A line plot, all its numbers, and all its words."""

    name: str
    title: str
    quantity: Quantity
    logarithmic: bool
    x_label: str
    note: str
    series: tuple[Series, ...]
    metric: Metric = TOP1

    def records(self) -> list[Record]:
        """Return exactly the numbers drawn, one record a point."""
        return [
            {
                "series": series.label,
                "run": series.run,
                "level": level,
                self.quantity: x,
                self.metric.name: y,
                "std": std,
                "trials": trials,
            }
            for series in self.series
            for level, x, y, std, trials in zip(series.levels, series.x, series.y, series.std, series.trials, strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class Heat:
    """Density of every layer (rows) at every level (columns), one panel a curve, and all its words."""

    name: str
    title: str
    note: str
    panels: tuple[Curve, ...]

    def records(self) -> list[Record]:
        """Return exactly the numbers drawn, one record a cell."""
        return [
            {"series": curve.label, "run": curve.run, "level": point.level, "layer": layer, "density": densities[index]}
            for curve in self.panels
            for layer, densities in curve.layers.items()
            for index, point in enumerate(curve.points)
        ]


def accuracy_plots(experiment: Experiment) -> list[Plot]:
    """Return accuracy against fraction of real (log and linear, with published curves behind) and against MACs (log).

    Controls are drawn apart, in `control_plots`, but where there are no tickets.
    """
    curves = experiment.tickets or experiment.curves
    if not curves:
        return []
    trained = f"{_preset_note(experiment)} {_trials_note(curves)}"
    note = f"{trained} {MACS_CAPTION}"
    ours = [_by_level(curve, "fraction_of_real") for curve in curves]
    behind = [_published(curve.label, curve.algebra, curve.points, curve.trials) for curve in experiment.published]
    macs = [_by_level(curve, "macs") for curve in curves]
    return [
        Plot(
            name="accuracy-log",
            title=f"{experiment.title}: {_measure(experiment)} against fraction of real",
            quantity="fraction_of_real",
            logarithmic=True,
            x_label=f"{_FRACTION} (log scale; {_SIDES})",
            note=note,
            series=(*behind, *ours),
            metric=experiment.metric,
        ),
        Plot(
            name="accuracy-linear",
            title=f"{experiment.title}: {_measure(experiment)} against fraction of real",
            quantity="fraction_of_real",
            logarithmic=False,
            x_label=f"{_FRACTION} (linear scale; {_SIDES})",
            note=note,
            series=(*behind, *ours),
            metric=experiment.metric,
        ),
        Plot(
            name="accuracy-macs",
            title=f"{experiment.title}: {_measure(experiment)} against MACs",
            quantity="macs",
            logarithmic=True,
            x_label=f"Multiply-accumulates (MACs) for one image, kept weights only (log scale; {_SIDES})",
            note=trained,
            series=tuple(macs),
            metric=experiment.metric,
        ),
    ]


def control_plots(experiment: Experiment) -> list[Plot]:
    """Return one plot for each run that has controls: its tickets against them."""
    plots = []
    for ticket in experiment.tickets:
        curves = [ticket, *(curve for curve in experiment.controls if curve.run == ticket.run)]
        if len(curves) > 1:
            plots.append(
                Plot(
                    name=f"controls-{_name(ticket, experiment)}",
                    title=f"{experiment.title}: {ticket.label} tickets and their controls",
                    quantity="fraction_of_real",
                    logarithmic=True,
                    x_label=f"{_FRACTION} (log scale; {_SIDES})",
                    note=f"{_preset_note(experiment)} {_trials_note(curves)}",
                    series=tuple(_by_level(curve, "fraction_of_real") for curve in curves),
                    metric=experiment.metric,
                )
            )
    return plots


def training_plots(experiment: Experiment) -> list[Plot]:
    """Return the training curves of the dense networks together, and those of pruned levels of each network."""
    every = [_by_epoch(curve, 0, curve.label, style(curve)) for curve in experiment.tickets]
    dense = [series for series in every if series is not None]
    plots = []
    if dense:
        plots.append(
            Plot(
                name="training-dense",
                title=f"{experiment.title}: training the dense networks (level 0)",
                quantity="epoch",
                logarithmic=False,
                x_label="Epoch",
                note=f"{_preset_note(experiment)} {_after_epochs(experiment)} {_trials_note(experiment.tickets)}",
                series=tuple(dense),
                metric=experiment.metric,
            )
        )
    for curve in experiment.tickets:
        levels = _spread([training.level for training in curve.training if training.epochs])
        shown = []
        for position, level in enumerate(levels):
            point = next(point for point in curve.points if point.level == level)
            label = f"level {level}: density {percent(point.density)}"
            shown.append(_by_epoch(curve, level, label, _shade(position, len(levels))))
        series = [one for one in shown if one is not None]
        if series:
            plots.append(
                Plot(
                    name=f"training-levels-{_name(curve, experiment)}",
                    title=f"{experiment.title}: training {curve.label} at several levels",
                    quantity="epoch",
                    logarithmic=False,
                    x_label="Epoch",
                    note=f"{_preset_note(experiment)} {_after_epochs(experiment)} {_trials_note([curve])}",
                    series=tuple(series),
                    metric=experiment.metric,
                )
            )
    return plots


def layer_plot(experiment: Experiment) -> Heat | None:
    """Return the density of every layer by level, or None without tickets."""
    if not experiment.tickets:
        return None
    return Heat(
        name="layers",
        title=f"{experiment.title}: density of each layer",
        note=f"{_preset_note(experiment)} Kept weights / weights of the same layer, mean over trials, in percent.",
        panels=experiment.tickets,
    )


def _measure(experiment: Experiment) -> str:
    """Return what is drawn, in a word."""
    metric = experiment.metric
    return "accuracy" if metric == TOP1 else metric.title or metric.name


def _after_epochs(experiment: Experiment) -> str:
    return f"Test {_measure(experiment)} after each epoch."


def _name(ticket: Curve, experiment: Experiment) -> str:
    """Return what tells a ticket's plots from those of others: its algebra, and its hash where two have the same one."""
    same = sum(other.algebra == ticket.algebra for other in experiment.tickets)
    return ticket.algebra + (f"-{ticket.run.rpartition('-')[2]}" if same > 1 else "")


def _by_level(curve: Curve, quantity: Literal["fraction_of_real", "macs"]) -> Series:
    points = [point for point in curve.points if getattr(point, quantity) > 0]  # nothing is left of the others
    return Series(
        label=curve.label,
        run=curve.run,
        x=tuple(getattr(point, quantity) for point in points),
        y=tuple(point.top1.mean for point in points),
        std=tuple(point.top1.std for point in points),
        trials=tuple(point.top1.n for point in points),
        levels=tuple(point.level for point in points),
        full=tuple(point.full for point in points),
        style=style(curve),
    )


def _published(label: str, algebra: str, points: Sequence[tuple[float, float]], trials: int) -> Series:
    light, dark = COLOURS.get(algebra, OTHER)
    return Series(
        label=f"{algebra.capitalize()}, {label}",
        run="",
        x=tuple(x for x, _ in points),
        y=tuple(y for _, y in points),
        std=(None,) * len(points),
        trials=(trials,) * len(points),
        levels=(None,) * len(points),
        full=(True,) * len(points),
        style=Style(light=light, dark=dark, marker="none", dash=(4, 2)),
        published=True,
    )


def _by_epoch(curve: Curve, level: int, label: str, look: Style) -> Series | None:
    training = next((training for training in curve.training if training.level == level and training.epochs), None)
    if training is None:
        return None
    stats: tuple[Stat, ...] = training.top1
    most = max(stat.n for stat in stats)
    return Series(
        label=label,
        run=curve.run,
        x=tuple(float(epoch) for epoch in training.epochs),
        y=tuple(stat.mean for stat in stats),
        std=tuple(stat.std for stat in stats),
        trials=tuple(stat.n for stat in stats),
        levels=(level,) * len(stats),
        full=tuple(stat.n == most for stat in stats),
        style=look,
    )


def _spread(levels: Sequence[int]) -> list[int]:
    """Return at most six of the levels, first and last among them, evenly spread."""
    if len(levels) <= _LEVELS_SHOWN:
        return list(levels)
    step = (len(levels) - 1) / (_LEVELS_SHOWN - 1)
    return [levels[round(step * index)] for index in range(_LEVELS_SHOWN)]


def _shade(position: int, total: int) -> Style:
    """Return a colour from dark violet to amber by level; the marker tells levels apart without it."""
    ramp = ("#2d1160", "#721f81", "#b6377a", "#e0525f", "#e8833a", "#c99a00")
    markers = ("circle", "square", "triangle", "diamond", "plus", "cross")
    index = position if total <= 1 else round(position * (len(ramp) - 1) / (total - 1))
    return Style(light=ramp[index], dark=ramp[index], marker=markers[position], dash=())


def _preset_note(experiment: Experiment) -> str:
    changed = departures(experiment)
    return f"Preset {experiment.preset}{' with ' + ', '.join(changed) if changed else ''}."


def _trials_note(curves: Sequence[Curve]) -> str:
    if all(curve.most_trials == 1 for curve in curves):
        return "One trial each." if len(curves) > 1 else "One trial."
    most = {curve.most_trials for curve in curves}
    each = "; ".join(f"{curve.label}: {curve.most_trials}" for curve in curves)
    trials = f"{next(iter(most))} trials" if len(most) == 1 else f"trials ({each})"
    some_ended = any(not point.full for curve in curves for point in curve.points)
    hollow = " Hollow markers: fewer trials reached that level." if some_ended else ""
    return f"Mean ± sample standard deviation of {trials}.{hollow}"
