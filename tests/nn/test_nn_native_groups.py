"""Norms of groups in native code agree with torch's operations in float64, in every layout and size."""

import pytest
import torch
from torch import Tensor, nn

from fourfold import nn as fnn

CASES = [
    (lambda a: fnn.GroupNorm(3, 24, algebra=a), (5, 24, 7, 9)),
    (lambda a: fnn.GroupNorm(1, 24, algebra=a), (2, 24, 40, 33)),
    (lambda a: fnn.GroupNorm(2, 16, affine=False, algebra=a), (3, 16, 4, 4)),
    (lambda a: fnn.GroupNorm(2, 64, algebra=a), (3, 64)),
    (lambda a: fnn.GroupNorm(2, 32, algebra=a), (2, 32, 3, 4, 5)),
    (lambda a: fnn.InstanceNorm2d(24, affine=True, algebra=a), (4, 24, 5, 13)),
    (lambda a: fnn.InstanceNorm1d(16, algebra=a), (2, 16, 300)),
    (lambda a: fnn.InstanceNorm2d(16, algebra=a), (16, 9, 9)),
    (lambda a: fnn.LayerNorm(64, algebra=a), (2, 9, 64)),
    (lambda a: fnn.LayerNorm(16, bias=False, algebra=a), (40, 16)),
]


def results(layer: nn.Module, x: Tensor, gradient: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    y = layer(x)
    return [y.detach(), *torch.autograd.grad(y, [x, *layer.parameters()], gradient)]


@pytest.mark.parametrize("algebra", ["complex", "quaternion", "octonion"])
@pytest.mark.parametrize("mean", [0.0, 1.0, 1e3])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_norms_of_groups_agree_with_float64(case: int, channels_last: bool, mean: float, algebra: str) -> None:
    make, shape = CASES[case]
    layer = make(algebra if algebra != "octonion" or case not in (0, 5) else "quaternion")
    generator = torch.Generator().manual_seed(case)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=generator)
    x, gradient = (torch.randn(shape, generator=generator) + mean * (k == 0) for k in range(2))
    if channels_last and len(shape) in (4, 5):
        x = x.contiguous(memory_format=torch.channels_last if len(shape) == 4 else torch.channels_last_3d)
    found = results(layer, x, gradient)
    assert found[0].stride() == x.stride()
    with fnn.reference_path():
        exact = results(layer.double(), x.double(), gradient.double())
    bound = 1e-5 * max(1.0, mean)
    for one, other in zip(found, exact, strict=True):
        assert float((one - other).abs().max() / other.abs().max().clamp_min(1e-3)) < bound


def test_second_derivatives_and_batches_of_gradients_are_those_of_the_reference_path() -> None:
    x = torch.randn(2, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    layer = fnn.GroupNorm(2, 16, algebra="quaternion")

    def second() -> Tensor:
        inner = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(layer(inner).pow(3).sum(), inner, create_graph=True)
        return torch.autograd.grad(first.square().sum(), inner)[0]

    def batched() -> Tensor:
        inner = x.clone().requires_grad_()
        y = layer(inner)
        many = torch.eye(5, y.numel()).view(5, *y.shape)
        return torch.autograd.grad(y, inner, many, is_grads_batched=True)[0]

    for function in (second, batched):
        found = function()
        with fnn.reference_path():
            assert torch.allclose(found, function(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [lambda: fnn.GroupNorm(2, 16, algebra="quaternion"), lambda: fnn.WhiteningBatchNorm2d(16)])
def test_numbers_that_lie_negated_in_memory_are_read_as_they_are(make) -> None:
    x = torch.randn(2, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    assert torch._neg_view(x).is_neg()
    assert torch.allclose(make()(torch._neg_view(x)), make()(-x), atol=1e-5)
