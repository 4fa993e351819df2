"""The loop: train, prune the smallest weights, rewind the rest to the very bits they started from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fourfold import pruning
from fourfold.lottery import derive_seed, levels
from fourfold.nn import named_weights
from fourfold.record import PruneSpec
from fourfold.train import TrainingFailedError, single_thread, train
from lottery_samples import BOTH, Trainer, prepared, run_alone, tiny_spec


def masks_of(store, spec, trial, level):
    weights = named_weights(levels.build(spec))
    return pruning.unpack(store.mask(trial, level), weights) if level else pruning.dense(weights)


@pytest.fixture(params=[("real", "global"), ("quaternion", "global"), ("quaternion", "layer")], ids=" ".join)
def run(request, tmp_path):
    """A trial of ten levels that loses a fifth a level, and what its trainings saw."""
    algebra, scope = request.param
    spec = replace(tiny_spec(algebra, levels=10), prune=PruneSpec(fraction=0.2, scope=scope))
    seen = Trainer()
    store = run_alone(spec, tmp_path, trial=1, trainer=seen)
    assert len(store.rows(1)) == 10
    return spec, store, seen


def test_every_level_starts_from_the_initial_weights_to_the_last_bit(run):
    spec, store, seen = run
    initial = levels.build(spec, derive_seed(1, "weights")).state_dict()
    for level, before in enumerate(seen.before):
        masks = masks_of(store, spec, 1, level)
        assert before.keys() == initial.keys()
        for name, value in before.items():
            if name in masks:
                assert torch.equal(value[masks[name]], initial[name][masks[name]]), (level, name)
                assert not value[~masks[name]].any(), (level, name)
            else:
                assert torch.equal(value, initial[name]), (level, name)  # biases are rewound too


def test_pruned_weights_are_exactly_zero_after_training_and_the_others_have_moved(run):
    spec, store, seen = run
    for level, after in enumerate(seen.after):
        for name, mask in masks_of(store, spec, 1, level).items():
            assert not after[name][~mask].any(), (level, name)
            moved = after[name] != seen.before[level][name]
            assert moved[mask].float().mean() > 0.5, (level, name)  # pixels that are always black move nothing


def test_masks_only_shrink_and_their_counts_are_exact(run):
    spec, store, _ = run
    previous = None
    for level, row in enumerate(store.rows(1)):
        masks = masks_of(store, spec, 1, level)
        counts = {name: int(mask.sum()) for name, mask in masks.items()}
        if spec.prune.scope == "global":
            assert sum(counts.values()) == row.weights == round(0.8**level * row.weights_total)
        else:
            assert counts == {name: round(0.8**level * mask.numel()) for name, mask in masks.items()}
        if previous is not None:
            assert all(bool((previous[name] | ~mask).all()) for name, mask in masks.items())
        previous = masks


def test_the_smallest_trained_weights_go(run):
    spec, store, seen = run
    for level, after in enumerate(seen.after):
        now, then = masks_of(store, spec, 1, level), masks_of(store, spec, 1, level + 1)
        groups = [list(now)] if spec.prune.scope == "global" else [[name] for name in now]
        for names in groups:
            magnitude = np.concatenate([after[name].abs().flatten().numpy() for name in names])
            allowed = np.concatenate([now[name].flatten().numpy() for name in names])
            order = np.argsort(np.where(allowed, -magnitude, 1), kind="stable")
            expected = np.zeros(len(order), bool)
            expected[order[: round(0.8 ** (level + 1) * len(order))]] = True
            assert np.array_equal(np.concatenate([then[name].flatten().numpy() for name in names]), expected)


def test_the_mask_of_the_next_level_is_there_before_the_row(tmp_path, monkeypatch):
    spec = tiny_spec(levels=3)
    seen = []

    def look(store, row):
        seen.append((row.level, sorted(file.name for file in (store.path / "masks").iterdir())))

    monkeypatch.setattr(levels.RunStore, "append", look)
    monkeypatch.setattr(levels.RunStore, "finished", lambda store, trial: bool(seen))
    run_alone(spec, tmp_path)
    assert seen == [(0, ["0-1.safetensors"])]


def test_levels_follow_the_rows_on_disk(tmp_path):
    spec = tiny_spec(levels=3)
    got = []
    store = run_alone(spec, tmp_path)
    with single_thread():
        levels.run_trial(prepared(spec), store, 0, got.append)
    assert got == []  # all three are there
    file = store.path / "rows-0.jsonl"
    before = store.rows(0)
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True)[:1]))
    with single_thread():
        levels.run_trial(prepared(spec), store, 0, got.append)
    assert [row.level for row in got] == [1, 2]
    assert [row.result() for row in store.rows(0)] == [row.result() for row in before]


def test_epochs_are_told_with_their_level(tmp_path):
    spec = tiny_spec(levels=2, epochs=3)
    told = []
    with single_thread():
        store = levels.RunStore.create(tmp_path, spec)
        levels.run_trial(prepared(spec), store, 0, lambda row: None, lambda level, epoch: told.append((level, epoch)))
    assert [(level, epoch.epoch) for level, epoch in told] == [(level, epoch) for level in (0, 1) for epoch in (1, 2, 3)]
    assert [epoch for level, epoch in told if level == 1] == list(store.rows(0)[1].epochs)


@pytest.mark.parametrize("algebra", BOTH)
def test_a_loss_that_is_no_number_writes_no_row(algebra, tmp_path):
    spec = tiny_spec(algebra)

    def fail_at_level_2(*arguments, **named):
        if len(store.rows(0)) == 2:
            raise TrainingFailedError("the loss became nan in epoch 7")
        return train(*arguments, **named)

    store = levels.RunStore.create(tmp_path, spec)
    run_alone(spec, tmp_path, trainer=fail_at_level_2)
    assert [row.level for row in store.rows(0)] == [0, 1]
    assert store.failure(0) == "level 2: the loss became nan in epoch 7"
    run_alone(spec, tmp_path)  # it failed for good
    assert [row.level for row in store.rows(0)] == [0, 1]


def test_a_mask_of_another_network_is_refused(tmp_path):
    spec = tiny_spec()
    with pytest.raises(ValueError, match="the mask"):
        levels.run_level(prepared(spec), 0, 1, {"fc1.weight": np.zeros(3, np.uint8), "fc2.weight": np.zeros(15, np.uint8)})
