"""What is known of levels' stability goes to disk and comes back."""

import dataclasses

import pytest
from record_samples import make_spec

from fourfold.record import (
    TOP1,
    Connectivity,
    ConnectivityRow,
    Metric,
    OverlapRow,
    Provenance,
    RunStore,
    UserError,
)

LINE = Connectivity(step=5, positions=(0.0, 0.5, 1.0), errors=(10.0, 25.0, 20.0), losses=(0.1, 1 / 3, 0.2))
MADE = Provenance(seconds=0.5, finished="2026-01-02T03:04:05+00:00", device="cpu", versions={"torch": "2"})
RUN = make_spec().id
ROW = ConnectivityRow(run=RUN, trial=0, level=2, fraction_of_real=0.1, mask="0" * 64, connectivity=LINE, provenance=MADE)
PAIR = OverlapRow(run=RUN, level=2, trials=(0, 3), fraction_of_real=0.1, both=30, either=60, expected=15.0, deviation=2.5)


def test_rows_come_back_as_they_were():
    assert ConnectivityRow.from_line(ROW.to_line()) == ROW
    assert OverlapRow.from_line(PAIR.to_line()) == PAIR


def test_lines_of_other_metrics_come_back_and_those_of_classes_are_as_they_were():
    assert "metric" not in ROW.to_line()
    other = dataclasses.replace(ROW, metric=Metric(name="rmse", unit="m", higher_is_better=False))
    assert ConnectivityRow.from_line(other.to_line()) == other


@pytest.mark.parametrize(
    ("metric", "values", "barrier", "unit"),
    [
        (TOP1, (90.0, 60.0, 80.0), 25.0, "points"),
        (Metric(name="wer", unit="%", higher_is_better=False), (10.0, 40.0, 20.0), 25.0, "points"),
        (Metric(name="rmse", unit="m", higher_is_better=False), (1.0, 4.0, 2.0), 2.5, "m"),
        (Metric(name="r2"), (0.9, 0.5, 0.8), 0.35, "r2"),
    ],
)
def test_a_barrier_is_how_much_worse_the_metric_is_between_the_copies(metric, values, barrier, unit):
    line = dataclasses.replace(LINE, errors=tuple(map(metric.error, values)))
    assert line.barrier == pytest.approx(barrier)
    assert metric.difference_unit == unit


def test_a_barrier_is_what_the_line_rises_above_its_ends():
    assert LINE.barrier == 10


def test_shared_weights_and_what_chance_would_share():
    assert PAIR.jaccard == 0.5
    # Both masks keep (30 + 60) / 2 weights on average: 15 in common leave 75 that either keeps.
    assert PAIR.by_chance == 0.2
    empty = dataclasses.replace(PAIR, both=0, either=0, expected=0.0)
    assert (empty.jaccard, empty.by_chance) == (1, 1)


def test_measurements_lie_by_level_and_step_and_a_torn_line_is_none(tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    later = dataclasses.replace(ROW, connectivity=dataclasses.replace(LINE, step=7))
    dense = dataclasses.replace(ROW, level=0)
    store.append_connectivity(later)
    with (store.path / "connectivity-0.jsonl").open("a") as file:
        file.write('{"run":')
    for row in (ROW, dense):
        store.append_connectivity(row)
    assert store.connectivity(0) == [dense, ROW, later]
    assert store.connectivity(1) == []
    assert store.trials() == []  # they are no rows of a trial


def test_overlaps_are_replaced_by_those_found_last(tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    assert store.overlaps() == []
    store.save_overlaps([PAIR, PAIR])
    store.save_overlaps([PAIR])
    assert store.overlaps() == [PAIR]


@pytest.mark.parametrize("kind", [ConnectivityRow, OverlapRow])
@pytest.mark.parametrize("line", ["", "[]", "{}", '{"trials": [1]}', '{"connectivity": {"step": 0}}', '{"trials": ["a", 1]}'])
def test_what_is_no_row_is_named(kind, line):
    with pytest.raises(UserError, match=r"^file:3 is no row of "):
        kind.from_line(line, "file:3")
