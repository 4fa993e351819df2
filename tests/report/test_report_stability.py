"""The table of barriers and overlaps against the rows that it is made of."""

import statistics

import pytest
import synthetic_runs as synthetic

from fourfold.record import Connectivity, ConnectivityRow, OverlapRow, RunStore
from fourfold.report import read_experiments, stability_table
from fourfold.report.stability import stability_records

SPEC = synthetic.spec("quaternion")


def line(trial: int, level: int, step: int, rise: float) -> ConnectivityRow:
    row = synthetic.row(SPEC, trial, level)
    found = Connectivity(step=step, positions=(0, 0.5, 1), errors=(31.0, 31 + rise, 31.0), losses=(1.0, 1.0, 1.0))
    return ConnectivityRow(
        run=SPEC.id,
        trial=trial,
        level=level,
        fraction_of_real=row.fraction_of_real,
        mask=row.mask,
        connectivity=found,
        provenance=row.provenance,
    )


@pytest.fixture
def store(tmp_path):
    made = RunStore.create(tmp_path, SPEC)
    for trial in range(3):
        for level in range(4):
            made.append(synthetic.row(SPEC, trial, level))
    return made


def test_nothing_measured_is_no_table(store):
    (experiment,) = read_experiments([store.path])
    assert stability_table(experiment) is None


def test_means_are_over_trials_and_pairs(store):
    for trial, rise in enumerate((1.0, 2.0, 6.0)):
        store.append_connectivity(line(trial, 1, 0, rise))
    store.append_connectivity(line(0, 1, 50, 0.5))
    pairs = [((0, 1), 30, 60, 10.0), ((0, 2), 20, 80, 10.0)]
    store.save_overlaps(
        OverlapRow(
            run=SPEC.id, level=level, trials=t, fraction_of_real=0.1, both=both, either=either, expected=chance, deviation=1.0
        )
        for level in (1, 2)
        for t, both, either, chance in pairs
    )
    (experiment,) = read_experiments([store.path])
    at_start, later, masks = stability_records(experiment)
    assert (at_start["level"], at_start["step"], at_start["trials"], at_start["error_mean"]) == (1, 0, 3, 31)
    assert (at_start["barrier_mean"], at_start["barrier_std"]) == (3, statistics.stdev((1, 2, 6)))
    assert (later["step"], later["barrier_mean"], later["barrier_std"]) == (50, 0.5, None)
    assert (masks["level"], masks["step"], masks["barrier_mean"], masks["fraction_of_real"]) == (2, None, None, 0.1)
    assert masks["masks_shared"] == (0.5 + 0.25) / 2
    assert masks["shared_by_chance"] == pytest.approx((10 / 80 + 10 / 90) / 2)
    table = stability_table(experiment)
    assert table.rows[0][1:] == ("1", table.rows[0][2], "0", "31.00", "3.00 ± 2.65", "3", "0.375", "0.118")
    assert table.rows[2][3:] == ("–", "–", "–", "–", "0.375", "0.118")
