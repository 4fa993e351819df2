"""The figures that say what an experiment found: accuracy over the informative sizes, and underneath the gap with its interval.

Numbers and words only, so that the page, the files and their CSV cannot disagree; `panels.py` draws them into pages and
`finding_figures.py` into files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fourfold.record import Metric
from fourfold.report._comparisons import Comparison, comparisons
from fourfold.report._curves import Curve
from fourfold.report._differences import Differences
from fourfold.report._experiments import Experiment
from fourfold.report._style import COLOURS, OTHER, style
from fourfold.report.series import preset_note, trials_note
from fourfold.report.statistics import Interval
from fourfold.report.tables import Record
from fourfold.report.verdicts import heading, verdict, verdict_on, verdict_on_variants
from fourfold.report.wording import algebra_words, network_words
from fourfold.report.words import MACS_CAPTION

Shares = Literal["fraction_of_real", "macs"]

X_LABELS: dict[Shares, str] = {
    "fraction_of_real": "Parameters left, of the dense real network's",
    "macs": "MACs left, of the dense real network's",
}

HEADINGS: dict[Shares, str] = {"fraction_of_real": "At equal parameters", "macs": "At equal MACs"}

NARROWEST = 1.5
"""Largest over smallest size of a figure: where both networks were measured in less, all sizes are shown."""

LOST = 0.8
"""Part of its best accuracy below which a network has lost its task: sizes at which all have are not informative, unless a
difference is shown there."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One curve of a panel, by share of the dense real network, dense first."""

    label: str
    run: str
    colour: tuple[str, str]
    """On a light and on a dark ground."""
    x: tuple[float, ...]
    y: tuple[float, ...]
    std: tuple[float | None, ...]
    trials: tuple[int, ...]
    published: bool = False


@dataclass(frozen=True, kw_only=True)
class GapBand:
    """The gap of a network to its real twin at every measured size, dense first."""

    x: tuple[float, ...]
    gaps: tuple[Interval, ...]
    better: tuple[tuple[float, float], ...]
    """Ranges of sizes, larger end first, where the network is shown to be better than real."""
    worse: tuple[tuple[float, float], ...]
    name: str
    colour: tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Accuracy over size, and the gap over the same sizes."""

    heading: str
    quantity: Shares
    metric: Metric
    lines: tuple[Line, ...]
    gap: GapBand | None
    span: tuple[float, float]
    """The smallest and the largest size shown."""
    reference: float | None
    """The dense real network's value, where it lies outside of the sizes shown."""
    text: str = ""
    """What this panel alone shows; empty where the figure's title says it."""

    @property
    def x_label(self) -> str:
        """What the horizontal axis says."""
        return X_LABELS[self.quantity]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A figure of one or more panels, titled by what it shows."""

    name: str
    title: str
    subtitle: str
    note: str
    panels: tuple[Panel, ...]

    def records(self) -> list[Record]:
        """Return the numbers drawn, one record a point: of lines their mean, of gaps mean and interval."""
        records: list[Record] = []
        for panel in self.panels:
            place: Record = {"panel": panel.heading, "equal": panel.quantity}
            for line in panel.lines:
                for x, y, std, trials in zip(line.x, line.y, line.std, line.trials, strict=True):
                    values: Record = {"series": line.label, "run": line.run, "share_of_dense_real": x, "mean": y, "std": std}
                    records.append(place | values | {"low_95": None, "high_95": None, "trials": trials})
            if panel.gap is not None:
                for x, one in zip(panel.gap.x, panel.gap.gaps, strict=True):
                    values = {"series": "gap to real", "run": "", "share_of_dense_real": x, "mean": one.mean, "std": None}
                    records.append(place | values | {"low_95": one.low, "high_95": one.high, "trials": one.trials})
        return records


def findings(experiment: Experiment) -> list[Finding]:
    """Return the figures of an experiment: of one pair equal parameters beside equal MACs, of several pairs a panel each."""
    twins, title = comparisons(experiment), verdict(experiment).text
    if not experiment.tickets:
        return []
    note = _note(experiment)
    if not twins:
        panel = _alone(experiment)
        return [Finding(name="verdict", title=title, subtitle=experiment.title, note=note, panels=(panel,))]
    if len(twins) == 1:
        panels = (_panel(twins[0], experiment, "fraction_of_real"), _panel(twins[0], experiment, "macs"))
        return [Finding(name="verdict", title=title, subtitle=experiment.title, note=note, panels=panels)]
    by_macs = verdict_on_variants(experiment, macs=True).text
    return [
        Finding(
            name="verdict",
            title=title,
            subtitle=f"{experiment.title}, variant by variant at equal parameters",
            note=note,
            panels=tuple(_panel(one, experiment, "fraction_of_real", of_many=True) for one in twins),
        ),
        Finding(
            name="verdict-macs",
            title=by_macs,
            subtitle=f"{experiment.title}, variant by variant at equal MACs",
            note=note.replace(f" {MACS_CAPTION}", ""),
            panels=tuple(_panel(one, experiment, "macs", of_many=True) for one in twins),
        ),
    ]


def gap_band(one: Comparison, quantity: Shares) -> GapBand | None:
    """Return the gaps of a comparison by share of the dense real network; None without a common size."""
    differences = one.by_macs if quantity == "macs" else one.by_parameters
    if differences is None:
        return None
    unit = _unit(one.curve, quantity)

    def ranges(side: str) -> tuple[tuple[float, float], ...]:
        part = getattr(differences, side)
        return tuple((high / unit, low / unit) for high, low in part.ranges) if part else ()

    return GapBand(
        x=tuple(size / unit for size in differences.sizes),
        gaps=differences.gaps,
        better=ranges("ahead"),
        worse=ranges("behind"),
        name=algebra_words(one.curve),
        colour=COLOURS.get(one.curve.algebra, OTHER),
    )


def informative_span(one: Comparison, quantity: Shares) -> tuple[float, float]:
    """Return the smallest and the largest size, as shares, that say something: both networks were measured, and one of them
    still has its task or a difference is shown. All sizes where that is too few for a figure."""
    differences, unit = one.by_macs if quantity == "macs" else one.by_parameters, _unit(one.curve, quantity)
    if differences is not None:
        low, high = _smallest(one, differences, quantity) / unit, differences.sizes[0] / unit
        if high >= NARROWEST * low:
            return low, high
    shares = [getattr(point, quantity) / unit for curve in (one.curve, one.real) for point in curve.points]
    return min(share for share in shares if share > 0), max(shares)


def _smallest(one: Comparison, differences: Differences, quantity: Shares) -> float:
    metric = one.curve.metric
    if not (metric.is_percent and metric.higher_is_better):
        return differences.sizes[-1]
    alive = [
        getattr(point, quantity)
        for curve in (one.curve, one.real)
        for point in curve.points
        if point.top1.mean >= LOST * max(other.top1.mean for other in curve.points)
    ]
    ends = [low for side in (differences.ahead, differences.behind) if side is not None for _, low in side.ranges]
    smallest = min([*alive, *ends])
    # One size more, so that the fall is seen to its foot.
    return next((size for size in differences.sizes if size < smallest), differences.sizes[-1])


def _panel(one: Comparison, experiment: Experiment, quantity: Shares, *, of_many: bool = False) -> Panel:
    span = informative_span(one, quantity)
    lines = [_line(one.real, algebra_words(one.real), quantity), _line(one.curve, algebra_words(one.curve), quantity)]
    if quantity == "fraction_of_real" and not of_many:
        lines = [*_published(experiment, one), *lines]
    dense = one.real.dense
    return Panel(
        heading=heading(one, experiment) if of_many else HEADINGS[quantity],
        quantity=quantity,
        metric=experiment.metric,
        lines=tuple(lines),
        gap=gap_band(one, quantity),
        span=span,
        reference=dense.top1.mean if dense and span[1] < 0.9 else None,
        text=verdict_on(one, macs=quantity == "macs").text if of_many or quantity == "macs" else "",
    )


def _alone(experiment: Experiment) -> Panel:
    lines = [_line(curve, network_words(curve, experiment), "fraction_of_real") for curve in experiment.tickets]
    shares = [x for line in lines for x in line.x]
    return Panel(
        heading="Every network that was run",
        quantity="fraction_of_real",
        metric=experiment.metric,
        lines=tuple(lines),
        gap=None,
        span=(min(shares), max(shares)),
        reference=None,
    )


def _line(curve: Curve, label: str, quantity: Shares) -> Line:
    unit = _unit(curve, quantity)
    points = [point for point in curve.points if getattr(point, quantity) > 0]
    look = style(curve)
    return Line(
        label=label,
        run=curve.run,
        colour=(look.light, look.dark),
        x=tuple(getattr(point, quantity) / unit for point in points),
        y=tuple(point.top1.mean for point in points),
        std=tuple(point.top1.std for point in points),
        trials=tuple(point.top1.n for point in points),
    )


def _published(experiment: Experiment, one: Comparison) -> list[Line]:
    return [
        Line(
            label=f"{curve.algebra.capitalize()}, paper {curve.paper}",
            run="",
            colour=COLOURS.get(curve.algebra, OTHER),
            x=tuple(x for x, _ in curve.points),
            y=tuple(y for _, y in curve.points),
            std=(None,) * len(curve.points),
            trials=(curve.trials,) * len(curve.points),
            published=True,
        )
        for curve in experiment.published
        if curve.algebra in (one.curve.algebra, "real")
    ]


def _unit(curve: Curve, quantity: Shares) -> float:
    return float(curve.macs_real) if quantity == "macs" else 1.0


def _note(experiment: Experiment) -> str:
    curves: Sequence[Curve] = experiment.tickets
    has_intervals = any(curve.most_trials > 1 for curve in curves)
    band = " Gap: mean of paired trials and its 95 % interval; bars mark where it excludes zero." if has_intervals else ""
    return f"{preset_note(experiment)} {trials_note(curves, hollow=False)}{band} {MACS_CAPTION}"
