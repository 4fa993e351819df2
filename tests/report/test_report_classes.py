"""Results of classes: means over trials of what rows have, confusion matrices whose shares add up, and pages that say so."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from synthetic_runs import row, spec, write

from fourfold.record import TaskSpec
from fourfold.record.rows import PerClass
from fourfold.report._build import build
from fourfold.report._chosen_levels import chosen_levels
from fourfold.report._experiments import experiments_of_rows
from fourfold.report.class_figures import draw_classes, draw_confusions
from fourfold.report.classes import class_records, class_results, class_table, confusion_records
from fourfold.report.page import pages
from fourfold.report.task_sections import SECTIONS, draw_confusion

SPECS = {algebra: spec(algebra, preset="own") for algebra in ("real", "quaternion")}
EVIL = "<b>|cat"


def results_of(trial, level, classes=3, *, counted=True):
    """What came out for each class: trial and level say how much."""
    draw = np.random.default_rng([trial, level])
    counts = draw.integers(0, 30, (classes, classes))
    counts[1] = 0  # a class that does not occur
    values = [None if not total else 100 * right / total for right, total in zip(np.diag(counts), counts.sum(1), strict=True)]
    names = (EVIL, *(f"class {label}" for label in range(1, classes)))
    confusion = tuple(tuple(map(int, line)) for line in counts) if counted else None
    return PerClass(names=names, values=tuple(values), confusion=confusion)


def rows_of(classes=3, *, counted=True):
    return [
        replace(row(of, trial, level), per_class=results_of(trial, level, classes, counted=counted))
        for of in SPECS.values()
        for trial in range(3)
        for level in range(16)
    ]


@pytest.fixture(scope="module")
def experiment():
    (one,) = experiments_of_rows(rows_of())
    return replace(one, specs={of.id: of for of in SPECS.values()})


def test_chosen_levels_are_dense_and_of_about_equal_size(experiment):
    chosen = chosen_levels(experiment, lambda curve, point: True)
    assert [one.point.level for one in chosen][::3] == [0, 0]
    by_network = [chosen[:3], chosen[3:]]
    for real, quaternion in list(zip(*by_network, strict=True))[1:]:
        ratio = real.point.fraction_of_real / quaternion.point.fraction_of_real
        assert 0.89 < ratio < 1.12  # a level keeps 0.8 of the weights
    assert chosen[0].words == "Real, dense"
    assert chosen_levels(experiment, lambda curve, point: False) == []
    shallow = chosen_levels(experiment, lambda curve, point: point.level < 3)
    assert {one.point.level for one in shallow} == {0, 2, 1}
    alone = chosen_levels(experiment, lambda curve, point: point.level == 0)
    assert [one.point.level for one in alone] == [0, 0]


def test_values_are_means_over_trials_and_shares_are_of_each_class(experiment):
    for one in class_results(experiment):
        trials = [results_of(trial, one.level.point.level) for trial in range(3)]
        for label, value in enumerate(one.values):
            measured = [trial.values[label] for trial in trials if trial.values[label] is not None]
            assert value is None if not measured else value.mean == pytest.approx(np.mean(measured))
        np.testing.assert_array_equal(one.counts, sum(np.array(trial.confusion) for trial in trials))
        sums = one.shares.sum(1)
        assert sums[[0, 2]] == pytest.approx(1)
        assert np.isnan(sums[1])


def test_the_table_has_a_row_a_class_and_marks_what_does_not_occur(experiment):
    table = class_table(experiment)
    assert [line[0] for line in table.rows] == [EVIL, "class 1", "class 2"]
    assert set(table.rows[1][1:]) == {"–"}
    assert all(len(line) == len(table.columns) == 7 for line in table.rows)
    assert len(class_records(experiment)) == 2 * 16 * 3
    assert sum(record["count"] for record in confusion_records(class_results(experiment))) == sum(
        int(one.counts.sum()) for one in class_results(experiment)
    )


def test_rows_without_classes_have_no_section(experiment):
    (plain,) = experiments_of_rows([replace(one, per_class=None) for one in experiment.rows])
    assert (class_results(plain), class_table(plain), class_records(plain)) == ([], None, [])


def test_tasks_without_counts_have_values_alone(experiment):
    (one,) = experiments_of_rows(rows_of(counted=False))
    assert {result.counts is None for result in class_results(one)} == {True}
    assert confusion_records(class_results(one)) == []


@pytest.mark.parametrize("classes", [2, 12, 13, 100])
def test_matrices_of_many_classes_are_small_and_drawn(classes):
    (one,) = experiments_of_rows(rows_of(classes))
    results = class_results(one)
    drawing = str(draw_confusion(results[0]))
    assert len(drawing) < 40_000
    assert EVIL not in drawing
    assert ("class 1<" in drawing) == (classes <= 12)
    assert len(draw_confusions(results).axes) == 6
    assert len(draw_classes(results, "accuracy").axes[0].get_yticks()) == min(40, classes)


@pytest.mark.slow
def test_results_of_classes_are_in_the_page_the_tables_and_the_figures(tmp_path):
    for of in SPECS.values():
        rows = [replace(row(of, 0, level), per_class=results_of(0, level)) for level in range(4)]
        write(tmp_path / "runs", of, 0, 0, rows)
    out = build([tmp_path / "runs"], tmp_path / "report").parent
    page = (out / "index.html").read_text()
    assert "Which classes are taken for which" in page
    assert page.count("matrix") > 4
    assert EVIL not in page
    assert "### Classes" in (out / "tables.md").read_text()
    names = {file.name for file in (out / "figures").iterdir()}
    assert {f"own-{name}.{form}" for name in ("classes", "confusion") for form in ("png", "svg", "csv")} <= names
    with (out / "classes.csv").open() as file:
        assert {line["measure"] for line in csv.DictReader(file)} == {"accuracy"}


def test_every_task_with_classes_says_what_it_measures(experiment):
    for task in SECTIONS:
        specs = {of.id: replace(of, task=TaskSpec(name=task)) for of in SPECS.values()}
        changed = replace(experiment, specs=specs)
        assert "value" not in class_table(changed).note.split(" of each class")[0].lower()
        assert "<h3>Classes</h3>" in pages([changed])["index.html"]
