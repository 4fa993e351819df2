"""Conjugate, norm, inverse, exponential, logarithm and rotation: their laws, independent references, finite gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.spatial.transform import Rotation

from fourfold.algebra import ALGEBRAS, COMPLEX, OCTONION, QUATERNION, conjugate, exp, get, inverse, log, norm, product, rotate

fixed = settings(derandomize=True, deadline=None, max_examples=40)
names = st.sampled_from(list(ALGEBRAS))
hypercomplex = st.sampled_from(["complex", "quaternion", "octonion"])
seeds = st.integers(0, 10**6)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one(n: int) -> torch.Tensor:
    return torch.eye(n, dtype=torch.float64)[0]


@fixed
@given(names, seeds)
def test_a_number_times_its_conjugate_is_its_squared_norm(name, seed):
    q = draw(seed, get(name).n)
    torch.testing.assert_close(product(q, conjugate(q), get(name)), q.square().sum() * one(len(q)))
    assert torch.equal(conjugate(conjugate(q)), q)
    torch.testing.assert_close(norm(q), torch.tensor(sum(c * c for c in q.tolist()) ** 0.5, dtype=torch.float64))


@fixed
@given(names, seeds)
def test_the_inverse_undoes_a_product_from_both_sides(name, seed):
    algebra = get(name)
    p, q = draw(seed, 2, algebra.n)
    torch.testing.assert_close(product(q, inverse(q), algebra), one(algebra.n))
    torch.testing.assert_close(product(inverse(q), product(q, p, algebra), algebra), p)
    torch.testing.assert_close(product(product(p, q, algebra), inverse(q), algebra), p)


@fixed
@given(names, st.floats(1e-6, 3), seeds)
def test_exp_is_the_matrix_exponential(name, size, seed):
    algebra = get(name)
    q = draw(seed, algebra.n) * size
    matrix = algebra.matrix(q.view(-1, 1, 1))
    # Powers of one number associate in every alternative algebra, so its first column is e^q for octonions too.
    torch.testing.assert_close(exp(q), torch.from_numpy(expm(matrix.numpy()))[:, 0])


@fixed
@given(hypercomplex, st.floats(1e-3, 1e3), seeds)
def test_exp_undoes_log(name, size, seed):
    q = draw(seed, 5, get(name).n) * size
    torch.testing.assert_close(exp(log(q)), q)


@fixed
@given(hypercomplex, seeds)
def test_log_undoes_exp_within_half_a_turn(name, seed):
    q = draw(seed, 5, get(name).n)
    q[:, 1:] *= 3 / torch.maximum(norm(q[:, 1:]), torch.tensor(3.0)).unsqueeze(-1)
    torch.testing.assert_close(log(exp(q)), q)


def test_complex_exp_log_and_inverse_are_torchs():
    q = draw(3, 50, 2)
    z = torch.view_as_complex(q)
    for ours, theirs in ((exp, torch.exp), (log, torch.log), (inverse, torch.reciprocal)):
        torch.testing.assert_close(torch.view_as_complex(ours(q)), theirs(z))


@pytest.mark.parametrize("name", ALGEBRAS)
def test_exp_and_log_on_the_real_axis_are_those_of_real_numbers(name):
    n = get(name).n
    x = torch.tensor([0.5, 1.0, 7.0])
    q = x.unsqueeze(-1) * torch.eye(n)[0]
    for ours, theirs in ((exp, torch.exp), (log, torch.log)):
        torch.testing.assert_close(ours(q), theirs(x).unsqueeze(-1) * torch.eye(n)[0])


def test_the_imaginary_part_of_log_is_zero_on_the_negative_real_axis():
    assert torch.equal(log(torch.tensor([-1.0, 0.0, 0.0, 0.0])), torch.zeros(4))


@fixed
@given(st.floats(0.1, 10), seeds)
def test_rotate_is_scipys_rotation(size, seed):
    q, vectors = draw(seed, 4) * size, draw(seed + 1, 6, 3)
    expected = Rotation.from_quat(q.numpy(), scalar_first=True).apply(vectors.numpy())
    torch.testing.assert_close(rotate(q, vectors), torch.from_numpy(expected))


def test_rotations_follow_one_another_as_quaternions_multiply():
    p, q = draw(0, 2, 4)
    v = draw(1, 3)
    torch.testing.assert_close(rotate(product(p, q), v), rotate(p, rotate(q, v)))


def test_rotate_refuses_what_is_no_quaternion():
    with pytest.raises(ValueError, match=r"last axis \(=3\) must hold the 4 components of algebra 'quaternion'"):
        rotate(torch.ones(3), torch.ones(3))


@pytest.mark.parametrize("algebra", [COMPLEX, QUATERNION, OCTONION], ids=lambda algebra: algebra.name)
def test_gradients_are_the_numerical_ones(algebra):
    p, q = (tensor.requires_grad_() for tensor in draw(5, 2, 2, algebra.n).unbind())
    assert torch.autograd.gradcheck(lambda p, q: product(p, q, algebra), (p, q))
    for function in (conjugate, norm, inverse, exp, log):
        assert torch.autograd.gradcheck(function, (q,)), function.__name__


def test_gradients_of_rotate_are_the_numerical_ones():
    q, v = draw(6, 4).requires_grad_(), draw(7, 3).requires_grad_()
    assert torch.autograd.gradcheck(rotate, (q, v))


SPECIAL = {
    "zero": [0, 0, 0, 0],
    "tiny": [1e-30, -1e-30, 0, 0],
    "one": [1, 0, 0, 0],
    "beside one": [1, 1e-12, 0, 0],
    "minus one": [-1, 0, 0, 0],
    "beside minus one": [-1, 0, 1e-12, 0],
    "imaginary": [0, 1, 0, 0],
    "large": [3, -50, 20, 0],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("point", SPECIAL)
@pytest.mark.parametrize("function", [norm, exp], ids=lambda function: function.__name__)
def test_norm_and_exp_have_finite_values_and_gradients_everywhere(function, point, dtype):
    q = torch.tensor(SPECIAL[point], dtype=dtype, requires_grad=True)
    value = function(q)
    value.sum().backward()
    assert value.isfinite().all()
    assert q.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("point", [point for point in SPECIAL if point not in ("zero", "tiny")])
@pytest.mark.parametrize("function", [log, inverse], ids=lambda function: function.__name__)
def test_log_and_inverse_have_finite_values_and_gradients_away_from_zero(function, point, dtype):
    q = torch.tensor(SPECIAL[point], dtype=dtype, requires_grad=True)
    value = function(q)
    value.sum().backward()
    assert value.isfinite().all()
    assert q.grad.isfinite().all()


def test_the_gradient_of_the_norm_at_zero_is_zero():
    q = torch.zeros(3, 4, requires_grad=True)
    norm(q).sum().backward()
    assert torch.equal(q.grad, torch.zeros(3, 4))


def test_the_derivative_of_exp_at_zero_and_of_log_at_one_is_the_identity():
    identity = torch.eye(4, dtype=torch.float64)
    for function, point in ((exp, torch.zeros(4, dtype=torch.float64)), (log, one(4))):
        torch.testing.assert_close(torch.autograd.functional.jacobian(function, point), identity)
