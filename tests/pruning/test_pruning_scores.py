"""Scores against their definitions: derivatives by gates, finite differences, a conservation law, tiny networks by hand."""

import itertools

import pytest
import torch
from torch import nn
from torch.func import functional_call

from fourfold import nn as fnn
from fourfold import pruning
from fourfold.nn import named_weights
from fourfold.pruning import Units, units_of
from fourfold.record import UserError

UNITS = ("weight", "element", "row")
ALGEBRAS = ("real", "quaternion")


def network(algebra: str = "quaternion", *, bias: bool = True, smooth: bool = False) -> nn.Sequential:
    built = nn.Sequential(
        fnn.Conv2d(4, 8, 3, bias=bias, algebra=algebra),
        fnn.BatchNorm2d(8, algebra=algebra),
        nn.Tanh() if smooth else nn.ReLU(),
        nn.Flatten(),
        fnn.Linear(8 * 4, 3, bias=bias, algebra="real"),
    ).double()
    fnn.initialize(built, "he", torch.Generator().manual_seed(0))
    return built


def batch(count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 4, 4, 4, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 3, (count,), generator=generator)


def loss(built: nn.Module, gated: dict[str, torch.Tensor], images, labels) -> torch.Tensor:
    state = dict(built.named_parameters()) | {name: b.clone() for name, b in built.named_buffers()} | gated
    return nn.functional.cross_entropy(functional_call(built, state, (images,)), labels)


def gate_scores(built, units, images, labels):
    """∂L/∂c for a factor c = 1 before the weights of every unit: the definition that everything of first order reduces to."""
    weights = {name: weight.detach() for name, weight in named_weights(built).items()}
    gates = {name: torch.ones(len(units.split(name, w)), dtype=w.dtype, requires_grad=True) for name, w in weights.items()}
    index = {}
    for name, weight in weights.items():  # which unit an entry belongs to
        numbers = torch.arange(weight.numel()).view(weight.shape)
        index[name] = torch.empty(weight.numel(), dtype=torch.int64)
        for unit, entries in enumerate(units.split(name, numbers)):
            index[name][entries] = unit
    gated = {name: weight * gates[name][index[name]].view(weight.shape) for name, weight in weights.items()}
    found = torch.autograd.grad(loss(built, gated, images, labels), list(gates.values()))
    return dict(zip(weights, found, strict=True))


@pytest.mark.parametrize(("algebra", "unit"), list(itertools.product(ALGEBRAS, UNITS)))
def test_units_hold_together_what_they_say(algebra, unit):
    built = network(algebra)
    units = units_of(built, unit)
    name, n = "0.weight", {"real": 1, "quaternion": 4}[algebra]
    weight = torch.arange(built[0].weight.numel()).view(built[0].weight.shape)
    parts = [set(part.tolist()) for part in units.split(name, weight)]
    assert sorted(itertools.chain(*parts)) == list(range(weight.numel()))
    if unit == "weight":
        assert all(len(part) == 1 for part in parts)
    elif unit == "element":  # removing a number removes one entry of every block of the real matrix
        assert len(parts) == weight.numel() // n
        for part in parts:
            alone = (
                built[0].weight.data.new_zeros(weight.numel()).index_fill(0, torch.tensor(sorted(part)), 1).view(weight.shape)
            )
            assert int((built[0]._matrix_of(alone) != 0).sum()) == n * n
    else:  # removing a row silences whole output elements
        assert len(parts) == 8 // n
        for o, part in enumerate(parts):
            alone = (
                built[0].weight.data.new_zeros(weight.numel()).index_fill(0, torch.tensor(sorted(part)), 1).view(weight.shape)
            )
            rows = (built[0]._matrix_of(alone) != 0).flatten(1)
            assert rows.any(1).nonzero().flatten().tolist() == [c * (8 // n) + o for c in range(n)]
            assert rows[rows.any(1)].all()


@pytest.mark.parametrize(("algebra", "unit"), list(itertools.product(ALGEBRAS, UNITS)))
def test_first_order_scores_are_derivatives_by_a_gate(algebra, unit):
    built, units = network(algebra), units_of(network(algebra), unit)
    images, labels = batch()
    expected = gate_scores(built, units, images, labels)
    weights, gradients = named_weights(built), pruning.gradients(built, images, labels)
    total = sum(g.abs().sum() for g in expected.values())
    gradient = pruning.gradient_scores(weights, gradients, units)
    snip = pruning.snip_scores(weights, gradients, units)
    for name, value in expected.items():
        torch.testing.assert_close(gradient[name], value.abs())
        torch.testing.assert_close(snip[name], value.abs() / total)
    assert sum(float(score.sum()) for score in snip.values()) == pytest.approx(1)


@pytest.mark.parametrize("unit", UNITS)
def test_fisher_is_half_the_mean_square_of_each_images_finite_difference(unit):
    built = network(smooth=True).eval()
    images, labels = batch(4)
    units = units_of(built, unit)
    found = pruning.fisher_scores(named_weights(built), pruning.gradients_of_images(built, images, labels), units)
    for name, weight in named_weights(built).items():
        for number in (0, 3 % len(found[name]), len(found[name]) - 1):
            alone = torch.zeros(len(found[name]), dtype=torch.bool)
            alone[number] = True
            here = units.join(name, alone, torch.ones_like(weight, dtype=torch.bool)).double()
            step, squares = 1e-5, []
            for image, label in zip(images, labels, strict=True):
                up, down = (
                    loss(built, {name: weight.detach() * (1 + sign * step * here)}, image[None], label[None]).item()
                    for sign in (1, -1)
                )
                squares.append(((up - down) / (2 * step)) ** 2)
            assert float(found[name][number]) == pytest.approx(sum(squares) / len(squares) / 2, rel=1e-5, abs=1e-12)


def full_hessian(built, images, labels):
    weights = {name: weight.detach() for name, weight in named_weights(built).items()}
    sizes = [weight.numel() for weight in weights.values()]

    def of_flat(flat):
        parts = flat.split(sizes)
        gated = {name: part.view(w.shape) for (name, w), part in zip(weights.items(), parts, strict=True)}
        return loss(built, gated, images, labels)

    flat = torch.cat([weight.flatten() for weight in weights.values()])
    gradient = torch.autograd.functional.jacobian(of_flat, flat)
    return flat, gradient, torch.autograd.functional.hessian(of_flat, flat), sizes


def test_taylor_and_grasp_are_made_of_the_full_hessian():
    built = network(smooth=True).eval()
    images, labels = batch()
    flat, gradient, hessian, sizes = full_hessian(built, images, labels)
    weights, units = named_weights(built), Units()
    gradients, products = pruning.hessian_times(built, images, labels, weights)
    taylor = torch.cat(list(pruning.taylor_scores(weights, gradients, products, units).values()))
    torch.testing.assert_close(taylor, (flat * gradient - flat * (hessian @ flat) / 2).square())
    _, products = pruning.hessian_times(built, images, labels)
    grasp = torch.cat(list(pruning.grasp_scores(weights, products, units).values()))
    torch.testing.assert_close(grasp, flat * (hessian @ gradient))
    assert sum(sizes) == len(flat)


@pytest.mark.parametrize(("algebra", "unit"), list(itertools.product(ALGEBRAS, ("weight", "element"))))
def test_synflow_is_conserved_from_layer_to_layer(algebra, unit):
    built = nn.Sequential(
        fnn.Conv2d(4, 8, 3, algebra=algebra),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        fnn.Linear(8, 12, algebra=algebra),
        nn.ReLU(),
        fnn.Linear(12, 3),
    )
    before = [p.clone() for p in built.parameters()]
    scores = pruning.gradient_scores(*pruning.flow_gradients(built, torch.randn(2, 4, 4, 4)), units_of(built, unit))
    sums = [float(score.sum()) for score in scores.values()]
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-12)
    # R itself, by absolute values of the real matrices.
    x = torch.ones(1, 4, 4, 4, dtype=torch.float64)
    x = nn.functional.avg_pool2d(nn.functional.conv2d(x, built[0].matrix().detach().abs().double()), 2).flatten(1)
    x = x @ built[4].matrix().detach().abs().double().t() @ built[6].weight.detach().abs().double().t()
    assert sums[0] == pytest.approx(float(x.sum()), rel=1e-6)
    assert all(torch.equal(p, q) for p, q in zip(built.parameters(), before, strict=True))


def test_synflow_by_hand():
    built = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    built[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, 4.0]])
    built[2].weight.data = torch.tensor([[5.0, -1.0]])
    scores = pruning.gradient_scores(*pruning.flow_gradients(built, torch.zeros(1, 2)), Units())
    assert scores["0.weight"].tolist() == [5, 10, 3, 4]
    assert scores["2.weight"].tolist() == [15, 7]


def test_gradient_scores_by_hand():
    layer = nn.Linear(2, 2, bias=False)
    layer.weight.data = torch.tensor([[1.0, 2.0], [-1.0, 0.0]])
    images, labels = torch.tensor([[1.0, 1.0]]), torch.tensor([0])
    miss = 1 / (1 + torch.tensor(4.0).exp())  # of class 1: the logits are 3 and −1
    gradients = pruning.gradients(layer, images, labels)
    torch.testing.assert_close(gradients["weight"], torch.tensor([[-1.0, -1.0], [1.0, 1.0]]) * miss)
    scores = pruning.gradient_scores(named_weights(layer), gradients, Units(unit="row"))["weight"]
    torch.testing.assert_close(scores, torch.tensor([3.0, 1.0]) * miss)


def test_magnitudes_of_units_are_norms():
    layer = fnn.Linear(8, 4, algebra="quaternion")
    weight = layer.weight.detach().view(4, 1, 2)
    for unit, expected in (
        ("weight", layer.weight.detach().abs().flatten()),
        ("element", weight.norm(dim=0).flatten()),
        ("row", weight.norm(dim=(0, 2))),
    ):
        torch.testing.assert_close(
            pruning.magnitude_scores({"weight": layer.weight}, units_of(layer, unit))["weight"], expected, check_dtype=False
        )


def test_random_scores_come_from_the_generator_alone_and_have_one_draw_a_unit():
    weights = named_weights(network())
    torch.manual_seed(9)
    state = torch.get_rng_state()
    one, two, other = (
        pruning.random_scores(weights, Units(unit="row", dimensions={"0.weight": 4}), torch.Generator().manual_seed(s))
        for s in (3, 3, 4)
    )
    assert torch.equal(state, torch.get_rng_state())
    assert [len(score) for score in one.values()] == [2, 3]
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("score", sorted(pruning.SCORES))
def test_scoring_leaves_the_network_as_it_was(score, rounds, training):
    built = network().train(training)
    before = {name: value.clone() for name, value in built.state_dict().items()}
    images, labels = batch()
    choice = pruning.Choice(density=0.5, score=score, iterations=rounds)
    masks = pruning.choose(built, choice, images=images, labels=labels)
    assert sum(pruning.kept(masks).values()) == round(0.5 * sum(mask.numel() for mask in masks.values()))
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())
    assert all(module.training == training for module in built.modules())
    assert all(p.grad is None and p.requires_grad for p in built.parameters())


def test_fisher_needs_an_image():
    with pytest.raises(ValueError, match=r"`gradients` \(=0 images\) must be those of at least one image"):
        pruning.fisher_scores({}, [], Units())


def test_synflow_refuses_a_learned_algebra():
    layer = fnn.PHMLinear(8, 4, n=4)
    with pytest.raises(ValueError, match=r"`score` \(='synflow'\) must be another for networks with learned algebras"):
        pruning.flow_gradients(layer, torch.ones(1, 8))


@pytest.mark.parametrize("score", sorted(pruning.NEED_IMAGES))
def test_images_that_are_no_tensors_or_none_at_all_are_named(score):
    network, labels = nn.Linear(4, 3), torch.tensor([0, 1])
    for images in (torch.zeros(2, 4).numpy(), [[0.0] * 4] * 2, torch.tensor(1.0), torch.zeros(0, 4)):
        with pytest.raises(UserError, match="`images`"):
            pruning.prune(network, density=0.5, score=score, images=images, labels=labels)
