"""Rows, masks and failures of controls lie beside those of the ticket, and states go when their successor is there."""

import numpy as np
import pytest
from record_samples import make_row, make_spec

from fourfold.record import CONTROLS, RunStore, UserError


@pytest.fixture
def store(tmp_path):
    return RunStore.create(tmp_path, make_spec())


def test_rows_of_a_control_are_its_own(store):
    store.append(make_row(trial=0, level=0))
    for level in (6, 0, 3):  # asked for one after the other
        store.append(make_row(trial=0, level=level, control="shuffled-layer"))
    store.append(make_row(trial=2, level=1, control="random-init"))
    assert [row.level for row in store.rows(0)] == [0]
    assert [row.level for row in store.control_rows(0, "shuffled-layer")] == [0, 3, 6]
    assert store.control_rows(1, "random-init") == []
    assert store.controls() == [(0, "shuffled-layer"), (2, "random-init")]
    assert store.trials() == [0]
    assert {file.name for file in store.path.glob("rows-*")} == {
        "rows-0.jsonl",
        "rows-0-shuffled-layer.jsonl",
        "rows-2-random-init.jsonl",
    }


def test_every_control_has_a_name_that_files_can_have(store):
    for control in CONTROLS:
        store.append(make_row(control=control))
    assert store.controls() == [(0, control) for control in sorted(CONTROLS)]


def test_a_control_that_fails_leaves_its_ticket_alone(store):
    store.fail(0, 3, "the loss became nan", "random-init")
    assert store.failure(0) is None
    assert store.failure(0, "random-init") == "level 3: the loss became nan"
    assert store.trials() == []


def test_masks_of_a_control_are_its_own(store):
    store.save_mask(0, 1, {"a": np.array([1], np.uint8)})
    store.save_mask(0, 1, {"a": np.array([2], np.uint8)}, "equal-macs")
    assert store.mask(0, 1)["a"].tolist() == [1]
    assert store.mask(0, 1, "equal-macs")["a"].tolist() == [2]


def test_states_of_earlier_levels_go(store):
    store.drop_states(0, before=5)  # nothing there
    for trial, level in ((0, 1), (0, 2), (0, 10), (1, 1)):
        store.save_state(trial, level, {"a": np.array([level], np.float32)})
    store.drop_states(0, before=10)
    assert sorted(file.stem for file in (store.path / "states").iterdir()) == ["0-10", "1-1"]
    assert store.state(0, 10)["a"].tolist() == [10]
    with pytest.raises(UserError, match="makes it again by training"):
        store.state(0, 2)


def test_a_row_tells_the_layers_without_weights():
    assert make_row(layers={"a": (0, 5), "b": (88, 90), "c": (0, 1)}).collapsed == ("a", "c")
    assert make_row(weights=0, layers={"a": (0, 5), "b": (0, 90)}).collapsed == ()
