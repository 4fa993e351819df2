"""Two copies of one network, trained in different orders, and what lies between them."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fourfold import lottery, pruning
from fourfold import nn as fnn
from fourfold.lottery import _connectivity, levels
from fourfold.lottery._connectivity import estimate_statistics
from fourfold.nn import named_weights
from fourfold.record import Connectivity
from fourfold.train import evaluate, single_thread, train
from lottery_samples import Trainer, prepared, tiny_spec

SPEC = tiny_spec("quaternion", epochs=2)
STEPS = 48


@pytest.fixture(scope="module")
def early() -> Connectivity:
    with single_thread():
        return lottery.connectivity(prepared(SPEC), 0, 0, points=5)


def test_the_line_has_its_points_and_its_barrier(early):
    assert early.positions == (0, 0.25, 0.5, 0.75, 1)
    assert len(early.errors) == len(early.losses) == 5
    assert early.losses[0] != early.losses[-1]  # two orders, two networks
    made = Connectivity(step=0, positions=(0, 0.5, 1), errors=(10.0, 25.0, 20.0), losses=(1.0, 1.0, 1.0))
    assert made.barrier == 10


def test_copies_that_part_at_the_last_step_are_all_but_one(early):
    with single_thread():
        late = lottery.connectivity(prepared(SPEC), 0, STEPS - 1, points=3)
    spread = [max(found.losses) - min(found.losses) for found in (early, late)]
    assert spread[1] < spread[0]


def test_the_ends_are_trainings_of_their_own_that_go_on_from_one():
    trainer = Trainer()
    with single_thread():
        found = lottery.connectivity(replace(prepared(SPEC), trainer=trainer), 0, 30, points=3)
    (until, one, two), (_, first, second) = trainer.named, trainer.trained
    _, start, other_start = trainer.before
    assert until["until_step"] == 30
    assert all(torch.equal(value, other_start[name]) for name, value in start.items())
    assert (first.steps, second.steps) == (STEPS - 30, STEPS - 30)
    assert int(one["moments"]["steps"]) == 30
    assert one["seed_of_epoch"](1) != two["seed_of_epoch"](1)
    assert [found.errors[0], found.errors[2]] == pytest.approx([100 - first.test.top1, 100 - second.test.top1])
    assert [found.losses[0], found.losses[2]] == pytest.approx([first.test.loss, second.test.loss])


@pytest.mark.slow
def test_until_they_part_the_copies_are_the_ticket():
    with single_thread():
        caught, network = {}, levels.build(SPEC, lottery.derive_seed(0, "weights"))

        def look(step):
            if step == 30:
                caught.update({name: value.clone() for name, value in network.state_dict().items()})

        train(
            network,
            prepared(SPEC).splits,
            SPEC.train,
            seed_of_epoch=lambda epoch: lottery.derive_seed(0, "images", 3, epoch),
            on_step=look,
        )
        trainer = Trainer()
        lottery.connectivity(replace(prepared(SPEC), trainer=trainer), 0, 30, level=3, points=2)
    starts = trainer.before
    assert len(starts) == 3
    for start in starts[1:]:  # native steps sum in another order than the steps that can be looked at
        for name, value in start.items():
            torch.testing.assert_close(value, caught[name], rtol=1e-3, atol=1e-5)


def test_pruned_weights_stay_pruned(monkeypatch):
    network = levels.build(SPEC, 0)
    masks = pruning.magnitude(named_weights(network), pruning.dense(named_weights(network)), 0.3)
    clean = []

    def look(built, images, task=None):
        clean.append(all(not named_weights(built)[name][~mask].any() for name, mask in masks.items()))
        return evaluate(built, images)

    monkeypatch.setattr(_connectivity, "evaluate", look)
    with single_thread():
        lottery.rewinding_sweep(prepared(SPEC), 0, [0, 40], mask=pruning.pack(masks), points=2)
    assert clean == [True] * 4


def test_statistics_are_the_averages_over_the_training_images():
    experiment = prepared(SPEC)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), fnn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 10)).train()
    images = torch.cat([batch for batch, _ in experiment.splits.train.batches(500)])
    with torch.no_grad():
        hidden = [network[1](network[0](part)) for part in images.split(500)]
    estimate_statistics(network, experiment.splits.train)
    torch.testing.assert_close(network[2].running_mean, torch.stack([h.mean(0) for h in hidden]).mean(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network[2].running_var, torch.stack([h.var(0) for h in hidden]).mean(0), rtol=1e-4, atol=1e-5)
    assert network[2].momentum == 0.1
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize(
    ("step", "points", "sentence"),
    [
        (-1, 3, r"`step` \(=-1\) must lie in \[0, 48\), the steps of a training"),
        (48, 3, r"`step` \(=48\) must lie in \[0, 48\)"),
        (0, 1, r"`points` \(=1\) must be at least 2"),
    ],
)
def test_mistakes_are_one_sentence(step, points, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        lottery.connectivity(prepared(SPEC), 0, step, points=points)
