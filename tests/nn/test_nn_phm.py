"""Layers that learn their algebra, against Zhang et al.'s equation, against our quaternion layers, shared and apart."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_reference import draw
from torch import nn
from torch.nn import functional as F

from fourfold import nn as fnn
from fourfold.algebra import LearnedAlgebra
from fourfold.nn.phm import PHMConv1d, PHMConv2d, PHMConv3d, PHMLinear
from fourfold.nn.testing import assert_algebra_linear, assert_equals_reference, assert_gradients_finite, assert_same_variance

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
FIXED = ["complex", "quaternion", "octonion"]


def from_definition(layer, operation, x, axis):
    """Component k of y is Σ_ij c_ijk operation(x_j, w_i), and then the bias is added."""
    constants, n = layer.algebra.constants, layer.algebra.n
    w, parts = layer.weight.chunk(n), x.chunk(n, axis)
    y = [sum(constants[i, j, k] * operation(parts[j], w[i]) for i in range(n) for j in range(n)) for k in range(n)]
    y = torch.cat(y, axis)
    return y if layer.bias is None else y + layer.bias.view(-1, *[1] * (y.dim() - 1 - axis % y.dim()))


@settings(derandomize=True, deadline=None, max_examples=20)
@given(
    st.integers(2, 5),
    st.integers(1, 3),
    st.integers(1, 3),
    st.lists(st.integers(0, 3), max_size=2),
    st.booleans(),
)
def test_linear_is_the_sum_over_learned_constants(n, num_in, num_out, batch, bias):
    layer = PHMLinear(n * num_in, n * num_out, bias, dtype=torch.float64, n=n)
    assert layer.weight.shape == (n * num_out, num_in)
    assert_equals_reference(layer, lambda x: from_definition(layer, F.linear, x, -1), draw(0, *batch, n * num_in))


@settings(derandomize=True, deadline=None, max_examples=20)
@given(
    st.integers(1, 3),
    st.integers(2, 4),
    st.integers(1, 2),
    st.integers(1, 2),
    st.sampled_from([{}, {"stride": 2}, {"padding": 1}, {"dilation": 2}, {"padding": "same"}]),
    st.booleans(),
)
def test_convolutions_are_the_sum_over_learned_constants(axes, n, num_in, num_out, options, bias):
    kind = {1: PHMConv1d, 2: PHMConv2d, 3: PHMConv3d}[axes]
    layer = kind(n * num_in, n * num_out, 3, bias=bias, dtype=torch.float64, n=n, **options)
    x = draw(axes, 2, n * num_in, *[5] * axes)
    assert_equals_reference(layer, lambda x: from_definition(layer, lambda p, w: CONVOLUTIONS[axes](p, w, **options), x, 1), x)


@pytest.mark.parametrize("groups", [2, 3])
def test_a_group_joins_its_part_of_the_numbers(groups):
    layer = PHMConv2d(6 * groups, 3 * groups, 3, groups=groups, dtype=torch.float64, n=3)

    def grouped(part, weight):
        return F.conv2d(part, weight, groups=groups)

    assert_equals_reference(layer, lambda x: from_definition(layer, grouped, x, 1), draw(0, 2, 6 * groups, 4, 4))


@pytest.mark.parametrize("name", FIXED)
def test_from_a_fixed_algebra_and_the_same_weight_it_is_our_layer(name):
    n = LearnedAlgebra(start=name).n
    pairs = [
        (fnn.Linear(2 * n, 3 * n, algebra=name), PHMLinear(2 * n, 3 * n, start=name), (5, 2 * n)),
        (fnn.Conv1d(2 * n, 2 * n, 3, groups=2, algebra=name), PHMConv1d(2 * n, 2 * n, 3, groups=2, start=name), (2, 2 * n, 5)),
    ]
    for fixed, learned, shape in pairs:
        learned.load_state_dict(fixed.state_dict() | {"algebra.constants": learned.algebra.constants})
        x = draw(0, *shape, dtype=torch.float32)
        torch.testing.assert_close(learned(x), fixed(x))
        assert torch.equal(learned.matrix(), fixed.matrix())


@pytest.mark.parametrize("name", FIXED)
def test_from_a_fixed_algebra_the_same_seed_draws_the_same_layer(name):
    torch.manual_seed(0)
    fixed = fnn.Linear(16, 16, algebra=name)
    torch.manual_seed(0)
    learned = PHMLinear(16, 16, start=name)
    assert torch.equal(learned.weight, fixed.weight)
    assert torch.equal(learned.bias, fixed.bias)


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_the_output_has_the_variance_of_the_real_twins(n):
    assert_same_variance(lambda: PHMLinear(48, 60, n=n), lambda: nn.Linear(48, 60), (64, 48))
    assert_same_variance(lambda: PHMConv2d(12, 24, 3, n=n), lambda: nn.Conv2d(12, 24, 3), (8, 12, 6, 6))


@pytest.mark.parametrize("start", ["random", "quaternion"])
def test_weights_drawn_for_trained_constants_have_the_variance_of_the_real_twins_too(start):
    algebra = LearnedAlgebra(4, start)
    with torch.no_grad():
        algebra.constants.mul_(2).add_(0.3)[0].mul_(3)
    assert_same_variance(lambda: PHMLinear(48, 60, algebra=algebra), lambda: nn.Linear(48, 60), (64, 48))


def test_layers_share_an_algebra():
    algebra = LearnedAlgebra(start="quaternion")
    model = nn.Sequential(PHMConv2d(8, 8, 3, algebra=algebra), nn.Flatten(), PHMLinear(8, 4, algebra=algebra))
    names = [name for name, _ in model.named_parameters()]
    assert names == ["0.weight", "0.bias", "0.algebra.constants", "2.weight", "2.bias"]
    twin = copy.deepcopy(model)
    assert twin[0].algebra is twin[2].algebra
    assert twin[0].algebra is not algebra
    model(draw(0, 2, 8, 3, 3, dtype=torch.float32)).sum().backward()
    assert algebra.constants.grad.abs().sum() > 0
    twin.load_state_dict(model.state_dict())
    x = draw(1, 2, 8, 3, 3, dtype=torch.float32)
    assert torch.equal(twin(x), model(x))


def test_the_constants_are_learned():
    """x ↦ x·a, multiplication from the right, is no quaternion matrix, but the opposite algebra is found."""
    torch.manual_seed(0)
    x, a = draw(0, 256, 4, dtype=torch.float32), torch.tensor([0.5, -1.0, 0.3, 0.8])
    target = F.linear(x, _right_multiplication(a))
    losses = {}
    for layer in (fnn.Linear(4, 4, algebra="quaternion"), PHMLinear(4, 4, start="quaternion")):
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            loss = F.mse_loss(layer(x), target)
            loss.backward()
            optimizer.step()
        losses[type(layer).__name__] = loss.item()
    assert losses["PHMLinear"] < 1e-3 < 0.1 < losses["Linear"]


def _right_multiplication(a):
    r, x, y, z = a.tolist()
    return torch.tensor([[r, -x, -y, -z], [x, r, z, -y], [y, -z, r, x], [z, y, -x, r]])


def test_the_checker_sees_the_learned_algebra():
    layer = PHMLinear(6, 9, dtype=torch.float64, n=3)
    assert_algebra_linear(layer, torch.zeros(1, 6, dtype=torch.float64), layer.algebra)
    with pytest.raises(AssertionError, match="in algebra 'learned'"):
        assert_algebra_linear(layer, torch.zeros(1, 6, dtype=torch.float64), LearnedAlgebra(3, dtype=torch.float64))


def test_gradients_are_finite_and_the_numerical_ones():
    layer = PHMConv1d(4, 4, 2, n=2, dtype=torch.float64)
    x = draw(2, 1, 4, 4)
    assert_gradients_finite(layer, x)
    parameters = dict(layer.named_parameters())

    def forward(x, *values):
        return torch.func.functional_call(layer, dict(zip(parameters, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(forward, (x.requires_grad_(), *parameters.values()))


def test_modules_as_torchs():
    layer = PHMLinear(8, 4, start="quaternion")
    assert "in_features=8, out_features=4, bias=True, algebra='learned'\n  (algebra): LearnedAlgebra(n=4" in repr(layer)
    assert list(layer.state_dict()) == ["weight", "bias", "algebra.constants"]
    assert layer.double()(draw(0, 2, 8)).dtype == torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert PHMConv2d(8, 4, 3, n=4)(torch.randn(1, 8, 4, 4)).dtype == torch.bfloat16
    with torch.device("meta"):
        on_meta = PHMConv2d(8, 4, 3, n=4)
        assert on_meta(torch.empty(1, 8, 4, 4)).shape == (1, 4, 2, 2)
    assert all(p.is_meta for p in on_meta.parameters())
    assert list(fnn.named_weights(nn.Sequential(layer))) == ["0.weight"]
    nn.utils.parametrize.register_parametrization(layer, "weight", nn.Identity())
    assert layer(draw(0, 2, 8)).shape == (2, 4)


@pytest.mark.slow
def test_it_compiles_into_one_graph():
    model = nn.Sequential(PHMConv1d(8, 8, 3, n=4, groups=2), nn.Flatten(), PHMLinear(16, 4, n=4))
    x = draw(0, 2, 8, 4, dtype=torch.float32)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(x), model(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PHMLinear(8, 9, n=3), r"`in_features` \(=8\) must be divisible by 3 for algebra 'learned'"),
        (lambda: PHMLinear(9, 8, n=3), r"`out_features` \(=8\) must be divisible by 3"),
        (lambda: PHMConv2d(6, 9, 3, groups=2, n=3), r"`out_channels` \(=9\) must be divisible by 6 \(2 groups of 3\)"),
        (lambda: PHMLinear(8, 8), r"`n` \(=None\) must be given"),
        (lambda: PHMLinear(8, 8, n=2, start="quaternion"), r"`n` \(=2\) must be 4"),
        (lambda: PHMLinear(8, 8, n=2, algebra=LearnedAlgebra(4)), r"`n` \(=2\) and `start` \(=None\) must be left out"),
        (lambda: PHMLinear(8, 8, start="random", algebra=LearnedAlgebra(4)), r"`start` \(='random'\) must be left out"),
    ],
)
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda algebra: fnn.Linear(8, 8, algebra=algebra),
        lambda algebra: fnn.Conv2d(8, 8, 2, groups=2, algebra=algebra),
        lambda algebra: fnn.ConvTranspose2d(8, 8, 2, algebra=algebra),
    ],
    ids=["Linear", "Conv2d", "ConvTranspose2d"],
)
def test_every_layer_of_one_weight_takes_a_learned_algebra(make):
    learned, quaternion = make(LearnedAlgebra(start="quaternion")), make("quaternion")
    quaternion.weight, quaternion.bias = learned.weight, learned.bias
    x = torch.randn(2, 8, *[3] * (learned.weight.dim() - 2), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(learned(x), quaternion(x))
    learned(x).square().sum().backward()
    assert bool(learned.algebra.constants.grad.any())
