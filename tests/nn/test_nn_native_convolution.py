"""Convolutions by few products in native code compute what the real matrix computes in float64."""

import pytest
import torch
from torch import nn

from fourfold import nn as fnn
from fourfold.algebra import COMPLEX, QUATERNION
from fourfold.native.convolution import available
from fourfold.nn import native_convolution
from fourfold.nn.native_convolution import convolution, native_convolutions
from fourfold.nn.product_algorithms import PRODUCTS

SHAPES = [  # images, input and output channels of a component, height, width, kernel, padding
    (3, 16, 16, 32, 32, (3, 3), (1, 1)),  # strips of rows
    (70, 16, 16, 8, 8, (3, 3), (1, 1)),  # several images a chunk
    (2, 16, 32, 9, 7, (3, 3), (1, 1)),  # tiles across the edges
    (5, 18, 33, 4, 5, (3, 3), (1, 1)),  # channels that fill no vector
    (3, 16, 16, 2, 2, (3, 3), (1, 1)),
    (2, 34, 16, 1, 17, (1, 5), (0, 2)),
    (2, 16, 16, 10, 12, (5, 2), (1, 0)),
    (4, 66, 16, 3, 3, (1, 1), (0, 0)),
    (1, 130, 16, 6, 20, (3, 3), (0, 0)),
    (1, 16, 130, 20, 3, (3, 3), (2, 2)),
]


def need_kernels(bf16):
    if not available(bf16):
        pytest.skip(f"no C compiler here, or a processor without {'bfloat16' if bf16 else 'it'}")


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def layer_of(algebra, inputs, outputs, kernel=3, padding=1, **options):
    layer = fnn.Conv2d(algebra.n * inputs, algebra.n * outputs, kernel, padding=padding, algebra=algebra, **options)
    layer.draw(generator=torch.Generator().manual_seed(0))
    return layer


def last(x):
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("bf16", [False, True], ids=["float32", "bf16"])
@pytest.mark.parametrize("algebra", [QUATERNION, COMPLEX], ids=lambda algebra: algebra.name)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_output_and_gradients_are_those_of_the_real_matrix(shape, algebra, bf16):
    need_kernels(bf16)
    images, inputs, outputs, height, width, kernel, padding = shape
    layer = layer_of(algebra, inputs, outputs, kernel, padding)
    x = last(drawn(images, algebra.n * inputs, height, width)).to(torch.bfloat16 if bf16 else torch.float32)
    exact = nn.Conv2d(algebra.n * inputs, algebra.n * outputs, kernel, padding=padding).double()

    y = convolution(x.requires_grad_(), layer.weight, layer.bias, PRODUCTS[torch.float32][algebra], padding)
    gradient = drawn(*y.shape).to(y.dtype)
    y.backward(gradient)
    found = [y, x.grad, layer.weight.grad, layer.bias.grad]

    x64, weight = x.detach().double().requires_grad_(), layer.weight.detach().double().requires_grad_()
    bias = layer.bias.detach().double().requires_grad_()
    y64 = exact._conv_forward(x64, layer._matrix_of(weight), bias)
    y64.backward(gradient.double())
    for mine, theirs in zip(found, [y64, x64.grad, weight.grad, bias.grad], strict=True):
        assert (mine.double() - theirs).norm() <= (1e-2 if bf16 else 3e-6) * theirs.norm()
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


def test_the_gradients_can_be_derived_again():
    need_kernels(False)
    layer = layer_of(QUATERNION, 16, 16)
    x = last(drawn(30, 64, 8, 8)).requires_grad_()

    def penalty():
        gradient = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)[0]
        return torch.autograd.grad(gradient.square().sum(), layer.weight)[0]

    expected = penalty()
    with native_convolutions():
        assert "_NativeConvolution" in layer(x).grad_fn.name()
        torch.testing.assert_close(penalty(), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_the_same_bits_come_out_every_time():
    need_kernels(False)
    layer, x = layer_of(QUATERNION, 16, 16), last(drawn(30, 64, 8, 8)).requires_grad_()
    products = PRODUCTS[torch.float32][QUATERNION]

    def results():
        y = convolution(x, layer.weight, layer.bias, products, (1, 1))
        return y, *torch.autograd.grad(y.square().sum(), [x, layer.weight, layer.bias])

    for one, other in zip(results(), results(), strict=True):
        assert torch.equal(one, other)


@pytest.fixture
def calls(monkeypatch):
    """How often the native kernels were asked to convolve."""
    seen = []
    real = native_convolution.convolution
    monkeypatch.setattr(native_convolution, "convolution", lambda *given: seen.append(given) or real(*given))
    return seen


def test_layers_take_the_kernels_in_training_alone(calls):
    need_kernels(False)
    layer, x = layer_of(QUATERNION, 16, 16), last(drawn(30, 64, 8, 8))
    expected = layer(x)
    assert not calls
    with native_convolutions():
        torch.testing.assert_close(layer(x), expected)
        assert len(calls) == 1
        with torch.no_grad():
            layer.eval()(x)
        assert len(calls) == 2
        torch.set_num_threads(2)
        layer(x)
        torch.set_num_threads(1)
        layer(x.contiguous())
        layer(x[:1])
        torch.func.vmap(layer)(x[None])
        assert len(calls) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2},
        {"dilation": 2},
        {"groups": 2},
        {"padding_mode": "circular"},
        {"padding": "same"},
        {"padding": 3},
        {"inputs": 8},
        {"outputs": 24},
        {"inputs": 17},
    ],
    ids=str,
)
def test_other_layers_keep_the_real_matrix(options, calls):
    need_kernels(False)
    sizes = {name: options.get(name, 16) for name in ("inputs", "outputs")}
    rest = {name: value for name, value in options.items() if name not in sizes}
    layer = layer_of(QUATERNION, *sizes.values(), **rest)
    x = last(drawn(60, 4 * sizes["inputs"], 8, 8))
    expected = layer(x)
    with native_convolutions():
        torch.testing.assert_close(layer(x), expected)
    assert not calls


def test_autocast_computes_in_bf16_with_gradients_in_float32(calls):
    need_kernels(True)
    layer, x = layer_of(QUATERNION, 16, 16), last(drawn(60, 64, 8, 8))
    with native_convolutions(), torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        with torch.autocast("cpu", torch.float16):
            assert layer(x).dtype == torch.float16
    assert len(calls) == 1
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


def test_components_of_very_different_size_keep_the_real_matrix(calls):
    need_kernels(False)
    layer, x = layer_of(QUATERNION, 16, 16), drawn(30, 64, 8, 8)
    sizes = torch.tensor([1.0, 1e-4, 1e-4, 1e-4])
    with torch.no_grad():
        layer.weight.mul_(sizes.repeat_interleave(16).view(-1, 1, 1, 1))
        x = last(x * sizes.repeat_interleave(16).view(1, -1, 1, 1))
        exact = nn.functional.conv2d(x.double(), layer.matrix().double(), layer.bias.double(), padding=1)
        with native_convolutions():
            y = layer(x)
    assert not calls
    for mine, theirs in zip(y.chunk(4, 1), exact.chunk(4, 1), strict=True):
        assert (mine - theirs).norm() < 1e-5 * theirs.norm()
