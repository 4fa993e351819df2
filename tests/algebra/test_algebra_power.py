"""Power, unit and inner product: laws, independent references, finite gradients at every special point, narrow types."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold.algebra import (
    ALGEBRAS,
    QUATERNION,
    conjugate,
    dot,
    exp,
    from_rotation_matrix,
    get,
    inverse,
    log,
    norm,
    power,
    product,
    rotation_matrix,
    slerp,
    unit,
)

fixed = settings(derandomize=True, deadline=None, max_examples=30)
names = st.sampled_from(list(ALGEBRAS))
hypercomplex = st.sampled_from(["complex", "quaternion", "octonion"])
seeds = st.integers(0, 10**6)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one(n: int) -> torch.Tensor:
    return torch.eye(n, dtype=torch.float64)[0]


@fixed
@given(names, st.integers(-3, 4), seeds)
def test_an_integer_power_is_the_repeated_product(name, exponent, seed):
    q = draw(seed, get(name).n)
    factor = q if exponent >= 0 else inverse(q)
    expected = functools.reduce(lambda p, f: product(p, f, get(name)), [factor] * abs(exponent), one(len(q)))
    torch.testing.assert_close(power(q, exponent), expected)


@fixed
@given(hypercomplex, st.floats(-2, 2), seeds)
def test_a_real_power_is_exp_of_a_multiple_of_log(name, exponent, seed):
    q = draw(seed, 5, get(name).n)
    torch.testing.assert_close(power(q, exponent), exp(exponent * log(q)))


def test_complex_and_real_powers_are_torchs():
    q, t = draw(0, 50, 2), draw(1, 50)
    torch.testing.assert_close(torch.view_as_complex(power(q, t)), torch.view_as_complex(q) ** t)
    x = torch.tensor([0.5, 3.0, 0.0, -2.0, -2.0])
    t = torch.tensor([2.5, -1.0, 2.0, 3.0, 0.5])
    torch.testing.assert_close(power(x.unsqueeze(-1), t).squeeze(-1), x**t, equal_nan=True)


@pytest.mark.parametrize("exponent", [1 / 2, 1 / 3, 1 / 4])
@pytest.mark.parametrize(
    "q", [[-1.0, 0, 0, 0], [-4.0, 1e-9, 0, 0], [-4.0, 0, 0, -1e-300], [-1e-200, 0, 0, 0], [-3.0, 0, 1e-17, 0], [0, 0, 0, 1e200]]
)
def test_roots_are_roots_on_both_sides_of_the_negative_axis_and_at_every_size(q, exponent):
    q = torch.tensor(q, dtype=torch.float64)
    root = power(q, exponent)
    again = functools.reduce(product, [root] * round(1 / exponent))
    size = q.abs().max()
    torch.testing.assert_close(again / size, q / size, rtol=1e-12, atol=1e-12)


def test_powers_of_zero():
    zero = torch.zeros(3, 4)
    expected = torch.tensor([[0.0, 0, 0, 0], [1, 0, 0, 0], [torch.inf, 0, 0, 0]])
    assert torch.equal(power(zero, torch.tensor([0.5, 0.0, -1.0])), expected)


def test_exponents_broadcast():
    q, t = draw(2, 3, 1, 4), draw(3, 5)
    assert power(q, t).shape == (3, 5, 4)
    torch.testing.assert_close(power(q, t)[1, 2], power(q[1, 0], float(t[2])))


@fixed
@given(names, st.floats(1e-300, 1e300), seeds)
def test_unit_has_norm_one_and_the_same_direction(name, size, seed):
    q = draw(seed, 6, get(name).n)
    torch.testing.assert_close(norm(unit(q * size)), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(unit(q * size), q / norm(q).unsqueeze(-1))


def test_zero_has_no_direction():
    assert torch.equal(unit(torch.zeros(2, 4)), torch.zeros(2, 4))


@fixed
@given(names, seeds)
def test_dot_is_the_real_part_of_the_product_with_the_conjugate(name, seed):
    p, q = draw(seed, 2, 3, get(name).n)
    torch.testing.assert_close(dot(p, q), product(conjugate(p), q, get(name))[..., 0])


def test_dot_names_both_shapes():
    with pytest.raises(ValueError, match=r"last axes of `p` \(=\(2, 4\)\) and `q` \(=\(3,\)\) must hold as many components"):
        dot(torch.zeros(2, 4), torch.zeros(3))


def test_product_names_the_argument():
    with pytest.raises(ValueError, match=r"`q` of shape \(2, 3\): last axis \(=3\) must hold the 4 components"):
        product(torch.zeros(4), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"`p` of shape .*: last axis .*none"):
        product(torch.zeros(()), torch.zeros(4))


@pytest.mark.parametrize("n", [2, 4, 8])
@pytest.mark.parametrize("exponent", [2.0, 0.5, -1.3])
def test_gradients_are_the_numerical_ones(n, exponent):
    q = draw(5, 2, n).requires_grad_()
    t = torch.full((2,), exponent, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(power, (q, t))
    assert torch.autograd.gradcheck(unit, (q,))
    assert torch.autograd.gradcheck(dot, (q, q.detach().flip(0)))


@pytest.mark.parametrize("point", [[1.0, 0, 0, 0], [-1.0, 0, 0, 0], [0, 0, 1.0, 0]])
@pytest.mark.parametrize("exponent", [0, 1, 2, 3, -1])
def test_integer_powers_are_smooth_on_the_axes_too(point, exponent):
    q = torch.tensor(point, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q: power(q, exponent), (q,))


SPECIAL = {
    "zero": [0, 0, 0, 0],
    "tiny": [1e-30, -1e-30, 0, 0],
    "subnormal": [1e-42, 0, 0, 0],
    "one": [1, 0, 0, 0],
    "beside one": [1, 1e-12, 0, 0],
    "minus one": [-1, 0, 0, 0],
    "beside minus one": [-1, 0, 1e-12, 0],
    "nearest to minus one": [-1, 0, 0, 1e-30],
    "imaginary": [0, 1, 0, 0],
    "half turn": [0, 0, 1, 1],
    "large": [3, -50, 20, 0],
}
FUNCTIONS = {
    "unit": unit,
    "square": lambda q: power(q, 2),
    "root": lambda q: power(q, 0.5),
    "first power": lambda q: power(q, 1),
    "one and a half": lambda q: power(q, 1.5),
    "self": lambda q: slerp(q, q, 0.3),
    "antipode": lambda q: slerp(q, -q, 0.3, shortest=False),
    "antipode, shortest": lambda q: slerp(q, -q, 0.3),
    "matrix": rotation_matrix,
    "matrix and back": lambda q: from_rotation_matrix(rotation_matrix(q)),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("point", SPECIAL)
def test_values_and_gradients_are_finite_everywhere(point, dtype):
    for what, function in FUNCTIONS.items():
        q = torch.tensor(SPECIAL[point], dtype=dtype, requires_grad=True)
        value = function(q)
        assert value.dtype == dtype
        value.float().sum().backward()
        assert value.isfinite().all(), what
        assert q.grad.isfinite().all(), what


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "function", [exp, log, inverse, unit, lambda q: power(q, 0.7), rotation_matrix, lambda q: slerp(q, q.flip(0), 0.3)]
)
def test_narrow_types_round_the_result_of_float32_once(function, dtype):
    q = draw(6, 20, 4).to(dtype)
    assert torch.equal(function(q), function(q.float()).to(dtype))


def test_mixed_types_give_the_wider_one():
    p, q = draw(7, 4).half(), draw(8, 4).float()
    assert slerp(p, q, 0.5).dtype == torch.float32
    assert slerp(p, q.bfloat16(), t=torch.tensor(0.5)).dtype == torch.float32
    assert slerp(p, q.half(), t=torch.tensor(0.5).half()).dtype == torch.float16


def test_which_algebras_associate_and_keep_norms():
    assert [algebra.associative for algebra in ALGEBRAS.values()] == [True, True, True, False]
    assert all(algebra.normed for algebra in ALGEBRAS.values())
    assert repr(QUATERNION) == "Algebra('quaternion', n=4)"  # what is cached stays out of sight
