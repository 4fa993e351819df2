"""`Bilinear` against its definition over numbers, and against torch's own."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_reference import HYPERCOMPLEX, draw
from torch import nn

from fourfold.algebra import get, product
from fourfold.nn.bilinear import Bilinear
from fourfold.record import UserError


def reference(layer, x1, x2):
    """Σ_ij (W_oij · x1_i) · x2_j, one number after another."""
    algebra = layer.algebra
    weight = layer.weight.unflatten(0, (algebra.n, -1)).movedim(0, -1)  # (out, in1, in2, n)
    numbers1, numbers2 = (x.unflatten(-1, (algebra.n, -1)).transpose(-2, -1) for x in (x1, x2))
    outputs = []
    for w in weight:
        terms = [
            product(product(w[i, j], numbers1[..., i, :], algebra), numbers2[..., j, :], algebra)
            for i in range(w.shape[0])
            for j in range(w.shape[1])
        ]
        outputs.append(sum(terms))
    y = torch.stack(outputs, -1).flatten(-2)
    return y if layer.bias is None else y + layer.bias


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    st.sampled_from(["real", *HYPERCOMPLEX]),
    st.tuples(*[st.integers(1, 3)] * 3),
    st.lists(st.integers(0, 3), max_size=2),
    st.booleans(),
)
def test_bilinear_is_the_sum_of_double_products(name, numbers, batch, bias):
    n = get(name).n
    in1, in2, out = (n * number for number in numbers)
    layer = Bilinear(in1, in2, out, bias, dtype=torch.float64, algebra=name)
    x1, x2 = draw(0, *batch, in1), draw(1, *batch, in2)
    assert layer.weight.shape == (out, in1 // n, in2 // n)
    torch.testing.assert_close(layer(x1, x2), reference(layer, x1, x2))


def test_the_brackets_count_for_octonions():
    layer = Bilinear(8, 8, 8, bias=False, dtype=torch.float64, algebra="octonion")
    w, x1, x2 = layer.weight.flatten(), draw(0, 8), draw(1, 8)
    algebra = get("octonion")
    torch.testing.assert_close(layer(x1, x2), product(product(w, x1, algebra), x2, algebra))
    assert (layer(x1, x2) - product(w, product(x1, x2, algebra), algebra)).abs().max() > 0.1


@pytest.mark.parametrize("bias", [True, False])
def test_real_bilinear_is_torchs_to_the_last_bit(bias):
    outcomes = []
    for kind, more in ((nn.Bilinear, {}), (Bilinear, {"algebra": "real"}), (Bilinear, {})):
        torch.manual_seed(3)
        layer = kind(5, 6, 4, bias, **more)
        y = layer(draw(0, 3, 5, dtype=torch.float32), draw(1, 3, 6, dtype=torch.float32))
        y.square().sum().backward()
        gradients = {f"grad {name}": p.grad for name, p in layer.named_parameters()}
        outcomes.append((repr(layer), {**layer.state_dict(), **gradients, "y": y, "next": torch.rand(1)}))
    (expected_text, expected), *others = outcomes
    for text, found in others:
        assert text == expected_text
        assert list(found) == list(expected)
        assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("name", HYPERCOMPLEX)
def test_gradients_are_the_numerical_ones(name):
    n = get(name).n
    layer = Bilinear(n, 2 * n, n, dtype=torch.float64, algebra=name)

    def forward(x1, x2, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x1, x2))

    inputs = (draw(0, 2, n).requires_grad_(), draw(1, 2, 2 * n).requires_grad_(), layer.weight, layer.bias)
    assert torch.autograd.gradcheck(forward, inputs, fast_mode=True)


@pytest.mark.parametrize("name", ["real", *HYPERCOMPLEX])
def test_the_real_matrix_starts_with_the_variance_of_torchs_and_stores_n_squared_times_fewer(name):
    layer = Bilinear(48, 64, 96, algebra=name)
    assert layer.matrix().square().mean().item() == pytest.approx(1 / (3 * 48), rel=0.1)
    assert layer.matrix().numel() == layer.weight.numel() * get(name).n ** 2
    assert 0.9 < layer.bias.abs().max() * 48**0.5 <= 1


def test_bilinear_is_a_module_like_any_other():
    layer, twin = (Bilinear(8, 12, 4, algebra="quaternion") for _ in range(2))
    x1, x2 = draw(0, 3, 8, dtype=torch.float32), draw(1, 3, 12, dtype=torch.float32)
    expected = layer(x1, x2)
    twin.load_state_dict(layer.state_dict())
    meta = Bilinear(8, 12, 4, algebra="quaternion", device="meta")
    assert meta.weight.is_meta
    meta.to_empty(device="cpu").load_state_dict(layer.state_dict())
    for other in (twin, meta, copy.deepcopy(layer)):
        torch.testing.assert_close(other(x1, x2), expected, rtol=0, atol=0)
    assert repr(layer) == "Bilinear(in1_features=8, in2_features=12, out_features=4, bias=True, algebra='quaternion')"
    torch.testing.assert_close(copy.deepcopy(layer).double()(x1.double(), x2.double()), expected, check_dtype=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x1, x2), expected, check_dtype=False, rtol=0.1, atol=0.05)
    torch.testing.assert_close(torch.export.export(layer, (x1, x2)).module()(x1, x2), expected)


@pytest.mark.parametrize("argument", ["in1_features", "in2_features", "out_features"])
def test_sizes_that_do_not_fit_are_named(argument):
    sizes = {"in1_features": 8, "in2_features": 8, "out_features": 8, argument: 6}
    with pytest.raises(UserError, match=rf"`{argument}` \(=6\) must be divisible by 4 for algebra 'quaternion'"):
        Bilinear(**sizes, algebra="quaternion")
