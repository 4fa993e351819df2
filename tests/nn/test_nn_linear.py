"""`Linear` against the definition, on both sides of the switch between its two paths."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_reference import HYPERCOMPLEX, by_components, draw
from torch.nn import functional as F

from fourfold import nn as fnn
from fourfold.algebra import get, product
from fourfold.nn import linear


def reference(layer: fnn.Linear, x: torch.Tensor) -> torch.Tensor:
    return by_components(F.linear, layer.weight, layer.bias, x, -1, layer.algebra.name)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.sampled_from(["real", *HYPERCOMPLEX]),
    st.integers(1, 9),
    st.integers(1, 4),
    st.lists(st.integers(0, 4), max_size=3),
    st.booleans(),
    st.integers(0, 99),
)
def test_linear_is_the_sum_over_structure_constants(name, num_in, num_out, batch, bias, seed):
    n = get(name).n
    layer = fnn.Linear(n * num_in, n * num_out, bias, dtype=torch.float64, algebra=name)
    x = draw(seed, *batch, n * num_in)
    assert layer.weight.shape == (n * num_out, num_in)
    assert layer(x).shape == (*batch, n * num_out)
    torch.testing.assert_close(layer(x), reference(layer, x))


def test_one_number_in_and_out_is_the_hamilton_product():
    layer = fnn.Linear(4, 4, bias=False, dtype=torch.float64, algebra="quaternion")
    x = draw(0, 5, 4)
    torch.testing.assert_close(layer(x), product(layer.weight.flatten(), x))


@pytest.mark.parametrize("name", HYPERCOMPLEX)
@pytest.mark.parametrize("extra_rows", [-1, 0])
def test_both_paths_give_the_same_values_and_gradients(name, extra_rows, monkeypatch):
    n = get(name).n
    layer = fnn.Linear(8 * n, 3 * n, dtype=torch.float64, algebra=name)
    rows = 8 + extra_rows
    few = extra_rows < 0
    taken = []
    fast = linear._Components.apply
    monkeypatch.setattr(linear._Components, "apply", lambda *arguments: taken.append(True) or fast(*arguments))

    def values_and_gradients(function):
        x = draw(1, rows, 8 * n).requires_grad_()
        y = function(x)
        return [y, *torch.autograd.grad((y * draw(2, *y.shape)).sum(), [x, layer.weight, layer.bias])]

    found = values_and_gradients(layer)
    assert bool(taken) == few
    for other in (lambda x: F.linear(x, layer.matrix(), layer.bias), lambda x: reference(layer, x)):
        for ours, theirs in zip(found, values_and_gradients(other), strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", HYPERCOMPLEX)
@pytest.mark.parametrize("rows", [1, 3])
def test_gradients_are_the_numerical_ones(name, rows):
    n = get(name).n
    layer = fnn.Linear(2 * n, n, dtype=torch.float64, algebra=name)
    x = draw(3, rows, 2 * n).requires_grad_()

    def forward(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(forward, (x, layer.weight, layer.bias))


def test_one_row_alone_is_a_row_of_many():
    layer = fnn.Linear(64, 32, algebra="quaternion")
    x = draw(4, 64, 64, dtype=torch.float32)
    torch.testing.assert_close(torch.cat([layer(row.unsqueeze(0)) for row in x]), layer(x))
    torch.testing.assert_close(torch.vmap(layer)(x), layer(x))


def test_the_few_rows_of_float16_and_bfloat16_keep_their_type():
    for dtype in (torch.float16, torch.bfloat16):
        layer = fnn.Linear(64, 32, algebra="quaternion", dtype=dtype)
        assert layer(torch.ones(1, 64, dtype=dtype)).dtype == dtype
