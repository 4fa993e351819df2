"""Series of numbers that line plots are made of, their look, and what notes say of their trials."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fourfold.report._curves import Curve, Stat
from fourfold.report._experiments import Experiment
from fourfold.report._style import COLOURS, OTHER, Style, style
from fourfold.report.wording import changes_in_words, network_words


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
    words: str = ""
    """What stands beside the line, where the label is made of names of fields and controls."""


def by_level(curve: Curve, experiment: Experiment, quantity: Literal["fraction_of_real", "macs"]) -> Series:
    """Return a curve over a size, without levels of which nothing is left."""
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
        words=network_words(curve, experiment),
    )


def by_paper(label: str, algebra: str, points: Sequence[tuple[float, float]], trials: int) -> Series:
    """Return a published curve."""
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


def by_epoch(curve: Curve, level: int, label: str, look: Style, words: str = "") -> Series | None:
    """Return the training of a level; None where its rows have no epochs."""
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
        words=words,
    )


def shade(position: int, total: int) -> Style:
    """Return a colour from dark violet to amber by level; the marker tells levels apart without it."""
    ramp = ("#2d1160", "#721f81", "#b6377a", "#e0525f", "#e8833a", "#c99a00")
    markers = ("circle", "square", "triangle", "diamond", "plus", "cross")
    index = position if total <= 1 else round(position * (len(ramp) - 1) / (total - 1))
    return Style(light=ramp[index], dark=ramp[index], marker=markers[position], dash=())


def preset_note(experiment: Experiment) -> str:
    """Return which preset was run, and what was changed of it."""
    changed = changes_in_words(experiment)
    return f"Preset {experiment.preset}{' with ' + ', '.join(changed) if changed else ''}."


def trials_note(curves: Sequence[Curve], *, hollow: bool = True) -> str:
    """Return over how many trials means are taken, and what hollow markers mean where they are drawn."""
    if all(curve.most_trials == 1 for curve in curves):
        return "One trial each." if len(curves) > 1 else "One trial."
    most = {curve.most_trials for curve in curves}
    each = "; ".join(f"{curve.label}: {curve.most_trials}" for curve in curves)
    trials = f"{next(iter(most))} trials" if len(most) == 1 else f"trials ({each})"
    some_ended = any(not point.full for curve in curves for point in curve.points)
    note = " Hollow markers: fewer trials reached that level." if some_ended and hollow else ""
    return f"Mean ± sample standard deviation of {trials}.{note}"
