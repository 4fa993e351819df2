"""Rotation layers against scipy's rotations and against the formula, with both scales and both fates of the real part."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_reference import draw
from scipy.spatial.transform import Rotation
from torch import nn
from torch.nn import functional as F

from fourfold import nn as fnn
from fourfold.algebra import inverse, norm, product
from fourfold.nn.rotation import REAL_PARTS, SCALES, RotationConv1d, RotationConv2d, RotationConv3d, RotationLinear
from fourfold.nn.testing import assert_equals_reference, assert_gradients_finite, assert_same_variance

CONVOLUTIONS = {1: (RotationConv1d, F.conv1d), 2: (RotationConv2d, F.conv2d), 3: (RotationConv3d, F.conv3d)}
every_form = pytest.mark.parametrize(("scale", "real_part"), [(scale, part) for scale in SCALES for part in REAL_PARTS])


def kernels(layer):
    """What component k of the output gets from component j of the input: s (q e_j q⁻¹)_k, an array over k and j."""
    q = torch.stack(layer.weight.chunk(4), dim=-1)
    scale = norm(q) if layer.scale is None else layer.scale
    basis = torch.eye(4, dtype=q.dtype)
    if layer.real_part == "zero":
        basis = basis * torch.tensor([[0.0], [1], [1], [1]])
    return [[scale * product(product(q, basis[j].expand_as(q)), inverse(q))[..., k] for j in range(4)] for k in range(4)]


def by_formula(layer, operation, x, axis):
    parts = x.chunk(4, axis)
    y = torch.cat([sum(operation(part, w) for part, w in zip(parts, row, strict=True)) for row in kernels(layer)], axis)
    return y if layer.bias is None else y + layer.bias.view(-1, *[1] * (y.dim() - 1 - axis % y.dim()))


@every_form
def test_linear_is_scipys_rotation_scaled_and_added_up(scale, real_part):
    layer = RotationLinear(12, 8, dtype=torch.float64, scale=scale, real_part=real_part)
    x = draw(0, 5, 12)
    q = torch.stack(layer.weight.detach().chunk(4), dim=-1)  # (2, 3, 4)
    s = norm(q) if scale == "norm" else layer.scale.detach()
    expected = torch.zeros(5, 4, 2, dtype=torch.float64)
    for o in range(2):
        for i in range(3):
            rotation = Rotation.from_quat(q[o, i].numpy(), scalar_first=True)
            vectors = x.view(5, 4, 3)[:, 1:, i].numpy()
            expected[:, 1:, o] += s[o, i] * torch.from_numpy(rotation.apply(vectors))
            if real_part == "carry":
                expected[:, 0, o] += s[o, i] * x.view(5, 4, 3)[:, 0, i]
    torch.testing.assert_close(layer(x), expected.flatten(1) + layer.bias)


@settings(derandomize=True, deadline=None, max_examples=15)
@given(
    st.sampled_from(SCALES),
    st.sampled_from(REAL_PARTS),
    st.integers(1, 3),
    st.integers(1, 2),
    st.lists(st.integers(0, 3), max_size=2),
    st.booleans(),
)
def test_linear_is_the_formula(scale, real_part, num_in, num_out, batch, bias):
    layer = RotationLinear(4 * num_in, 4 * num_out, bias, dtype=torch.float64, scale=scale, real_part=real_part)
    assert layer.weight.shape == (4 * num_out, num_in)
    assert_equals_reference(layer, lambda x: by_formula(layer, F.linear, x, -1), draw(1, *batch, 4 * num_in))


@settings(derandomize=True, deadline=None, max_examples=15)
@given(
    st.integers(1, 3),
    st.sampled_from(SCALES),
    st.sampled_from(REAL_PARTS),
    st.integers(1, 2),
    st.sampled_from([{}, {"stride": 2}, {"padding": 1}, {"dilation": 2}, {"padding": "same"}]),
    st.booleans(),
)
def test_convolutions_are_the_formula(axes, scale, real_part, groups, options, bias):
    kind, operation = CONVOLUTIONS[axes]
    layer = kind(
        8 * groups, 4 * groups, 3, groups=groups, bias=bias, dtype=torch.float64, scale=scale, real_part=real_part, **options
    )
    assert_equals_reference(
        layer,
        lambda x: by_formula(layer, lambda part, w: operation(part, w, groups=groups, **options), x, 1),
        draw(2, 2, 8 * groups, *[5] * axes),
    )


def test_circular_padding_is_torchs():
    layer = RotationConv2d(4, 4, 3, padding=1, padding_mode="circular", dtype=torch.float64)
    x = draw(3, 1, 4, 5, 5)
    inside = RotationConv2d(4, 4, 3, dtype=torch.float64)
    inside.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), inside(F.pad(x, [1] * 4, "circular")))


@every_form
def test_the_real_matrix_has_the_variance_of_the_real_twins_in_every_row(scale, real_part):
    options = {"scale": scale, "real_part": real_part}
    layers = [(RotationLinear(256, 128, **options), 256), (RotationConv2d(64, 128, 3, groups=2, **options), 32 * 9)]
    for layer, fan in layers:
        for scheme, variance in (("torch", 1 / (3 * fan)), ("he", 2 / fan)):
            layer.draw(scheme, torch.Generator().manual_seed(0))
            rows = (
                layer.matrix()
                .detach()
                .unflatten(0, (layer.groups, 4, -1))
                .square()
                .mean((0, 2, *range(3, layer.weight.dim() + 2)))
            )
            expected = torch.full((4,), variance)
            if real_part == "zero":
                expected[0] = 0
            torch.testing.assert_close(rows, expected, rtol=0.06, atol=0)
            assert bool(layer.bias.any()) == (scheme == "torch")


@pytest.mark.parametrize("scale", SCALES)
def test_the_output_has_the_variance_of_the_real_twins(scale):
    assert_same_variance(lambda: RotationLinear(64, 64, scale=scale), lambda: nn.Linear(64, 64), (64, 64))
    assert_same_variance(lambda: RotationConv2d(16, 32, 3, scale=scale), lambda: nn.Conv2d(16, 32, 3), (8, 16, 6, 6))


def test_the_same_seed_draws_the_same_layer_whatever_the_global_state():
    drawn = []
    for state, seed in ((1, 7), (2, 7), (1, 8)):
        layer = RotationLinear(16, 16)
        torch.manual_seed(state)
        layer.draw("torch", torch.Generator().manual_seed(seed))
        drawn.append(torch.cat([p.detach().flatten() for p in layer.parameters()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not (drawn[0] == drawn[2]).any()


def test_with_a_learned_scale_the_norm_of_the_quaternion_does_not_matter():
    layer = RotationLinear(8, 8, dtype=torch.float64)
    before = layer.matrix().detach()
    with torch.no_grad():
        layer.weight.mul_(17)
    torch.testing.assert_close(layer.matrix(), before)


@every_form
def test_gradients_are_finite_also_at_zero(scale, real_part):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        options = {"scale": scale, "real_part": real_part, "dtype": dtype}
        assert_gradients_finite(RotationLinear(8, 4, **options), draw(4, 3, 8, dtype=dtype))
        assert_gradients_finite(RotationConv2d(8, 4, 2, **options), draw(5, 2, 8, 3, 3, dtype=dtype))


def test_a_weight_of_zero_is_no_connection_with_the_norm_as_scale():
    layer = RotationLinear(8, 4, scale="norm")
    nn.init.zeros_(layer.weight)
    assert not layer.matrix().any()


@every_form
def test_gradients_are_the_numerical_ones(scale, real_part):
    layer = RotationLinear(8, 4, dtype=torch.float64, scale=scale, real_part=real_part)
    parameters = dict(layer.named_parameters())

    def forward(x, *values):
        return torch.func.functional_call(layer, dict(zip(parameters, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(forward, (draw(6, 2, 8).requires_grad_(), *parameters.values()))


def test_modules_as_torchs():
    layer = RotationConv2d(8, 4, 3)
    assert repr(layer).startswith("RotationConv2d(8, 4, kernel_size=(3, 3), stride=(1, 1), ")
    assert repr(layer).endswith("algebra='quaternion', scale='learned', real_part='carry')")
    assert list(layer.state_dict()) == ["weight", "bias", "scale"]
    assert list(layer.stored_weights()) == ["weight", "scale"]
    assert list(RotationLinear(4, 4, scale="norm").stored_weights()) == ["weight"]
    assert list(RotationLinear(4, 4, scale="norm").state_dict()) == ["weight", "bias"]
    x = draw(7, 1, 8, 3, 3, dtype=torch.float32)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    torch.testing.assert_close(copy.deepcopy(layer).double()(x.double()).float(), layer(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    with torch.device("meta"):
        assert RotationConv2d(8, 4, 3)(torch.empty(1, 8, 4, 4)).shape == (1, 4, 2, 2)
    before = layer.scale.detach().clone()
    layer.reset_parameters()
    assert not (layer.scale == before).any()
    nn.utils.parametrize.register_parametrization(layer, "weight", nn.Identity())
    assert torch.equal(layer(x), layer(x))


def test_evaluation_sees_changes_of_the_scale():
    layer = RotationConv2d(64, 64, 3).eval()
    x = draw(8, 1, 64, 6, 6, dtype=torch.float32)
    with torch.no_grad():
        before = layer(x)
        layer.scale.mul_(2)
        layer.bias.zero_()
        torch.testing.assert_close(layer(x), F.conv2d(x, layer.matrix()))
        assert not torch.allclose(layer(x), before)


@pytest.mark.slow
def test_it_compiles_into_one_graph():
    model = nn.Sequential(RotationConv1d(8, 8, 3, groups=2), nn.Flatten(), RotationLinear(16, 4, scale="norm"))
    x = draw(9, 2, 8, 4, dtype=torch.float32)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(x), model(x))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RotationLinear(6, 8), r"`in_features` \(=6\) must be divisible by 4 for algebra 'quaternion'"),
        (lambda: RotationConv2d(8, 12, 3, groups=2), r"`out_channels` \(=12\) must be divisible by 8 \(2 groups of 4\)"),
        (lambda: RotationLinear(8, 8, scale="none"), "unknown scale 'none'; known: learned, norm"),
        (lambda: RotationConv1d(8, 8, 3, real_part="drop"), "unknown real_part 'drop'; known: carry, zero"),
    ],
)
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_rotations_are_no_products_of_quaternions():
    layer = RotationLinear(8, 8, bias=False)
    twin = fnn.Linear(8, 8, bias=False, algebra="quaternion")
    twin.weight = layer.weight
    assert not torch.allclose(twin.matrix(), layer.matrix())
