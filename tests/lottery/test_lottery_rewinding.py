"""Every way to go from level to level: what a level starts from, and that an interruption changes no bit of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fourfold import lottery, presets, pruning
from fourfold.lottery import derive_seed, levels, rewinding, training
from fourfold.nn import named_weights
from fourfold.record import KEEPS_TRAINED, PruneSpec, RunStore, Spec
from fourfold.train import single_thread
from lottery_samples import Trainer, files, prepared, results, run_alone, tiny_spec, trains_nothing

STEPS = 24  # of an epoch of the digits
WAYS = {
    "step": PruneSpec(fraction=0.4, rewind="step", rewind_to=7),
    "epoch": PruneSpec(fraction=0.4, rewind="epoch", rewind_to=1),
    "weights": PruneSpec(fraction=0.4, rewind="weights", scope="component"),
    "learning-rate": PruneSpec(fraction=0.4, rewind="learning-rate"),
    "fine-tune": PruneSpec(fraction=0.4, rewind="fine-tune"),
    "continue": PruneSpec(fraction=0.4, rewind="continue"),
    "search": PruneSpec(fraction=0.4, search="continue"),
    "one-shot": PruneSpec(fraction=0.4, schedule="one-shot", rewind="fine-tune"),
    "gradual": PruneSpec(fraction=0.4, schedule="gradual"),
    "fisher": PruneSpec(fraction=0.4, score="fisher", unit="element", score_images=20),
    "synflow": PruneSpec(fraction=0.4, score="synflow", schedule="one-shot"),
    "macs": PruneSpec(fraction=0.4, budget="macs", score="random"),
}


def spec_of(way: str, algebra: str = "quaternion", num_levels: int = 3) -> Spec:
    spec = tiny_spec(algebra, levels=num_levels, epochs=2, milestones=(1,))
    return replace(spec, prune=WAYS[way])


def masks_of(store, spec, level):
    weights = named_weights(levels.build(spec))
    return pruning.unpack(store.mask(0, level), weights) if level else pruning.dense(weights)


def _append_and_die(store, row, append=RunStore.append):
    append(store, row)
    raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_trial_in_pieces_is_the_trial_as_a_whole(way, tmp_path):
    spec = spec_of(way)
    whole = run_alone(spec, tmp_path / "whole", keep=(1,))
    pieces = RunStore.create(tmp_path / "pieces", spec)
    for level in range(3):  # a process dies after every level, before its row is written, and once more after it
        with pytest.MonkeyPatch.context() as patch, single_thread():
            patch.setattr(RunStore, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                lottery.run_trial(prepared(spec), pieces, 0, keep=(1,))
        with pytest.MonkeyPatch.context() as patch, single_thread():
            patch.setattr(RunStore, "append", _append_and_die)
            with pytest.raises(KeyboardInterrupt):
                lottery.run_trial(prepared(spec), pieces, 0, keep=(1,))
        assert len(pieces.rows(0)) == level + 1
    pieces.drop_states(0, before=3)
    assert results(pieces.rows(0)) == results(whole.rows(0))
    assert [row.level for row in whole.rows(0)] == [0, 1, 2]
    for folder in ("masks", "weights", "states"):
        one, other = whole.path / folder, pieces.path / folder
        assert one.exists() == other.exists()
        assert files(one) == files(other) if one.exists() else True
    left = sorted(file.name for file in (whole.path / "states").iterdir()) if (whole.path / "states").exists() else []
    assert left == (["0-3.safetensors"] if levels.carries(spec) else [])


@pytest.mark.parametrize("way", WAYS)
def test_counts_are_exact_and_rows_match_their_masks(way, tmp_path):
    spec = spec_of(way)
    store = run_alone(spec, tmp_path)
    previous = masks_of(store, spec, 0)
    for row in store.rows(0):
        masks = masks_of(store, spec, row.level)
        assert row.mask == pruning.fingerprint(pruning.pack(masks))
        assert row.weights == sum(pruning.kept(masks).values())
        if spec.prune.budget == "macs":
            assert 0.6**row.level * row.macs_dense - 4 < row.macs <= round(0.6**row.level * row.macs_dense)
        elif spec.prune.unit == "weight":
            scoped = spec.prune.scope == "component"
            expected = sum(n * round(0.6**row.level * mask.numel() / n) for mask, n in zip(masks.values(), (4, 1), strict=True))
            assert row.weights == (expected if scoped else round(0.6**row.level * row.weights_total))
        if way != "gradual":
            assert all(bool((masks[name] <= previous[name]).all()) for name in masks)
        previous = masks


@pytest.mark.parametrize("way", ["step", "epoch"])
def test_weights_go_back_to_where_level_0_was(way, tmp_path):
    spec, seen = spec_of(way), Trainer()
    store = run_alone(spec, tmp_path, trainer=seen)
    first = 7 if way == "step" else STEPS
    experiment = prepared(spec)
    network = levels.build(spec, derive_seed(0, "weights"))
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    with single_thread():
        for step, (images, labels) in enumerate(experiment.splits.train.epoch(60, derive_seed(0, "images", 0, 0))):
            if step == first:
                break
            optimizer.param_groups[0]["lr"] = spec.train.learning_rate
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
    for level in (1, 2):
        masks = masks_of(store, spec, level)
        for name, value in network.state_dict().items():
            expected = torch.where(masks[name], value, 0) if name in masks else value
            assert torch.equal(seen.before[level][name], expected), (level, name)
        assert seen.named[level]["first_step"] == first
        assert store.rows(0)[level].steps == 2 * STEPS - first


@pytest.mark.parametrize("way", sorted(KEEPS_TRAINED))
def test_weights_go_on_from_the_level_before(way, tmp_path):
    spec, seen = spec_of(way), Trainer()
    store = run_alone(spec, tmp_path, trainer=seen)
    initial = levels.build(spec, derive_seed(0, "weights")).state_dict()
    for level in (1, 2):
        masks = masks_of(store, spec, level)
        for name, value in seen.before[level].items():
            before = initial[name] if way == "weights" and name in masks else seen.after[level - 1][name]
            assert torch.equal(value, torch.where(masks[name], before, 0) if name in masks else before), (level, name)
        train = seen.named[level]["spec"]
        if way == "fine-tune":
            assert (train.learning_rate, train.milestones) == (pytest.approx(0.1 * spec.train.learning_rate), ())
        else:
            assert train == spec.train
        moments = seen.named[level]["moments"]
        assert (moments is not None) == (way == "continue")
        if moments:
            assert int(moments["steps"]) == level * 2 * STEPS


def test_the_search_goes_on_with_one_optimiser_and_tickets_start_afresh(tmp_path):
    spec, seen = spec_of("search"), Trainer()
    store = run_alone(spec, tmp_path, trainer=seen)
    initial = levels.build(spec, derive_seed(0, "weights")).state_dict()
    assert len(seen.before) == 5  # level 0 once, then each ticket and the search
    for ticket, level in ((1, 1), (3, 2)):
        masks = masks_of(store, spec, level)
        assert all(torch.equal(seen.before[ticket][name][mask], initial[name][mask]) for name, mask in masks.items())
        assert seen.named[ticket]["moments"] is None
        before, searched = (0 if level == 1 else 2), ticket + 1
        for name, value in seen.before[searched].items():
            expected = seen.after[before][name]
            assert torch.equal(value, torch.where(masks[name], expected, 0) if name in masks else expected)
        assert int(seen.named[searched]["moments"]["steps"]) == level * 2 * STEPS
        weights = {name: seen.after[searched][name] for name in masks}
        if level < 2:
            expected = pruning.magnitude(weights, masks, 0.6 ** (level + 1))
            assert all(torch.equal(expected[name], mask) for name, mask in masks_of(store, spec, level + 1).items())


def test_one_shot_masks_all_come_from_level_0(tmp_path):
    spec, seen = spec_of("one-shot"), Trainer()
    store = run_alone(spec, tmp_path, trainer=seen)
    weights = {name: seen.after[0][name] for name in masks_of(store, spec, 0)}
    for level in (1, 2):
        masks = masks_of(store, spec, level)
        expected = pruning.magnitude(weights, pruning.dense(weights), 0.6**level)
        assert all(torch.equal(expected[name], mask) for name, mask in masks.items())
        for name, mask in masks.items():
            assert torch.equal(seen.before[level][name], torch.where(mask, weights[name], 0))


def test_gradual_pruning_starts_dense_and_follows_the_cube(tmp_path, monkeypatch):
    spec, densities, choose = spec_of("gradual"), [], pruning.choose

    def look(network, choice, **named):
        densities.append(choice.density)
        return choose(network, choice, **named)

    monkeypatch.setattr(pruning, "choose", look)
    seen = Trainer()
    store = run_alone(spec, tmp_path, trainer=seen)
    initial = levels.build(spec, derive_seed(0, "weights")).state_dict()
    assert all(torch.equal(value, initial[name]) for name, value in seen.before[2].items())
    end = round(0.75 * 2 * STEPS)
    cube = [0.36 + 0.64 * (1 - step / end) ** 3 for step in range(1, end + 1)]
    assert densities[-end:] == pytest.approx(cube)
    assert store.rows(0)[2].weights == round(0.36 * store.rows(0)[2].weights_total)


@pytest.mark.parametrize("score", ["snip", "grasp", "synflow"])
def test_scores_of_the_start_look_at_no_trained_weight(score, tmp_path):
    spec = replace(spec_of("macs"), prune=PruneSpec(fraction=0.4, score=score, schedule="one-shot", score_images=50))
    store = run_alone(spec, tmp_path)
    experiment = replace(prepared(spec), trainer=trains_nothing)
    network = levels.build(spec, derive_seed(0, "weights"))
    with single_thread():
        masks = training.successor_of(experiment, 0, 1, network, pruning.dense(named_weights(network)))
    assert all(torch.equal(masks[name], mask) for name, mask in masks_of(store, spec, 2).items())


def test_the_point_to_rewind_to_is_a_copy():
    network = nn.Linear(2, 2)
    saves = rewinding.RewindPoint(network, {}, 3)
    saves.on_step(2)
    assert saves.state() == {}
    saves.on_step(3)
    before = network.weight.detach().clone()
    network.weight.data.add_(1)
    saves.on_step(4)
    assert np.array_equal(saves.state()["point/weight"], before.numpy())
    other = rewinding.RewindPoint(network, {}, 3)
    other.restore(saves.state())
    assert other.point == saves.point


def test_initial_variances_have_the_specs_factors():
    spec = presets.get("conv2-cifar10", algebra="quaternion")
    plain = levels.build(spec, 0).state_dict()
    model = replace(spec.model, init_scale=4.0, init_scale_linear=9.0)
    found = levels.build(replace(spec, model=model), 0).state_dict()
    for name, value in plain.items():
        factor = 1 if name.endswith("bias") or name.startswith("fc3") else 2 if name.startswith("conv") else 3
        torch.testing.assert_close(found[name], factor * value)
