"""`LearnedAlgebra`: its start, its matrix from the definition, its variance, what it refuses."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold.algebra import ALGEBRAS, QUATERNION, LearnedAlgebra, get


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.integers(2, 6), st.integers(1, 3), st.integers(1, 3), st.lists(st.integers(1, 3), max_size=2))
def test_the_matrix_is_the_sum_of_kronecker_products(n, out, num_in, kernel):
    algebra = LearnedAlgebra(n, dtype=torch.float64)
    weight = draw(n, n, out, num_in, *kernel)
    matrix = algebra.matrix(weight)
    assert matrix.shape == (n * out, n * num_in, *kernel)
    for place in torch.cartesian_prod(*map(torch.arange, (*kernel, 1, 1)))[:, :-2].tolist():
        at = (..., *place)
        # Equation 4: A_i is the matrix of multiplication by e_i, whose row is the component of the result.
        expected = sum(torch.kron(algebra.constants[i].T.contiguous(), weight[i][at].contiguous()) for i in range(n))
        torch.testing.assert_close(matrix[at], expected)


@pytest.mark.parametrize("name", [name for name in ALGEBRAS if name != "real"])
def test_from_a_fixed_algebra_it_is_that_algebra(name):
    algebra, fixed = LearnedAlgebra(start=name, dtype=torch.float64), get(name)
    weight = draw(0, fixed.n, 3, 2, 2)
    assert algebra.n == fixed.n
    assert torch.equal(algebra.matrix(weight), fixed.matrix(weight))
    assert torch.equal(algebra.constants_tensor(torch.float64), fixed.constants_tensor(torch.float64))
    assert algebra.variance_gain([1.0] * fixed.n) == 1


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_random_start_keeps_the_variance_of_the_weights_in_every_block(n):
    algebra = LearnedAlgebra(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(algebra.constants.square().sum(0), torch.ones(n, n, dtype=torch.float64))
    assert algebra.variance_gain([1.0] * n) == pytest.approx(1)
    again = LearnedAlgebra(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(algebra.constants, again.constants)


def test_reset_goes_back_to_the_start():
    algebra = LearnedAlgebra(start=QUATERNION)
    with torch.no_grad():
        algebra.constants.mul_(3)
    assert algebra.variance_gain([2, 1, 1, 0]) == pytest.approx(9)
    algebra.reset_parameters()
    assert torch.equal(algebra.constants, QUATERNION.constants_tensor())


def test_gradients_are_the_numerical_ones():
    algebra, weight = LearnedAlgebra(3, dtype=torch.float64), draw(1, 3, 2, 2).requires_grad_()

    def matrix(constants, weight):
        return torch.func.functional_call(_Matrix(algebra), {"algebra.constants": constants}, (weight,))

    assert torch.autograd.gradcheck(matrix, (algebra.constants, weight))


class _Matrix(torch.nn.Module):
    def __init__(self, algebra):
        super().__init__()
        self.algebra = algebra

    def forward(self, weight):
        return self.algebra.matrix(weight)


def test_it_stands_where_an_algebra_does():
    algebra = LearnedAlgebra(3)
    assert get(algebra) is algebra
    assert repr(algebra) == "LearnedAlgebra(n=3, start='random')"
    assert repr(LearnedAlgebra(start="octonion")) == "LearnedAlgebra(n=8, start='octonion')"
    assert copy.deepcopy(algebra).constants is not algebra.constants
    assert LearnedAlgebra(3, device="meta").constants.is_meta
    assert algebra.matrix(torch.zeros(3, 1, 1, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"`n` \(=None\) must be given with `start` \(='random'\)"),
        ({"n": 1}, r"`n` \(=1\) must be at least 2"),
        ({"n": 0}, r"`n` \(=0\) must be at least 2"),
        ({"start": "real"}, r"`n` \(=1\) must be at least 2"),
        ({"n": 3, "start": "quaternion"}, r"`n` \(=3\) must be 4, the dimension of `start` \(='quaternion'\)"),
        ({"n": 4, "start": "quat"}, "unknown algebra 'quat'"),
    ],
)
def test_what_makes_no_algebra_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        LearnedAlgebra(**arguments)
