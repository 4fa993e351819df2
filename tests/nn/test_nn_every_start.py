"""Layers start alike however they are laid out and whatever their type; empty batches leave them empty."""

import copy

import pytest
import torch
from every_layer import case, every, outputs
from torch import nn

from fourfold import nn as fnn

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


@pytest.mark.parametrize(("name", "algebra"), every("real", "quaternion"))
@pytest.mark.parametrize("how", ["reset_parameters", "draw", "initialize"])
def test_a_layer_in_channels_last_starts_as_one_that_is_not(name, algebra, how):
    layer = case(name).make(algebra)
    if how == "initialize":
        start = fnn.initialize
    elif hasattr(layer, how):
        start = lambda module: getattr(module, how)()  # noqa: E731
    else:
        pytest.skip("this layer has no such method")
    rank = max((parameter.dim() for parameter in layer.parameters()), default=0)
    if rank not in FORMATS:
        pytest.skip("no parameter of this layer can be in channels last")
    moved = copy.deepcopy(layer).to(memory_format=FORMATS[rank])
    torch.manual_seed(0)
    start(layer)
    torch.manual_seed(0)
    start(moved)
    for key, value in layer.state_dict().items():
        found = moved.state_dict()[key]
        # torch fills its own weights in the order of the memory
        assert (
            torch.equal(found.flatten().sort()[0], value.flatten().sort()[0])
            if algebra == "real"
            else torch.equal(found, value)
        )
    if algebra == "real":
        return
    x = case(name).inputs(algebra)
    for found, expected in zip(outputs(moved, *x), outputs(layer, *x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


TWINS = {
    "Linear": (64, 64),
    "Conv2d": (32, 64, 3),
    "ConvTranspose2d": (64, 32, 3),
    "Bilinear": (16, 16, 32),
}


def variance(layer):
    with torch.no_grad():
        matrix = layer.matrix() if hasattr(layer, "matrix") else layer.weight
        return float(matrix.abs().square().mean())


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("form", fnn.FORMS)
def test_complex_weights_start_with_the_twins_variance(name, form):
    ours = getattr(fnn, name)(*TWINS[name], dtype=torch.complex64, algebra="quaternion")
    twin = getattr(nn, name)(*TWINS[name], dtype=torch.complex64)
    for scheme in fnn.SCHEMES:
        for layer in (ours, twin):
            fnn.initialize(layer, scheme=scheme, form=form, generator=torch.Generator().manual_seed(0))
        assert abs(variance(ours) / variance(twin) - 1) < 0.12
        real, imaginary = ours.weight.detach().real, ours.weight.detach().imag
        assert abs(float(real.var() / imaginary.var()) - 1) < 0.25


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("scheme", fnn.SCHEMES)
def test_initialize_gives_torchs_layers_what_it_gives_our_real_ones(name, scheme):
    theirs, ours = getattr(nn, name)(*TWINS[name]), getattr(fnn, name)(*TWINS[name])
    for layer in (theirs, ours):
        fnn.initialize(layer, scheme=scheme, generator=torch.Generator().manual_seed(3))
    assert torch.equal(theirs.weight, ours.weight)
    assert torch.equal(theirs.bias, ours.bias)
    quaternion = getattr(fnn, name)(*TWINS[name], algebra="quaternion")
    fnn.initialize(quaternion, scheme=scheme, generator=torch.Generator().manual_seed(3))
    assert abs(variance(quaternion) / variance(theirs) - 1) < 0.1


SEQUENCES = {"RNN", "LSTM", "GRU", "LiGRU", "MultiheadAttention", "TransformerEncoderLayer"}
NO_EMPTY_BATCH = {"MultiheadAttention", "TransformerEncoderLayer"}


@pytest.mark.parametrize(
    ("name", "algebra"), [(name, a) for name, a in every("quaternion", "octonion") if name not in NO_EMPTY_BATCH]
)
def test_a_batch_without_images_leaves_a_layer_empty(name, algebra):
    if name in NO_EMPTY_BATCH:
        pytest.skip("torch's layer cannot either")
    axis = 1 if name in SEQUENCES else 0
    inputs = [x.narrow(axis, 0, 0) for x in case(name).inputs(algebra)]
    layer = case(name).make(algebra)
    full = outputs(layer, *case(name).inputs(algebra))
    for training in (True, False):
        for y, whole in zip(outputs(layer.train(training), *inputs), full, strict=True):
            assert 0 in y.shape
            assert y.dim() == whole.dim()


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("name", ["BatchNorm2d", "WhiteningBatchNorm2d", "GroupNorm", "InstanceNorm2d"])
def test_norms_keep_channels_last(name, memory_format):
    (x,) = case(name).inputs("quaternion")
    assert case(name).make("quaternion")(x.to(memory_format=memory_format)).is_contiguous(memory_format=memory_format)
