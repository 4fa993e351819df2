"""Reports of other tasks than classification: axes, tables and sentences carry the metric, and less can be better."""

import csv
import io
import re
from dataclasses import replace

import pytest
from synthetic_runs import row, spec

from fourfold.record import TOP1, Metric, TaskSpec
from fourfold.report import curves
from fourfold.report._build import slugs, tables
from fourfold.report._experiments import experiments, experiments_of_rows
from fourfold.report._findings import findings
from fourfold.report.compare import crossover, smallest_within
from fourfold.report.dots import dot_plot
from fourfold.report.figures import draw
from fourfold.report.finding_figures import draw_finding
from fourfold.report.gap_tables import all_tables
from fourfold.report.page import pages
from fourfold.report.plots import accuracy_plots, control_plots, training_plots
from fourfold.report.runs import Run
from fourfold.report.study import study_records, study_tables
from fourfold.report.tables import level_records, level_table, summary_records, summary_table, to_csv
from fourfold.report.verdicts import verdict
from fourfold.report.words import sentences

RMSE = Metric(name="rmse", unit="m", higher_is_better=False, title="root mean squared error")
ROWS = [row(spec(algebra), trial, level) for algebra in ("real", "quaternion") for trial in range(3) for level in range(12)]


def of_error(row):
    """The row of another task, whose error is what accuracy lacks of 100."""
    epochs = tuple(replace(epoch, top1=None, metric=100 - epoch.top1) for epoch in row.epochs)
    values = {"rmse": 100 - row.top1, "r2": 0.5, "loss": row.loss}
    return replace(row, top1=None, top5=None, metric=RMSE, metrics=values, epochs=epochs, preset="roads")


@pytest.fixture(scope="module")
def experiment():
    (found,) = experiments_of_rows(map(of_error, ROWS))
    return found


def test_what_overtakes_by_accuracy_overtakes_by_error_at_the_same_place(experiment):
    real, quaternion = curves(ROWS)
    right = crossover(quaternion, real)
    assert right is not None
    found = crossover(experiment.curves[1], experiment.curves[0])
    assert found.fraction == pytest.approx(right.fraction)
    assert found.behind_again == pytest.approx(right.behind_again) if right.behind_again else found.behind_again is None
    assert smallest_within(quaternion, 0) is not None
    assert smallest_within(experiment.curves[1], 1e9) is None  # a point means nothing in metres


def test_axes_carry_the_metric_and_up_is_better(experiment):
    (accuracy,) = experiments_of_rows(ROWS)
    for plot in (*accuracy_plots(experiment), *training_plots(experiment)):
        axes = draw(plot).axes[0]
        assert axes.get_ylabel() == "Test root mean squared error (m), less is better"
        assert axes.yaxis.get_inverted()
        assert set(plot.records()[0]) >= {"rmse", "std"}
        assert "ccuracy" not in plot.title + plot.note + plot.finding
    for plot in accuracy_plots(accuracy):
        axes = draw(plot).axes[0]
        assert axes.get_ylabel() == "Top-1 test accuracy (%)"
        assert not axes.yaxis.get_inverted()


def test_tables_and_sentences_carry_the_metric(experiment):
    records = list(csv.DictReader(io.StringIO(to_csv(level_records(experiment)))))
    means = [float(record["rmse_mean"]) for record in records]
    assert means == pytest.approx([point.top1.mean for curve in experiment.curves for point in curve.points])
    assert "dense_rmse_mean" in summary_records(experiment)[0]
    texts = [level_table(experiment).to_markdown(), summary_table(experiment).to_markdown(), *sentences(experiment)]
    assert "Dense root mean squared error (less is better): Real" in " ".join(texts)
    for text in texts:
        assert not re.search(r"top-?1", text, re.IGNORECASE), text


def test_the_page_draws_the_metric_and_up_is_better(experiment):
    (text,) = pages([experiment]).values()
    assert text.count("Test root mean squared error (m), less is better</text>") == 2  # at equal parameters and at equal MACs
    assert re.search(r'"reverse":\s*true', text)
    assert ">dense real " in text
    figures = re.findall(r"(?s)<h1.*?</h1>|<figure class=\"card finding\".*?</figure>", text)
    assert len(figures) == 2
    assert not re.search("ccuracy|top-?1|points", " ".join(figures), re.IGNORECASE)
    for axes in draw_finding(findings(experiment)[0]).axes:
        assert axes.yaxis.get_inverted()


def test_a_smaller_error_is_ahead_by_as_much_as_a_larger_accuracy(experiment):
    (accuracy,) = experiments_of_rows(ROWS)
    by_error, by_accuracy = verdict(experiment), verdict(accuracy)
    assert (by_error.kind, by_error.trials) == (by_accuracy.kind, by_accuracy.trials)
    assert by_error.kind == "behind"
    numbers = [[float(value) for value in re.findall(r"\d+\.\d+", one.text)] for one in (by_error, by_accuracy)]
    assert numbers[0] == pytest.approx(numbers[1], abs=0.01)
    assert " m [" in by_error.text


def run_of(rows, **fields):
    spec_of = replace(spec(rows[0].algebra), preset="roads", **fields)
    return Run(id=rows[0].run, spec=spec_of, rows=tuple(rows), failures={})


def test_runs_of_different_metrics_are_different_experiments_whatever_their_names():
    """The same preset, data and model, asked for classes and for numbers: from runs, and from rows alone."""
    by_class = [replace(row, preset="roads") for row in ROWS]
    by_error = [replace(of_error(row), run=f"{row.run}-e") for row in ROWS]
    runs = [
        run_of([row for row in rows if row.algebra == algebra], task=TaskSpec(name=task))
        for rows, task in ((by_class, "classification"), (by_error, "regression"))
        for algebra in ("real", "quaternion")
    ]
    failed = replace(runs[2], id="failed", rows=(), failures={0: "level 0: the loss became nan"})
    for found in (experiments([*runs, failed]), experiments_of_rows([*by_class, *by_error])):
        assert [experiment.metric.name for experiment in found] == ["rmse", "top1"]
        for experiment in found:
            assert {row.metric for row in experiment.rows} == {experiment.metric}
            assert len(experiment.curves) == 2
        assert len({experiment.title for experiment in found}) == 2
        assert len(set(slugs(found))) == 2
    assert "failed" in experiments([*runs, failed])[0].failures


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [(TOP1, 81.256, "81.26 %"), (RMSE, 0.0123456, "0.01235 m"), (Metric(name="bits"), 1234567.0, "1.235e+06")],
)
def test_values_are_printed_with_their_unit(metric, value, text):
    assert metric.text(value) == text


IOU = Metric(name="miou", unit="%", title="mean IoU")


def of_overlap(row):
    """The row of a task that is judged by a mean IoU as large as its accuracy was."""
    epochs = tuple(replace(epoch, top1=None, metric=epoch.top1) for epoch in row.epochs)
    return replace(row, top1=None, top5=None, metric=IOU, metrics={"miou": row.top1, "loss": row.loss}, epochs=epochs)


def words_of(experiment):
    """All words of a report: tables, sentences, titles and notes of figures, pages, and tables of a study."""
    words = [tables([experiment]), pages([experiment])["index.html"]]
    words += [table.to_markdown() for table in study_tables(experiment, experiment.tickets[0].run, "macs")]
    for plot in (*accuracy_plots(experiment), *control_plots(experiment), *training_plots(experiment)):
        words += [plot.title, plot.note, plot.x_label, plot.finding or ""]
    for finding in findings(experiment):
        words += [finding.title, finding.subtitle, finding.note, *(f"{panel.heading} {panel.text}" for panel in finding.panels)]
    dots = dot_plot(experiment)
    words += [dots.title, dots.note]
    text = re.sub(r"(?s)<script.*?</script>|<style.*?</style>|data-chart=\"accuracy\"", "", "\n".join(words))
    return set(re.findall(r"top-?1|accurac\w+|\bpoints?\b|\bpercent\b", text, re.IGNORECASE))


@pytest.mark.parametrize(("changed", "allowed"), [(of_error, set()), (of_overlap, {"point", "points", "Points", "percent"})])
def test_no_word_of_a_report_is_about_another_metric_or_unit(changed, allowed):
    controls = [row(spec(algebra), trial, level, control="random-init")
                for algebra in ("real", "quaternion") for trial in range(3) for level in range(12)]  # fmt: skip
    (found,) = experiments_of_rows(map(changed, [*ROWS, *controls]))
    assert words_of(found) == allowed
    assert "accuracy" in words_of(experiments_of_rows([*ROWS, *controls])[0])


def test_gaps_and_studies_are_in_the_unit_of_the_metric(experiment):
    gaps = next(table for table in all_tables(experiment) if table.title == "Gaps")
    assert "in m (below 0 is better)" in gaps.note
    (by_macs, _) = study_tables(experiment, experiment.tickets[0].run, "macs")
    assert by_macs.note.startswith("Root mean squared error (less is better), in m, mean over trials")
    assert {record["rmse_mean"] is None for record in study_records(experiment, experiment.tickets[0].run)} == {True, False}
