"""The Cayley–Dickson tower against multiplication tables written down independently, and the matrix of left multiplication."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold.algebra import (
    ALGEBRAS,
    COMPLEX,
    OCTONION,
    QUATERNION,
    REAL,
    Algebra,
    cayley_dickson,
    conjugate,
    get,
    norm,
    product,
)

ASSOCIATIVE = [REAL, COMPLEX, QUATERNION]
FANO_LINES = [(1, 2, 3), (1, 4, 5), (1, 7, 6), (2, 4, 6), (2, 5, 7), (3, 4, 7), (3, 6, 5)]
"""e_a e_b = e_c and its cyclic turns: the octonions' table as it is usually printed."""

fixed = settings(derandomize=True, deadline=None, max_examples=40)
algebras = st.sampled_from(list(ALGEBRAS.values()))
seeds = st.integers(0, 10**6)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def complex_product(p, q):
    value = complex(*p) * complex(*q)
    return [value.real, value.imag]


def quaternion_product(p, q):
    """Equation (3) of paper 1, with the sign of z₁r₂ as in its equation (4)."""
    (r1, x1, y1, z1), (r2, x2, y2, z2) = p, q
    return [
        r1 * r2 - x1 * x2 - y1 * y2 - z1 * z2,
        r1 * x2 + x1 * r2 + y1 * z2 - z1 * y2,
        r1 * y2 - x1 * z2 + y1 * r2 + z1 * x2,
        r1 * z2 + x1 * y2 - y1 * x2 + z1 * r2,
    ]


def octonion_product(p, q):
    result = [p[0] * q[0] - sum(a * b for a, b in zip(p[1:], q[1:], strict=True))]
    result += [p[0] * b + a * q[0] for a, b in zip(p[1:], q[1:], strict=True)]
    for line in FANO_LINES:
        for a, b, c in (line, line[1:] + line[:1], line[2:] + line[:2]):
            result[c] += p[a] * q[b] - p[b] * q[a]
    return result


INDEPENDENT = {
    "real": lambda p, q: [p[0] * q[0]],
    "complex": complex_product,
    "quaternion": quaternion_product,
    "octonion": octonion_product,
}


@pytest.mark.parametrize("algebra", ALGEBRAS.values(), ids=ALGEBRAS)
def test_the_tower_gives_the_known_multiplication_tables(algebra):
    basis = np.eye(algebra.n).tolist()
    table = [[INDEPENDENT[algebra.name](p, q) for q in basis] for p in basis]
    assert np.array_equal(np.array(algebra.constants), np.array(table))


@fixed
@given(algebras, seeds)
def test_product_agrees_with_the_table_on_any_numbers(algebra, seed):
    p, q = draw(seed, 2, algebra.n)
    expected = torch.tensor(INDEPENDENT[algebra.name](p.tolist(), q.tolist()), dtype=torch.float64)
    torch.testing.assert_close(product(p, q, algebra), expected)


@fixed
@given(algebras, seeds)
def test_product_broadcasts_over_all_other_axes(algebra, seed):
    p, q = draw(seed, 3, 1, algebra.n), draw(seed + 1, 5, algebra.n)
    together = product(p, q, algebra)
    assert together.shape == (3, 5, algebra.n)
    for i, j in itertools.product(range(3), range(5)):
        torch.testing.assert_close(together[i, j], product(p[i, 0], q[j], algebra))


def test_the_quaternion_matrix_is_equation_4_of_paper_1():
    r, x, y, z = 2.0, 3.0, 5.0, 7.0
    printed = torch.tensor([[r, -x, -y, -z], [x, r, -z, y], [y, z, r, -x], [z, -y, x, r]])
    assert torch.equal(QUATERNION.matrix(torch.tensor([r, x, y, z]).view(4, 1, 1)), printed)


@fixed
@given(algebras, st.integers(1, 4), st.integers(1, 3), seeds)
def test_the_matrix_times_a_vector_is_the_product_summed_over_inputs(algebra, out, num_in, seed):
    weight, x = draw(seed, algebra.n, out, num_in), draw(seed + 1, algebra.n, num_in)
    expected = product(weight.permute(1, 2, 0), x.T, algebra).sum(1).T.flatten()
    torch.testing.assert_close(algebra.matrix(weight) @ x.flatten(), expected)


@fixed
@given(st.sampled_from(ASSOCIATIVE), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), seeds)
def test_the_matrix_of_a_product_is_the_product_of_the_matrices(algebra, out, middle, num_in, seed):
    p, q = draw(seed, algebra.n, out, middle), draw(seed + 1, algebra.n, middle, num_in)
    both = product(p.permute(1, 2, 0).unsqueeze(2), q.permute(1, 2, 0).unsqueeze(0), algebra).sum(1).permute(2, 0, 1)
    torch.testing.assert_close(algebra.matrix(both), algebra.matrix(p) @ algebra.matrix(q))


def test_octonions_have_no_matrix_that_multiplies_as_they_do():
    p, q = draw(0, 2, 8, 1, 1)
    both = product(p.view(8), q.view(8), OCTONION).view(8, 1, 1)
    assert not torch.allclose(OCTONION.matrix(both), OCTONION.matrix(p) @ OCTONION.matrix(q))


@pytest.mark.parametrize("algebra", ALGEBRAS.values(), ids=ALGEBRAS)
def test_the_matrix_keeps_the_axes_of_a_kernel(algebra):
    weight = draw(0, algebra.n, 2, 3, 5, 1)
    matrix = algebra.matrix(weight)
    assert matrix.shape == (2 * algebra.n, 3 * algebra.n, 5, 1)
    assert torch.equal(matrix[:, :, 4, 0], algebra.matrix(weight[:, :, :, 4, 0]))


def test_the_matrix_of_a_real_weight_is_the_weight_itself():
    weight = torch.randn(1, 3, 2, generator=torch.Generator().manual_seed(0))
    assert REAL.matrix(weight).data_ptr() == weight.data_ptr()


@fixed
@given(algebras, seeds)
def test_the_norm_is_multiplicative_up_to_octonions(algebra, seed):
    p, q = draw(seed, 2, 5, algebra.n)
    torch.testing.assert_close(norm(product(p, q, algebra)), norm(p) * norm(q))


def test_sedenions_have_zero_divisors():
    sedenion = Algebra("sedenion", cayley_dickson(OCTONION.constants))
    e = torch.eye(16)
    p, q = e[3] + e[10], e[6] - e[15]  # the pair that is usually printed
    assert norm(p) * norm(q) > 1.99
    assert torch.equal(product(p, q, sedenion), torch.zeros(16))


@fixed
@given(st.sampled_from([*ASSOCIATIVE, OCTONION]), seeds)
def test_every_algebra_is_alternative_and_conjugation_reverses_products(algebra, seed):
    p, q = draw(seed, 2, algebra.n)
    torch.testing.assert_close(product(product(p, p, algebra), q, algebra), product(p, product(p, q, algebra), algebra))
    torch.testing.assert_close(product(product(p, q, algebra), q, algebra), product(p, product(q, q, algebra), algebra))
    torch.testing.assert_close(conjugate(product(p, q, algebra)), product(conjugate(q), conjugate(p), algebra))


@pytest.mark.parametrize("algebra", ALGEBRAS.values(), ids=ALGEBRAS)
def test_the_constants_as_a_tensor_multiply_the_basis(algebra):
    basis = torch.eye(algebra.n)
    expected = product(basis[:, None], basis[None, :], algebra)
    assert torch.equal(algebra.constants_tensor(), expected)
    assert algebra.constants_tensor(torch.float64, "meta").dtype == torch.float64


def test_get_takes_names_and_algebras():
    assert [get(name) for name in ALGEBRAS] == [REAL, COMPLEX, QUATERNION, OCTONION]
    assert get(QUATERNION) is QUATERNION
    assert [get(name).n for name in ALGEBRAS] == [1, 2, 4, 8]
    assert repr(QUATERNION) == "Algebra('quaternion', n=4)"


def test_an_unknown_algebra_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown algebra 'quat'; known: real, complex, quaternion, octonion"):
        get("quat")


def test_a_wrong_last_axis_is_named():
    with pytest.raises(ValueError, match=r"last axis \(=3\) must hold the 4 components of algebra 'quaternion'"):
        product(torch.zeros(3), torch.zeros(4))
    with pytest.raises(ValueError, match=r"last axis \(=4\) must hold the 8 components of algebra 'octonion'"):
        product(torch.zeros(8), torch.zeros(2, 4), OCTONION)


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ((), "must be a table of n × n × n numbers"),
        ((((1, 0), (0, 1)),), "must be a table of n × n × n numbers"),
        (None, "must be a table of n × n × n numbers"),
        (3, "must be a table of n × n × n numbers"),
        ([[1]], "must be a table of n × n × n numbers"),
        ((((1, 0), (0, 1)), ((0, 1), (0, 0))), r"`constants\[1\]\[1\]` \(=\(0, 0\)\).* must hold a single 1 or −1"),
        ((((1, 0), (0, 1)), ((0, 1), (1, 1))), r"`constants\[1\]\[1\]` \(=\(1, 1\)\).* must hold a single 1 or −1"),
        ((((1, 0), (0, 1)), ((0, 1), (2, 0))), r"`constants\[1\]\[1\]` \(=\(2, 0\)\).* must hold a single 1 or −1"),
        ((((1, 0), (0, 1)), ((0, 1), (0, 1))), "two products with e_1 give the same e_1"),
        ((((0, 1), (1, 0)), ((1, 0), (0, 1))), r"`constants\[0\]\[0\]` \(=\(0, 1\)\).* e_0 is 1"),
        ((((-1,),),), "e_0 is 1"),
    ],
    ids=[
        "empty",
        "ragged",
        "nothing",
        "a number",
        "two axes",
        "dual numbers",
        "a sum",
        "a factor",
        "no permutation",
        "no one",
        "minus one",
    ],
)
def test_constants_that_are_no_signed_basis_table_are_refused(constants, message):
    with pytest.raises(ValueError, match=message):
        Algebra("own", constants)


def test_lists_of_constants_are_tables():
    lists = [[list(row) for row in plane] for plane in QUATERNION.constants]
    own = Algebra("own", lists)
    assert own == Algebra("own", QUATERNION.constants)
    assert hash(own) == hash(Algebra("own", QUATERNION.constants))


@fixed
@given(st.sampled_from([*ASSOCIATIVE, OCTONION]), st.integers(0, 7), st.integers(0, 7), st.integers(0, 7), st.integers(-1, 1))
def test_a_table_with_one_entry_changed_is_refused_or_multiplies_as_it_says(algebra, i, j, k, value):
    i, j, k = i % algebra.n, j % algebra.n, k % algebra.n
    changed = [[list(row) for row in plane] for plane in algebra.constants]
    changed[i][j][k] = value
    try:
        own = Algebra("own", tuple(tuple(map(tuple, plane)) for plane in changed))
    except ValueError:
        return
    basis = torch.eye(own.n)
    assert torch.equal(product(basis[:, None], basis[None, :], own), own.constants_tensor())


@pytest.mark.parametrize("wrong", [None, 4, 1.0, [], dict, Algebra])
def test_what_is_no_algebra_is_told_in_one_sentence(wrong):
    with pytest.raises(ValueError, match=r"unknown algebra .*; known: real, complex, quaternion, octonion"):
        get(wrong)
