"""Settings are plain values whatever they were given as, and folders may hold what does not belong there."""

import re

import pytest
from record_samples import make_row, make_spec

from fourfold.record import DataSpec, ModelSpec, PruneSpec, RunStore, StopSpec, TrainSpec, UserError


def test_equal_specs_have_equal_ids():
    whole = make_spec(train=TrainSpec(weight_decay=0, momentum=0, decay=1), stop=StopSpec(accuracy=30))
    real = make_spec(train=TrainSpec(weight_decay=0.0, momentum=0.0, decay=1.0), stop=StopSpec(accuracy=30.0))
    assert whole == real
    assert whole.id == real.id


def test_milestones_may_be_given_as_a_list(tmp_path):
    spec = make_spec(train=TrainSpec(milestones=[3, 5]))
    RunStore.create(tmp_path, spec)
    assert RunStore.create(tmp_path, spec).spec().train.milestones == (3, 5)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: TrainSpec(learning_rate="0.1"), "`train.learning_rate` (='0.1') must lie in (0, 100)"),
        (lambda: TrainSpec(learning_rate=True), "`train.learning_rate` (=True) must lie in (0, 100)"),
        (lambda: PruneSpec(fraction=None), "`prune.fraction` (=None) must lie in [0.001, 1)"),
        (lambda: TrainSpec(milestones=(1.5,)), "`train.milestones` (=1.5) must be an integer of at least 1"),
        (lambda: TrainSpec(milestones=(-1,)), "`train.milestones` (=-1) must be an integer of at least 1"),
        (lambda: TrainSpec(milestones=(2, 2)), "`train.milestones` (=(2, 2)) must be increasing epochs"),
        (lambda: DataSpec(name="digits", flip="x"), "`data.flip` (='x') must be True or False"),
        (lambda: DataSpec(name=3), "`data.name` (=3) must be a name"),
        (lambda: ModelSpec(name=""), "`model.name` (='') must be a name"),
    ],
)
def test_values_of_another_type_are_refused(make, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        make()


def test_a_rows_file_that_is_no_text_is_one_sentence(tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    (store.path / "rows-0.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(UserError, match=r"rows-0\.jsonl:1 cannot be read \(invalid start byte\)"):
        store.rows(0)


def test_files_of_other_names_are_no_trials(tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    store.append(make_row(trial=2))
    (store.path / "rows-0 (copy).jsonl").write_text("")
    (store.path / "rows-x.jsonl").write_text("")
    store.fail(4, 0, "the loss became nan")
    assert store.trials() == [2, 4]


def test_the_sweep_removes_states_that_their_levels_have_outlived(tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    for level in range(2):
        store.append(make_row(level=level))
        store.save_state(0, level + 1, {})
    store.save_state(1, 1, {})
    (store.path / "masks").mkdir()
    (store.path / "masks" / ".x.part").mkdir()  # a folder, which is nobody's
    store.sweep()
    assert sorted(file.name for file in (store.path / "states").iterdir()) == ["0-2.safetensors", "1-1.safetensors"]


def test_the_sweep_removes_what_cut_short_writes_left_and_nothing_else(tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    store.save_mask(0, 1, {})
    before = sorted(store.path.rglob("*"))
    (store.path / "masks" / ".0-2.safetensors.123.part").write_bytes(b"half")
    (store.path / ".spec.json.123.part").write_bytes(b"half")
    store.sweep()
    assert sorted(store.path.rglob("*")) == before


def test_asking_whether_a_run_is_locked_writes_nothing(tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    before = sorted(store.path.rglob("*"))
    assert not store.locked("run")
    assert sorted(store.path.rglob("*")) == before
