"""Each strategy by itself: what a level starts from, and what it leaves to the next one."""

from dataclasses import replace

import pytest
import torch

from fourfold import lottery, pruning
from fourfold.lottery import strategies
from fourfold.lottery.strategies import ContinuedSearch, Gradual, Iterative, OneShot, strategy_of
from fourfold.lottery.training import Round, draw, successor_of
from fourfold.nn import named_weights
from fourfold.record import KEEPS_TRAINED, PruneSpec
from fourfold.train import single_thread
from lottery_samples import prepared, tiny_spec

STEPS = 24  # of an epoch of the digits


@pytest.fixture(autouse=True)
def on_one_thread():
    with single_thread():
        yield


def experiment_of(**prune):
    spec = tiny_spec("quaternion", epochs=2)
    return prepared(replace(spec, prune=PruneSpec(fraction=0.4, **prune)))


def a_round(experiment, level=0, masks=None, carried=None):
    packed = None if masks is None else pruning.pack(masks)
    return Round.of(experiment, 0, level, packed, carried, lambda level, epoch: None, None)


def done(experiment, level=0, masks=None, carried=None):
    """Run a level; return it, where it began, what came of the training, and what it leaves."""
    this, strategy = a_round(experiment, level, masks, carried), strategy_of(experiment.spec)
    begin = strategy.start(this)
    trained = this.train(begin)
    return this, begin, trained, strategy.finish(this, begin, trained)


def state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def density_of(masks):
    return sum(int(mask.sum()) for mask in masks.values()) / sum(mask.numel() for mask in masks.values())


def within(masks, others):
    return all(bool((mask <= others[name]).all()) for name, mask in masks.items())


def spoil(network):
    """Make a network one that no mask should be made of."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(
    ("prune", "kind", "needs_state"),
    [
        ({}, Iterative, False),
        ({"score": "snip"}, Iterative, False),
        *(({"rewind": rewind}, Iterative, True) for rewind in sorted(KEEPS_TRAINED)),
        ({"rewind": "step", "rewind_to": 3}, Iterative, True),
        ({"schedule": "one-shot"}, OneShot, True),
        ({"schedule": "one-shot", "score": "synflow"}, OneShot, False),
        ({"schedule": "gradual"}, Gradual, False),
        ({"search": "continue"}, ContinuedSearch, True),
    ],
    ids=str,
)
def test_a_spec_has_one_strategy_which_says_whether_state_passes_on(prune, kind, needs_state):
    experiment = experiment_of(**prune)
    strategy = strategy_of(experiment.spec)
    assert type(strategy) is kind
    assert strategy.needs_state == needs_state
    assert strategy.masks_come_first == (kind is not Gradual)
    *_, left = done(experiment)
    assert bool(left.carried) == needs_state
    assert (left.successor is not None) == strategy.masks_come_first


def test_iterative_starts_from_the_draw_and_prunes_what_its_mask_keeps():
    experiment = experiment_of()
    _, _, _, first = done(experiment)
    this = a_round(experiment, 1, first.successor)
    begin = Iterative(experiment.spec).start(this)
    assert same(state(this.network), state(draw(experiment, 0)))
    assert (begin.first_step, begin.moments, begin.callback, begin.successor, begin.more_follows) == (
        0,
        None,
        None,
        None,
        False,
    )
    left = Iterative(experiment.spec).finish(this, begin, this.train(begin))
    assert within(left.successor, first.successor)
    assert density_of(left.successor) == pytest.approx(0.36, abs=1 / 312)


def test_iterative_rewinds_to_the_point_that_level_0_has_saved():
    experiment = experiment_of(rewind="step", rewind_to=7)
    first, begin, _, left = done(experiment)
    assert set(left.carried) == {f"point/{name}" for name in first.network.state_dict()}
    this = a_round(experiment, 1, left.successor, left.carried)
    begin = Iterative(experiment.spec).start(this)
    assert begin.first_step == 7
    assert all(torch.equal(torch.from_numpy(left.carried[f"point/{name}"]), v) for name, v in state(this.network).items())
    assert not same(state(this.network), state(draw(experiment, 0)))
    passed_on = Iterative(experiment.spec).finish(this, begin, this.train(begin)).carried
    assert passed_on.keys() == left.carried.keys()
    assert all((passed_on[name] == array).all() for name, array in left.carried.items())


@pytest.mark.parametrize("schedule", ["iterative", "one-shot"])
def test_a_score_of_the_start_makes_the_next_mask_before_training(schedule):
    experiment = experiment_of(score="snip", schedule=schedule, score_images=20)
    this, strategy = a_round(experiment), strategy_of(experiment.spec)
    begin = strategy.start(this)
    trained = this.train(begin)
    spoil(this.network)
    left = strategy.finish(this, begin, trained)
    assert left.successor is begin.successor
    assert same(left.successor, successor_of(experiment, 0, 0, draw(experiment, 0), None))


def test_one_shot_prunes_level_0_again_and_again_whatever_its_levels_were_trained_to():
    experiment = experiment_of(schedule="one-shot")
    first, _, _, left = done(experiment)
    for level in (1, 2):
        this, strategy = a_round(experiment, level, left.successor, left.carried), OneShot(experiment.spec)
        begin = strategy.start(this)
        trained = this.train(begin)
        spoil(this.network)
        after = strategy.finish(this, begin, trained)
        assert after.carried is left.carried
        assert same(after.successor, successor_of(experiment, 0, level, first.network, None))
        left = after


def test_one_shot_continues_from_all_of_level_0():
    experiment = experiment_of(schedule="one-shot", rewind="fine-tune")
    first, _, _, left = done(experiment)
    this = a_round(experiment, 1, left.successor, left.carried)
    OneShot(experiment.spec).start(this)
    assert same(state(this.network), state(first.network))  # the pruned weights included: training masks them


@pytest.mark.parametrize("times", [100, 5])
def test_gradual_starts_dense_and_reaches_its_density_along_a_cubic(times, monkeypatch):
    monkeypatch.setattr(strategies, "GRADUAL_TIMES", times)
    experiment = experiment_of(schedule="gradual")
    assert done(experiment)[1].callback is None
    this = a_round(experiment, 2)
    begin = Gradual(experiment.spec).start(this)
    end, before = round(strategies.GRADUAL_END * 2 * STEPS), this.masks
    for step in range(1, 2 * STEPS + 1):
        masks = begin.callback.on_step(step)
        assert (masks is not None) == (step <= end and (step % max(1, end // times) == 0 or step == end))
        if masks is not None:
            assert within(masks, before)
            assert density_of(masks) == pytest.approx(0.36 + 0.64 * (1 - step / end) ** 3, abs=1 / 312)
            before = masks
    assert begin.callback.masks is before
    resumed = Gradual(experiment.spec).start(a_round(experiment, 2)).callback
    resumed.restore(begin.callback.state())
    assert same(resumed.masks, before)


def test_gradual_leaves_the_masks_that_it_was_trained_to_and_nothing_else():
    this, begin, _, left = done(experiment_of(schedule="gradual"), 2)
    assert this.masks is begin.callback.masks
    assert density_of(this.masks) == pytest.approx(0.36, abs=1 / 312)
    assert not any(bool(weight[~this.masks[name]].any()) for name, weight in named_weights(this.network).items())
    assert (left.successor, left.carried) == (None, {})


def test_a_continued_search_prunes_a_second_network_that_is_trained_on():
    experiment = experiment_of(search="continue")
    first, begin, trained, left = done(experiment)
    assert not begin.more_follows
    assert int(left.carried["search/moments/steps"]) == 2 * STEPS
    assert same(left.successor, successor_of(experiment, 0, 0, first.network, first.masks))

    this, strategy = a_round(experiment, 1, left.successor, left.carried), ContinuedSearch(experiment.spec)
    begin = strategy.start(this)
    assert begin.more_follows
    assert same(state(this.network), state(draw(experiment, 0)))  # its own network starts anew
    trained = this.train(begin)
    row = state(this.network)
    spoil(this.network)
    after = strategy.finish(this, begin, trained)
    assert not same(row, state(this.network))
    assert int(after.carried["search/moments/steps"]) == 4 * STEPS
    assert within(after.successor, left.successor)
    second = draw(experiment, 0)
    lottery.rewinding.load_search(second, after.successor, after.carried)
    kept = {name: weight.masked_fill(~after.successor[name], 0) for name, weight in named_weights(second).items()}
    assert same(kept, {name: weight.detach() for name, weight in named_weights(second).items()})
