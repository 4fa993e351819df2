"""What is drawn: series of numbers, before any drawing, so that a figure and its CSV cannot disagree."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fourfold.record import TOP1, Metric
from fourfold.report._curves import Curve
from fourfold.report._experiments import Experiment
from fourfold.report._style import style
from fourfold.report.series import Series, by_epoch, by_level, by_paper, preset_note, shade, trials_note
from fourfold.report.tables import Record
from fourfold.report.verdicts import verdict
from fourfold.report.wording import network_words
from fourfold.report.words import MACS_CAPTION, percent

Quantity = Literal["fraction_of_real", "macs", "epoch"]

_SIDES = "dense left, sparse right"

_FRACTION = "Trainable parameters as a fraction of the real twin's"

_LEVELS_SHOWN = 6
"""Training curves of more levels than this are not told apart by eye."""


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
    finding: str = ""
    """What the experiment found, to stand above the title; empty where a plot does not show it."""

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
    trained = f"{preset_note(experiment)} {trials_note(curves)}"
    note = f"{trained} {MACS_CAPTION}"
    ours = [by_level(curve, experiment, "fraction_of_real") for curve in curves]
    behind = [by_paper(curve.label, curve.algebra, curve.points, curve.trials) for curve in experiment.published]
    macs = [by_level(curve, experiment, "macs") for curve in curves]
    finding_text, said_by_macs = verdict(experiment).text, verdict(experiment, macs=True).text
    against = f"{experiment.title}: {_measure(experiment)} against"
    by_macs = Plot(
        name="accuracy-macs",
        title=f"{against} MACs",
        quantity="macs",
        logarithmic=True,
        x_label=f"Multiply-accumulates (MACs) for one image, kept weights only (log scale; {_SIDES})",
        note=trained,
        series=tuple(macs),
        metric=experiment.metric,
        finding=said_by_macs,
    )
    logarithmic = replace(
        by_macs,
        name="accuracy-log",
        title=f"{against} fraction of real",
        quantity="fraction_of_real",
        x_label=f"{_FRACTION} (log scale; {_SIDES})",
        note=note,
        series=(*behind, *ours),
        finding=finding_text,
    )
    linear = replace(logarithmic, name="accuracy-linear", logarithmic=False, x_label=f"{_FRACTION} (linear scale; {_SIDES})")
    return [logarithmic, linear, by_macs]


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
                    note=f"{preset_note(experiment)} {trials_note(curves)}",
                    series=tuple(by_level(curve, experiment, "fraction_of_real") for curve in curves),
                    metric=experiment.metric,
                )
            )
    return plots


def training_plots(experiment: Experiment) -> list[Plot]:
    """Return the training curves of the dense networks together, and those of pruned levels of each network."""
    every = [by_epoch(curve, 0, curve.label, style(curve), network_words(curve, experiment)) for curve in experiment.tickets]
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
                note=f"{preset_note(experiment)} {_after_epochs(experiment)} {trials_note(experiment.tickets)}",
                series=tuple(dense),
                metric=experiment.metric,
            )
        )
    for curve in experiment.tickets:
        levels = _spread([training.level for training in curve.training if training.epochs])
        chosen = []
        for position, level in enumerate(levels):
            point = next(point for point in curve.points if point.level == level)
            label = f"level {level}: density {percent(point.density)}"
            chosen.append(by_epoch(curve, level, label, shade(position, len(levels))))
        series = [one for one in chosen if one is not None]
        if series:
            plots.append(
                Plot(
                    name=f"training-levels-{_name(curve, experiment)}",
                    title=f"{experiment.title}: training {network_words(curve, experiment)} at several levels",
                    quantity="epoch",
                    logarithmic=False,
                    x_label="Epoch",
                    note=f"{preset_note(experiment)} {_after_epochs(experiment)} {trials_note([curve])}",
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
        note=f"{preset_note(experiment)} Kept weights / weights of the same layer, mean over trials, in percent.",
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


def _spread(levels: Sequence[int]) -> list[int]:
    """Return at most six of the levels, first and last among them, evenly spread."""
    if len(levels) <= _LEVELS_SHOWN:
        return list(levels)
    step = (len(levels) - 1) / (_LEVELS_SHOWN - 1)
    return [levels[round(step * index)] for index in range(_LEVELS_SHOWN)]
