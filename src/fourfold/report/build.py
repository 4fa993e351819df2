"""`build`: a folder with one page, figures and tables from runs on disk."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fourfold.record import Row, UserError
from fourfold.record.files import write_atomically
from fourfold.report.claims import Judged, claim_records, claims_table, concerns_claims, count_sentence, judge
from fourfold.report.experiments import Experiment, experiments, experiments_of_rows
from fourfold.report.gap_tables import all_tables, gap_records
from fourfold.report.order import strongest_first
from fourfold.report.plots import Heat, Plot, accuracy_plots, control_plots, layer_plot, training_plots
from fourfold.report.runs import read_runs
from fourfold.report.stability import stability_records
from fourfold.report.tables import level_records, markdown, summary_records, to_csv
from fourfold.report.words import MACS_NOTE, sentences

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def build(paths: Sequence[Path], out: Path, *, every_claim: bool = False) -> Path:
    """Write the report on every run at or below the paths and return its page.

    Writes `index.html` (one self-contained page), `tables.md`, `levels.csv`, `summary.csv`, `gaps.csv`, `stability.csv` if
    any was measured, and below `figures/` every figure as PNG and SVG with the numbers drawn as CSV; with an experiment of the
    papers also their claims, as
    `claims.md`, `claims.csv` and `claims.json` (with `every_claim` in any case). The same rows give the same bytes.

    Raises:
        UserError: there are no runs or no rows, a run cannot be read, or `out` cannot be written.
    """
    from fourfold.report.page import page  # with jinja2 and matplotlib, which `summary` does without

    runs = read_runs(paths)
    where = ", ".join(str(path) for path in paths)
    if not runs:
        raise UserError(f"there are no runs in {where}; `fourfold run` makes some")
    if not any(run.rows for run in runs):
        raise UserError(f"no run in {where} has finished a level yet; there is nothing to report")
    found = experiments(runs)
    try:
        figures = out / "figures"
        figures.mkdir(parents=True, exist_ok=True)
        for experiment, slug in zip(found, slugs(found), strict=True):
            _write_figures(experiment, figures, slug)
        _write(out / "tables.md", tables(found))
        for name, records in (("levels", level_records), ("summary", summary_records), ("gaps", gap_records)):
            rows = [record for experiment in found for record in records(experiment)]
            _write(out / f"{name}.csv", to_csv(rows))
        stability = [record for experiment in found for record in stability_records(experiment)]
        if stability:
            _write(out / "stability.csv", to_csv(stability))
        judged = judge(found) if every_claim or concerns_claims(found) else ()
        if judged:
            _write_claims(judged, out)
        index = out / "index.html"
        _write(index, page(found, judged))
    except OSError as error:
        raise UserError(f"cannot write the report to {out} ({error.strerror}); choose another --out") from error
    return index


def tables(found: Iterable[Experiment]) -> str:
    """Return all tables as Markdown, one section an experiment, the strongest evidence first."""
    parts = ["# Tables", "", MACS_NOTE, ""]
    for experiment in strongest_first(found):
        parts += [f"## {markdown(experiment.preset)}", "", " ".join(sentences(experiment)).replace("<", "\\<"), ""]
        parts += [table.to_markdown() for table in all_tables(experiment)]
    return "\n".join(parts)


def summary(rows: Iterable[Row]) -> str:
    """Return what rows say in a few plain lines, for the end of a run on a terminal."""
    lines = []
    for experiment in experiments_of_rows(rows):
        lines.append(f"{experiment.preset}: {experiment.title}")
        lines += [f"  {sentence}" for sentence in sentences(experiment)]
    return "\n".join(lines) if lines else "No level has finished yet."


def slugs(found: Sequence[Experiment]) -> list[str]:
    """Return a file name for every experiment, made of letters, digits and hyphens, no two alike."""
    names: list[str] = []
    for experiment in found:
        base = re.sub(r"[^a-z0-9]+", "-", experiment.preset.lower()).strip("-") or "preset"
        names.append(base if base not in names else f"{base}-{len(names)}")
    return names


def _write_claims(judged: Sequence[Judged], out: Path) -> None:
    records = claim_records(judged)
    text = f"# Claims\n\n{count_sentence(judged)}\n\n{claims_table(judged).to_markdown()}"
    _write(out / "claims.md", text)
    _write(out / "claims.csv", to_csv(records))
    _write(out / "claims.json", json.dumps(records, indent=1, ensure_ascii=False) + "\n")


def _write_figures(experiment: Experiment, folder: Path, slug: str) -> None:
    from fourfold.report.figures import draw, draw_heat, png, svg

    plots = (*accuracy_plots(experiment), *control_plots(experiment), *training_plots(experiment))
    drawn: list[tuple[Plot | Heat, Figure]] = [(plot, draw(plot)) for plot in plots]
    heat = layer_plot(experiment)
    if heat is not None:
        drawn.append((heat, draw_heat(heat)))
    for plot, figure in drawn:
        file = folder / f"{slug}-{plot.name}"
        write_atomically(Path(f"{file}.png"), png(figure))
        write_atomically(Path(f"{file}.svg"), svg(figure))
        _write(Path(f"{file}.csv"), to_csv(plot.records()))


def _write(file: Path, text: str) -> None:
    """Write a whole file or none of it, so that whoever reads the last report meanwhile is not disturbed."""
    write_atomically(file, text.encode(errors="backslashreplace"))
