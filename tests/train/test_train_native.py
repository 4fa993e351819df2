"""Steps of perceptrons in native code against PyTorch's, and which trainings take them."""

import copy
import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import masks_of, same, seed_of_epoch, setup, splits, state
from torch import nn

from fourfold import nn as fnn
from fourfold.native import NoCompilerError, compiler
from fourfold.pruning import apply_, dense
from fourfold.record import EarlyStopping, TrainSpec
from fourfold.train import TrainingFailedError, evaluate, train
from fourfold.train.engines import DeclinedError, Eager, Native, native
from fourfold.train.engines.perceptron import NativePerceptron

try:
    compiler()
except NoCompilerError as reason:
    pytest.skip(str(reason), allow_module_level=True)

ADAM = TrainSpec(optimizer="adam", learning_rate=3e-3, batch_size=30, epochs=2)
SGD = TrainSpec(optimizer="sgd", learning_rate=0.1, batch_size=30, epochs=2)
SPECS = {
    "adam": ADAM,
    "adam with decay": dataclasses.replace(ADAM, weight_decay=1e-2),
    "sgd": SGD,
    "momentum": dataclasses.replace(SGD, momentum=0.9, weight_decay=1e-2),
    "nesterov": dataclasses.replace(SGD, momentum=0.9, nesterov=True, weight_decay=1e-2),
}


def perceptron(algebra: str = "quaternion", inputs: int = 64, hidden: int = 16, classes: int = 10) -> nn.Sequential:
    built = nn.Sequential(
        nn.Flatten(),
        fnn.Linear(inputs, hidden, algebra=algebra),
        nn.ReLU(),
        fnn.Linear(hidden, hidden, algebra=algebra),
        nn.ReLU(),
        nn.Linear(hidden, classes),
    )
    fnn.initialize(built, generator=torch.Generator().manual_seed(0))
    return built


def pruned(built: nn.Module, density: float = 0.4) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    weights, masks = fnn.named_weights(built), masks_of(built, density)
    apply_(weights, masks)
    return weights, masks


@pytest.mark.parametrize("density", [0.4, 0.9, 1.0])  # sparse layers, dense ones with zeros, and whole ones
@pytest.mark.parametrize("algebra", ["real", "complex", "quaternion", "octonion"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_steps_are_those_of_pytorch(spec, algebra, density):
    ours, theirs = perceptron(algebra), perceptron(algebra)
    (_, masks), _ = pruned(ours, density), pruned(theirs, density)
    mine, plain = NativePerceptron(ours, spec, masks), Eager(setup(theirs, spec, masks))
    for rate in (spec.learning_rate, spec.learning_rate / 10):
        for images, labels in splits().train.epoch(30, seed_of_epoch(0)):  # the last batch is smaller
            assert mine.take(images, labels, rate) == pytest.approx(float(plain.take(images, labels, rate)), rel=1e-5)
    mine.write_to_network()
    assert mine.steps == int(plain.optimizer_state()["steps"]) == 8
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=1e-3, atol=1e-5)
    assert all(not bool(ours.state_dict()[name][~mask].any()) for name, mask in masks.items())
    assert all(not bool(mine.state()[f"{name}.mean"][~mask].any()) for name, mask in masks.items())


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    algebra=st.sampled_from(["real", "complex", "quaternion", "octonion"]),
    batch=st.integers(1, 150),
    inputs=st.integers(1, 40),
    hidden=st.integers(1, 30),
    classes=st.integers(1, 12),
    density=st.sampled_from([0.0, 0.05, 0.5, 0.9, 1.0]),
)
def test_gradients_are_those_of_autograd_in_double_precision(algebra, batch, inputs, hidden, classes, density):
    built = perceptron(algebra, 8 * inputs, 8 * hidden, classes)
    _, masks = pruned(built, density)
    before = state(built)
    generator = torch.Generator().manual_seed(batch)
    images = torch.randn(batch, 8 * inputs, generator=generator)
    labels = torch.randint(0, classes, (batch,), generator=generator)
    taking = NativePerceptron(built, SGD, masks)
    loss = taking.take(images, labels, 1.0)
    taking.write_to_network()
    after = state(built)

    exact = perceptron(algebra, 8 * inputs, 8 * hidden, classes).double()
    exact.load_state_dict(before)
    expected = nn.functional.cross_entropy(exact(images.double()), labels)
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
    for name, parameter in exact.named_parameters():
        gradient = parameter.grad * masks.get(name, 1)
        torch.testing.assert_close((before[name] - after[name]).double(), gradient, rtol=1e-4, atol=1e-6)


REAL, PURE, EQUAL = (1, 1e-5, 1e-5, 1e-5), (1e-5, 1, 1, 1), (1, 1, 1, 1)
SIZES = {
    "all but real": (REAL, REAL, REAL, REAL),
    "all but pure": (PURE, PURE, PURE, PURE),
    "first layer": (REAL, PURE, EQUAL, EQUAL),
    "last layers": (EQUAL, EQUAL, REAL, REAL),
}
"""Factors of the components of the images, of both quaternion layers' weights, and of what the last layer takes."""


@pytest.mark.parametrize("where", SIZES)
@pytest.mark.parametrize("density", [0.7, 1.0])
def test_components_of_very_different_size_keep_their_accuracy(where, density):
    """Few products mix components: where that would drown one, the matrix is taken, for the batch."""
    of_images, of_first, of_second, of_last = [torch.tensor(factors)[:, None] for factors in SIZES[where]]
    built = perceptron(inputs=256, hidden=128)
    built[1].weight.data.view(4, -1).mul_(of_first)
    built[3].weight.data.view(4, -1).mul_(of_second)
    built[5].weight.data.view(10, 4, -1).mul_(of_last)
    built[1].bias.data.zero_()
    built[3].bias.data.zero_()
    _, masks = pruned(built, density)
    generator = torch.Generator().manual_seed(0)
    images = (torch.randn(60, 4, 64, generator=generator) * of_images).flatten(1)
    labels = torch.arange(60) % 10
    exact = copy.deepcopy(built).double()
    nn.functional.cross_entropy(exact(images.double()), labels).backward()
    taking = NativePerceptron(built, SGD, masks)
    taking.take(images, labels, 0.0)
    for layer in taking._layers[:2]:
        found = layer.spread(taking._gradient[layer.weights]).double().view(4, -1)
        right = (exact.get_parameter(f"{layer.name}.weight").grad * layer.mask).view(4, -1)
        error, size = (found - right).abs().amax(1), right.abs().amax(1)
        assert (error <= 2e-5 * size).all(), (error / size).tolist()


def test_few_products_are_taken_of_components_of_one_size():
    built = perceptron(inputs=256, hidden=128)
    taking = NativePerceptron(built, ADAM, pruned(built, 1.0)[1])
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        images = torch.rand(60, 256, generator=generator)
        images[:, :64] = 0  # pure quaternions, as colours are
        taking.take(images, torch.arange(60) % 10, 3e-3)
        assert not any(workspace.by_matrix for workspace in taking._workspace._dense_workspaces)


def test_images_may_lie_in_memory_in_any_order():
    images = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 10
    losses = []
    for laid_out in (images, images.t().contiguous().t(), images.repeat_interleave(2, dim=1)[:, ::2]):
        built = perceptron()
        losses.append(NativePerceptron(built, ADAM, pruned(built)[1]).take(laid_out, labels, 1e-3))
    assert losses[0] == losses[1] == losses[2]


def test_training_a_sparse_perceptron_is_native_and_the_same_every_time():
    results = []
    for _ in range(2):
        built = perceptron()
        weights, masks = pruned(built)
        trained = train(built, splits(), ADAM, seed_of_epoch=seed_of_epoch, weights=weights, masks=masks)
        assert trained.compiler == compiler()
        assert all(not bool(weights[name][~masks[name]].any()) for name in masks)
        results.append(state(built))
    assert same(*results)
    plain = perceptron()
    weights, masks = pruned(plain)
    eager = Eager(setup(plain, ADAM, masks))
    for epoch in range(ADAM.epochs):
        for batch in splits().train.epoch(ADAM.batch_size, seed_of_epoch(epoch)):
            eager.take(*batch, ADAM.learning_rate)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(results[0][name], value, rtol=1e-3, atol=1e-5)


def refused(**changes):
    built, spec, density = perceptron(), ADAM, 0.4
    match changes:
        case {"spec": other}:
            spec = dataclasses.replace(spec, **other)
        case {"density": other}:
            density = other
        case {"network": other}:
            built = other
    _, masks = pruned(built, density)
    return Native.declines(setup(built, spec, masks)) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"network": nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))},
        {"network": nn.Sequential(nn.Linear(4, 4), nn.ReLU())},
        {"network": nn.Sequential(nn.Linear(4, 4, bias=False))},
        {"network": nn.Sequential(nn.Linear(4, 4).double())},
        {"network": nn.Sequential(nn.Sequential(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 4))},
        {"network": nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.ReLU(), nn.Linear(4, 4))},
        {"network": nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(4, 4))},
        {"network": nn.Sequential(*[shared := nn.Linear(4, 4), nn.ReLU(), shared])},
    ],
    ids=str,
)
def test_other_networks_and_settings_are_left_to_pytorch(changes):
    assert refused(**changes)


def test_masks_that_may_change_are_left_to_pytorch():
    built = perceptron()
    _, masks = pruned(built)
    assert Native.declines(setup(built, ADAM, masks, step_by_step=True)) == "its masks may change between steps"
    with pytest.raises(DeclinedError, match="cannot change its masks"):
        Native(setup(built, ADAM, masks)).set_masks(masks)


def test_a_perceptron_is_taken():
    assert not refused()
    assert not refused(network=nn.Sequential(nn.Linear(4, 4)))


def test_without_a_compiler_pytorch_trains(monkeypatch):
    def fail():
        raise NoCompilerError("none here")

    monkeypatch.setattr(native, "kernels", fail)
    built = perceptron()
    weights, masks = pruned(built)
    assert train(built, splits(), ADAM, seed_of_epoch=seed_of_epoch, weights=weights, masks=masks).compiler is None


def test_a_large_network_is_trained_by_pytorch_until_it_is_sparse(monkeypatch):
    built = perceptron()
    entries = 64 * 16 + 16 * 16 + 16 * 10  # of its real matrices
    for large, density, taken in ((entries, 1.0, True), (entries - 1, 1.0, False), (0, 0.9, False), (0, 0.3, True)):
        monkeypatch.setattr(native, "LARGE", large)
        weights, masks = pruned(built, density)
        trained = train(built, splits(), ADAM, seed_of_epoch=seed_of_epoch, weights=weights, masks=masks)
        assert (trained.compiler is not None) == taken


def test_early_stopping_looks_at_the_weights_of_that_moment(monkeypatch):
    spec = dataclasses.replace(ADAM, epochs=20, learning_rate=0.05, early_stopping=EarlyStopping(every=3, patience=2))
    found = []
    for large in (10**6, 0):
        monkeypatch.setattr(native, "LARGE", large)
        built = perceptron()
        weights = fnn.named_weights(built)
        trained = train(built, splits(40), spec, seed_of_epoch=seed_of_epoch, weights=weights, masks=dense(weights))
        assert (trained.compiler is None) == (large == 0)
        assert evaluate(built, splits(40).test) == trained.test
        found.append((trained.steps, built.state_dict()))
    assert found[0][0] == found[1][0] < 20 * 4
    for name, value in found[0][1].items():
        torch.testing.assert_close(value, found[1][1][name], rtol=1e-3, atol=1e-5)


def test_a_loss_that_is_no_number_ends_the_training():
    built = perceptron()
    weights, masks = pruned(built)
    with torch.no_grad():
        built[1].bias[0] = torch.nan  # a NaN must not be lost in a ReLU
        built[-1].weight[0, 0] = 1
        masks["5.weight"][0, 0] = True
    with pytest.raises(TrainingFailedError, match="training loss became nan"):
        train(built, splits(), SGD, seed_of_epoch=seed_of_epoch, weights=weights, masks=masks)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(3, 65), torch.zeros(3, dtype=torch.int64), r"65 values on cpu\) must be float32 of 64 values each"),
        (torch.zeros(3, 64).double(), torch.zeros(3, dtype=torch.int64), r"torch.float64 of 64 values on cpu"),
        (torch.zeros(3, 64), torch.tensor([0, 10, 1]), r"`labels` \(0 … 10\) must lie in 0 … 9"),
        (torch.zeros(3, 64), torch.tensor([0, -1, 1]), r"`labels` \(-1 … 1\) must lie in 0 … 9"),
    ],
    ids=["size", "type", "class too large", "negative class"],
)
def test_what_the_native_code_must_not_see_is_refused(images, labels, message):
    built = perceptron()
    refusing = NativePerceptron(built, ADAM, pruned(built)[1])
    before = state(built)
    with pytest.raises(ValueError, match=message):
        refusing.take(images, labels, 1e-3)
    refusing.write_to_network()
    assert same(before, state(built))  # nothing is learned from it
