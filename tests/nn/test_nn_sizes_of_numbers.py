"""Layers that take norms are right for numbers of every size that the type can hold, and say which axes they have."""

import pytest
import torch
from nn_reference import draw

from fourfold import nn as fnn
from fourfold.record import UserError

BY_DIM = {
    "NormHead": lambda dim: fnn.NormHead(dim=dim, algebra="quaternion"),
    "RealPartHead": lambda dim: fnn.RealPartHead(dim=dim, algebra="quaternion"),
    "Cardioid": lambda dim: fnn.Cardioid(dim=dim, algebra="quaternion"),
    "AmplitudeTanh": lambda dim: fnn.AmplitudeTanh(dim=dim, algebra="quaternion"),
    "ModReLU": lambda dim: fnn.ModReLU(8, init=-0.5, dim=dim, algebra="quaternion"),
    "Dropout": lambda dim: fnn.Dropout(0.5, dim=dim, algebra="quaternion"),
}


def exactly(name, x):
    """The layer in float64, from the definition, on (N, 8)."""
    q = x.double().unflatten(1, (4, 2))
    length = q.square().sum(1, keepdim=True).sqrt()
    safe = torch.where(length == 0, 1, length)
    y = {
        "NormHead": lambda: length.squeeze(1),
        "RealPartHead": lambda: q[:, 0],
        "Cardioid": lambda: q * (0.5 + 0.5 * q[:, :1] / safe),
        "AmplitudeTanh": lambda: q / safe * length.tanh(),
        "ModReLU": lambda: q / safe * torch.relu(length - 0.5),
    }[name]()
    return y if name in ("NormHead", "RealPartHead") else y.flatten(1, 2)


@pytest.mark.parametrize("name", [name for name in BY_DIM if name != "Dropout"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_are_those_of_float64_at_every_size(name, dtype):
    layer = BY_DIM[name](1).to(dtype)
    for exponent in range(-115, 125, 5):
        unscaled = draw(exponent % 7, 30, 8)
        x = (unscaled / unscaled.abs().amax() * 2.0**exponent).to(dtype).requires_grad_()
        y = layer(x)
        expected = exactly(name, x.detach())
        largest = float(expected.abs().max())
        torch.testing.assert_close(y.double(), expected, rtol=0, atol=largest * 4 * torch.finfo(dtype).eps + 1e-44)
        y.double().sum().backward()
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("pool", ["MaxPool2d", "AdaptiveMaxPool2d"])
@pytest.mark.parametrize("exponent", range(-120, 121, 20))
def test_pooling_takes_the_longest_number_at_every_size(pool, exponent):
    layer = getattr(fnn, pool)(2, algebra="quaternion")
    x = draw(3, 2, 8, 4, 4).float()
    x = x / x.abs().amax()
    torch.testing.assert_close(layer(x * 2.0**exponent), layer(x) * 2.0**exponent, rtol=0, atol=0)


@pytest.mark.parametrize("name", BY_DIM)
@pytest.mark.parametrize("dim", [2, 3, -3, -4])
def test_an_axis_that_the_input_does_not_have_is_told(name, dim):
    layer, x = BY_DIM[name](dim), torch.zeros(8, 8)
    with pytest.raises(UserError, match=rf"`dim` \(={dim}\) must be an axis of `input`, whose shape is \(8, 8\)"):
        layer(x)
    for right in (-2, -1, 0, 1):
        assert BY_DIM[name](right)(x).numel() in (x.numel(), x.numel() // 4)


@pytest.mark.parametrize("name", BY_DIM)
@pytest.mark.parametrize("dim", [1.0, None, True, "1"])
def test_an_axis_is_an_integer(name, dim):
    with pytest.raises(UserError, match=r"`dim` \(=.*\) must be an integer"):
        BY_DIM[name](dim)(torch.zeros(8, 8))


@pytest.mark.parametrize("name", BY_DIM)
def test_a_tensor_without_axes_is_told(name):
    with pytest.raises(UserError, match=r"whose shape is \(\)"):
        BY_DIM[name](1)(torch.zeros(()))
