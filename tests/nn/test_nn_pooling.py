"""Max pooling by norm, against a search of every window, and average pooling."""

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_reference import HYPERCOMPLEX, draw
from torch import nn
from torch.nn import functional as F

from fourfold.algebra import get
from fourfold.nn import pooling
from fourfold.nn.pooling import AdaptiveMaxPool2d, MaxPool1d, MaxPool2d
from fourfold.record import UserError


def largest_of_windows(x, n, windows):
    """Return, for each output place, the number of largest norm among the given places: x (N, n·c, *size)."""
    numbers = x.unflatten(1, (n, -1))
    shape = [len(axis) for axis in windows]
    y = torch.empty(*numbers.shape[:3], *shape, dtype=x.dtype)
    for image, number, place in itertools.product(
        range(x.shape[0]), range(numbers.shape[2]), itertools.product(*map(range, shape))
    ):
        inside = itertools.product(*(axis[at] for axis, at in zip(windows, place, strict=True)))
        candidates = [numbers[(image, slice(None), number, *at)] for at in inside]
        y[(image, slice(None), number, *place)] = max(candidates, key=lambda q: q.square().sum().item())
    return y.flatten(1, 2)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.data())
def test_max_pooling_takes_the_number_of_largest_norm_of_every_window(draws):
    name = draws.draw(st.sampled_from(HYPERCOMPLEX))
    rank = draws.draw(st.integers(1, 3))
    n = get(name).n
    size = [draws.draw(st.integers(4, 6)) for _ in range(rank)]
    kernel, stride, dilation = (draws.draw(st.integers(1, high)) for high in (3, 3, 2))
    padding = draws.draw(st.integers(0, kernel // 2))
    if dilation * (kernel - 1) + 1 > min(size) + 2 * padding:
        dilation = 1
    ceil_mode = draws.draw(st.booleans())
    x = draw(draws.draw(st.integers(0, 99)), 1, 2 * n, *size)
    layer = getattr(pooling, f"MaxPool{rank}d")(kernel, stride, padding, dilation, ceil_mode=ceil_mode, algebra=name)
    y = layer(x)
    windows = [
        [[at for k in range(kernel) if 0 <= (at := stride * out - padding + dilation * k) < whole] for out in range(pooled)]
        for whole, pooled in zip(size, y.shape[2:], strict=True)
    ]
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
    assert y.shape == pool(x, kernel, stride, padding, dilation, ceil_mode=ceil_mode).shape
    assert torch.equal(y, largest_of_windows(x, n, windows))


@pytest.mark.parametrize("name", HYPERCOMPLEX)
@pytest.mark.parametrize(("rank", "output"), [(1, 3), (2, (2, 3)), (3, (1, 2, 2))])
def test_adaptive_max_pooling_divides_the_map_as_torchs(name, rank, output):
    n, size = get(name).n, (5, 6, 4)[:rank]
    x = draw(1, 2, 2 * n, *size)
    y = getattr(pooling, f"AdaptiveMaxPool{rank}d")(output, algebra=name)(x)
    pooled = (output,) if isinstance(output, int) else output
    windows = [
        [range(out * whole // parts, -(-(out + 1) * whole // parts)) for out in range(parts)]
        for whole, parts in zip(size, pooled, strict=True)
    ]
    assert torch.equal(y, largest_of_windows(x, n, windows))


@pytest.mark.parametrize("name", HYPERCOMPLEX)
def test_the_gradient_goes_to_the_taken_numbers_alone(name):
    n = get(name).n
    x = draw(0, 1, n, 4, 4).requires_grad_()
    y = MaxPool2d(2, algebra=name)(x)
    weight = draw(1, *y.shape)
    (y * weight).sum().backward()
    touched = x.grad.unflatten(1, (n, -1)).ne(0)
    assert touched.all(1).sum() == 4
    assert touched.any(1).sum() == 4
    assert torch.equal(x.grad[x.grad != 0].sort().values, weight.flatten().sort().values)
    assert torch.autograd.gradcheck(MaxPool2d(3, 2, 1, algebra=name), (x,))


@pytest.mark.parametrize(("rank", "adaptive"), [(1, False), (2, False), (3, False), (2, True)])
def test_positions_are_those_that_torchs_unpooling_takes(rank, adaptive):
    x = draw(3, 2, 8, *(6,) * rank)
    kind, size = ("AdaptiveMaxPool", 3) if adaptive else ("MaxPool", 2)
    y, positions = getattr(pooling, f"{kind}{rank}d")(size, return_indices=True, algebra="quaternion")(x)
    spread = getattr(nn, f"MaxUnpool{rank}d")(2)(y, positions)
    assert torch.equal(spread[spread != 0], x[spread != 0])
    assert (spread != 0).sum() == y.numel()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_an_image_without_a_batch_axis_is_pooled_alike(rank):
    x = draw(0, 8, *(5,) * rank)
    layer = getattr(pooling, f"MaxPool{rank}d")(2, algebra="quaternion")
    assert torch.equal(layer(x), layer(x[None])[0])


def test_a_number_is_taken_whole_where_split_pooling_mixes():
    x = torch.tensor([[[3.0, 0.0], [0.0, -4.0]]])  # the complex numbers 3 and −4i
    assert MaxPool1d(2, algebra="complex")(x).flatten().tolist() == [0, -4]
    assert MaxPool1d(2)(x).flatten().tolist() == [3, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_norms_of_half_types_are_compared_in_float32(dtype):
    x = torch.tensor([[[256.0, 300.0], [0.5, 0.0]]], dtype=dtype)  # squares of float16 end at 65,504
    assert MaxPool1d(2, algebra="complex")(x).flatten().tolist() == [300, 0]


def test_of_equal_norms_the_first_is_taken_and_nan_is_not_hidden():
    x = torch.tensor([[[0.0, 5, 3], [5, 0, 4]]])
    assert MaxPool1d(3, algebra="complex")(x).flatten().tolist() == [0, 5]
    x[0, 0, 1] = torch.nan
    assert MaxPool1d(3, algebra="complex")(x).isnan().any()


@pytest.mark.parametrize("kind", ["MaxPool", "AdaptiveMaxPool"])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("return_indices", [False, True])
def test_real_max_pooling_is_torchs(kind, rank, return_indices):
    x = draw(0, 2, 3, *(6,) * rank)
    name = f"{kind}{rank}d"
    theirs, ours = getattr(nn, name)(2, return_indices=return_indices), getattr(pooling, name)(2, return_indices=return_indices)
    for found, expected in zip(ours(x), theirs(x), strict=True):
        assert torch.equal(found, expected)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("kind", [f"{kind}{rank}d" for kind in ("AvgPool", "AdaptiveAvgPool") for rank in (1, 2, 3)])
def test_average_pooling_is_torchs_since_it_is_linear_over_every_algebra(kind):
    assert getattr(pooling, kind) is getattr(nn, kind)
    x, q = draw(0, 2, 8, *(4,) * int(kind[-2])), draw(1, 4, 1, 1)
    layer = getattr(pooling, kind)(2)
    matrix = get("quaternion").matrix(q * torch.eye(2, dtype=q.dtype))

    def multiplied(x):
        return torch.einsum("oi,ni...->no...", matrix, x)

    torch.testing.assert_close(layer(multiplied(x)), multiplied(layer(x)))


@pytest.mark.slow
def test_layers_are_copied_printed_compiled_and_run_on_the_meta_device():
    layer = MaxPool2d(3, 2, 1, algebra="quaternion")
    assert repr(copy.deepcopy(layer)) == (
        "MaxPool2d(kernel_size=3, stride=2, padding=1, dilation=1, ceil_mode=False, algebra='quaternion')"
    )
    assert repr(AdaptiveMaxPool2d(2, algebra="complex")) == "AdaptiveMaxPool2d(output_size=2, algebra='complex')"
    x = draw(0, 2, 8, 7, 7)
    assert layer(x.to("meta")).shape == layer(x).shape
    assert torch.equal(torch.compile(layer, backend="eager", fullgraph=True)(x), layer(x))
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(layer(last), layer(x))


def test_inputs_that_hold_no_whole_numbers_are_refused():
    with pytest.raises(UserError, match=r"`input.shape\[1\]` \(=6\) must be divisible by 4 for algebra 'quaternion'"):
        MaxPool2d(2, algebra="quaternion")(torch.ones(2, 6, 4, 4))
    with pytest.raises(UserError, match=r"`input` must have 3 or 4 axes for MaxPool2d, and has shape \(4, 4\)"):
        MaxPool2d(2, algebra="quaternion")(torch.ones(4, 4))
