"""Layer, group, instance and RMS norm of elements: their definition in loops, torch's norms, and the law of rotation."""

import copy
import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_reference import HYPERCOMPLEX, draw
from torch import Tensor, nn

from fourfold import nn as fnn
from fourfold.algebra import QUATERNION, get, product
from fourfold.nn import layer_norm as ours
from fourfold.record import UserError

EPS = 1e-3


def randomized(layer: nn.Module) -> nn.Module:
    for i, parameter in enumerate(layer.parameters()):
        parameter.data.copy_(draw(5 + i, *parameter.shape))
    return layer


def standardized(x: Tensor, n: int, groups: int, centre: bool = True) -> Tensor:
    """Group by group: every component less its mean, then all by one root of the mean of |q|² / n. (N, C, *size) → the same."""
    result = x.clone()
    numbers = x.shape[1] // n
    for image in range(x.shape[0]):
        for group in torch.arange(numbers).chunk(groups):
            parts = [x[image, k * numbers + group] for k in range(n)]
            parts = [part - part.mean() if centre else part for part in parts]
            variance = sum(part.square().sum() for part in parts) / sum(part.numel() for part in parts)
            for k, part in enumerate(parts):
                result[image, k * numbers + group] = part / (variance + EPS).sqrt()
    return result


def affine(x: Tensor, layer: nn.Module, n: int) -> Tensor:
    column = (-1, *[1] * (x.dim() - 2)) if layer.weight.dim() == 1 else layer.weight.shape
    scale = torch.cat([layer.weight.view(column)] * n)
    return x * scale + (0 if layer.bias is None else layer.bias.view(-1, *scale.shape[1:]))


SIZES = st.lists(st.integers(1, 4), min_size=0, max_size=3)
NAMES = st.sampled_from(HYPERCOMPLEX)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(NAMES, st.integers(1, 3), st.integers(1, 3), SIZES)
def test_layer_and_rms_norm_compute_their_definition(name: str, images: int, numbers: int, size: list[int]) -> None:
    n = get(name).n
    shape = (n * numbers, *size)
    x = draw(1, images, *shape) + 3 * draw(2, *shape)
    for layer, centre in (
        (ours.LayerNorm(shape, EPS, dtype=torch.float64, algebra=name), True),
        (ours.RMSNorm(shape, EPS, dtype=torch.float64, algebra=name), False),
    ):
        randomized(layer)
        torch.testing.assert_close(layer(x), affine(standardized(x, n, 1, centre), layer, n))
        torch.testing.assert_close(layer(x.unsqueeze(0)), layer(x).unsqueeze(0))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(NAMES, st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), SIZES)
def test_group_norm_computes_its_definition(name: str, images: int, groups: int, per_group: int, size: list[int]) -> None:
    n = get(name).n
    channels = n * groups * per_group
    layer = randomized(ours.GroupNorm(groups, channels, EPS, dtype=torch.float64, algebra=name))
    x = draw(1, images, channels, *size) + 3 * draw(2, channels, *size)
    torch.testing.assert_close(layer(x), affine(standardized(x, n, groups), layer, n))


@settings(derandomize=True, deadline=None, max_examples=25)
@given(NAMES, st.integers(1, 3), st.integers(1, 3), st.lists(st.integers(2, 4), min_size=1, max_size=3))
def test_instance_norm_computes_its_definition_and_follows(name: str, images: int, numbers: int, size: list[int]) -> None:
    n = get(name).n
    make = getattr(ours, f"InstanceNorm{len(size)}d")
    layer = randomized(make(n * numbers, EPS, 0.3, True, True, dtype=torch.float64, algebra=name))
    x = draw(1, images, n * numbers, *size) + 3 * draw(2, n * numbers, *size)
    torch.testing.assert_close(layer(x), affine(standardized(x, n, numbers), layer, n))

    torch.testing.assert_close(layer.running_mean, 0.3 * x.flatten(2).mean((0, 2)))
    variances = x.flatten(2).var(-1).mean(0).unflatten(0, (n, numbers)).mean(0)
    torch.testing.assert_close(layer.running_var, 0.7 + 0.3 * variances)
    layer.eval()
    column = (-1, *[1] * len(size))
    centred = x - layer.running_mean.view(column)
    expected = centred / torch.cat([layer.running_var] * n).add(EPS).sqrt().view(column)
    torch.testing.assert_close(layer(x), affine(expected, layer, n))
    torch.testing.assert_close(layer(x[0]), layer(x)[0])


QUATERNION_LAYERS = {
    "layer": ours.LayerNorm((8, 5, 5), elementwise_affine=False, algebra="quaternion"),
    "rms": ours.RMSNorm((8, 5, 5), elementwise_affine=False, algebra="quaternion"),
    "group": ours.GroupNorm(2, 8, affine=False, algebra="quaternion"),
    "instance": ours.InstanceNorm2d(8, algebra="quaternion"),
}


@pytest.mark.parametrize("name", QUATERNION_LAYERS)
def test_turning_all_numbers_before_is_turning_them_after(name: str) -> None:
    layer = QUATERNION_LAYERS[name]
    unit = nn.functional.normalize(draw(3, 4), dim=0)
    x = draw(1, 3, 8, 5, 5) + 3 * draw(2, 8, 1, 1)

    def turned(x: Tensor) -> Tensor:
        return product(unit, x.unflatten(1, (4, 2)).movedim(1, -1), QUATERNION).movedim(-1, 1).flatten(1, 2)

    torch.testing.assert_close(layer(turned(x)), turned(layer(x)))
    by_torch = nn.InstanceNorm2d(8)
    assert not torch.allclose(by_torch(turned(x)), turned(by_torch(x)), atol=0.1)


PAIRS = [
    ("LayerNorm", ((6, 4),), (3, 6, 4)),
    ("LayerNorm", (6, 1e-3, True, False), (3, 2, 6)),
    ("RMSNorm", (6,), (3, 2, 6)),
    ("GroupNorm", (3, 6), (2, 6, 4, 4)),
    ("InstanceNorm1d", (6,), (2, 6, 4)),
    ("InstanceNorm2d", (6, 1e-3, 0.2, True, True), (2, 6, 4, 4)),
    ("InstanceNorm3d", (6, 1e-3, 0.2, True, True), (2, 6, 2, 3, 3)),
]


@pytest.mark.parametrize(("name", "arguments", "shape"), PAIRS)
def test_real_is_torchs_to_the_last_bit(name: str, arguments: tuple[object, ...], shape: tuple[int, ...]) -> None:
    torchs, our = getattr(nn, name)(*arguments), getattr(ours, name)(*arguments)
    assert str(our) == str(torchs)
    our.load_state_dict(torchs.state_dict())
    assert list(our.state_dict()) == list(torchs.state_dict())
    x = draw(1, *shape, dtype=torch.float32)
    assert torch.equal(our(x), torchs(x))
    assert torch.equal(our.eval()(x), torchs.eval()(x))


LAYERS = {
    "LayerNorm": (partial(ours.LayerNorm, 8), (3, 8)),
    "RMSNorm": (partial(ours.RMSNorm, 8), (3, 8)),
    "GroupNorm": (partial(ours.GroupNorm, 2, 8), (3, 8, 2, 2)),
    "InstanceNorm2d": (partial(ours.InstanceNorm2d, 8, affine=True, track_running_stats=True), (3, 8, 2, 2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_they_are_modules_like_any_other(name: str) -> None:
    function, shape = LAYERS[name]
    make = partial(function, algebra="quaternion")
    layer = randomized(make())
    assert str(layer).endswith("algebra='quaternion')")
    x = draw(1, *shape, dtype=torch.float32)
    again = make()
    again.load_state_dict(layer.state_dict())
    assert torch.equal(again.eval()(x), copy.deepcopy(layer).eval()(x))
    assert make(device="meta")(torch.zeros(shape, device="meta")).shape == shape
    half = layer.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), layer.float()(x.bfloat16().float()), atol=0.05, rtol=0.02)
    constant = torch.full(shape, 3.0, requires_grad=True)
    layer(constant).square().sum().backward()
    assert constant.grad.isfinite().all()
    layer.reset_parameters()
    assert layer.weight.shape == (2,)
    assert torch.equal(layer.weight, torch.ones(2))


@pytest.mark.parametrize("name", LAYERS)
def test_their_derivatives_are_right(name: str) -> None:
    function, shape = LAYERS[name]
    make = partial(function, algebra="quaternion")
    layer = randomized(make(dtype=torch.float64))
    assert torch.autograd.gradcheck(layer, draw(1, *shape).requires_grad_())


def test_they_compile() -> None:
    model = nn.Sequential(*(layer for layer in QUATERNION_LAYERS.values()))
    x = draw(1, 2, 8, 5, 5, dtype=torch.float32)
    torch.testing.assert_close(torch.compile(model, backend="aot_eager", fullgraph=True)(x), model(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GroupNorm", "InstanceNorm2d", "LayerNorm", "RMSNorm"])
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_they_compile_with_gradients_in_every_memory_format(name: str, format: torch.memory_format) -> None:
    make = {
        "GroupNorm": partial(fnn.GroupNorm, 2, 16),
        "InstanceNorm2d": partial(fnn.InstanceNorm2d, 16, affine=True),
        "LayerNorm": partial(fnn.LayerNorm, 16),
        "RMSNorm": partial(fnn.RMSNorm, 16),
    }[name]
    norm = make(algebra="quaternion").double()
    x = draw(0, 2, 16, 3, 16).contiguous(memory_format=format).requires_grad_()
    compiled = torch.compile(norm, backend="aot_eager", fullgraph=True)
    outputs = [layer(x) for layer in (norm, compiled)]
    gradients = [torch.autograd.grad(y, [x, *norm.parameters()], draw(1, *y.shape)) for y in outputs]
    torch.testing.assert_close(outputs[1], outputs[0])
    for found, right in zip(*gradients, strict=True):
        torch.testing.assert_close(found, right)


def test_momentum_none_averages_all_batches() -> None:
    layer = ours.InstanceNorm1d(4, momentum=None, track_running_stats=True, dtype=torch.float64, algebra="quaternion")
    batches = [draw(i, 2, 4, 5) for i in range(3)]
    for x in batches:
        layer(x)
    torch.testing.assert_close(layer.running_var, sum(x.var(-1).mean() for x in batches).view(1) / 3)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_an_empty_batch_leaves_the_running_statistics(momentum: float | None) -> None:
    norm = fnn.InstanceNorm2d(8, momentum=momentum, track_running_stats=True, algebra="quaternion")
    before = copy.deepcopy(norm.state_dict())
    assert norm(torch.zeros(0, 8, 4, 4)).shape == (0, 8, 4, 4)
    for name, value in norm.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("algebra", ["real", "quaternion"])
def test_running_statistics_follow_within_functions_of_torch_func(algebra: str) -> None:
    norm, x = fnn.InstanceNorm2d(8, track_running_stats=True, algebra=algebra), torch.randn(3, 8, 4, 4)
    twin = copy.deepcopy(norm)
    twin(x)
    torch.func.grad(lambda x: norm(x).square().sum())(x)
    torch.testing.assert_close(norm.running_mean, twin.running_mean)
    torch.testing.assert_close(norm.running_var, twin.running_var)


def test_bad_input_is_named() -> None:
    quaternion = {"algebra": "quaternion"}
    with pytest.raises(UserError, match=r"`normalized_shape` \(=6\) must be divisible by 4"):
        ours.LayerNorm(6, **quaternion)
    with pytest.raises(UserError, match=r"`normalized_shape\[0\]` \(=6\) must be divisible by 4"):
        ours.RMSNorm((6, 4), **quaternion)
    with pytest.raises(UserError, match=r"`num_channels` \(=8\) must be divisible by 16 \(4 groups of 4\)"):
        ours.GroupNorm(4, 8, **quaternion)
    with pytest.raises(UserError, match=r"`num_features` \(=6\) must be divisible by 4"):
        ours.InstanceNorm2d(6, **quaternion)
    with pytest.raises(UserError, match=r"`input` of shape \(2, 4\) must end in `normalized_shape` \(=\(8,\)\)"):
        ours.LayerNorm(8, **quaternion)(torch.zeros(2, 4))
    with pytest.raises(UserError, match=r"`input` of shape \(2, 4, 3\) must have 8 channels on axis 1"):
        ours.GroupNorm(2, 8, **quaternion)(torch.zeros(2, 4, 3))
    with pytest.raises(UserError, match="more than 1 position per channel"):
        ours.InstanceNorm2d(8, **quaternion)(torch.zeros(2, 8, 1, 1))
    assert math.isclose(ours.RMSNorm(8, **quaternion)(torch.ones(1, 8))[0, 0].item(), 1, abs_tol=1e-5)
