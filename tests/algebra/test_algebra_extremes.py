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


def numbers_of_size(exponent, n, dtype):
    """Numbers with one component of a size 2^exponent and the others no larger."""
    drawn = torch.randn(50, n, generator=torch.Generator().manual_seed(exponent % 1000), dtype=torch.float64)
    return (drawn / drawn.abs().amax(-1, keepdim=True) * 2.0**exponent).to(dtype)


@pytest.mark.parametrize("n", [1, 2, 4, 8])
@pytest.mark.parametrize(
    ("dtype", "exponents"),
    [(torch.float32, range(-126, 126, 7)), (torch.float16, range(-14, 15)), (torch.bfloat16, range(-126, 126, 7))],
)
def test_the_norm_is_that_of_float64_at_every_size(n, dtype, exponents):
    for exponent in exponents:
        q = numbers_of_size(exponent, n, dtype).requires_grad_()
        exact = q.detach().double().requires_grad_()
        expected = exact.square().sum(-1).sqrt()
        torch.testing.assert_close(algebra.norm(q).double(), expected, rtol=2 * torch.finfo(dtype).eps, atol=0)
        algebra.norm(q).double().sum().backward()
        expected.sum().backward()
        torch.testing.assert_close(q.grad.double(), exact.grad, rtol=8 * torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("size", [1e-320, 1e-300, 1e-160, 1e160, 1e300])
def test_the_norm_of_float64_neither_over_nor_underflows(size):
    q = torch.tensor([3.0, 0.0, 0.0, -4.0], dtype=torch.float64) * size
    assert torch.isclose(algebra.norm(q), torch.tensor(5.0, dtype=torch.float64) * size, rtol=1e-3 if size < 1e-310 else 1e-15)


def test_the_norm_of_what_is_not_finite_is_not():
    infinite, undefined = float("inf"), float("nan")
    assert algebra.norm(torch.tensor([1.0, infinite, 0.0, -infinite])) == infinite
    assert algebra.norm(torch.tensor([1.0, undefined, 0.0, 0.0])).isnan()


@pytest.mark.parametrize("n", [2, 4, 8])
def test_the_logarithm_beside_the_negative_axis_is_undone_by_exp(n):
    for exponent in range(-120, 1):
        vector = numbers_of_size(exponent, n - 1, torch.float32)
        q = torch.cat([-torch.ones(50, 1), vector], dim=-1)
        log = algebra.log(q)
        torch.testing.assert_close(algebra.exp(log), q, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(algebra.norm(log[:, 1:]), torch.atan2(algebra.norm(vector), q[:, 0]), atol=1e-6, rtol=1e-6)


def test_the_complex_logarithm_and_exponential_are_torchs_at_every_size():
    for exponent in range(-120, 121, 5):
        q = numbers_of_size(exponent, 2, torch.float32)
        theirs = torch.view_as_real(torch.log(torch.view_as_complex(q.double())))
        torch.testing.assert_close(algebra.log(q).double(), theirs, atol=1e-6, rtol=1e-6)
        if exponent < 7:
            theirs = torch.view_as_real(torch.exp(torch.view_as_complex(q.double())))
            torch.testing.assert_close(algebra.exp(q), theirs.float(), atol=1e-6, rtol=2e-5)


@pytest.mark.parametrize("real", [89.0, 100.0, 150.0, 400.0, 1e30, float("inf")])
def test_exp_overflows_in_the_components_that_do(real):
    q = torch.tensor([real, 0.0, 0.0, 0.0], requires_grad=True)
    value = algebra.exp(q)
    assert value.tolist() == [float("inf"), 0, 0, 0]
    (gradient,) = torch.autograd.grad(value[1:].sum(), q)
    assert gradient.tolist() == [0, 0, 0, 0]
    turned = algebra.exp(torch.tensor([real, 0.0, torch.pi / 2, 0.0]))
    assert turned[[1, 3]].tolist() == [0, 0]
    assert turned[2] == float("inf")


@pytest.mark.parametrize("exponent", [2, 3, 2.5, -2, -3])
def test_powers_beyond_the_range_overflow_in_the_components_that_do(exponent):
    size = 1e30 if exponent > 0 else 1e-30
    assert algebra.power(torch.tensor([size, 0.0, 0.0, 0.0]), exponent).tolist() == [float("inf"), 0, 0, 0]
    assert algebra.power(torch.tensor([0.0, 0.0, size, 0.0]), exponent)[[1, 3]].tolist() == [0, 0]


FUNCTIONS = [
    "norm", "unit", "inverse", "exp", "log", "power", "rotate", "rotation_matrix", "from_rotation_matrix", "axis_angle",
    "from_axis_angle", "slerp",
]  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_integers_and_lists_are_refused_in_one_sentence(name):
    first = {"from_rotation_matrix": torch.eye(3), "from_axis_angle": torch.ones(3)}.get(name, torch.ones(4))
    rest = {"power": [2.0], "rotate": [torch.ones(3)], "from_axis_angle": [torch.ones(())], "slerp": [torch.ones(4), 0.5]}
    function = getattr(algebra, name)
    function(first, *rest.get(name, []))
    with pytest.raises(ValueError, match=r"\(=torch.int64\) must be of a floating type"):
        function(first.long(), *rest.get(name, []))
    with pytest.raises(ValueError, match="must be a tensor"):
        function(first.tolist(), *rest.get(name, []))
