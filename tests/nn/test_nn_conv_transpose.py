"""`ConvTranspose1d`, `ConvTranspose2d` and `ConvTranspose3d` against the definition and torch.nn."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_reference import HYPERCOMPLEX, by_components, draw
from torch import nn
from torch.nn import functional as F

from fourfold.algebra import get, product
from fourfold.nn import few_products
from fourfold.nn.conv_transpose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

LAYERS = {1: ConvTranspose1d, 2: ConvTranspose2d, 3: ConvTranspose3d}
THEIRS = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
FUNCTIONS = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def values_and_gradients(function, *inputs):
    y = function(*inputs)
    return [y, *torch.autograd.grad((y * draw(9, *y.shape, dtype=y.dtype)).sum(), inputs)]


def options(draws, rank):
    kernel, stride, dilation = (tuple(draws.draw(st.integers(1, high)) for _ in range(rank)) for high in (3, 3, 2))
    padding = draws.draw(st.integers(0, 1))
    outer = tuple(draws.draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    return kernel, stride, padding, outer, draws.draw(st.integers(1, 3)), draws.draw(st.booleans()), dilation


@pytest.mark.parametrize("by_products", [False, True])
@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.data())
def test_a_transposed_convolution_is_the_sum_over_structure_constants(by_products, draws):
    name, rank = (
        draws.draw(st.sampled_from(["complex", "quaternion"] + ["octonion"] * (not by_products))),
        draws.draw(st.integers(1, 3)),
    )
    n = get(name).n
    kernel, stride, padding, outer, groups, bias, dilation = given = options(draws, rank)
    num_in, num_out = (draws.draw(st.integers(1, 2)) for _ in range(2))
    batched = draws.draw(st.booleans())
    sizes = [draws.draw(st.integers(3, 4)) for _ in range(rank)]
    x = draw(draws.draw(st.integers(0, 99)), *[2] * batched, n * groups * num_in, *sizes).requires_grad_()
    layer = LAYERS[rank](n * groups * num_in, n * groups * num_out, *given, dtype=x.dtype, algebra=name)
    assert layer.weight.shape == (n * groups * num_in, num_out, *kernel)
    assert (layer.bias is not None) == bias

    def reference(x, weight, *bias):
        def operation(x, w):
            return FUNCTIONS[rank](x, w, None, stride, padding, outer, groups, dilation)

        y = by_components(operation, weight, *bias or [None], x if batched else x[None], 1, name)
        return y if batched else y[0]

    inputs = (x, *layer.parameters())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(few_products, "convolution_pays", lambda *given: by_products)
        found = values_and_gradients(lambda x, *_: layer(x), *inputs)
    for ours, right in zip(found, values_and_gradients(reference, *inputs), strict=True):
        torch.testing.assert_close(ours, right)


def test_every_input_number_is_multiplied_from_the_left_and_added_where_its_kernel_lies():
    layer = ConvTranspose1d(
        12, 8, 3, stride=2, padding=1, output_padding=1, bias=False, dtype=torch.float64, algebra="quaternion"
    )
    x = draw(0, 12, 5)
    numbers, weights = x.view(4, 3, 5), layer.weight.view(4, 3, 2, 3)
    expected = torch.zeros(4, 2, 10, dtype=torch.float64)
    for position in range(5):
        for offset in range(3):
            target = 2 * position + offset - 1
            if 0 <= target < 10:
                for i in range(3):
                    for o in range(2):
                        expected[:, o, target] += product(weights[:, i, o, offset], numbers[:, i, position])
    torch.testing.assert_close(layer(x), expected.view(8, 10))


@pytest.mark.parametrize("algebra", [{}, {"algebra": "real"}])
@settings(derandomize=True, deadline=None, max_examples=20)
@given(st.data())
def test_real_layers_are_torchs_to_the_last_bit(algebra, draws):
    rank = draws.draw(st.integers(1, 3))
    given = options(draws, rank)
    groups = given[4]
    outcomes = []
    for room, more in ((THEIRS, {}), (LAYERS, algebra)):
        torch.manual_seed(3)
        layer = room[rank](2 * groups, 3 * groups, *given, **more)
        x = draw(1, 2, 2 * groups, *[4] * rank, dtype=torch.float32)
        y = layer(x)
        y.sum().backward()
        found = {**layer.state_dict(), "y": y, "gradient": layer.weight.grad, "next draw": torch.rand(1)}
        outcomes.append((repr(layer), found))
    (their_text, theirs), (our_text, ours) = outcomes
    assert our_text == their_text
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())


@pytest.mark.parametrize("algebra", ["real", "quaternion"])
def test_an_output_size_decides_what_the_stride_leaves_open(algebra):
    theirs, ours = nn.ConvTranspose2d(8, 4, 3, stride=3), ConvTranspose2d(8, 4, 3, stride=3, algebra=algebra)
    x = draw(0, 2, 8, 4, 5, dtype=torch.float32)
    for size in ([12, 17], [2, 4, 14, 15], torch.Size([13, 16])):
        assert ours(x, output_size=size).shape == theirs(x, output_size=size).shape == (2, 4, *size[-2:])
    for layer in (theirs, ours):
        with pytest.raises(ValueError, match="requested an output size of"):
            layer(x, output_size=[11, 15])


@pytest.mark.parametrize("name", HYPERCOMPLEX)
@pytest.mark.parametrize("groups", [1, 2])
def test_the_initial_variance_is_the_real_twins(name, groups):
    real, layer = nn.ConvTranspose2d(64, 64, 3, groups=groups), ConvTranspose2d(64, 64, 3, groups=groups, algebra=name)
    assert layer.weight.numel() * get(name).n == real.weight.numel()
    assert layer.matrix().shape == real.weight.shape
    assert layer.bias.shape == real.bias.shape
    assert abs(layer.matrix().var() / real.weight.var() - 1) < 0.15
    assert layer.bias.abs().max() <= (64 // groups * 9) ** -0.5


@pytest.mark.parametrize("by_products", [False, True])
@pytest.mark.parametrize("name", ["complex", "quaternion"])
def test_first_and_second_derivatives_are_the_numerical_ones(name, by_products, products_pay):
    products_pay(lambda *given: by_products)
    n = get(name).n
    layer = ConvTranspose1d(2 * n, 2 * n, 2, 2, groups=2, dtype=torch.float64, algebra=name)
    x = draw(0, 1, 2 * n, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))
    assert torch.autograd.gradgradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


def test_a_large_layer_takes_the_products_and_errs_no_more_than_twice_the_real_one(monkeypatch):
    taken, function = [], few_products.convolution
    monkeypatch.setattr(few_products, "convolution", lambda *given: taken.append(True) or function(*given))
    layer = ConvTranspose2d(128, 64, 3, algebra="quaternion")
    x = draw(0, 4, 128, 12, 12, dtype=torch.float32)
    found = layer(x)
    assert taken
    exact = copy.deepcopy(layer).double()(x.double())
    real = F.conv_transpose2d(x, layer.matrix(), layer.bias)
    assert (found - exact).norm() <= 2 * (real - exact).norm()


def test_a_layer_that_evaluates_keeps_its_matrix_until_the_weight_changes():
    layer = ConvTranspose2d(8, 8, 3, algebra="quaternion").eval()
    x = draw(0, 2, 8, 4, 4, dtype=torch.float32)
    for _ in range(2):
        with torch.no_grad():
            first, second = layer(x), layer(x)
        assert torch.equal(first, second)
        torch.testing.assert_close(first, layer(x))
        layer.weight.data.mul_(2)


def test_copies_types_devices_layouts_and_text():
    layer = ConvTranspose2d(16, 8, 3, stride=2, groups=2, algebra="quaternion")
    x = draw(0, 2, 16, 5, 5, dtype=torch.float32)
    expected = layer(x)
    assert repr(layer) == "ConvTranspose2d(16, 8, kernel_size=(3, 3), stride=(2, 2), groups=2, algebra='quaternion')"
    assert torch.equal(copy.deepcopy(layer)(x), expected)
    torch.testing.assert_close(copy.deepcopy(layer).double()(x.double()).float(), expected)
    last = copy.deepcopy(layer).to(memory_format=torch.channels_last)
    torch.testing.assert_close(last(x.to(memory_format=torch.channels_last)), expected)
    torch.testing.assert_close(torch.vmap(layer)(x), expected)
    assert copy.deepcopy(layer).to("meta")(x.to("meta")).shape == expected.shape
    with torch.device("meta"):
        assert ConvTranspose3d(8, 8, 2, algebra="quaternion").bias.is_meta
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16


@pytest.mark.slow
def test_a_compiled_layer_computes_the_same():
    layer = ConvTranspose1d(8, 8, 3, stride=2, algebra="quaternion")
    x = draw(0, 2, 8, 4, dtype=torch.float32)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((6, 8, 3), {}, r"`in_channels` \(=6\) must be divisible by 4 for algebra 'quaternion'"),
        ((8, 10, 3), {}, r"`out_channels` \(=10\) must be divisible by 4 for algebra 'quaternion'"),
        ((8, 12, 3), {"groups": 2}, r"`out_channels` \(=12\) must be divisible by 8 \(2 groups of 4\)"),
        ((8, 8, 3), {"padding_mode": "reflect"}, 'Only "zeros" padding mode is supported'),
    ],
)
def test_what_does_not_fit_is_refused(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        ConvTranspose2d(*arguments, **options, algebra="quaternion")
