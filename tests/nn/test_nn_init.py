"""Initial weights: the variance of the real twin in every algebra, from a seed alone, with nothing left out."""

import math

import pytest
import torch
from nn_reference import HYPERCOMPLEX, draw
from torch import nn

from fourfold import nn as fnn
from fourfold.algebra import get
from fourfold.nn.init import weight_

VARIANCE = {
    "torch": lambda fan_in, fan_out: 1 / (3 * fan_in),
    "he": lambda fan_in, fan_out: 2 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
}
ALL = ["real", *HYPERCOMPLEX]


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def large_layers(name):
    linear = fnn.Linear(512, 256, algebra=name)
    convolution = fnn.Conv2d(64, 128, 3, algebra=name)
    grouped = fnn.Conv2d(128, 128, 3, groups=2, algebra=name)
    # layer, fan in, fan out: connections of one output neuron, and of one input neuron, in real neurons.
    return [(linear, 512, 256), (convolution, 64 * 9, 128 * 9), (grouped, 64 * 9, 64 * 9)]


@pytest.mark.parametrize("scheme", VARIANCE)
@pytest.mark.parametrize("name", ALL)
def test_the_real_matrix_has_exactly_the_variance_of_the_scheme(name, scheme):
    for layer, fan_in, fan_out in large_layers(name):
        fnn.initialize(layer, scheme, generator(0))
        squares = layer.weight.detach().double().view(get(name).n, -1).square().mean(0)  # one a number, independent of another
        expected = VARIANCE[scheme](fan_in, fan_out)
        assert layer.matrix().double().square().mean().item() == pytest.approx(squares.mean().item(), rel=1e-9)
        standard_error = squares.std().item() / math.sqrt(len(squares))
        assert abs(squares.mean().item() - expected) < 4 * standard_error
        assert standard_error < 0.016 * expected  # so the published libraries' 0.74 and 0.25 would be seen


@pytest.mark.parametrize("name", ALL)
def test_the_constructor_draws_torchs_default_variance(name):
    torch.manual_seed(1)
    for layer, fan_in, _ in large_layers(name):
        squares = layer.weight.detach().double().view(get(name).n, -1).square().mean(0)
        assert abs(squares.mean().item() - 1 / (3 * fan_in)) < 4 * squares.std().item() / math.sqrt(len(squares))


@pytest.mark.parametrize("name", HYPERCOMPLEX)
def test_every_component_has_mean_zero(name):
    layer = fnn.Linear(512, 256, bias=False, algebra=name)
    for component in layer.weight.detach().double().view(get(name).n, -1):
        assert abs(component.mean().item()) < 4 * component.std().item() / math.sqrt(len(component))


@pytest.mark.parametrize("name", HYPERCOMPLEX)
def test_the_polar_form_has_a_uniform_angle_and_a_uniform_direction(name):
    n = get(name).n
    weight = torch.empty(256 * n, 64)
    weight_(weight, get(name), generator=generator(2))
    parts = weight.double().view(n, -1)
    count = parts.shape[1]
    angle = torch.atan2(parts[1:].norm(dim=0), parts[0]) / math.pi  # uniform on (0, 1): mean 1/2, variance 1/12
    assert abs(angle.mean().item() - 1 / 2) < 4 / math.sqrt(12 * count)
    assert abs(angle.var().item() - 1 / 12) < 4 / math.sqrt(180 * count)
    direction = parts[1:] / parts[1:].norm(dim=0)
    expected = torch.eye(n - 1, dtype=torch.float64) / (n - 1)
    torch.testing.assert_close(direction @ direction.T / count, expected, rtol=0, atol=4 / math.sqrt(count))


@pytest.mark.parametrize("name", HYPERCOMPLEX)
def test_the_output_has_the_variance_of_the_real_twins_output(name):
    x = draw(99, 512, 256, dtype=torch.float32)
    real, ours = (fnn.Linear(256, 256, bias=False, algebra=algebra) for algebra in ("real", name))
    for seed, layer in enumerate((real, ours)):
        fnn.initialize(layer, "he", generator(seed))
    # He's variance doubles that of the input; the mean square of at least 65536 / 8 drawn numbers has an error of 1 %.
    for layer in (real, ours):
        assert layer(x).var().item() == pytest.approx(2, rel=0.04)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("scheme", VARIANCE)
def test_the_same_seed_draws_the_same_weights_whatever_the_global_state(name, scheme):
    drawn = []
    for state, seed in ((1, 7), (2, 7), (1, 8)):
        torch.manual_seed(state)
        model = nn.Sequential(fnn.Conv2d(16, 16, 3, algebra=name), nn.Flatten(), fnn.Linear(16, 8, algebra=name))
        before = torch.get_rng_state()
        fnn.initialize(model, scheme, generator(seed))
        assert torch.equal(torch.get_rng_state(), before)
        drawn.append(torch.cat([p.detach().flatten() for p in fnn.named_weights(model).values()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not (drawn[0] == drawn[2]).any()


@pytest.mark.parametrize("name", ALL)
def test_biases_are_uniform_within_torchs_bound_or_zero(name):
    for layer, fan_in, _ in large_layers(name):
        fnn.initialize(layer, "torch", generator(0))
        bound = 1 / math.sqrt(fan_in)
        assert layer.bias.abs().max() <= bound
        assert layer.bias.square().mean().item() == pytest.approx(bound**2 / 3, rel=4 / math.sqrt(5 / 4 * len(layer.bias)))
        for scheme in ("he", "glorot"):
            fnn.initialize(layer, scheme, generator(0))
            assert not layer.bias.any()


@pytest.mark.parametrize("name", ALL)
def test_initialize_leaves_nothing_as_it_was(name):
    model = nn.Sequential(
        fnn.Conv2d(8, 8, 3, groups=1, algebra=name),
        fnn.BatchNorm2d(8, algebra=name),
        nn.Sequential(nn.Conv2d(8, 3, 1, bias=False), nn.BatchNorm2d(3)),
        nn.Flatten(),
        nn.Linear(3, 3),
    )
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(math.nan if tensor.is_floating_point() else 99)
    fnn.initialize(model, generator=generator(0))
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    for norm in (model[1], model[2][1]):
        fresh = nn.BatchNorm2d(norm.num_features).state_dict()
        assert all(torch.equal(value, fresh[key]) for key, value in norm.state_dict().items())


def test_initialize_draws_layer_after_layer_as_torch_does():
    layers = [nn.Linear(5, 4), nn.Conv2d(3, 4, 2), nn.Linear(2, 2, bias=False)]
    fnn.initialize(nn.Sequential(*layers), "torch", generator(3))
    torch.manual_seed(3)
    for layer in layers:
        fresh = type(layer)(*((3, 4, 2) if isinstance(layer, nn.Conv2d) else (layer.in_features, layer.out_features)))
        assert torch.equal(layer.weight, fresh.weight)


def test_an_unknown_scheme_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown scheme 'xavier'; known: torch, he, glorot"):
        fnn.initialize(nn.Linear(2, 2), "xavier")
