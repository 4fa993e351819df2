"""What is read from disk, and what is refused."""

import dataclasses
from pathlib import Path

import pytest
import synthetic_runs as synthetic

from fourfold.record import RunStore, UserError
from fourfold.report import read_runs

REAL = synthetic.spec("real")


def test_a_run_is_read_with_its_failures_even_without_rows(tmp_path: Path) -> None:
    synthetic.write(tmp_path, REAL, 2, 3)
    RunStore.create(tmp_path, synthetic.spec("quaternion")).fail(1, 0, "the loss became nan")
    quaternion, real = read_runs([tmp_path])
    assert real.rows == tuple(synthetic.row(REAL, trial, level) for trial in range(2) for level in range(3))
    assert (real.failures, quaternion.rows) == ({}, ())
    assert quaternion.failures == {1: "level 0: the loss became nan"}


def test_a_trial_that_lies_in_two_folders_counts_once_and_the_longer_copy_is_taken(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "a", REAL, [0, 1], 2)
    synthetic.write(tmp_path / "b", REAL, [0], 4)
    synthetic.write(tmp_path / "c", REAL, [0], 3)
    (run,) = read_runs([tmp_path / "b", tmp_path])
    assert [(row.trial, row.level) for row in run.rows] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]


def test_two_results_of_one_trial_are_never_merged(tmp_path: Path) -> None:
    synthetic.write(tmp_path / "a", REAL, [0], 2)
    RunStore.create(tmp_path / "b", REAL).append(synthetic.row(REAL, 0, 0, top1=12.0))
    with pytest.raises(
        UserError, match=r"^trial 0 of conv4-cifar10-real-\w+ lies in .* with different results; name one of them$"
    ):
        read_runs([tmp_path])


def test_rows_of_another_run_are_refused(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path, REAL, 1, 1)
    other = dataclasses.replace(synthetic.row(REAL, 0, 0), run="other")
    (store.path / "rows-0.jsonl").write_text(other.to_line() + "\n")
    with pytest.raises(
        UserError, match=r"rows-0\.jsonl:1: expected a row of ticket of trial 0 of .*, found one of .* of other"
    ):
        read_runs([tmp_path])


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*nowhere"):
        read_runs([tmp_path / "nowhere"])


def test_rows_of_controls_are_read_after_their_ticket_and_joined_by_level(tmp_path: Path) -> None:
    store = synthetic.write(tmp_path / "a", REAL, 1, 3)
    for level in (2, 1):
        store.append(synthetic.row(REAL, 0, level, control="random-init"))
    other = synthetic.write(tmp_path / "b", REAL, 1, 1)
    for level in (2, 0):
        other.append(synthetic.row(REAL, 0, level, control="random-init"))
    (run,) = read_runs([tmp_path])
    assert [(row.control, row.level) for row in run.rows] == [
        *(("ticket", level) for level in range(3)),
        *(("random-init", level) for level in range(3)),
    ]
    other.append(synthetic.row(REAL, 0, 1, control="random-init", top1=1.0))
    with pytest.raises(UserError, match=r"with different results; name one of them$"):
        read_runs([tmp_path])
