"""Initial weights: the variance of the real twin in every algebra, from a seed alone, with nothing left out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_reference import HYPERCOMPLEX, draw
from torch import nn

from fourfold import nn as fnn
from fourfold.algebra import OCTONION, Algebra, LearnedAlgebra, cayley_dickson, get
from fourfold.nn.init import FORMS, weight_

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


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("scheme", VARIANCE)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_has_the_variance_of_the_scheme(form, scheme, name):
    for layer, fan_in, fan_out in large_layers(name):
        weight_(layer.weight, layer.algebra, getattr(layer, "groups", 1), scheme, generator(4), form)
        squares = layer.weight.detach().double().view(get(name).n, -1).square().mean(0)
        assert layer.matrix().double().square().mean().item() == pytest.approx(squares.mean().item(), rel=1e-9)
        expected = VARIANCE[scheme](fan_in, fan_out)
        if form in ("orthogonal", "unitary"):  # no matter of chance
            assert squares.mean().item() == pytest.approx(expected, rel=1e-5)
        else:
            assert abs(squares.mean().item() - expected) < 4 * squares.std().item() / math.sqrt(len(squares))


@pytest.mark.parametrize("name", ALL)
def test_the_forms_are_what_their_names_say(name):
    n = get(name).n
    std = math.sqrt(1 / (3 * 64 * n))
    drawn = {}
    for form in FORMS:
        weight = torch.empty(256 * n, 64, dtype=torch.float64)
        weight_(weight, get(name), generator=generator(5), form=form)
        drawn[form] = weight.view(n, -1) / std
    uniform, normal, unitary = (drawn[form] for form in ("uniform", "normal", "unitary"))
    assert uniform.abs().max() <= math.sqrt(3)
    assert uniform.abs().max() > 1.7
    torch.testing.assert_close((normal.abs() < 1).double().mean().item(), 0.6827, rtol=0, atol=0.02)
    torch.testing.assert_close(unitary.square().sum(0), torch.full((256 * 64,), float(n), dtype=torch.float64))
    for components in (uniform, normal, unitary):  # uniform directions: uncorrelated components of mean 0 and variance 1
        count = components.shape[1]
        torch.testing.assert_close(components @ components.T / count, torch.eye(n).double(), rtol=0, atol=5 / math.sqrt(count))
        assert components.mean(1).abs().max() < 5 / math.sqrt(count)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    st.sampled_from(ALL),
    st.integers(1, 6),
    st.integers(1, 6),
    st.lists(st.integers(1, 3), max_size=2),
    st.integers(1, 3),
    st.sampled_from(list(VARIANCE)),
)
def test_the_orthogonal_form_makes_orthonormal_rows_or_columns_up_to_the_scale(name, out, num_in, kernel, groups, scheme):
    algebra = get(name)
    weight = torch.empty(algebra.n * out * groups, num_in, *kernel, dtype=torch.float64)
    weight_(weight, algebra, groups, scheme, generator(6), "orthogonal")
    fan_in, fan_out = (algebra.n * size * math.prod(kernel) for size in (num_in, out))
    for numbers in weight.view(algebra.n, groups, out, num_in, *kernel).unbind(1):
        matrix = algebra.matrix(numbers).flatten(1)
        gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
        size = VARIANCE[scheme](fan_in, fan_out) * max(matrix.shape)
        torch.testing.assert_close(gram / size, torch.eye(len(gram), dtype=torch.float64), rtol=0, atol=1e-10)


def test_orthogonal_matrices_of_float32_are_as_exact_as_it_is():
    layer = fnn.Linear(256, 256, algebra="quaternion")
    weight_(layer.weight, layer.algebra, scheme="he", form="orthogonal")
    matrix = layer.matrix().detach()
    torch.testing.assert_close(matrix @ matrix.T / 2, torch.eye(256), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [1, 2])
def test_the_orthogonal_form_prefers_no_direction(size, name):
    n, draws, total = get(name).n, generator(8), 0
    for _ in range(200):
        weight = torch.empty(n * size, size, dtype=torch.float64)
        weight_(weight, get(name), scheme="glorot", generator=draws, form="orthogonal")
        total += weight * math.sqrt(n * size)  # components of mean square 1
    assert (total / 200).abs().max() < 4 / math.sqrt(200)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_drawn_from_the_generator_alone(form, name):
    drawn = []
    for state, seed in ((1, 7), (2, 7), (1, 8)):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        weight = torch.empty(16, 6, 3)
        weight_(weight, get(name), 2, generator=generator(seed), form=form)
        assert torch.equal(torch.get_rng_state(), before)
        drawn.append(weight)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def polar_as_first_published(weight, n, std, draws):
    """The draw that the committed runs started from, written down a second time: it must not change."""
    count = weight.numel() // n
    magnitude = torch.randn(n, count, generator=draws).norm(dim=0) * std
    angle = (torch.rand(count, generator=draws) * 2 - 1) * math.pi
    direction = nn.functional.normalize(torch.randn(n - 1, count, generator=draws), dim=0)
    return torch.cat([(magnitude * angle.cos()).unsqueeze(0), magnitude * angle.sin() * direction]).view_as(weight)


@pytest.mark.parametrize("name", HYPERCOMPLEX)
@pytest.mark.parametrize("shape", [(64, 48, 3, 3), (8, 1), (256, 1001)])
def test_the_default_draw_stays_the_same_to_the_bit(name, shape):
    weight = torch.empty(shape)
    weight_(weight, get(name), scheme="he", generator=generator(9))
    n, kernel = get(name).n, math.prod(shape[2:])
    assert torch.equal(weight, polar_as_first_published(weight, n, math.sqrt(2 / (shape[1] * n * kernel)), generator(9)))


def test_the_default_draw_of_real_weights_is_torchs_to_the_bit():
    weight = torch.empty(8, 5, 3)
    weight_(weight, get("real"), generator=generator(9))
    assert torch.equal(weight, nn.init.kaiming_uniform_(torch.empty(8, 5, 3), math.sqrt(5), generator=generator(9)))
    weight_(weight, get("real"), scheme="he", generator=generator(9))
    assert torch.equal(weight, torch.empty(8, 5, 3).normal_(0, math.sqrt(2 / 15), generator=generator(9)))


def test_an_unknown_form_lists_the_known_ones_and_orthogonal_says_what_it_needs():
    with pytest.raises(ValueError, match="unknown form 'haar'; known: normal, orthogonal, polar, uniform, unitary"):
        weight_(torch.empty(4, 4), get("quaternion"), form="haar")
    sedenion = Algebra("sedenion", cayley_dickson(OCTONION.constants))
    with pytest.raises(ValueError, match=r"`form` \(='orthogonal'\) needs an algebra with .*, which 'sedenion' is not"):
        weight_(torch.empty(16, 4), sedenion, form="orthogonal")
    with pytest.raises(ValueError, match=r"`form` \(='orthogonal'\) needs"):
        weight_(torch.empty(16, 4), LearnedAlgebra(4), form="orthogonal")


def test_meta_and_empty_weights_draw_nothing():
    draws = generator(0)
    before = draws.get_state()
    for weight in (torch.empty(8, 0), torch.empty(8, 4, device="meta")):
        for form in FORMS:
            weight_(weight, get("quaternion"), generator=draws, form=form)
    assert torch.equal(draws.get_state(), before)
