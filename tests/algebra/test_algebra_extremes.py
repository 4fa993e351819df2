"""Logarithm and inverse at zero and where squares under- or overflow."""

import pytest
import torch

from fourfold import algebra


@pytest.mark.parametrize("size", [1e-30, 1e-8, 1.0, 1e25])
def test_log_and_inverse_are_right_at_every_size(size):
    q = torch.tensor([0.3, -0.4, 0.5, 0.6]) * size
    wanted = (q.double() * 1).requires_grad_(False)
    assert torch.allclose(algebra.exp(algebra.log(q)) / size, q / size, atol=2e-5)
    assert torch.allclose(algebra.inverse(q).double() * size, algebra.inverse(wanted) * size)


def test_log_of_a_small_pure_number_keeps_its_angle():
    q = torch.tensor([0.0, 1e-8, 0.0, 0.0])
    assert torch.allclose(algebra.log(q)[1], torch.tensor(torch.pi / 2))


@pytest.mark.parametrize("function", [algebra.log, algebra.inverse, algebra.exp, algebra.norm])
@pytest.mark.parametrize("value", [0.0, 1e-25, 1e-12, -1.0])
def test_gradients_are_finite(function, value):
    q = torch.tensor([value, 0.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    output = function(q)
    (gradient,) = torch.autograd.grad(output[output.isfinite()].sum(), q)
    assert gradient.isfinite().all()


def test_zero_has_an_infinite_inverse_and_logarithm():
    zero = torch.zeros(4)
    assert algebra.inverse(zero).tolist() == [float("inf"), 0, 0, 0]
    assert algebra.log(zero).tolist() == [-float("inf"), 0, 0, 0]


def test_rotation_needs_vectors_of_three():
    with pytest.raises(ValueError, match=r"last axis of `vector` \(=2\) must hold 3 coordinates"):
        algebra.rotate(torch.randn(4), torch.randn(2))
