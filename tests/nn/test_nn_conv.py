"""`Conv1d`, `Conv2d` and `Conv3d` against the definition."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_reference import HYPERCOMPLEX, by_components, draw
from torch.nn import functional as F

from fourfold import nn as fnn
from fourfold.algebra import get

LAYERS = {1: fnn.Conv1d, 2: fnn.Conv2d, 3: fnn.Conv3d}
FUNCTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@settings(derandomize=True, deadline=None, max_examples=120)
@given(st.data())
def test_a_convolution_is_the_sum_over_structure_constants(draws):
    name = draws.draw(st.sampled_from(["real", *HYPERCOMPLEX]))
    rank = draws.draw(st.integers(1, 3))
    n = get(name).n
    kernel, dilation = (tuple(draws.draw(st.integers(1, high)) for _ in range(rank)) for high in (3, 2))
    padding = draws.draw(st.sampled_from(["same", "valid", 0, 1, (2,) * rank]))
    stride = 1 if padding == "same" else draws.draw(st.integers(1, 3))
    mode = draws.draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    groups, num_in, num_out = (draws.draw(st.integers(1, 3)) for _ in range(3))
    bias, batched = draws.draw(st.booleans()), draws.draw(st.booleans())
    sizes = [draws.draw(st.integers(5, 7)) for _ in range(rank)]
    x = draw(draws.draw(st.integers(0, 99)), *[2] * batched, n * groups * num_in, *sizes)

    settings_of_torch = (kernel, stride, padding, dilation, groups, bias, mode)
    layer = LAYERS[rank](n * groups * num_in, n * groups * num_out, *settings_of_torch, dtype=x.dtype, algebra=name)
    assert layer.weight.shape == (n * groups * num_out, num_in, *kernel)
    assert (layer.bias is not None) == bias

    # Pad by hand, then convolve component by component.
    spans = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
    side = 0 if isinstance(padding, str) else padding if isinstance(padding, int) else padding[0]
    pads = [p for span in reversed(spans) for p in (span // 2 + side, span - span // 2 + side)]
    padded = F.pad(x if batched else x[None], pads, mode="constant" if mode == "zeros" else mode)

    def operation(x, w):
        return FUNCTIONS[rank](x, w, None, stride, 0, dilation, groups)

    expected = by_components(operation, layer.weight, layer.bias, padded, 1, name)
    torch.testing.assert_close(layer(x), expected if batched else expected[0])


@pytest.mark.parametrize("name", HYPERCOMPLEX)
@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_are_the_numerical_ones(name, groups):
    n = get(name).n
    layer = fnn.Conv2d(n * groups, n * groups, 2, groups=groups, dtype=torch.float64, algebra=name)
    x = draw(0, 1, n * groups, 3, 2).requires_grad_()

    def forward(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(forward, (x, layer.weight, layer.bias))


@pytest.mark.parametrize("groups", [1, 4])
def test_one_group_does_not_see_the_others(groups):
    n, numbers = 4, 8
    layer = fnn.Conv2d(n * numbers, n * numbers, 1, groups=groups, bias=False, algebra="quaternion")
    x = torch.zeros(1, n, numbers, 1, 1)
    x[:, :, 0] = 1
    seen = layer(x.flatten(1, 2)).view(n, numbers).ne(0).all(0)
    assert seen.tolist() == [number < numbers // groups for number in range(numbers)]


@pytest.mark.parametrize("groups", [1, 2])
def test_channels_last_gives_the_same_values_and_keeps_its_layout(groups):
    layer = fnn.Conv2d(16, 32, 3, padding=1, groups=groups, algebra="quaternion")
    x = draw(0, 2, 16, 8, 8, dtype=torch.float32)
    expected = layer(x)
    found = layer.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected)
    if groups == 1:
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_a_strided_same_convolution_is_refused_as_torch_does():
    with pytest.raises(ValueError, match="padding='same' is not supported for strided convolutions"):
        fnn.Conv2d(4, 4, 3, stride=2, padding="same", algebra="quaternion")
