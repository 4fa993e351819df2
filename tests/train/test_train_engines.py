"""What holds for every engine behind the protocol, and how one of them is chosen."""

from dataclasses import replace

import pytest
import torch
from small_runs import BATCH_SIZE, STEPS, epoch, masks_of, recording, same, seed_of_epoch, setup, splits, state
from torch import nn

from fourfold import data
from fourfold import nn as fnn
from fourfold.native import NoCompilerError, compiler
from fourfold.record import TrainSpec, UserError
from fourfold.train import Ranks, evaluate, train
from fourfold.train.engines import ENGINES, DeclinedError, Eager, Native, choose_engine, start_engine

SPEC = TrainSpec(optimizer="adam", learning_rate=3e-3, batch_size=BATCH_SIZE, epochs=2, weight_decay=1e-2)
RATES = torch.linspace(3e-3, 1e-3, STEPS, dtype=torch.float64)


def native_here() -> bool:
    try:
        compiler()
    except NoCompilerError:
        return False
    return True


IN_ONE_PROCESS = {
    "eager": Eager,
    "native": pytest.param(Native, marks=pytest.mark.skipif(not native_here(), reason="there is no compiler")),
    "cuda_graph": recording(),
}


def perceptron() -> nn.Sequential:
    built = nn.Sequential(nn.Flatten(), fnn.Linear(64, 16, algebra="quaternion"), nn.ReLU(), nn.Linear(16, 10))
    fnn.initialize(built, generator=torch.Generator().manual_seed(0))
    return built


def started(engine, **more):
    built = perceptron()
    return built, engine(setup(built, SPEC, masks_of(built), test=splits().test, **more))


@pytest.mark.parametrize("engine", IN_ONE_PROCESS.values(), ids=IN_ONE_PROCESS)
def test_steps_taken_one_by_one_are_those_taken_at_once(engine):
    outcomes = []
    for at_once in (1, 3, STEPS):
        built, running = started(engine)
        losses = [epoch(running, seed, RATES, first, at_once).item() for seed, first in ((0, 0), (1, 2))]
        running.sync()
        outcomes.append((losses, state(built), running.optimizer_state(), running.evaluate("test")))
    for losses, network, averages, evaluation in outcomes[1:]:
        assert losses == outcomes[0][0]
        assert same(network, outcomes[0][1])
        assert same(averages, outcomes[0][2])
        assert evaluation == outcomes[0][3]


@pytest.mark.parametrize("engine", IN_ONE_PROCESS.values(), ids=IN_ONE_PROCESS)
def test_another_engine_resumes_inside_an_epoch_with_every_bit(engine):
    whole, running = started(engine)
    expected = epoch(running, 0, RATES).item()
    running.sync()
    parted, first = started(engine)
    first.begin(0, RATES)
    first.advance(2)
    first.sync()
    second = engine(setup(parted, SPEC, masks_of(parted), optimizer_state=first.optimizer_state()))
    second.begin(0, RATES, 2, first.loss())
    second.advance(STEPS - 2)
    second.sync()
    assert second.loss().item() == expected
    assert same(state(parted), state(whole))


@pytest.mark.parametrize("engine", IN_ONE_PROCESS.values(), ids=IN_ONE_PROCESS)
def test_an_engine_evaluates_the_network_that_it_trains_and_leaves_no_pruned_weight(engine):
    built, running = started(engine)
    epoch(running, 0, RATES)
    found = running.evaluate("test")
    running.sync()
    expected = evaluate(built, splits().test)
    assert (found.top1, found.loss) == (expected.top1, pytest.approx(expected.loss, rel=1e-6))
    masks = masks_of(built)
    assert not any(bool(weight[~masks[name]].any()) for name, weight in fnn.named_weights(built).items())
    with pytest.raises(ValueError, match=r"`split` \(='validation'\)"):
        running.evaluate("validation")


@pytest.mark.parametrize("engine", IN_ONE_PROCESS.values(), ids=IN_ONE_PROCESS)
def test_masks_are_changed_by_engines_that_do_not_decline_to(engine):
    built, running = started(engine)
    fewer = masks_of(built, 0.1)
    if engine.declines(setup(built, SPEC, masks_of(built), step_by_step=True)) is not None:
        with pytest.raises(DeclinedError):
            running.set_masks(fewer)
        return
    running.set_masks(fewer)
    epoch(running, 0, RATES)
    assert not any(bool(weight[~fewer[name]].any()) for name, weight in fnn.named_weights(built).items())
    with pytest.raises(ValueError, match="which `weights` do not have"):
        running.set_masks({"other": torch.ones(1)})


def test_exactly_one_engine_takes_what_the_others_decline():
    built = perceptron()
    training = setup(built, SPEC, masks_of(built))
    several = replace(training, ranks=Ranks(rank=0, world=1, parts=2))
    assert choose_engine(several).name == "distributed"
    assert [engine.name for engine in ENGINES if engine.declines(several) is None] == ["distributed"]
    assert choose_engine(training).name == ("native" if native_here() else "eager")
    for change in ({"step_by_step": True}, {"loss": nn.functional.multi_margin_loss}):
        assert choose_engine(replace(training, **change)) is Eager


def test_where_all_decline_the_reasons_are_told():
    built = perceptron()
    training = setup(built, replace(SPEC, mixup=0.2), ranks=Ranks(rank=0, world=1, parts=2))
    with pytest.raises(UserError, match=r"^no engine can train this network: .*distributed: its batches .*eager: several"):
        start_engine(training)


class OneHot:
    """Images as dicts of arguments, and targets as tuples: what only plain PyTorch knows."""

    def __init__(self, images: data.Resident) -> None:
        self.images, self.device, self.in_memory = images, images.device, True

    def __len__(self) -> int:
        return len(self.images)

    def epoch(self, batch_size, seed, share=None, first=0):
        for batch, labels in self.images.epoch(batch_size, seed, share=share, first=first):
            yield {"input": batch}, (labels, nn.functional.one_hot(labels, 10).float())


def test_plain_steps_take_batches_of_any_form_and_any_loss():
    ours, theirs = perceptron(), perceptron()

    def loss(outputs, targets):
        return nn.functional.cross_entropy(outputs, targets[1])

    training = setup(ours, SPEC, masks_of(ours), OneHot(splits().train), loss=loss)
    assert choose_engine(training) is Eager
    found = epoch(Eager(training), 0, RATES)
    expected = epoch(Eager(setup(theirs, SPEC, masks_of(theirs))), 0, RATES)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    for name, value in state(ours).items():
        torch.testing.assert_close(value, state(theirs)[name], rtol=1e-4, atol=1e-6)


def test_a_training_is_named_after_its_engine():
    built = perceptron()
    for engine in (Eager, recording()):
        named = train(built, splits(), SPEC, seed_of_epoch=seed_of_epoch, engines=(engine,))
        assert (named.engine, named.compiler) == (engine.name, None)
