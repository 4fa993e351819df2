"""Stability of whole runs: every level's line and every pair of masks, once."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from fourfold import execution, lottery, pruning
from fourfold.lottery import Line, levels
from fourfold.lottery._stability import missing, run_stability
from fourfold.nn import named_weights
from fourfold.record import PruneSpec, RunStore, UserError
from fourfold.train import single_thread
from lottery_samples import files, prepared, run_alone, tiny_spec

SPEC = tiny_spec("quaternion", levels=3, epochs=1)
LINE = Line(steps=(0, 20), levels=(0, 2), points=3)


@pytest.fixture
def store(tmp_path) -> RunStore:
    run_alone(SPEC, tmp_path, trial=0)
    return run_alone(SPEC, tmp_path, trial=1)


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.slow
def test_workers_measure_what_is_missing_and_nothing_twice(store):
    events = []
    execution.stability([store], LINE, workers=1, on_event=events.append)
    measured = [(event.trial, event.level) for event in events if event.kind == "connectivity"]
    assert sorted(measured) == [(trial, level) for trial in (0, 1) for level in (0, 0, 2, 2)]
    assert all(not missing(store, trial, LINE) for trial in (0, 1))
    before = files(store.path)
    again = []
    execution.stability([store], LINE, workers=1, on_event=again.append)
    assert not again
    assert files(store.path) == before
    assert missing(store, 0, dataclasses.replace(LINE, levels=None)) == [(1, 0), (1, 20)]


def test_rows_are_those_of_the_level_under_its_mask(store):
    told = []
    with single_thread():
        run_stability(prepared(SPEC), store, 1, LINE, told.append)
        direct = lottery.connectivity(prepared(SPEC), 1, 20, level=2, mask=store.mask(1, 2), points=3)
    assert store.connectivity(1) == told
    assert [(row.level, row.connectivity.step) for row in told] == [(0, 0), (0, 20), (2, 0), (2, 20)]
    row, level = told[-1], store.rows(1)[2]
    assert row.connectivity == direct
    assert (row.run, row.trial, row.fraction_of_real, row.mask) == (SPEC.id, 1, level.fraction_of_real, level.mask)


def test_overlaps_are_those_of_the_masks(store):
    found = lottery.overlaps(store)
    assert [(row.trials, row.level) for row in found] == [((0, 1), 1), ((0, 1), 2)]
    weights = named_weights(levels.build(SPEC, 0))
    masks = [pruning.unpack(store.mask(trial, 2), weights) for trial in (0, 1)]
    both = sum(int((masks[0][name] & masks[1][name]).sum()) for name in weights)
    either = sum(int((masks[0][name] | masks[1][name]).sum()) for name in weights)
    assert (found[1].both, found[1].either) == (both, either)
    assert 0 < found[1].expected < either


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.slow
def test_rows_without_masks_keep_their_overlaps_and_their_dense_level_can_be_measured(store, tmp_path):
    dense = dataclasses.replace(LINE, levels=(0,))
    with pytest.raises(UserError, match=r"0-1\.safetensors cannot be read .* makes it again by training"):
        execution.stability([without_masks(store, tmp_path / "new")], dense)  # overlaps that nobody has found
    store.save_overlaps(lottery.overlaps(store))
    rows = without_masks(store, tmp_path / "copied")
    before = files(rows.path)
    with pytest.raises(UserError, match=r"0-2\.safetensors cannot be read .* makes it again by training"):
        execution.stability([rows], LINE, workers=1)
    assert files(rows.path) == before
    execution.stability([rows], dense, workers=1)
    assert rows.overlaps() == store.overlaps() != []
    assert [len(rows.connectivity(trial)) for trial in (0, 1)] == [2, 2]


def without_masks(store: RunStore, folder: Path) -> RunStore:
    copied = shutil.copytree(store.path, folder / store.path.name, ignore=lambda *_: ["masks"])
    return RunStore(Path(copied))


def test_overlaps_are_found_anew_where_both_masks_are_on_disk(store):
    found = lottery.overlaps(store)
    wrong = [dataclasses.replace(row, both=0) for row in found]
    store.save_overlaps(wrong)
    assert lottery.overlaps(store) == found
    (store.path / "masks" / "1-2.safetensors").unlink()
    assert lottery.overlaps(store) == [found[0], wrong[1]]


def test_masks_of_another_training_are_refused(store):
    store.save_mask(1, 2, store.mask(0, 2))
    sentence = r"1-2\.safetensors: expected the SHA-256 \w{8} of its row, found \w{8}; `fourfold check --repair "
    with pytest.raises(UserError, match=sentence):
        lottery.overlaps(store)
    with pytest.raises(UserError, match=sentence):
        execution.stability([store], LINE)
    with single_thread(), pytest.raises(UserError, match=sentence):
        run_stability(prepared(SPEC), store, 1, LINE, lambda row: None)
    with single_thread():
        lottery.run_controls(prepared(SPEC), store, 1, ["random-init"], [2])  # which makes the mask again
    assert pruning.fingerprint(store.mask(1, 2)) == store.rows(1)[2].mask


@pytest.mark.usefixtures("forked_workers")
def test_a_spent_budget_leaves_the_rest_for_later(store):
    events = []
    execution.stability([store], LINE, workers=1, budget_seconds=1e-3, on_event=events.append)
    assert [event.kind for event in events] == ["out-of-time"] * 2
    assert missing(store, 0, LINE) == [(0, 0), (0, 20), (2, 0), (2, 20)]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (Line(levels=(3,)), r"`levels` \(=3\) must lie in \[0, 3\), the levels that tiny-quaternion-\w+ has"),
        (Line(levels=(-1,)), r"`levels` \(=-1\) must lie in \[0, 3\)"),
        (Line(steps=(24,)), r"`steps` \(=24\) must lie in \[0, 24\), the steps of a training"),
        (Line(points=1), r"`points` \(=1\) must be at least 2"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(store, line, sentence):
    before = files(store.path)
    with pytest.raises(UserError, match=f"^{sentence}"):
        execution.stability([store], line)
    assert files(store.path) == before


def test_runs_that_cannot_be_measured_are_named(tmp_path):
    late = dataclasses.replace(SPEC, prune=PruneSpec(fraction=0.5, rewind="step", rewind_to=4))
    with pytest.raises(UserError, match=r"`prune.rewind`='step'\) must begin every level at the start"):
        execution.stability([RunStore.create(tmp_path, late)], Line())
    store = RunStore.create(tmp_path, SPEC)
    renamed = RunStore(store.path.rename(tmp_path / "other"))
    with pytest.raises(UserError, match=f"must be named {SPEC.id}"):
        execution.stability([renamed], Line())
