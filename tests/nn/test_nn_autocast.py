"""Every layer under autocast: gradients come from backward passes within it and, as torch advises, outside it."""

import copy

import pytest
import torch
from layer_cases import CASES, EVERY, first

WITH_NUMBERS = [(kind, algebra) for kind, algebra in EVERY if not CASES[kind].indices]
TOLERANCE = 0.1
"""Of the largest number: bfloat16 has eight bits, and some layers sum what nearly cancels."""


def gradients(layer, inputs, *, forward, backward):
    layer = copy.deepcopy(layer)
    inputs = [x.detach().requires_grad_() for x in inputs]
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=forward):
        y = first(layer(*inputs))
    row = torch.randn(y.shape, generator=torch.Generator().manual_seed(3)).to(y.dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=backward):
        found = torch.autograd.grad(y, [*inputs, *layer.parameters()], row, allow_unused=True)
    return [y, *[g for g in found if g is not None]]


@pytest.mark.parametrize(("kind", "algebra"), WITH_NUMBERS)
def test_gradients_come_from_within_and_from_outside(kind, algebra):
    torch.manual_seed(0)
    case = CASES[kind]
    layer, inputs = case.layer(algebra, torch.float32), case.inputs(torch.float32)
    right = gradients(layer, inputs, forward=False, backward=False)
    for settings in (
        {"forward": True, "backward": False},
        {"forward": True, "backward": True},
        {"forward": False, "backward": True},
    ):
        found = gradients(layer, inputs, **settings)
        assert len(found) == len(right)
        for ours, expected in zip(found, right, strict=True):
            size = max(expected.abs().max().item(), 1.0)
            assert (ours.float() - expected).abs().max() <= TOLERANCE * size, settings


@pytest.mark.parametrize(
    ("kind", "algebra"), [(kind, algebra) for kind, algebra in EVERY if "PHM" in kind or "Rotation" in kind]
)
def test_matrices_that_are_computed_keep_their_precision(kind, algebra):
    """Only the product with them is rounded."""
    layer = CASES[kind].layer(algebra, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        matrix = layer.matrix()
    assert matrix.dtype == torch.float32
    torch.testing.assert_close(matrix, layer.matrix())


@pytest.mark.parametrize(
    "kind", ["PHMConv1d", "PHMConv2d", "PHMLinear", "RotationConv2d", "RotationLinear", "Conv2d", "Linear"]
)
def test_they_are_mapped_over_a_batch_by_vmap(kind):
    case = CASES[kind]
    layer, x = case.layer("quaternion", torch.float32), case.inputs(torch.float32)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = torch.vmap(layer)(torch.stack([x, -x]))
    right = torch.stack([layer(x), layer(-x)])
    assert (found.float() - right).abs().max() <= TOLERANCE * right.abs().max()
