"""Runs on disk become tables, figures and one page to send to a colleague. Reads rows, never weights; no torch here."""

from fourfold.record.aliases import alias_modules
from fourfold.report._build import Report, build, summary, write_report
from fourfold.report._curves import Curve, Point, Stat, curves
from fourfold.report._experiments import Experiment, experiments, experiments_of_rows, read_experiments
from fourfold.report.published import PublishedCurve, published_curves
from fourfold.report.runs import Run, read_runs
from fourfold.report.stability import stability_table
from fourfold.report.study import study_tables
from fourfold.report.tables import Table, level_table, summary_table
from fourfold.report.words import sentences

__all__ = [
    "Curve",
    "Experiment",
    "Point",
    "PublishedCurve",
    "Report",
    "Run",
    "Stat",
    "Table",
    "build",
    "curves",
    "experiments",
    "experiments_of_rows",
    "level_table",
    "published_curves",
    "read_experiments",
    "read_runs",
    "sentences",
    "stability_table",
    "study_tables",
    "summary",
    "summary_table",
    "write_report",
]

alias_modules(__name__, "build", "curves", "experiments")
