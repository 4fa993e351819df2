"""`Linear` in native code against the same layer in double precision, and where torch's product is taken."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fourfold import nn as fnn
from fourfold.native import NoCompilerError, compiler
from fourfold.train import single_thread

try:
    compiler()
except NoCompilerError as reason:
    pytest.skip(str(reason), allow_module_level=True)


@pytest.fixture(autouse=True)
def _one_thread():
    with single_thread():
        yield


def is_native(output: Tensor) -> bool:
    return type(output.grad_fn).__name__ == "_NativeLinearBackward"


def gradients(layer: nn.Module, x: Tensor, gradient: Tensor) -> list[Tensor]:
    """Return the output and the gradients of the input and of every parameter."""
    x = x.detach().requires_grad_()
    output = layer(x)
    return [output.detach(), *torch.autograd.grad(output, (x, *layer.parameters()), gradient)]


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    algebra=st.sampled_from(["complex", "quaternion", "octonion"]),
    rows=st.integers(24, 140),
    inputs=st.integers(1, 30),
    outputs=st.integers(1, 20),
    bias=st.booleans(),
    turned=st.booleans(),
)
def test_output_and_gradients_are_those_of_double_precision(algebra, rows, inputs, outputs, bias, turned):
    torch.manual_seed(rows)
    layer = fnn.Linear(8 * inputs, 8 * outputs, bias=bias, algebra=algebra)
    exact = fnn.Linear(8 * inputs, 8 * outputs, bias=bias, algebra=algebra).double()
    exact.load_state_dict(layer.state_dict())
    generator = torch.Generator().manual_seed(rows)
    x, gradient = torch.randn(rows, 8 * inputs, generator=generator), torch.randn(rows, 8 * outputs, generator=generator)
    if turned:  # in memory the other way round
        x, gradient = x.t().contiguous().t(), gradient.t().contiguous().t()
    found, expected = gradients(layer, x, gradient), gradients(exact, x.double(), gradient.double())
    assert is_native(layer(x))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=0, atol=2e-6 * float(theirs.abs().max()) + 1e-6)
    assert all(torch.equal(*pair) for pair in zip(found, gradients(layer, x, gradient), strict=True))  # to the bit


def test_gradients_can_be_derived_again():
    found = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        layer, x = fnn.Linear(16, 24, algebra="quaternion").to(dtype), torch.randn(30, 16).to(dtype)
        x = x.t().contiguous().t().requires_grad_()
        (first,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), (x, layer.weight)))
    assert all(t.abs().max() > 0 for t in found[0])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-4)


def test_parts_that_need_no_gradient_have_none():
    layer, x = fnn.Linear(16, 24, algebra="quaternion"), torch.randn(30, 16)
    layer.weight.requires_grad_(False)
    output = layer(x)
    assert is_native(output)
    output.sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(layer.bias.grad, torch.full((24,), 30.0))


def test_batches_of_sequences_are_rows():
    layer, x = fnn.Linear(16, 24, algebra="quaternion"), torch.randn(5, 7, 16)
    assert torch.equal(layer(x), layer(x.reshape(35, 16)).view(5, 7, 24))


@pytest.mark.parametrize("case", ["threads", "rows", "evaluation", "double", "real", "autocast", "reference"])
def test_elsewhere_torch_multiplies(case):
    layer = fnn.Linear(16, 24, algebra="real" if case == "real" else "quaternion")
    x = torch.randn(23 if case == "rows" else 30, 16)
    if case == "double":
        layer, x = layer.double(), x.double()
    if case == "threads":
        torch.set_num_threads(2)
    if case == "evaluation":
        with torch.no_grad():
            assert torch.equal(layer(x), nn.functional.linear(x, layer.matrix(), layer.bias))
    elif case == "reference":
        with fnn.reference_path():
            assert torch.equal(layer(x), nn.functional.linear(x, layer.matrix(), layer.bias))
    else:
        with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
            assert not is_native(layer(x))
