"""Activations of elements, against their formulas on single numbers."""

import copy
import math

import pytest
import torch
from nn_reference import HYPERCOMPLEX, draw
from torch.nn import functional as F

from fourfold.algebra import get
from fourfold.nn.activation import AmplitudeTanh, Cardioid, ModReLU
from fourfold.record import UserError

ALL = ["real", *HYPERCOMPLEX]


def mod_relu(features, b, name, dtype=torch.float64, **options):
    layer = ModReLU(features, algebra=name, dtype=dtype, **options)
    with torch.no_grad():
        layer.bias.copy_(torch.as_tensor(b))
    return layer


def of_one_number(kind, q, b=0.0):
    """Return what the papers' formulas give for one number, a list of its components."""
    length = math.sqrt(sum(c * c for c in q))
    factor = {
        "ModReLU": max(length + b, 0) / length,
        "Cardioid": (1 + math.cos(math.acos(max(-1, min(1, q[0] / length))))) / 2,
        "AmplitudeTanh": math.tanh(length) / length,
    }[kind]
    return [factor * c for c in q]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", ["ModReLU", "Cardioid", "AmplitudeTanh"])
@pytest.mark.parametrize(("shape", "dim"), [((5, 3), 1), ((2, 3, 4, 2), 1), ((2, 4, 3), -1), ((3,), 0)])
def test_every_number_goes_through_the_formula(kind, name, shape, dim):
    n = get(name).n
    b = [-1.0, 0.0, 0.7]
    numbers = draw(4, *shape, n)
    x = numbers.movedim(-1, dim % len(shape)).flatten(dim % len(shape), dim % len(shape) + 1)
    if kind == "ModReLU":
        y = mod_relu(3 * n, b, name, dim=dim)(x)
    else:
        y = {"Cardioid": Cardioid, "AmplitudeTanh": AmplitudeTanh}[kind](dim=dim, algebra=name)(x)
    found = y.unflatten(dim, (n, -1)).movedim(dim % len(shape), -1).movedim(dim - 1 if dim < 0 else dim, -2).reshape(-1, 3, n)
    by_number = numbers.movedim(dim % len(shape), -2).reshape(-1, 3, n)
    expected = [[of_one_number(kind, q, b[i]) for i, q in enumerate(row)] for row in by_number.tolist()]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_real_limits_are_softshrink_relu_and_tanh():
    x = torch.cat([draw(0, 50, 4), torch.zeros(1, 4)])
    torch.testing.assert_close(mod_relu(4, -0.5, "real")(x), F.softshrink(x, 0.5))
    assert torch.equal(Cardioid()(x.float()), x.float().relu())
    torch.testing.assert_close(AmplitudeTanh()(x), x.tanh())


@pytest.mark.parametrize("name", HYPERCOMPLEX)
def test_directions_are_kept_and_a_rotation_of_the_imaginary_parts_commutes(name):
    n = get(name).n
    x = draw(0, 6, n)
    turn = torch.eye(n, dtype=x.dtype)
    turn[1:, 1:] = torch.linalg.qr(draw(1, n - 1, n - 1)).Q
    for layer in (mod_relu(n, -0.3, name), Cardioid(algebra=name), AmplitudeTanh(algebra=name)):
        torch.testing.assert_close(layer(x @ turn.T), layer(x) @ turn.T)
        alignment = F.cosine_similarity(layer(x), x)
        assert ((alignment - 1).abs() < 1e-9).logical_or(layer(x).eq(0).all(1)).all()


@pytest.mark.parametrize("name", ALL)
def test_gradients_are_the_numerical_ones(name):
    n = get(name).n
    x = draw(0, 3, 2 * n).requires_grad_()
    layer = mod_relu(2 * n, [-0.2, 0.4], name)
    forward = lambda x, bias: torch.func.functional_call(layer, {"bias": bias}, (x,))  # noqa: E731
    assert torch.autograd.gradcheck(forward, (x, layer.bias))
    assert torch.autograd.gradcheck(Cardioid(algebra=name), (x,))
    assert torch.autograd.gradcheck(AmplitudeTanh(algebra=name), (x,))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("b", [-0.5, 0.0, 0.5])
def test_values_and_gradients_are_finite_everywhere(dtype, name, b):
    n = get(name).n
    for size in (0, 1e-45, 1e-30, 1e-20, 1e-7, 1e-4, 1, 1e4, 1e15, 1e30):
        if size > torch.finfo(dtype).max:
            continue
        for layer in (mod_relu(n, b, name, dtype), Cardioid(algebra=name), AmplitudeTanh(algebra=name)):
            x = torch.full((2, n), size, dtype=torch.float64).to(dtype)
            x[1, 1:] = 0
            x.requires_grad_()
            y = layer(x)
            y.sum().backward()
            assert y.dtype == dtype
            assert y.isfinite().all()
            assert x.grad.isfinite().all()
            assert size or x.grad.abs().max() <= 1
            assert size or not y.any()


def test_mod_relu_starts_as_the_identity_and_learns_b():
    layer, x = ModReLU(8, algebra="quaternion"), draw(0, 3, 8, dtype=torch.float32)
    assert torch.equal(layer(x), x)
    layer(x).sum().backward()
    assert layer.bias.shape == (2,)
    assert layer.bias.grad.ne(0).all()
    with torch.no_grad():
        layer.bias.fill_(3)
    layer.reset_parameters()
    assert not layer.bias.any()
    assert ModReLU(8, -0.1, algebra="complex").bias.tolist() == [pytest.approx(-0.1)] * 4


def test_layers_are_copied_printed_compiled_and_run_on_the_meta_device():
    assert repr(ModReLU(8, algebra="quaternion")) == "ModReLU(8, algebra='quaternion')"
    assert repr(Cardioid(dim=-1, algebra="complex")) == "Cardioid(dim=-1, algebra='complex')"
    assert repr(AmplitudeTanh()) == "AmplitudeTanh()"
    x = draw(0, 3, 8, dtype=torch.float32)
    for layer in (
        mod_relu(8, -0.3, "quaternion", torch.float32),
        Cardioid(algebra="complex"),
        AmplitudeTanh(algebra="octonion"),
    ):
        twin = copy.deepcopy(layer)
        twin.load_state_dict(layer.state_dict())
        assert torch.equal(twin(x), layer(x))
        assert copy.deepcopy(layer).to("meta")(x.to("meta")).shape == x.shape
    layer = mod_relu(8, -0.3, "quaternion", torch.float32)
    assert torch.equal(torch.compile(layer, backend="eager", fullgraph=True)(x), layer(x))


def test_wrong_sizes_are_named():
    with pytest.raises(UserError, match=r"`num_features` \(=6\) must be divisible by 4 for algebra 'quaternion'"):
        ModReLU(6, algebra="quaternion")
    with pytest.raises(UserError, match=r"`input.shape\[1\]` \(=4\) must be `num_features` \(=8\)"):
        ModReLU(8, algebra="quaternion")(torch.ones(2, 4, 8))
    with pytest.raises(UserError, match=r"`input.shape\[1\]` \(=6\) must be divisible by 4 for algebra 'quaternion'"):
        Cardioid(algebra="quaternion")(torch.ones(2, 6))
