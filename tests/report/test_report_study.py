"""Variants side by side: numbers are those of the gaps, labels say what differs."""

from dataclasses import replace
from pathlib import Path

import pytest
import synthetic_runs as synthetic

from fourfold.record import PruneSpec, RunStore
from fourfold.report import Experiment, read_experiments, study_tables
from fourfold.report.gaps import accuracy_at, gap_at
from fourfold.report.study import POINTS, study_records

WEIGHT = synthetic.spec("quaternion", preset="conv4-cifar10-units")
ELEMENT = replace(WEIGHT, prune=PruneSpec(unit="element"))
REAL = synthetic.spec("real", preset="conv4-cifar10-units")


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    for spec, better in ((WEIGHT, 0.0), (ELEMENT, 2.0), (REAL, 0.0)):
        store = RunStore.create(tmp_path, spec)
        for trial in range(3):
            for level in range(17):
                row = synthetic.row(spec, trial, level)
                store.append(replace(row, top1=row.top1 + better * (level > 0)))
    (found,) = read_experiments([tmp_path])
    return found


def test_labels_say_in_what_runs_of_one_algebra_differ(experiment: Experiment) -> None:
    labels = {curve.run: curve.label for curve in experiment.tickets}
    assert labels == {REAL.id: "Real", WEIGHT.id: "Quaternion (unit weight)", ELEMENT.id: "Quaternion (unit element)"}


def test_a_setting_that_is_off_needs_no_brackets(tmp_path: Path) -> None:
    rounded = replace(WEIGHT, train=replace(WEIGHT.train, precision="bf16"))
    for spec in (WEIGHT, rounded):
        RunStore.create(tmp_path, spec).append(synthetic.row(spec, 0, 0))
    (found,) = read_experiments([tmp_path])
    labels = {curve.run: curve.label for curve in found.tickets}
    assert labels == {WEIGHT.id: "Quaternion", rounded.id: "Quaternion (precision bf16)"}


def test_records_are_gaps_to_the_first_variant(experiment: Experiment) -> None:
    curves = {curve.run: curve for curve in experiment.tickets}
    records = study_records(experiment, WEIGHT.id)
    assert len(records) == 2 * 3 * len(POINTS)
    assert [record["run"] for record in records[: len(POINTS)]] == [WEIGHT.id] * len(POINTS)
    assert all(record["gap_mean"] is None for record in records if record["run"] == WEIGHT.id)
    for record in records:
        curve, quantity, at = curves[record["run"]], record["equal"], record["part_of_dense_real"]
        size = at * curve.macs_real if quantity == "macs" else at
        mean = accuracy_at(curve.traces, size, quantity)
        assert record["top1_mean"] == (mean.mean if mean else None)
        if record["run"] != WEIGHT.id:
            ahead = gap_at(curve.traces, curves[WEIGHT.id].traces, size, quantity)
            assert record["gap_mean"] == (ahead.mean if ahead else None)
    at_three = next(
        r for r in records if (r["run"], r["equal"], r["part_of_dense_real"]) == (ELEMENT.id, "fraction_of_real", 0.03)
    )
    assert at_three["gap_mean"] == pytest.approx(2)


@pytest.mark.parametrize(
    ("equal", "first", "second"), [("macs", "MACs", "parameters"), ("fraction_of_real", "parameters", "MACs")]
)
def test_the_question_s_own_size_comes_first(experiment: Experiment, equal: str, first: str, second: str) -> None:
    tables = study_tables(experiment, WEIGHT.id, equal)
    assert [table.title for table in tables] == [f"conv4-cifar10-units: at equal {size}" for size in (first, second)]
    (table,) = [table for table in tables if "parameters" in table.title]
    assert [row[0] for row in table.rows] == ["Quaternion (unit weight)", "Real", "", "Quaternion (unit element)", ""]
    assert table.rows[4][3].startswith("+2.00")
    assert all(len(row) == len(table.columns) for row in table.rows)
