"""A trial gives the same rows however, wherever and how often it is run."""

import json
from dataclasses import replace

import pytest
import torch

from fourfold import execution
from fourfold.record import DataSpec, EarlyStopping, PruneSpec
from lottery_samples import BOTH, files, results, run_alone, tiny_spec


def variants(algebra):
    spec = tiny_spec(algebra, levels=3)
    pixels = DataSpec(name="digits", encoding="pixels")
    return {
        "plain": spec,
        "crops and flips": replace(spec, data=replace(pixels, crop=1, flip=True)),
        "early stopping": replace(
            spec,
            data=replace(pixels, validation=137),
            train=replace(spec.train, epochs=3, early_stopping=EarlyStopping(every=5, patience=2)),
        ),
        "sgd, layer by layer": replace(
            tiny_spec(algebra, levels=3, optimizer="sgd", momentum=0.9, nesterov=True, learning_rate=0.05, milestones=(1,)),
            prune=PruneSpec(fraction=0.3, scope="layer"),
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize("algebra", BOTH)
@pytest.mark.parametrize("variant", variants("real"))
def test_a_trial_run_twice_gives_the_same_rows_and_masks(variant, algebra, tmp_path):
    spec = variants(algebra)[variant]
    first, second = run_alone(spec, tmp_path / "a", 1), run_alone(spec, tmp_path / "b", 1)
    assert len(first.rows(1)) == 3
    assert results(first.rows(1)) == results(second.rows(1))
    assert files(first.path / "masks") == files(second.path / "masks")


@pytest.mark.slow
def test_trials_differ_and_torchs_global_generator_changes_nothing(tmp_path, alone):
    spec = tiny_spec()
    torch.manual_seed(123)
    torch.rand(7)
    assert results(run_alone(spec, tmp_path).rows(0)) == results(alone(spec).rows(0))
    assert alone(spec, 1).rows(1)[0].mask == alone(spec).rows(0)[0].mask  # dense
    assert alone(spec, 1).rows(1)[1].mask != alone(spec).rows(0)[1].mask
    assert alone(spec, 1).rows(1)[0].loss != alone(spec).rows(0)[0].loss


@pytest.mark.slow
def test_workers_give_the_rows_that_one_process_gives(ran, alone):
    expected = [row for spec in ran.specs for trial in (0, 1) for row in alone(spec, trial).rows(trial)]
    assert len(expected) == 20
    assert results(ran.rows) == results(expected)


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.slow
def test_the_number_of_trials_and_workers_changes_no_row(ran, tmp_path):
    spec = ran.specs[1]
    rows = execution.run(spec, trials=1, out=tmp_path, device="cpu", workers=1)
    assert results(rows) == results([row for row in ran.rows if (row.algebra, row.trial) == ("quaternion", 0)])


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.slow
def test_a_complete_run_called_again_starts_nothing(tmp_path, alone):
    spec = tiny_spec()
    events = []
    store = run_alone(spec, tmp_path)
    before = files(store.path)
    rows = execution.run(spec, trials=1, out=tmp_path, device="cpu", workers=4, on_event=events.append)
    assert results(rows) == results(alone(spec).rows(0))
    assert events == []
    assert {name: content for name, content in files(store.path).items() if not name.startswith(".")} == before


@pytest.mark.slow
def test_events_tell_all_that_happened(ran):
    for spec in ran.specs:
        for trial in (0, 1):
            mine = [event for event in ran.events if (event.spec, event.trial) == (spec, trial)]
            assert [event.kind for event in mine] == ["epoch", "row"] * 5 + ["finished"]
            told = [event.row for event in mine if event.row]
            assert told == [row for row in ran.rows if (row.run, row.trial) == (spec.id, trial)]
            epochs = [event for event in mine if event.kind == "epoch"]
            assert [(event.level, event.epoch) for event in epochs] == [(level, 1) for level in range(5)]
            assert [event.top1 for event in epochs] == [row.top1 for row in told]


@pytest.mark.slow
def test_a_spec_from_its_file_gives_the_same_rows(tmp_path, alone):
    spec = tiny_spec("quaternion")
    read = type(spec).from_json(json.loads((alone(spec).path / "spec.json").read_text()))
    assert results(run_alone(read, tmp_path).rows(0)) == results(alone(spec).rows(0))
