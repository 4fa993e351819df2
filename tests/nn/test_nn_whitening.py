"""Whitening batch norm: against its definition in plain float64, torch's batch norm, and the law that gives it its name."""

import copy
import math
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_reference import HYPERCOMPLEX, draw
from torch import Tensor, nn

from fourfold.algebra import get
from fourfold.nn import whitening_function
from fourfold.nn.whitening import WhiteningBatchNorm1d, WhiteningBatchNorm2d, WhiteningBatchNorm3d
from fourfold.record import UserError

CLASSES = {1: WhiteningBatchNorm1d, 2: WhiteningBatchNorm2d, 3: WhiteningBatchNorm3d}


def numbers_of(x: Tensor, n: int) -> Tensor:
    """(N, C, *size) → (c, n, N·S), the values of each component of each number."""
    return x.reshape(x.shape[0], n, x.shape[1] // n, -1).permute(2, 1, 0, 3).flatten(2)


def covariance_of(x: Tensor, n: int) -> Tensor:
    rows = numbers_of(x.double(), n)
    centred = rows - rows.mean(-1, keepdim=True)
    return centred @ centred.mT / rows.shape[-1]


def by_definition(x: Tensor, gamma: Tensor, bias: Tensor, eps: float, n: int) -> Tensor:
    """Whiten number by number with the inverse of LAPACK's Cholesky factor."""
    parts = x.unflatten(1, (n, -1))
    result = torch.zeros_like(parts)
    covariance = covariance_of(x, n)
    for j in range(parts.shape[2]):
        number = parts[:, :, j]
        mean = number.transpose(0, 1).flatten(1).mean(1)
        factor = torch.linalg.inv(torch.linalg.cholesky(covariance[j] + eps * torch.eye(n)))
        centred = number - mean.view(1, n, *[1] * (number.dim() - 2))
        result[:, :, j] = torch.einsum("ik,nk...->ni...", gamma[j] @ factor, centred)
    return result.flatten(1, 2) + bias.view(-1, *[1] * (x.dim() - 2))


def correlated(seed: int, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    channels = shape[1]
    mixed = torch.einsum("ij,nj...->ni...", draw(seed + 1, channels, channels, dtype=dtype), draw(seed, *shape, dtype=dtype))
    return mixed + 3 * draw(seed + 2, channels, *[1] * (len(shape) - 2), dtype=dtype)


def randomized(layer: nn.Module, seed: int = 5) -> nn.Module:
    for i, parameter in enumerate(layer.parameters()):
        parameter.data.copy_(draw(seed + i, *parameter.shape))
    return layer


def gamma_of(layer: nn.Module, n: int) -> Tensor:
    """The symmetric matrix written out from its lower triangle."""
    gamma = torch.zeros(layer.num_features // n, n, n, dtype=layer.weight.dtype)
    place = 0
    for i in range(n):
        for j in range(i + 1):
            gamma[:, i, j] = gamma[:, j, i] = layer.weight[place]
            place += 1
    return gamma


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    name=st.sampled_from(HYPERCOMPLEX),
    images=st.integers(2, 5),
    numbers=st.integers(1, 3),
    size=st.lists(st.integers(1, 6), min_size=0, max_size=3),
)
def test_it_computes_its_definition_and_follows_the_statistics(name: str, images: int, numbers: int, size: list[int]) -> None:
    n = get(name).n
    layer = randomized(CLASSES[max(1, len(size))](n * numbers, eps=1e-3, momentum=0.3, dtype=torch.float64, algebra=name))
    x = correlated(1, images, n * numbers, *size)
    y = layer(x)
    torch.testing.assert_close(y, by_definition(x, gamma_of(layer, n), layer.bias, 1e-3, n))
    count = images * math.prod(size)
    torch.testing.assert_close(layer.running_mean, 0.3 * numbers_of(x, n).mean(-1).t().flatten())
    unbiased = covariance_of(x, n) * count / (count - 1)
    torch.testing.assert_close(layer.running_covariance, 0.7 * torch.eye(n, dtype=torch.float64) + 0.3 * unbiased)
    assert layer.num_batches_tracked == 1

    layer.eval()
    factor = torch.linalg.inv(torch.linalg.cholesky(layer.running_covariance + 1e-3 * torch.eye(n)))
    centred = numbers_of(x, n) - numbers_of(layer.running_mean.view(1, -1, 1), n)
    expected = gamma_of(layer, n) @ factor @ centred + numbers_of(layer.bias.view(1, -1, 1), n)
    torch.testing.assert_close(numbers_of(layer(x), n), expected)
    with torch.no_grad():
        torch.testing.assert_close(numbers_of(layer(x), n), expected)


@pytest.mark.parametrize("name", HYPERCOMPLEX)
@pytest.mark.parametrize("shape", [(40, 16, 9, 9), (200, 16)])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_the_covariance_of_its_output_is_the_identity(name: str, shape: tuple[int, ...], offset: float) -> None:
    n = get(name).n
    layer = CLASSES[max(1, len(shape) - 2)](16, eps=1e-9, affine=False, algebra=name)
    y = layer(correlated(3, *shape, dtype=torch.float32) + offset)
    torch.testing.assert_close(covariance_of(y, n), torch.eye(n).double().expand(16 // n, n, n), atol=1e-4, rtol=0)
    assert numbers_of(y, n).mean(-1).abs().max() < 1e-3


def nearly_singular(n: int, spread: float) -> Tensor:
    """Numbers whose components are almost the same."""
    common = draw(1, 40, 1, 3, 10, 10, dtype=torch.float32)
    return (common + spread * draw(2, 40, n, 3, 10, 10, dtype=torch.float32)).flatten(1, 2)


@pytest.mark.parametrize("name", HYPERCOMPLEX)
def test_nearly_singular_covariances_become_the_identity_where_eps_is_small_against_them(name: str) -> None:
    n = get(name).n
    y = WhiteningBatchNorm2d(3 * n, eps=1e-10, affine=False, algebra=name)(nearly_singular(n, 0.02) + 1)
    torch.testing.assert_close(covariance_of(y, n), torch.eye(n).double().expand(3, n, n), atol=1e-4, rtol=0)


def test_eps_takes_from_the_identity_what_its_definition_says() -> None:
    x = nearly_singular(4, 0.02)
    y = WhiteningBatchNorm2d(12, affine=False)(x)
    w = torch.linalg.inv(torch.linalg.cholesky(covariance_of(x, 4) + 1e-5 * torch.eye(4)))
    torch.testing.assert_close(covariance_of(y, 4), torch.eye(4) - 1e-5 * w @ w.mT, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["quaternion", "octonion"])
@pytest.mark.parametrize("traced", [False, True])
def test_its_derivatives_are_right(name: str, traced: bool) -> None:
    n = get(name).n
    x = correlated(1, 2, 2 * n, 4, 4).unflatten(1, (n, 2)).flatten(3).requires_grad_()
    gamma, beta = draw(4, 2, n, n).requires_grad_(), draw(5, 2, n).requires_grad_()

    def y(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        return whitening_function.whiten(x, gamma, beta, 1e-3)[0]

    with mock.patch.object(whitening_function, "_traced", return_value=traced):
        assert torch.autograd.gradcheck(y, (x, gamma, beta), fast_mode=True)
        if not traced:
            assert torch.autograd.gradgradcheck(y, (x, gamma, beta), fast_mode=True)
            assert torch.autograd.gradgradcheck(lambda x: y(x, gamma.detach(), beta.detach()), (x,), fast_mode=True)


@settings(derandomize=True, deadline=None, max_examples=15)
@given(images=st.integers(1, 20), size=st.integers(1, 33), numbers=st.integers(1, 3), offset=st.sampled_from([0.0, 50.0]))
def test_the_ways_to_compute_it_agree(images: int, size: int, numbers: int, offset: float) -> None:
    x = correlated(1, images, 4 * numbers, size * size).view(images, 4, numbers, size * size) + offset
    grad = draw(7, *x.shape)
    gamma, beta = draw(4, numbers, 4, 4), draw(5, numbers, 4)

    def results(function: object) -> list[Tensor]:
        inputs = [tensor.clone().requires_grad_() for tensor in (x, gamma, beta)]
        y, mean, covariance = function(*inputs, 0.1)  # type: ignore[operator]
        return [y.detach(), mean, covariance, *torch.autograd.grad(y, inputs, grad)]

    plain = results(whitening_function._whiten_rows)
    torch.testing.assert_close(results(whitening_function.whiten), plain)
    with mock.patch.object(whitening_function, "CHUNK", 2000):
        torch.testing.assert_close(results(whitening_function.whiten), plain)
    with mock.patch.object(whitening_function, "_traced", return_value=True):
        torch.testing.assert_close(results(whitening_function.whiten), plain)


@pytest.mark.parametrize("size", [(5, 5), (1, 1)])
@pytest.mark.parametrize("value", [0.0, 3.0, 1e4])
def test_constant_channels_and_single_images_stay_finite(value: float, size: tuple[int, int]) -> None:
    layer = WhiteningBatchNorm2d(8)
    x = torch.full((2 if size == (1, 1) else 1, 8, *size), value, requires_grad=True)
    y = layer(x)
    y.square().sum().backward()
    for result in (y, x.grad, layer.weight.grad, layer.running_covariance, layer.eval()(x)):
        assert result.isfinite().all()


def test_equal_components_stay_finite_in_float32() -> None:
    x = (100 * draw(1, 8, 1, 2, 6, 6, dtype=torch.float32)).expand(8, 4, 2, 6, 6).flatten(1, 2).requires_grad_()
    y = WhiteningBatchNorm2d(8)(x)
    y.square().sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()


def test_a_pivot_that_rounding_made_negative_is_raised_to_eps() -> None:
    factor = whitening_function.inverse_factor(torch.tensor([[[1.0, 1.0], [1.0, 0.9]]], dtype=torch.float64), 1e-4)
    assert factor[0, 1, 1] == pytest.approx(100)
    assert factor.isfinite().all()


def test_numbers_start_with_variance_one() -> None:
    y = WhiteningBatchNorm2d(8)(correlated(1, 30, 8, 6, 6, dtype=torch.float32))
    torch.testing.assert_close(y.unflatten(1, (4, 2)).square().sum(1).mean((0, 2, 3)), torch.ones(2), atol=1e-3, rtol=0)


def test_momentum_none_averages_all_batches() -> None:
    layer = WhiteningBatchNorm2d(4, momentum=None, dtype=torch.float64)
    batches = [correlated(i, 3, 4, 2, 2) for i in range(3)]
    for x in batches:
        layer(x)
    torch.testing.assert_close(layer.running_covariance, sum(covariance_of(x, 4) * 12 / 11 for x in batches) / 3)
    torch.testing.assert_close(layer.running_mean, sum(x.mean((0, 2, 3)) for x in batches) / 3)


def test_without_running_statistics_every_batch_is_whitened() -> None:
    layer = WhiteningBatchNorm2d(4, track_running_stats=False).eval()
    x = correlated(1, 6, 4, 5, 5, dtype=torch.float32)
    torch.testing.assert_close(layer(x), layer.train()(x))
    assert set(layer.state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_real_is_torchs_to_the_last_bit(dimensions: int) -> None:
    torchs = getattr(nn, f"BatchNorm{dimensions}d")(6)
    ours = CLASSES[dimensions](6, algebra="real")
    assert str(ours).removeprefix("Whitening") == str(torchs)
    assert list(ours.state_dict()) == list(torchs.state_dict())
    ours.load_state_dict(torchs.state_dict())
    x = draw(1, 4, 6, *[3] * dimensions, dtype=torch.float32)
    assert torch.equal(ours(x), torchs(x))
    assert torch.equal(ours.running_var, torchs.running_var)
    assert torch.equal(ours.eval()(x), torchs.eval()(x))


def test_bad_input_is_named() -> None:
    with pytest.raises(UserError, match=r"`num_features` \(=6\) must be divisible by 4 for algebra 'quaternion'"):
        WhiteningBatchNorm2d(6)
    layer = WhiteningBatchNorm2d(8)
    with pytest.raises(UserError, match=r"`input` has 4 channels, but `num_features` \(=8\)"):
        layer(torch.zeros(2, 4, 3, 3))
    with pytest.raises(ValueError, match="expected 4D input"):
        layer(torch.zeros(2, 8, 3))
    with pytest.raises(UserError, match=r"more than 1 value per channel in training, got `input` of shape \(1, 4, 2, 1\)"):
        layer(torch.zeros(1, 8, 1, 1))
    assert layer(torch.zeros(0, 8, 3, 3)).shape == (0, 8, 3, 3)


def test_copies_state_and_devices() -> None:
    layer = WhiteningBatchNorm2d(8)
    layer(correlated(1, 4, 8, 4, 4, dtype=torch.float32))
    assert str(layer) == f"Whitening{str(nn.BatchNorm2d(8))[:-1]}, algebra='quaternion')"
    again = WhiteningBatchNorm2d(8)
    again.load_state_dict(layer.state_dict())
    x = draw(2, 3, 8, 4, 4, dtype=torch.float32)
    for other in (again, copy.deepcopy(layer)):
        assert torch.equal(other.eval()(x), layer.eval()(x))
    assert layer.double()(x.double()).dtype == torch.float64
    meta = WhiteningBatchNorm2d(8, device="meta")
    assert meta(torch.zeros(2, 8, 4, 4, device="meta")).shape == (2, 8, 4, 4)
    layer.reset_parameters()
    assert torch.equal(layer.running_covariance, torch.eye(4).double().expand(2, 4, 4))
    assert WhiteningBatchNorm2d(8, bias=False).bias is None


def test_half_types_and_autocast_compute_in_float32() -> None:
    x = correlated(1, 6, 8, 5, 5, dtype=torch.float32).bfloat16()
    expected = WhiteningBatchNorm2d(8)(x.float())
    y = WhiteningBatchNorm2d(8)(x)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y, expected.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inputs = x.float().requires_grad_()
        y = WhiteningBatchNorm2d(8)(inputs)
        y.square().sum().backward()
    assert torch.equal(y, expected)
    plain = x.float().requires_grad_()
    WhiteningBatchNorm2d(8)(plain).square().sum().backward()
    torch.testing.assert_close(inputs.grad, plain.grad)


def test_channels_last_stays_channels_last() -> None:
    x = correlated(1, 3, 8, 5, 6, dtype=torch.float32)
    y = WhiteningBatchNorm2d(8)(x.contiguous(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, WhiteningBatchNorm2d(8)(x))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's compiler does so itself
def test_it_compiles_and_is_traced() -> None:
    layer, x = WhiteningBatchNorm2d(8), correlated(1, 3, 8, 5, 5, dtype=torch.float32).requires_grad_()
    compiled = copy.deepcopy(layer)
    y, by_compiler = layer(x), torch.compile(compiled, backend="aot_eager", fullgraph=True)(x)
    torch.testing.assert_close(by_compiler, y)
    torch.testing.assert_close(
        torch.autograd.grad(by_compiler.cos().sum(), x), torch.autograd.grad(y.cos().sum(), x), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(compiled.running_covariance, layer.running_covariance)
    exported = torch.export.export(layer.eval(), (x.detach(),)).module()
    torch.testing.assert_close(exported(x.detach()), layer(x.detach()))
