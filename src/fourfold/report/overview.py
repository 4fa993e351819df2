"""The rows of the first page: one an experiment, the strongest evidence first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from fourfold.presets.studies import STUDIES
from fourfold.report._comparisons import Comparison, comparisons
from fourfold.report._experiments import Experiment
from fourfold.report._findings import gap_band, informative_span
from fourfold.report.gaps import Quantity
from fourfold.report.panels import sparkline
from fourfold.report.statistics import Interval
from fourfold.report.verdicts import KIND_WORDS, Verdict, heading, largest_gap, main_comparison, verdict
from fourfold.report.wording import basis_words
from fourfold.report.words import gap

COLUMNS: tuple[tuple[str, float, Quantity], ...] = (
    ("12.5 % of parameters", 0.125, "fraction_of_real"),
    ("3 % of parameters", 0.03, "fraction_of_real"),
    ("1 % of parameters", 0.01, "fraction_of_real"),
    ("3 % of bytes", 0.03, "stored_bytes"),
    ("3 % of MACs", 0.03, "macs"),
)
"""Where the overview has gaps: the words, the share of the dense real network, and of what."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One gap, as it is printed."""

    column: str
    mean: str
    interval: str
    side: str
    """`ahead` or `behind` where the interval excludes zero, else empty."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One experiment in the overview."""

    href: str
    preset: str
    title: str
    question: str
    """Of a study."""
    basis: str
    trials: int
    verdict: Verdict
    word: str
    compared: str
    """Whose gap the cells and the sparkline show; empty where there is only one comparison."""
    detail: str
    """The largest gap shown of that comparison, where the verdict is on several."""
    cells: tuple[Cell, ...]
    sparkline: Markup | None
    failures: int


def entries(experiments: Sequence[Experiment], hrefs: Sequence[str]) -> list[Entry]:
    """Return the overview of experiments in the order that they come in, each with the address of its page."""
    return [_entry(experiment, href) for experiment, href in zip(experiments, hrefs, strict=True)]


def _entry(experiment: Experiment, href: str) -> Entry:
    judged, main = verdict(experiment), main_comparison(experiment)
    several = len(comparisons(experiment)) > 1
    band = gap_band(main, "fraction_of_real") if main else None
    study = next((study for name, study in STUDIES.items() if experiment.preset.endswith(f"-{name}")), None)
    return Entry(
        href=href,
        preset=experiment.preset,
        title=experiment.title,
        question=study.question if study else "",
        basis=basis_words(experiment),
        trials=judged.trials,
        verdict=judged,
        word=KIND_WORDS[judged.kind],
        compared=heading(main, experiment) if main and several else "",
        detail=largest_gap(main) if main and several else "",
        cells=tuple(_cells(main)) if main else (),
        sparkline=sparkline(band, informative_span(main, "fraction_of_real"), experiment.metric) if main and band else None,
        failures=sum(len(trials) for trials in experiment.failures.values()),
    )


def _cells(main: Comparison) -> list[Cell]:
    cells = []
    for column, share, quantity in COLUMNS:
        difference = main.gap(share, quantity)
        if difference is None:
            cells.append(Cell(column=column, mean="–", interval="", side=""))
        else:
            cells.append(Cell(column=column, mean=gap(difference.mean, main.curve.metric), **_interval(difference, main)))
    return cells


def _interval(gap_there: Interval, main: Comparison) -> dict[str, Any]:
    metric = main.curve.metric
    if gap_there.low is None or gap_there.high is None:
        return {"interval": "one trial" if gap_there.trials == 1 else "", "side": ""}
    text = f"{gap(gap_there.low, metric)} to {gap(gap_there.high, metric)}"
    better = gap_there.low > 0 if metric.higher_is_better else gap_there.high < 0
    worse = gap_there.high < 0 if metric.higher_is_better else gap_there.low > 0
    return {"interval": text, "side": "ahead" if better else "behind" if worse else ""}
