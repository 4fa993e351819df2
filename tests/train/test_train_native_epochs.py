"""Whole epochs in native code against its own single steps, and its evaluation against PyTorch's."""

import dataclasses

import pytest
import torch
from small_runs import epoch, masks_of, same, seed_of_epoch, setup, splits, state, steps_of
from torch import nn

from fourfold import data
from fourfold import nn as fnn
from fourfold.native import NoCompilerError, compiler
from fourfold.pruning import apply_, dense
from fourfold.record import DataSpec, EarlyStopping, TrainSpec
from fourfold.train import evaluate, train
from fourfold.train.engines import Native, choose_engine
from fourfold.train.engines.perceptron import NativePerceptron

try:
    compiler()
except NoCompilerError as reason:
    pytest.skip(str(reason), allow_module_level=True)

ADAM = TrainSpec(optimizer="adam", learning_rate=3e-3, batch_size=30, epochs=2, weight_decay=1e-3)
SGD = TrainSpec(optimizer="sgd", learning_rate=0.1, batch_size=30, epochs=2, momentum=0.9, nesterov=True)


def images(count: int = 100, colours: int = 1, size: int = 8, spec: DataSpec | None = None, **changes) -> data.Resident:
    """Random ones; of three colours each is scaled in its own way."""
    generator = torch.Generator().manual_seed(colours)
    pixels = torch.randint(0, 256, (2 * count, colours, size, size), generator=generator, dtype=torch.uint8)
    members = torch.randperm(2 * count, generator=generator)[:count]
    labels = torch.randint(0, 10, (count,), generator=generator)
    mean, std = (0.1, 0.5, 0.7)[:colours], (0.3, 0.7, 0.9)[:colours]
    known = {"mean": mean, "std": std, "n": 1, "channels": colours, "spec": spec or DataSpec(name="digits")}
    return data.Resident(pixels, labels, members, **known | changes)


def perceptron(inputs: int, hidden: int = 16, classes: int = 10, algebra: str = "quaternion", density: float = 0.4):
    """A network with its masks, already pruned."""
    built = nn.Sequential(
        nn.Flatten(),
        fnn.Linear(inputs, hidden, algebra=algebra) if inputs % 4 == 0 else nn.Linear(inputs, hidden),
        nn.ReLU(),
        fnn.Linear(hidden, hidden, algebra=algebra),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )
    fnn.initialize(built, generator=torch.Generator().manual_seed(0))
    masks = masks_of(built, density)
    apply_(fnn.named_weights(built), masks)
    return built, masks


def whole(built: nn.Module, spec: TrainSpec, masks: dict, shown: data.Resident, test: data.Resident | None = None) -> Native:
    training = setup(built, spec, masks, shown, test)
    assert choose_engine(training) is Native
    assert shown.pixels() is not None
    return Native(training)


@pytest.mark.parametrize("spec", [ADAM, SGD], ids=["adam", "sgd"])
@pytest.mark.parametrize("at_once", [99, 3], ids=["together", "by-threes"])
@pytest.mark.parametrize(
    ("shown", "inputs"),
    [(images(), 64), (images(colours=3, size=5), 75), (images(count=90, size=12), 144)],
    ids=["grey", "colours", "no rest"],
)
def test_an_epoch_is_its_steps_to_the_bit(shown, inputs, at_once, spec):
    (ours, masks), (theirs, _) = perceptron(inputs), perceptron(inputs)
    many, single = whole(ours, spec, masks, shown), NativePerceptron(theirs, spec, masks)
    rates = torch.linspace(spec.learning_rate, spec.learning_rate / 7, steps_of(shown, spec), dtype=torch.float64)
    for number_of_epoch in range(3):
        seed, first, total = seed_of_epoch(number_of_epoch), int(number_of_epoch == 1), torch.zeros((), dtype=torch.float64)
        for number, (batch, labels) in enumerate(shown.epoch(30, seed)):
            if number >= first:
                total += single.take(batch, labels, rates[number].item()) * len(labels)
        torch.testing.assert_close(epoch(many, seed, rates, first, at_once), total, rtol=1e-14, atol=0)
    assert single.steps == 3 * len(rates) - 1
    many.sync()
    single.write_to_network()
    assert same(ours.state_dict(), theirs.state_dict())
    assert same(many.optimizer_state(), single.state())


@pytest.mark.parametrize("algebra", ["real", "quaternion"])
@pytest.mark.parametrize("density", [1.0, 0.3, 0.02])
def test_layers_of_many_blocks_learn_what_double_precision_learns(algebra, density):
    built, masks = perceptron(484, 120, algebra=algebra, density=density)
    shown, spec = (
        images(count=70, size=22),
        dataclasses.replace(SGD, learning_rate=1.0, momentum=0, nesterov=False, batch_size=70),
    )
    exact, before = perceptron(484, 120, algebra=algebra, density=density)[0].double(), state(built)
    engine = whole(built, spec, masks, shown)
    loss = epoch(engine, 0, torch.ones(1)).item() / 70
    engine.sync()
    batch, labels = shown.batch(shown.order(0), slice(None))
    expected = nn.functional.cross_entropy(exact(batch.double()), labels)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    after = state(built)
    for name, parameter in exact.named_parameters():
        gradient = parameter.grad * masks.get(name, 1)
        torch.testing.assert_close((before[name] - after[name]).double(), gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("batch_size", [30, 200], ids=["smaller", "larger"])
def test_an_evaluation_is_that_of_pytorch(batch_size):
    built, masks = perceptron(75)
    spec, shown = dataclasses.replace(ADAM, batch_size=batch_size), images(count=203, colours=3, size=5)
    engine = whole(built, spec, masks, images(colours=3, size=5), shown)
    for seed in range(2):
        engine.begin(seed, torch.full((4,), 0.01))
        engine.advance(1)
        found = engine.evaluate("test")  # the network itself is behind
        engine.sync()
        expected = evaluate(built, shown)
        assert (found.top1, found.top5) == (expected.top1, None)
        assert 0 < found.top1 < 100
        assert found.loss == pytest.approx(expected.loss, rel=1e-6)
        engine.advance(steps_of(images(), spec) - 1)


def test_steps_are_native_whether_images_are_nothing_but_pixels_or_changed():
    crops, more = DataSpec(name="digits", crop=1), DataSpec(name="cifar-10", encoding="zero")
    for shown, inputs, are_pixels in (
        (images(), 64, True),
        (images(spec=crops), 64, False),
        (images(colours=3, spec=more, channels=4, n=4), 256, False),
    ):
        built, masks = perceptron(inputs)
        assert choose_engine(setup(built, ADAM, masks, shown)) is Native
        assert (shown.pixels() is not None) == are_pixels
    unmasked = setup(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), ADAM, {}, images())
    assert Native.declines(unmasked) == "not every layer has a mask"


def test_images_that_are_changed_train_as_they_did():
    crops = DataSpec(name="digits", crop=1)
    results = []
    for _ in range(2):
        built, masks = perceptron(64)
        parts = dataclasses.replace(splits(), train=images(spec=crops))
        trained = train(built, parts, ADAM, seed_of_epoch=seed_of_epoch, weights=fnn.named_weights(built), masks=masks)
        assert trained.compiler == compiler()
        results.append(state(built))
    assert same(*results)


def test_what_an_epoch_ends_with_is_what_the_network_does():
    built, masks = perceptron(64)
    trained = train(built, splits(), ADAM, seed_of_epoch=seed_of_epoch, weights=fnn.named_weights(built), masks=masks)
    expected = evaluate(built, splits().test)
    assert (trained.test.top1, trained.test.loss) == (expected.top1, pytest.approx(expected.loss, rel=1e-6))
    assert trained.epochs[-1].top1 == expected.top1


@pytest.mark.parametrize("every", [3, 4, 9])
def test_early_stopping_looks_between_the_steps_of_an_epoch(every):
    spec = dataclasses.replace(ADAM, epochs=20, learning_rate=0.05, early_stopping=EarlyStopping(every=every, patience=2))
    found = []
    for kind in (data.Resident, _Piecemeal):
        built, _ = perceptron(64)
        weights, parts = fnn.named_weights(built), splits(40)
        parts = dataclasses.replace(parts, train=_Piecemeal(parts.train) if kind is _Piecemeal else parts.train)
        trained = train(built, parts, spec, seed_of_epoch=seed_of_epoch, weights=weights, masks=dense(weights))
        found.append((trained.steps, trained.validation, state(built)))
    assert found[0][:2] == found[1][:2]
    assert found[0][0] < 20 * 4
    assert same(found[0][2], found[1][2])


class _Piecemeal(data.Resident):
    """The same images, of which nobody is told that they are nothing but pixels: steps are taken batch by batch."""

    def __init__(self, whole: data.Resident) -> None:
        self.__dict__.update(whole.__dict__)

    def pixels(self) -> None:
        return None


def test_labels_that_are_no_classes_are_refused():
    built, masks = perceptron(64, classes=7)
    with pytest.raises(ValueError, match=r"`labels` \(0 … 9\) must lie in 0 … 6"):
        Native(setup(built, ADAM, masks, images()))


@pytest.mark.parametrize("size", [7, 9], ids=["smaller", "larger"])
def test_images_of_another_size_are_refused(size):
    built, masks = perceptron(64)
    with pytest.raises(ValueError, match=rf"`images` \(of {size**2} values\) must have 64 values each"):
        Native(setup(built, ADAM, masks, images(size=size)))
    with pytest.raises(ValueError, match="must have 64 values each"):
        whole(built, ADAM, masks, images(), images(size=size)).evaluate("test")


def test_every_step_needs_a_rate():
    built, masks = perceptron(64)
    engine = whole(built, ADAM, masks, images())
    with pytest.raises(ValueError, match=r"`rates` \(of 3 steps\) must have one for each of the 4 steps"):
        engine.begin(0, torch.ones(3), first=2)


def test_the_five_likeliest_of_many_classes_are_left_to_pytorch():
    built, masks = perceptron(64, classes=100)
    engine = whole(built, ADAM, masks, images(), images(count=203))
    found = engine.evaluate("test")
    assert found == evaluate(built, images(count=203))
    assert found.top5 is not None
    trained = train(built, splits(), ADAM, seed_of_epoch=seed_of_epoch, weights=fnn.named_weights(built), masks=masks)
    assert trained.compiler == compiler()
    assert trained.test == evaluate(built, splits().test)
    assert trained.test.top5 is not None
