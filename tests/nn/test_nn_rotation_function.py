"""The matrix of rotations with its gradient written out is that of plain operations, with all its derivatives."""

import copy

import pytest
import torch
from nn_reference import draw

from fourfold import nn as fnn
from fourfold.nn import rotation


@pytest.fixture
def taken(monkeypatch):
    calls = []
    function = rotation.rotations
    monkeypatch.setattr(rotation, "rotations", lambda *given: calls.append(given) or function(*given))
    return calls


@pytest.mark.parametrize("real_part", rotation.REAL_PARTS)
@pytest.mark.parametrize("scale", rotation.SCALES)
@pytest.mark.parametrize("groups", [1, 2])
def test_values_and_gradients_are_those_of_plain_operations(scale, real_part, groups, taken):
    options = {"groups": groups, "scale": scale, "real_part": real_part, "dtype": torch.float64}
    layer = fnn.RotationConv2d(16, 24, (2, 3), **options)
    with torch.no_grad():
        layer.weight.mul_(draw(0, *layer.weight.shape).exp())
        layer.weight.view(4, -1)[:, ::5] = 0  # pruned
    results = []
    for context in (torch.enable_grad(), fnn.reference_path()):
        with context:
            matrix = layer.matrix()
            gradient = draw(1, *matrix.shape)
            results.append([matrix, *torch.autograd.grad(matrix, list(fnn.stored_weights(layer).values()), gradient)])
    assert len(taken) == 1
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("scale", rotation.SCALES)
def test_derivatives_are_the_numerical_ones(scale, taken):
    layer = fnn.RotationLinear(8, 4, scale=scale, dtype=torch.float64)
    tensors = list(fnn.stored_weights(layer).values())
    assert torch.autograd.gradcheck(lambda *_: layer.matrix(), tensors, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(lambda *_: layer.matrix(), tensors)
    assert taken


@pytest.mark.parametrize("value", [1e-30, 1e30])
def test_quaternions_at_the_edge_take_plain_operations(value, taken):
    layer = fnn.RotationLinear(8, 8)
    with torch.no_grad():
        layer.weight.view(4, -1)[:, 0] = value
    found = layer.matrix()
    with fnn.reference_path():
        assert torch.equal(found, copy.deepcopy(layer).matrix())
    assert not taken
