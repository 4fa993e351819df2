"""The real matrix by looking rows up is that of the algebra's table, and so are its derivatives of every order."""

import pytest
import torch
from nn_reference import HYPERCOMPLEX, draw

from fourfold import nn as fnn
from fourfold.algebra import Algebra, get
from fourfold.nn import blocks

SPLIT = Algebra("split", (((1, 0), (0, 1)), ((0, 1), (1, 0))))


@pytest.mark.parametrize("algebra", [*map(get, HYPERCOMPLEX), SPLIT], ids=lambda algebra: algebra.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("groups", [1, 2])
def test_matrices_of_convolutions_and_their_gradients_are_those_of_the_table(algebra, dtype, groups):
    n = algebra.n
    layer = fnn.Conv2d(4 * n, 6 * n, (2, 3), groups=groups, dtype=dtype, algebra=algebra)
    found = layer.matrix()
    with fnn.reference_path():
        expected = layer.matrix()
    assert torch.equal(found, expected)
    gradient = draw(0, *found.shape, dtype=dtype)
    ours, theirs = (torch.autograd.grad(matrix, layer.weight, gradient)[0] for matrix in (found, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("algebra", HYPERCOMPLEX)
@pytest.mark.parametrize(("row_blocks", "column_blocks"), [(1, 1), (4, 1), (3, 2), (1, 2)])
def test_matrices_in_blocks_are_those_of_the_table(algebra, row_blocks, column_blocks):
    n = get(algebra).n
    weight = draw(0, row_blocks * 3 * n, column_blocks * 2).requires_grad_()
    found = blocks.real_matrix(weight, get(algebra), row_blocks, column_blocks)
    with fnn.reference_path():
        expected = blocks.real_matrix(weight, get(algebra), row_blocks, column_blocks)
    assert torch.equal(found, expected)
    gradient = draw(1, *found.shape)
    ours, theirs = (torch.autograd.grad(matrix, weight, gradient)[0] for matrix in (found, expected))
    torch.testing.assert_close(ours, theirs)


def test_a_matrix_has_derivatives_of_every_order():
    weight = draw(0, 8, 2).requires_grad_()

    def matrix(weight):
        return blocks.real_matrix(weight.square(), get("quaternion"), 2, 1)

    assert torch.autograd.gradcheck(matrix, weight, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(matrix, weight)
