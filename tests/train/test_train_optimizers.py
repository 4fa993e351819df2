"""Optimisers by name, schedules, clipping, averages of weights and mixed batches, against torch and in parts against whole."""

import dataclasses
import math

import pytest
import torch
from small_runs import BATCH_SIZE, STEPS, masks_of, network, same, seed_of_epoch, setup, splits, state
from torch import nn

from fourfold import nn as fnn
from fourfold.record import TrainSpec, UserError
from fourfold.record.train_spec import OPTIMIZERS
from fourfold.train import train
from fourfold.train.engines import CudaGraph, Distributed, Eager, Native
from fourfold.train.engines.mixing import cutmix, mixup, step_generator
from fourfold.train.engines.optimizer import check_optimizer

CLASSES = {name.lower(): value for name, value in vars(torch.optim).items() if isinstance(value, type)}
HERE = [name for name in OPTIMIZERS if name in CLASSES]

PLAIN = TrainSpec(learning_rate=3e-3, batch_size=BATCH_SIZE, epochs=2)
SPECS = {
    **{name: dataclasses.replace(PLAIN, optimizer=name) for name in HERE},
    "amsgrad": dataclasses.replace(PLAIN, optimizer="adamw", optimizer_arguments={"amsgrad": True, "betas": [0.8, 0.9]}),
    "adam with arguments": dataclasses.replace(PLAIN, optimizer_arguments=("amsgrad=true",)),
    "momentum": dataclasses.replace(PLAIN, optimizer="rmsprop", momentum=0.9, weight_decay=1e-2),
    "clipping": dataclasses.replace(PLAIN, optimizer="sgd", momentum=0.9, clip_norm=0.1),
    "average": dataclasses.replace(PLAIN, ema=0.7),
    "mixup": dataclasses.replace(PLAIN, mixup=0.4),
    "cutmix": dataclasses.replace(PLAIN, cutmix=1.0),
    "one-cycle": dataclasses.replace(PLAIN, optimizer="adamw", schedule="one-cycle", warmup_steps=2),
}


def test_every_optimizer_of_this_torch_is_known_but_those_of_another_kind():
    others = {"optimizer", "lbfgs", "sparseadam", "muon"}  # of closures, of sparse gradients, of matrices alone
    assert set(CLASSES) - others == set(HERE)
    assert len(HERE) >= 10


def epochs(engine, spec, first=0, last=None):
    """Take the steps of a training from one to another, as `train` does."""
    last = spec.epochs * STEPS if last is None else last
    whole = spec.epochs * STEPS
    for epoch in range(first // STEPS, -(-last // STEPS)):
        rates = torch.tensor([spec.rate(epoch * STEPS + number, epoch, whole) for number in range(STEPS)], dtype=torch.float64)
        begin = max(0, first - epoch * STEPS)
        engine.begin(seed_of_epoch(epoch), rates, begin)
        engine.advance(min(STEPS, last - epoch * STEPS) - begin)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("stop", [3, STEPS])
def test_a_training_in_parts_gives_the_bits_of_the_whole(spec, stop):
    whole, parts, masks = network(), network(), masks_of(network())
    engine = Eager(setup(whole.train(), spec, masks))
    epochs(engine, spec)
    first = Eager(setup(parts.train(), spec, masks))
    epochs(first, spec, 0, stop)
    second = Eager(dataclasses.replace(setup(parts, spec, masks), optimizer_state=first.optimizer_state()))
    epochs(second, spec, stop)
    assert same(state(parts), state(whole))
    for one, other in ((engine, second),):
        assert same(one.optimizer_state(), other.optimizer_state())
    before = network()
    assert not same(state(whole), state(before))
    for name, weight in fnn.named_weights(whole).items():
        assert not weight[~masks[name]].any()


@pytest.mark.parametrize("name", HERE)
def test_steps_are_those_of_torchs_optimizer(name):
    spec = SPECS[name]
    ours, theirs = network().train(), network().train()
    epochs(Eager(setup(ours, spec)), spec)
    options = {} if name == "rprop" else {"weight_decay": 0.0}
    options |= {"fused": True} if name in ("adam", "sgd") else {}  # as ours are
    optimizer = CLASSES[name](theirs.parameters(), lr=spec.learning_rate, **options)
    for epoch in range(spec.epochs):
        for images, labels in splits().train.epoch(BATCH_SIZE, seed_of_epoch(epoch)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(theirs(images), labels).backward()
            optimizer.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_clipped_gradients_and_averages_are_those_of_the_formulas():
    spec = dataclasses.replace(PLAIN, optimizer="sgd", clip_norm=0.05, ema=0.8, learning_rate=0.5)
    ours, theirs = network().train(), network().train()
    engine = Eager(setup(ours, spec))
    epochs(engine, spec)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.5)
    average = [parameter.detach().clone() for parameter in theirs.parameters()]
    for epoch in range(spec.epochs):
        for images, labels in splits().train.epoch(BATCH_SIZE, seed_of_epoch(epoch)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(theirs(images), labels).backward()
            norm = torch.cat([parameter.grad.flatten() for parameter in theirs.parameters()]).norm()
            for parameter in theirs.parameters():
                parameter.grad.mul_(min(1.0, 0.05 / float(norm)))
            optimizer.step()
            average = [0.8 * mean + 0.2 * p.detach() for mean, p in zip(average, theirs.parameters(), strict=True)]
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    before = state(ours)
    evaluation = engine.evaluate("test")
    assert same(before, state(ours))  # evaluating leaves the weights that are trained in place
    engine.finish()
    for one, other in zip(ours.parameters(), average, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert engine.evaluate("test") == evaluation


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_schedules_are_those_of_torch(schedule):
    steps, spec = 50, TrainSpec(learning_rate=0.4, schedule=schedule)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)
    if schedule == "cosine":
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    else:
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, 0.4, steps + 1, pct_start=15 / 50 + 1 / 50, cycle_momentum=False
        )
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    ours = [spec.rate(step, 0, steps) for step in range(steps)]
    assert ours[0] == pytest.approx(rates[0])
    if schedule == "cosine":
        assert ours == pytest.approx(rates)
    else:
        assert max(ours) == pytest.approx(0.4)
        assert ours.index(max(ours)) == 15
        assert ours == pytest.approx(rates, abs=0.03)  # torch's last step is the end, ours the one before it
    warm = dataclasses.replace(spec, warmup_steps=10)
    assert [warm.rate(step, 0, steps) for step in range(10)] == pytest.approx([0.04 * step for step in range(10)])
    assert warm.rate(10, 0, steps) == spec.rate(0, 0, 40)


def test_mixed_batches_are_those_of_the_formulas():
    images, labels = torch.randn(6, 2, 8, 8), torch.arange(6)
    mixed, others, part = mixup(images, labels, 0.4, step_generator(1, 2))
    assert torch.allclose(mixed, part * images + (1 - part) * images[others])
    pasted, others, part = cutmix(images, labels, 1.0, step_generator(1, 3))
    from_other = (pasted != images).any(1)
    assert torch.equal(pasted, torch.where(from_other.unsqueeze(1), images[others], images))
    moved = others != labels
    assert from_other[moved].float().mean().item() == pytest.approx(1 - part)
    assert mixup(images, labels, 0.4, step_generator(1, 2))[2] == mixup(images, labels, 0.4, step_generator(1, 2))[2]
    parts = [mixup(images, labels, 0.2, step_generator(seed, 0))[2] for seed in range(2000)]
    assert sum(parts) / 2000 == pytest.approx(0.5, abs=0.03)
    variance = sum((value - 0.5) ** 2 for value in parts) / 2000
    assert variance == pytest.approx(1 / (4 * (2 * 0.2 + 1)), rel=0.1)  # of Beta(a, a)
    with pytest.raises(UserError, match=r"^`train\.cutmix` needs images"):
        cutmix(torch.zeros(3, 5), labels, 1.0, step_generator(0, 0))
    with pytest.raises(UserError, match=r"^`train\.mixup` needs inputs of numbers"):
        mixup(torch.zeros(3, 5, dtype=torch.int64), labels, 1.0, step_generator(0, 0))


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_engines_that_do_not_know_it_decline(spec):
    plain = spec.optimizer in ("adam", "sgd") and spec in (SPECS["adam"], SPECS["sgd"])
    for engine in (Native, CudaGraph, Distributed):
        reason = engine.declines(setup(network(), spec)) or ""
        assert ("optimiser" in reason) == (not plain and engine is not Distributed)
    trained = train(network(), splits(), spec, seed_of_epoch=seed_of_epoch)
    assert trained.engine == "eager"
    assert math.isfinite(trained.test.loss)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"optimizer": "adamw", "optimizer_arguments": ("beta=1",)},
            r"`train\.optimizer_arguments` \(='beta'\) must be arguments",
        ),
        ({"optimizer_arguments": ("fused=false",)}, r"\(='fused'\) must be arguments of torch\.optim\.Adam"),
        ({"optimizer": "adamw", "optimizer_arguments": ("betas=[2,3]",)}, r"must fit torch\.optim\.AdamW: Invalid beta"),
        ({"optimizer": "adagrad", "momentum": 0.9}, r"`train\.momentum` \(=0\.9\) cannot be combined with `train\.optimizer`"),
    ],
)
def test_arguments_that_do_not_fit_are_one_sentence(changes, found):
    with pytest.raises(UserError, match=found):
        check_optimizer(dataclasses.replace(PLAIN, **changes))


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"optimizer_arguments": ("lr=1",)}, r"`train\.learning_rate` sets it"),
        ({"optimizer_arguments": ("eps",)}, r"must be a name and a value of JSON"),
        ({"optimizer_arguments": ()}, r"must be None or pairs"),
        ({"schedule": "cosine", "milestones": (3,)}, r"`train\.milestones` .* cannot be combined with `train\.schedule`"),
        ({"schedule": "cosine", "cosine_steps": 3}, r"`train\.cosine_steps` .* cannot be combined with `train\.schedule`"),
        ({"mixup": 0.1, "cutmix": 0.1}, r"`train\.mixup` .* cannot be combined with `train\.cutmix`"),
        ({"ema": 1.0}, r"`train\.ema` \(=1\.0\) must lie in"),
        ({"clip_norm": 0}, r"`train\.clip_norm` \(=0\) must lie in"),
    ],
)
def test_settings_that_contradict_each_other_are_one_sentence(changes, found):
    with pytest.raises(UserError, match=found):
        dataclasses.replace(PLAIN, **changes)
