"""`build`: a folder with one page, figures and tables from runs on disk."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fourfold.record import Row, UserError
from fourfold.record.files import write_atomically
from fourfold.report._comparisons import comparisons
from fourfold.report._experiments import Experiment, experiments, experiments_of_rows
from fourfold.report._findings import findings
from fourfold.report.claims import Judged, claim_records, claims_table, concerns_claims, count_sentence, judge
from fourfold.report.classes import class_records, class_results, class_table, confusion_records, measure_of
from fourfold.report.dots import dot_plot
from fourfold.report.gap_tables import all_tables, gap_records
from fourfold.report.names import slugs
from fourfold.report.order import strongest_first
from fourfold.report.plots import accuracy_plots, control_plots, layer_plot, training_plots
from fourfold.report.runs import read_runs
from fourfold.report.stability import stability_records
from fourfold.report.strips import strip_of
from fourfold.report.tables import Record, level_records, markdown, summary_records, to_csv
from fourfold.report.verdicts import verdict
from fourfold.report.words import MACS_NOTE, sentences

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OF_MANY = ("accuracy-log", "accuracy-macs", "training-dense")
"""Line plots that an experiment of several variants has beside its small multiples."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report that was written."""

    page: Path
    """`index.html`."""
    experiments: tuple[Experiment, ...]
    judged: tuple[Judged, ...]
    """The papers' claims, where any were judged."""

    def lines(self, most: int = 8) -> list[str]:
        """Return what the report says in a few lines, the strongest evidence first."""
        count = len(self.experiments)
        heading = f"wrote {self.page}: {count} experiment{'' if count == 1 else 's'}, figures and tables beside it"
        strongest = strongest_first(self.experiments)[:most]
        width = max(len(one.preset) for one in strongest)
        verdicts = [(one.preset, verdict(one)) for one in strongest]
        lines = [heading, *(f"  {name:{width}}  {_trials(one.trials)}  {one.text}" for name, one in verdicts)]
        if count > most:
            lines.append(f"  and {count - most} more")
        return [*lines, *([count_sentence(self.judged)] if self.judged else [])]


def build(paths: Sequence[Path], out: Path, *, every_claim: bool = False) -> Path:
    """Write the report on every run at or below the paths and return its page; see `write_report`."""
    return write_report(paths, out, every_claim=every_claim).page


def write_report(paths: Sequence[Path], out: Path, *, every_claim: bool = False) -> Report:
    """Write the report on every run at or below the paths.

    Writes `index.html` (an overview, and below `experiments/` one self-contained page an experiment; of one experiment that is
    the only page), `tables.md`, `levels.csv`, `summary.csv`, `gaps.csv`, `classes.csv` and `stability.csv` if any was
    measured, and below `figures/` every figure as PNG and SVG with the numbers drawn as CSV; with an experiment of the papers
    also their claims, as `claims.md`, `claims.csv` and `claims.json` (with `every_claim` in any case). The same rows give the
    same bytes.

    Raises:
        UserError: there are no runs or no rows, a run cannot be read, or `out` cannot be written.
    """
    from fourfold.report.page import pages  # with jinja2 and matplotlib, which `summary` does without

    runs = read_runs(paths)
    where = ", ".join(str(path) for path in paths)
    if not runs:
        raise UserError(f"there are no runs in {where}; `fourfold run` makes some")
    if not any(run.rows for run in runs):
        raise UserError(f"no run in {where} has finished a level yet; there is nothing to report")
    experiments_of_runs = experiments(runs)
    try:
        figures = out / "figures"
        figures.mkdir(parents=True, exist_ok=True)
        for experiment, slug in zip(experiments_of_runs, slugs(experiments_of_runs), strict=True):
            _write_figures(experiment, figures, slug)
        _write(out / "tables.md", tables(experiments_of_runs))
        for name, records in (("levels", level_records), ("summary", summary_records), ("gaps", gap_records)):
            rows = [record for experiment in experiments_of_runs for record in records(experiment)]
            _write(out / f"{name}.csv", to_csv(rows))
        classes = [record for experiment in experiments_of_runs for record in class_records(experiment)]
        if classes:
            _write(out / "classes.csv", to_csv(classes))
        stability = [record for experiment in experiments_of_runs for record in stability_records(experiment)]
        if stability:
            _write(out / "stability.csv", to_csv(stability))
        judged = judge(experiments_of_runs) if every_claim or concerns_claims(experiments_of_runs) else ()
        if judged:
            _write_claims(judged, out)
        for path, text in pages(experiments_of_runs, judged).items():
            (out / path).parent.mkdir(exist_ok=True)
            _write(out / path, text)
    except OSError as error:
        raise UserError(f"cannot write the report to {out} ({error.strerror}); choose another --out") from error
    return Report(page=out / "index.html", experiments=experiments_of_runs, judged=tuple(judged))


def tables(reported: Iterable[Experiment]) -> str:
    """Return all tables as Markdown, one section an experiment, the strongest evidence first."""
    parts = ["# Tables", "", MACS_NOTE, ""]
    for experiment in strongest_first(reported):
        parts += [f"## {markdown(experiment.preset)}", "", " ".join(sentences(experiment)).replace("<", "\\<"), ""]
        classes = class_table(experiment)
        parts += [table.to_markdown() for table in (*([classes] if classes else []), *all_tables(experiment))]
    return "\n".join(parts)


def summary(rows: Iterable[Row]) -> str:
    """Return what rows say in a few plain lines, for the end of a run on a terminal."""
    lines = []
    for experiment in experiments_of_rows(rows):
        lines.append(f"{experiment.preset}: {experiment.title}")
        lines += [f"  {sentence}" for sentence in sentences(experiment)]
    return "\n".join(lines) if lines else "No level has finished yet."


def _trials(count: int) -> str:
    return f"{count:3d} trial{' ' if count == 1 else 's'}"


def _write_claims(judged: Sequence[Judged], out: Path) -> None:
    records = claim_records(judged)
    text = f"# Claims\n\n{count_sentence(judged)}\n\n{claims_table(judged).to_markdown()}"
    _write(out / "claims.md", text)
    _write(out / "claims.csv", to_csv(records))
    _write(out / "claims.json", json.dumps(records, indent=1, ensure_ascii=False) + "\n")


def _write_figures(experiment: Experiment, folder: Path, slug: str) -> None:
    from fourfold.report.class_figures import draw_classes, draw_confusions, drawn_records
    from fourfold.report.figures import draw, draw_heat, png, svg
    from fourfold.report.finding_figures import draw_dot_plot, draw_finding
    from fourfold.report.strip_figure import draw_strip

    def write(name: str, figure: "Figure", records: Sequence[Record]) -> None:
        file = folder / f"{slug}-{name}"
        write_atomically(Path(f"{file}.png"), png(figure))
        write_atomically(Path(f"{file}.svg"), svg(figure))
        _write(Path(f"{file}.csv"), to_csv(records))

    results = class_results(experiment)
    if results:
        write("classes", draw_classes(results, measure_of(experiment)), drawn_records(results))
    if any(one.counts is not None for one in results):
        write("confusion", draw_confusions(results), confusion_records(results))
    strip = strip_of(experiment)
    if strip is not None:
        write("examples", draw_strip(strip), strip.records())
    for finding in findings(experiment):
        write(finding.name, draw_finding(finding), finding.records())
    dots = dot_plot(experiment)
    if dots is not None:
        write("controls", draw_dot_plot(dots), dots.records())
    plots = (*accuracy_plots(experiment), *control_plots(experiment), *training_plots(experiment))
    many = len(comparisons(experiment)) > 1  # variants stand in the panels of the findings, a panel each
    for plot in plots if not many else (plot for plot in plots if plot.name in OF_MANY):
        write(plot.name, draw(plot), plot.records())
    heat = layer_plot(experiment)
    if heat is not None:
        write(heat.name, draw_heat(heat), heat.records())


def _write(file: Path, text: str) -> None:
    """Write a whole file or none of it, so that readers of the last report are not disturbed."""
    write_atomically(file, text.encode(errors="backslashreplace"))
