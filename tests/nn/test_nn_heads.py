"""Heads that turn numbers into real features."""

import pytest
import torch
from nn_reference import HYPERCOMPLEX, draw

from fourfold.algebra import get, norm
from fourfold.nn.heads import NormHead, RealPartHead
from fourfold.record import UserError


@pytest.mark.parametrize("name", ["real", *HYPERCOMPLEX])
@pytest.mark.parametrize(("shape", "dim"), [((5, 3), 1), ((2, 3, 4, 2), 1), ((2, 4, 3), -1)])
def test_heads_give_one_real_feature_for_each_number(name, shape, dim):
    n, axis = get(name).n, dim % len(shape)
    numbers = draw(2, *shape, n)
    x = numbers.movedim(-1, axis).flatten(axis, axis + 1)
    torch.testing.assert_close(NormHead(dim=dim, algebra=name)(x), norm(numbers))
    assert torch.equal(RealPartHead(dim=dim, algebra=name)(x), numbers[..., 0])


@pytest.mark.parametrize("name", ["real", *HYPERCOMPLEX])
def test_gradients_are_the_numerical_ones_and_zero_at_zero(name):
    n = get(name).n
    assert torch.autograd.gradcheck(NormHead(algebra=name), (draw(0, 3, 2 * n).requires_grad_(),))
    for dtype in (torch.float16, torch.float32, torch.float64):
        x = torch.zeros(2, n, dtype=dtype, requires_grad=True)
        y = NormHead(algebra=name)(x)
        y.sum().backward()
        assert y.dtype == dtype
        assert not y.any()
        assert not x.grad.any()


def test_the_norm_does_not_see_a_multiplication_by_a_unit_number():
    q = torch.nn.functional.normalize(draw(0, 4), dim=0)
    x = draw(1, 5, 4)
    torch.testing.assert_close(
        NormHead(algebra="quaternion")(x @ get("quaternion").matrix(q.view(4, 1, 1)).T), norm(x)[:, None]
    )


def test_heads_print_their_algebra_and_refuse_parts_of_numbers():
    assert repr(NormHead(algebra="quaternion")) == "NormHead(algebra='quaternion')"
    assert repr(RealPartHead(dim=-1, algebra="octonion")) == "RealPartHead(dim=-1, algebra='octonion')"
    for head in (NormHead, RealPartHead):
        with pytest.raises(UserError, match=r"`input.shape\[1\]` \(=6\) must be divisible by 4 for algebra 'quaternion'"):
            head(algebra="quaternion")(torch.ones(2, 6))
