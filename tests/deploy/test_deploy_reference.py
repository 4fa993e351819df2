"""The numpy reference computes what torch does, operation by operation, and encodes images as training does."""

import numpy as np
import pytest
import torch
from deploy_samples import assert_lowers, assert_near, images_of, lively, thinned, torch_outputs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fourfold import data, deploy, models
from fourfold import nn as fnn
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.ir.encoding import encoded_shape
from fourfold.deploy.ir.program import Encoding
from fourfold.record import DataSpec, UserError

law = settings(derandomize=True, deadline=None, max_examples=60)
ALGEBRAS = {"real": 1, "complex": 2, "quaternion": 4, "octonion": 8}
sides = st.integers(1, 9)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
densities = st.sampled_from([0, 0.05, 0.5, 1])


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@law
@given(
    algebra=st.sampled_from(list(ALGEBRAS)),
    numbers=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    groups=st.integers(1, 3),
    size=st.tuples(sides, sides),
    kernel=pairs,
    stride=pairs,
    padding=st.one_of(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.sampled_from(["same", "valid"])),
    dilation=pairs,
    bias=st.booleans(),
    density=densities,
    count=st.integers(0, 3),
)
def test_convolutions(algebra, numbers, groups, size, kernel, stride, padding, dilation, bias, density, count):
    n = ALGEBRAS[algebra]
    inputs, outputs = (n * groups * number for number in numbers)
    stride = 1 if padding == "same" else stride
    torch.manual_seed(0)
    layer = fnn.Conv2d(
        inputs, outputs, kernel, stride, padding, dilation, groups=groups, bias=bias, padding_mode="zeros", algebra=algebra
    )
    shape = (inputs, *size)
    try:
        torch_outputs(layer, images_of(shape, 1))
    except RuntimeError:
        with pytest.raises(UserError, match=r"makes a value of shape|unless"):
            deploy.lower(layer, shape)
        return
    assert_lowers(nn.Sequential(thinned(layer, density), nn.ReLU()), shape, count)


@law
@given(
    algebra=st.sampled_from(list(ALGEBRAS)),
    numbers=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    bias=st.booleans(),
    density=densities,
    count=st.integers(0, 3),
)
def test_linear_layers(algebra, numbers, bias, density, count):
    inputs, outputs = (ALGEBRAS[algebra] * number for number in numbers)
    torch.manual_seed(0)
    layer = fnn.Linear(inputs, outputs, bias, algebra=algebra)
    assert_lowers(thinned(layer, density), (inputs,), count)


@law
@given(
    kind=st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]),
    size=st.tuples(sides, sides),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    ceil=st.booleans(),
    option=st.integers(1, 2),
    count=st.integers(0, 3),
)
def test_poolings(kind, size, kernel, stride, padding, ceil, option, count):
    padding = tuple(min(side, k // 2) for side, k in zip(padding, kernel, strict=True))
    named = {"dilation": option} if kind is nn.MaxPool2d else {"count_include_pad": option == 1}
    layer = kind(kernel, stride, padding, ceil_mode=ceil, **named)
    shape = (2, *size)
    if kind is nn.MaxPool2d and any(side and option > length for side, length in zip(padding, size, strict=True)):
        with pytest.raises(UserError, match=r"makes a value of shape|`dilation` \("):
            deploy.lower(layer, shape)
        return
    try:
        torch_outputs(layer, images_of(shape, 1))
    except RuntimeError:
        with pytest.raises(UserError, match="makes a value of shape"):
            deploy.lower(layer, shape)
        return
    assert_lowers(layer, shape, count)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_padding_that_differs_from_side_to_side():
    assert_lowers(nn.Conv2d(2, 3, (2, 4), padding="same", dilation=(3, 1)), (2, 5, 6))


def test_padding_beyond_half_of_a_window_is_refused():
    with pytest.raises(UserError, match=r"`padding` \(=\(2, 2\)\), which must be at most half of the kernel \(3, 3\)"):
        deploy.lower(nn.MaxPool2d(3, padding=2), (1, 6, 6))


def test_windows_that_see_nothing_of_the_map_are_refused():
    layer = nn.MaxPool2d((2, 1), padding=(1, 0), dilation=(2, 1))
    assert torch_outputs(layer, torch.zeros(1, 1, 1, 3)).max() == -np.inf
    with pytest.raises(UserError, match=r"`dilation` \(=\(2, 1\)\), which must be at most the map's size"):
        deploy.lower(layer, (1, 1, 3))


@pytest.mark.parametrize("layer", [nn.BatchNorm2d(3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((2, None))])
def test_other_operations(layer):
    assert_lowers(lively(layer), (3, 4, 6))


def test_more_images_than_are_run_at_a_time():
    model = models.build("lenet-12", shape=(1, 4, 4), seed=0)
    images = images_of((1, 4, 4), 2 * reference.IMAGES_AT_A_TIME + 1)
    assert_near(reference.run(deploy.lower(model, (1, 4, 4)), images.numpy()), torch_outputs(model, images))


def test_images_of_another_shape_are_refused():
    program = deploy.lower(models.build("lenet-12", shape=(1, 4, 4), seed=0), (1, 4, 4))
    with pytest.raises(UserError, match=r"`images` of shape \(2, 4, 4\) must be \(N, 1, 4, 4\)"):
        reference.run(program, np.zeros((2, 4, 4)))


def drawn(name, channels, size):
    """An image set of random bytes with a known data set's mean and deviation."""
    about = data.info(name)
    images = np.random.default_rng(0).integers(0, 256, (5, channels, size, size), dtype=np.uint8)
    labels = np.zeros(5, np.int64)
    return data.ImageSet(info=about, train_images=images, train_labels=labels, test_images=images, test_labels=labels)


@pytest.mark.parametrize(
    ("name", "kind", "n"),
    [
        *(("cifar-10", kind, n) for kind in ("none", "grey", "zero", "pixels") for n in (1, 2, 4, 8)),
        *(("mnist", kind, n) for kind in ("none", "pixels") for n in (1, 2, 4)),
    ],
)
def test_images_are_encoded_as_for_training(name, kind, n):
    about = data.info(name)
    images = drawn(name, about.channels, about.size)
    splits = data.prepare(images, DataSpec(name=name, encoding=kind), n, "cpu")
    ((expected, _),) = splits.test.batches(8)
    encoding = Encoding(kind=kind, n=n, shape=(about.channels, about.size, about.size), mean=about.mean, std=about.std)
    found = reference.encode(encoding, images.test_images.transpose(0, 2, 3, 1))
    assert found.dtype == np.float32
    assert found.shape[1:] == encoded_shape(encoding)
    assert found.shape == expected.shape
    assert np.abs(found - expected.numpy()).max() < 1e-5


@pytest.mark.parametrize(
    "images", [np.zeros((2, 1, 3, 4), np.uint8), np.zeros((2, 3, 4, 1), np.float32), np.zeros((3, 4, 1), np.uint8)]
)
def test_bytes_of_another_kind_are_refused(images):
    encoding = Encoding(kind="none", n=1, shape=(1, 3, 4), mean=(0.1,), std=(0.2,))
    with pytest.raises(UserError, match=r"must be uint8 \(N, 3, 4, 1\)"):
        reference.encode(encoding, images)
