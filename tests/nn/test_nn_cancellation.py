"""Few products mix components before they multiply: where that would cost accuracy, the matrix is taken."""

import copy

import pytest
import torch
from nn_reference import draw

from fourfold import nn as fnn
from fourfold.algebra import get
from fourfold.nn import cancellation, few_products

LOSS = 2 * cancellation.LARGEST_LOSS
"""Times the error of the matrix: what the bound allows, and a factor for chance."""
LAYERS = {
    "linear": (lambda name: fnn.Linear(64, 64, algebra=name), (128, 64)),
    "convolution": (lambda name: fnn.Conv2d(64, 64, 3, padding=1, algebra=name), (8, 64, 8, 8)),
    "grouped": (lambda name: fnn.Conv1d(64, 64, 3, groups=2, algebra=name), (8, 64, 20)),
    "transposed": (lambda name: fnn.ConvTranspose2d(64, 64, 3, stride=2, algebra=name), (8, 64, 6, 6)),
}


@pytest.fixture(autouse=True)
def wanted(monkeypatch, products_pay):
    """The products are faster everywhere, and a list that grows each time they are taken, and their gradients are not."""
    taken = {"forward": 0, "gradients by the matrix": 0}
    products_pay(lambda *given: True)
    functions = {"convolution": "forward", "linear": "forward", "differentiable": "gradients by the matrix"}
    for name, kind in functions.items():
        original = getattr(few_products, name)

        def counted(*given, function=original, kind=kind):
            taken[kind] += 1
            return function(*given)

        monkeypatch.setattr(few_products, name, counted)
    return taken


def scaled(x, factors, axis):
    """Multiply each component, blocked along an axis, with its factor."""
    parts = x.chunk(len(factors), axis)
    return torch.cat([part * factor for part, factor in zip(parts, factors, strict=True)], axis)


def results(layer, x, gradient):
    x = x.detach().requires_grad_()
    y = layer(x)
    return [y.detach(), *torch.autograd.grad(y, [x, layer.weight], gradient.to(y.dtype))]


def errors(layer, x, gradient):
    """The errors of each component of the output and of both gradients, relative to its size: ours, and those of the matrix."""
    exact = results(copy.deepcopy(layer).double(), x.double(), gradient)
    found = results(layer, x, gradient)
    with fnn.reference_path():
        real = results(layer, x, gradient)
    for ours, theirs, right, axis in zip(found, real, exact, (-1, -1, 0), strict=True):
        axis = 0 if axis == 0 else 1
        for parts in zip(*(values.double().chunk(layer.algebra.n, axis) for values in (ours, theirs, right)), strict=True):
            one, other, true = (part.abs() for part in parts)
            size = true.sum()
            if size > 0:
                yield (parts[0] - parts[2]).abs().sum() / size, (parts[1] - parts[2]).abs().sum() / size
            else:
                assert not one.any()
                assert not other.any()


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("name", ["complex", "quaternion"])
@pytest.mark.parametrize("spread", [1.0, 1e2, 1e4, 1e7])
def test_no_component_of_an_output_or_a_gradient_drowns(kind, name, spread, wanted):
    n = get(name).n
    make, shape = LAYERS[kind]
    generator = torch.Generator().manual_seed(int(spread))
    for _ in range(6):
        layer = make(name)
        sizes = [spread ** torch.rand(n, generator=generator) for _ in range(3)]
        with torch.no_grad():
            layer.weight.copy_(scaled(layer.weight, 1 / sizes[0], 0))
            layer.bias.zero_()
        x = scaled(draw(1, *shape, dtype=torch.float32), sizes[1], 1)
        gradient = scaled(draw(2, *layer(x).shape), sizes[2], 1)
        for ours, theirs in errors(layer, x, gradient):
            assert ours <= LOSS * theirs + 1e-12
    assert wanted["forward"] > 0 or spread > 1e2


@pytest.mark.parametrize("kind", LAYERS)
def test_one_image_of_many_is_enough(kind, wanted):
    make, shape = LAYERS[kind]
    layer, x = make("quaternion"), draw(0, *shape, dtype=torch.float32)
    with torch.no_grad():
        layer.weight.copy_(scaled(layer.weight, (1e-5, 1, 1, 1), 0))
    layer(x)
    assert wanted["forward"] == 1
    x[3] = scaled(x[3:4], (1, 1e-5, 1e-5, 1e-5), 1)[0]
    layer(x)
    assert wanted["forward"] == 1


@pytest.mark.parametrize("kind", LAYERS)
def test_components_of_one_size_take_the_products_whatever_the_other_factor_has(kind, wanted):
    make, shape = LAYERS[kind]
    layer, x = make("quaternion"), draw(0, *shape, dtype=torch.float32)
    y = layer(scaled(x, (0, 1, 1, 1), 1).requires_grad_())  # colours, as pure quaternions
    y.backward(scaled(draw(2, *y.shape, dtype=torch.float32), (1, 1e-6, 1, 1), 1))
    assert wanted == {"forward": 1, "gradients by the matrix": 0}
    with torch.no_grad():
        layer.weight[: len(layer.weight) // 8] = 0  # half of the real parts are pruned
    layer(x).sum().backward()
    assert wanted["forward"] == 2


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("value", [float("inf"), float("nan"), 3e38])
def test_what_is_not_finite_comes_out_as_from_the_matrix(kind, value):
    make, shape = LAYERS[kind]
    layer, x = make("quaternion"), draw(0, *shape, dtype=torch.float32)
    x.view(-1)[5] = value
    found = layer(x)
    with fnn.reference_path():
        assert torch.equal(found.isfinite(), layer(x).isfinite())
        assert torch.equal(found.isinf(), layer(x).isinf())


@pytest.mark.parametrize("kind", ["Conv2d", "ConvTranspose2d", "Linear"])
def test_each_weight_counts_for_the_numbers_that_it_joins(kind):
    groups = 1 if kind == "Linear" else 2
    options = {} if kind == "Linear" else {"kernel_size": 2, "groups": groups}
    layer = getattr(fnn, kind)(16, 24, **options, bias=False, algebra="quaternion")
    for position in range(0, layer.weight.numel(), 7):
        with torch.no_grad():
            layer.weight.zero_().view(-1)[position] = -2
        by_input, by_output = cancellation.weight_sizes(layer.weight, 4, groups, kind == "ConvTranspose2d")
        assert by_input.sum() == by_output.sum() == 2
        (component, joined), (_, joins) = by_input.nonzero()[0].tolist(), by_output.nonzero()[0].tolist()
        assert component == position * 4 // layer.weight.numel()
        x = torch.zeros(16)
        x[joined] = 1  # the real part of that number
        y = layer(x if kind == "Linear" else x.view(1, 16, 1, 1).expand(1, 16, 3, 3))
        reached = y.flatten(1).abs().sum(1) if y.dim() == 2 else y.abs().sum((0, 2, 3)) if y.dim() == 4 else y.abs()
        assert reached.nonzero().flatten().tolist() == [6 * component + joins]
