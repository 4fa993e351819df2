"""Maps in channels last leave every layer in channels last: where torch keeps the format, so do we, for every path and mode."""

import copy

import pytest
import torch
from layer_cases import CASES, first

from fourfold import nn as fnn
from fourfold.nn.conv import regroup

IMAGES = [kind for kind, case in CASES.items() if len(case.shapes[0]) == 4 and not case.indices and "Head" not in kind]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fast", [True, False], ids=["few products", "matrix"])
@pytest.mark.parametrize("kind", IMAGES)
def test_every_layer_of_images_keeps_channels_last(kind, fast, training, products_pay):
    products_pay(lambda *given: fast and given[0].is_contiguous())
    case = CASES[kind]
    layer, (x,) = case.layer("quaternion").train(training), case.inputs()
    twin = copy.deepcopy(layer).to(memory_format=torch.channels_last)
    expected = first(layer(x))
    found = first(twin(x.contiguous(memory_format=torch.channels_last)))
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_the_channels_of_channels_last_maps_are_those_of_others():
    x = torch.randn(2, 12, 3, 5)
    for shape, layout in ((x, torch.channels_last), (x.unsqueeze(-1), torch.channels_last_3d)):
        last = shape.contiguous(memory_format=layout)
        assert torch.equal(regroup(last, 1, 2, 3), regroup(shape, 1, 2, 3))
        assert regroup(last, 1, 2, 3).is_contiguous(memory_format=layout)


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1.0, 1e12, 1e30, 0.0])
def test_norms_of_ordinary_numbers_have_the_gradients_of_the_others(size):
    layer, x = fnn.ModReLU(8, -0.1, algebra="quaternion"), size * torch.randn(3, 8, 4, 4)
    for kind in (layer, fnn.Cardioid(algebra="quaternion"), fnn.NormHead(algebra="quaternion")):
        results = []
        for context in (torch.enable_grad(), fnn.reference_path()):
            with context:
                leaf = x.clone().requires_grad_()
                y = kind(leaf)
                results.append([y, *torch.autograd.grad(y.sum(), leaf)])
        torch.testing.assert_close(*results)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("kind", ["MaxPool", "AdaptiveMaxPool"])
def test_pooling_in_channels_last_picks_the_same_numbers(kind, rank):
    layer = getattr(fnn, f"{kind}{rank}d")(2, return_indices=True, algebra="quaternion")
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[rank]
    x = torch.randn(3, 8, *(6, 5, 4)[:rank], dtype=torch.float64).requires_grad_()
    last = x.detach().contiguous(memory_format=layout).requires_grad_()
    expected, found = layer(x), layer(last)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)
    gradients = [torch.autograd.grad(y.square().sum(), leaf)[0] for (y, _), leaf in ((found, last), (expected, x))]
    torch.testing.assert_close(*gradients)
