"""The property checkers: they let our layers pass, and name what is wrong with broken ones."""

import copy

import pytest
import torch
from nn_reference import HYPERCOMPLEX, by_components, draw
from torch import nn
from torch.nn import functional as F

from fourfold import nn as fnn
from fourfold.algebra import get, norm
from fourfold.nn.testing import (
    assert_algebra_linear,
    assert_equals_reference,
    assert_gradients_finite,
    assert_rotation_equivariant,
    assert_same_variance,
)


def layers(name):
    n = get(name).n
    yield fnn.Linear(2 * n, 3 * n, dtype=torch.float64, algebra=name), (1, 2 * n)
    yield fnn.Conv1d(4 * n, 2 * n, 2, groups=2, dtype=torch.float64, algebra=name), (1, 4 * n, 4)
    yield fnn.Conv2d(n, 2 * n, 3, stride=2, padding=1, dtype=torch.float64, algebra=name), (2, n, 5, 5)
    yield fnn.Conv2d(n, n, 3, padding=1, padding_mode="circular", algebra=name), (2, n, 4, 4)


@pytest.mark.parametrize("name", ["real", *HYPERCOMPLEX])
def test_our_layers_multiply_from_the_left_in_their_algebra(name):
    for layer, shape in layers(name):
        assert_algebra_linear(layer, torch.zeros(shape, dtype=layer.weight.dtype), name)


def test_the_axis_of_the_components_is_said():
    layer = fnn.Linear(8, 4, algebra="quaternion")
    assert_algebra_linear(layer, torch.zeros(2, 3, 8), "quaternion", axis=-1)
    with pytest.raises(ValueError, match=r"`input.shape\[1\]` \(=3\) must be divisible by 4"):
        assert_algebra_linear(layer, torch.zeros(2, 3, 8))
    with pytest.raises(ValueError, match=r"`layer\(input\).shape\[1\]` \(=3\) must be divisible by 4"):
        assert_algebra_linear(nn.Linear(8, 3), torch.zeros(2, 8))


def test_a_real_layer_is_no_quaternion_layer():
    message = (
        "multiply from the left in algebra 'quaternion': its map from component . of the input to component . of the output"
    )
    with pytest.raises(AssertionError, match=message):
        assert_algebra_linear(nn.Linear(8, 8), torch.zeros(1, 8))


def test_a_quaternion_layer_with_one_wrong_sign_is_seen():
    layer = fnn.Linear(8, 8, dtype=torch.float64, algebra="quaternion")
    wrong = nn.Linear(8, 8, dtype=torch.float64)
    with torch.no_grad():
        wrong.weight.copy_(layer.matrix())
        assert_algebra_linear(wrong, torch.zeros(1, 8, dtype=torch.float64))
        wrong.weight[4:6, 2:4] *= -1  # component 2 of the output from component 1 of the input
    with pytest.raises(AssertionError, match="quaternion"):
        assert_algebra_linear(wrong, torch.zeros(1, 8, dtype=torch.float64))


def test_one_algebra_is_not_another_and_left_is_not_right():
    with pytest.raises(AssertionError, match="algebra 'quaternion'"):
        assert_algebra_linear(fnn.Linear(8, 8, algebra="octonion"), torch.zeros(1, 8), "quaternion")
    r, x, y, z = 0.5, -1.0, 0.3, 0.8
    right = torch.tensor([[r, -x, -y, -z], [x, r, z, -y], [y, -z, r, x], [z, y, -x, r]])
    with pytest.raises(AssertionError, match="algebra 'quaternion'"):
        assert_algebra_linear(lambda x: x @ right.T, torch.zeros(1, 4))


@pytest.mark.parametrize("function", [F.relu, lambda x: x.square(), lambda x: x * torch.nan])
def test_what_is_not_linear_is_no_product(function):
    with pytest.raises(
        AssertionError, match=r"layer is not linear: f\(2x − y\) is off 2f\(x\) − f\(y\) by .* \(allowed: 1.0e-04\)"
    ):
        assert_algebra_linear(function, torch.zeros(3, 8))


@pytest.mark.parametrize("name", HYPERCOMPLEX)
def test_our_layers_have_the_variance_of_their_real_twins(name):
    state = torch.get_rng_state()
    assert_same_variance(lambda: fnn.Linear(64, 64, algebra=name), lambda: nn.Linear(64, 64), (32, 64))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("factor", [0.74, 1.3, 4, 0])
def test_another_variance_is_seen_and_said(factor):
    def make():
        layer = fnn.Linear(64, 64, bias=False, algebra="quaternion")
        with torch.no_grad():
            layer.weight.mul_(factor**0.5)
        return layer

    with pytest.raises(AssertionError, match=r"output variance is \d\.\d* of the real twin's .* allowed: 1 ± 0.1"):
        assert_same_variance(make, lambda: nn.Linear(64, 64, bias=False), (32, 64))


def test_variance_needs_two_draws():
    with pytest.raises(ValueError, match=r"`draws` \(=1\) must be at least 2"):
        assert_same_variance(lambda: nn.Linear(2, 2), lambda: nn.Linear(2, 2), (2, 2), draws=1)


def reference(layer):
    return lambda x: by_components(F.linear, layer.weight, layer.bias, x, -1, "quaternion")


def test_our_layer_equals_its_reference():
    for dtype in (torch.float64, torch.float32):
        layer = fnn.Linear(8, 12, algebra="quaternion", dtype=dtype)
        assert_equals_reference(layer, reference(layer), draw(0, 5, 8, dtype=dtype))
    embedding = nn.Embedding(5, 3)
    assert_equals_reference(embedding, lambda i: embedding.weight[i], torch.tensor([1, 4]))


class Broken(fnn.Linear):
    def __init__(self, fault):
        super().__init__(8, 12, dtype=torch.float64, algebra="quaternion")
        self.fault = fault

    def forward(self, input):
        if self.fault == "output":
            return super().forward(input) * (1 + 1e-6)
        if self.fault == "gradient of input 0":
            return super().forward(input.detach() + 0 * input)
        if self.fault == "gradient of parameter 'weight'":
            return F.linear(input, self.matrix().detach() + 0 * self.matrix(), self.bias)
        return F.linear(input, self.matrix(), self.bias.detach())


@pytest.mark.parametrize(
    "fault", ["output", "gradient of input 0", "gradient of parameter 'weight'", "gradient of parameter 'bias'"]
)
def test_wrong_values_and_wrong_gradients_are_named(fault):
    layer = Broken(fault)
    with pytest.raises(AssertionError, match=f"{fault} is off the reference's by"):
        assert_equals_reference(layer, reference(layer), draw(0, 5, 8))


def test_a_wrong_shape_is_named():
    layer = nn.Linear(8, 4)
    with pytest.raises(AssertionError, match=r"output has shape \(2, 4\), the reference's \(4,\)"):
        assert_equals_reference(layer, lambda x: layer(x).sum(0), torch.zeros(2, 8))


class Norms(nn.Module):
    """|q| of whole quaternions times a parameter."""

    def __init__(self, length, start=1.0):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(start))
        self.length = length

    def forward(self, x):
        return self.length(x * self.factor)


def test_finite_gradients_pass_and_the_layer_stays_as_it_was():
    layer = Norms(norm)
    before = copy.deepcopy(layer.state_dict())
    assert_gradients_finite(layer, torch.ones(3, 4))
    assert layer.state_dict() == before
    assert layer.factor.grad is None


@pytest.mark.parametrize(
    ("layer", "x", "message"),
    [
        (
            Norms(lambda x: x.square().sum(-1).sqrt()),
            torch.ones(3, 4),
            "gradient of input 0 is not finite where inputs are zero",
        ),
        (
            Norms(lambda x: x.square().sum(-1).sqrt()),
            torch.tensor([[1.0, 2, 3, 4], [0, 0, 0, 0]]),  # one number of two
            "gradient of input 0 is not finite at the given inputs",
        ),
        (Norms(lambda x: 1 + x.log()), torch.ones(3, 4), "output is not finite where inputs are zero"),
        (Norms(lambda x: (1 + x).sqrt(), -1.0), torch.ones(3, 4), "gradient of input 0 is not finite at the given inputs"),
        (nn.Linear(2, 2), torch.tensor([1.0, torch.nan]), "output is not finite at the given inputs"),
    ],
)
def test_gradients_that_are_not_finite_are_named_with_the_point(layer, x, message):
    with pytest.raises(AssertionError, match=message):
        assert_gradients_finite(layer, x)


def test_gradients_at_parameters_of_zero_are_looked_at():
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    with pytest.raises(AssertionError, match="is not finite where parameters are zero"):
        assert_gradients_finite(layer, torch.ones(2, 4))


def test_what_takes_norms_commutes_with_rotations():
    def by_norm(x):
        numbers = x.unflatten(1, (4, -1))
        return (numbers * numbers.norm(dim=1, keepdim=True).tanh()).flatten(1, 2)

    assert_rotation_equivariant(by_norm, draw(0, 3, 8, 5))
    assert_rotation_equivariant(by_norm, draw(0, 3, 8, 5, dtype=torch.float32))
    assert_rotation_equivariant(lambda x: 2 * x, draw(0, 3, 2, 8), axis=-1)
    pooling = nn.AvgPool2d(2)
    assert_rotation_equivariant(pooling, draw(1, 1, 4, 4, 4))


@pytest.mark.parametrize(
    "layer", [F.relu, fnn.Linear(8, 8, dtype=torch.float64, algebra="quaternion"), lambda x: x * torch.nan]
)
def test_what_does_not_commute_with_rotations_is_seen(layer):
    with pytest.raises(AssertionError, match=r"layer does not commute with rotations: f\(a x a⁻¹\) is off a f\(x\) a⁻¹ by"):
        assert_rotation_equivariant(layer, draw(0, 3, 8))


def test_rotations_need_quaternions():
    with pytest.raises(ValueError, match=r"`input.shape\[1\]` \(=6\) must be divisible by 4"):
        assert_rotation_equivariant(F.relu, torch.zeros(2, 6))
