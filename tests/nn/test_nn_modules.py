"""Layers as modules: state dicts, copies, devices and types, what they print and what they refuse."""

import copy

import pytest
import torch
from nn_reference import HYPERCOMPLEX, draw
from torch import nn

from fourfold import nn as fnn
from fourfold.algebra import QUATERNION, get
from fourfold.record import UserError


def layers(name):
    n = get(name).n
    return {
        "Linear": (fnn.Linear(3 * n, 2 * n, algebra=name), (5, 3 * n)),
        "Conv1d": (fnn.Conv1d(2 * n, 2 * n, 3, groups=2, algebra=name), (2, 2 * n, 6)),
        "Conv2d": (fnn.Conv2d(n, 2 * n, 3, padding=1, algebra=name), (2, n, 5, 5)),
        "Conv3d": (fnn.Conv3d(n, n, 2, bias=False, algebra=name), (1, n, 3, 3, 3)),
        "BatchNorm2d": (fnn.BatchNorm2d(2 * n, algebra=name), (2, 2 * n, 3, 3)),
    }


EVERY = [(name, kind) for name in HYPERCOMPLEX for kind in layers("real")]


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_a_state_dict_carries_a_layer_over(name, kind):
    layer, shape = layers(name)[kind]
    twin, _ = layers(name)[kind]
    twin.load_state_dict(layer.state_dict())
    x = draw(0, *shape, dtype=torch.float32)
    assert list(layer.state_dict()) == list(layers("real")[kind][0].state_dict())
    assert torch.equal(twin(x), layer(x))


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_a_deep_copy_computes_the_same_and_shares_nothing(name, kind):
    layer, shape = layers(name)[kind]
    twin = copy.deepcopy(layer)
    x = draw(0, *shape, dtype=torch.float32)
    expected = layer(x)
    assert twin.algebra == layer.algebra
    assert repr(twin) == repr(layer)
    assert torch.equal(twin(x), expected)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.fill_(7)
    assert not torch.equal(twin.eval()(x), layer.eval()(x))
    if kind != "BatchNorm2d":
        assert torch.equal(layer(x), expected)


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_a_layer_in_float64_computes_the_same_more_exactly(name, kind):
    layer, shape = layers(name)[kind]
    x = draw(0, *shape)
    single = layer(x.float())
    double = layer.to(torch.float64)(x)
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_layers_are_built_and_run_on_the_meta_device(name, kind):
    with torch.device("meta"):
        layer, shape = layers(name)[kind]
        y = layer(torch.empty(shape))
    real_twin, _ = layers(name)[kind]
    assert {key: value.shape for key, value in layer.state_dict().items()} == {
        key: value.shape for key, value in real_twin.state_dict().items()
    }
    assert all(p.is_meta for p in layer.parameters())
    assert y.shape == real_twin(torch.zeros(shape)).shape


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kind in EVERY if kind != "BatchNorm2d"])
def test_a_layer_stores_one_nth_of_the_weights_of_its_real_twin(name, kind):
    layer, _ = layers(name)[kind]
    in_size = getattr(layer, "in_features", 0) or layer.in_channels
    out_size = getattr(layer, "out_features", 0) or layer.out_channels
    options = {} if kind == "Linear" else {"kernel_size": layer.kernel_size, "groups": layer.groups}
    real = getattr(nn, kind)(in_size, out_size, **options)
    assert layer.weight.numel() * layer.algebra.n == real.weight.numel()
    assert layer.bias is None or layer.bias.shape == real.bias.shape
    assert layer.groups > 1 or layer.matrix().shape == real.weight.shape


def test_layers_print_their_algebra_and_their_sizes_in_real_neurons():
    assert repr(fnn.Linear(8, 4, algebra="quaternion")) == (
        "Linear(in_features=8, out_features=4, bias=True, algebra='quaternion')"
    )
    assert repr(fnn.Conv2d(16, 8, 3, groups=2, algebra="quaternion")) == (
        "Conv2d(16, 8, kernel_size=(3, 3), stride=(1, 1), groups=2, algebra='quaternion')"
    )
    assert repr(fnn.BatchNorm1d(8, algebra="octonion")) == repr(nn.BatchNorm1d(8))[:-1] + ", algebra='octonion')"
    assert repr(fnn.Linear(8, 4, algebra=QUATERNION)) == repr(fnn.Linear(8, 4, algebra="quaternion"))


@pytest.mark.parametrize(
    ("kind", "shape"), [("BatchNorm1d", (6, 8)), ("BatchNorm2d", (3, 8, 2, 2)), ("BatchNorm3d", (2, 8, 2, 2, 2))]
)
def test_batch_norm_is_torchs_over_the_real_channels_in_every_algebra(kind, shape):
    theirs, ours = getattr(nn, kind)(8), getattr(fnn, kind)(8, algebra="octonion")
    for step in range(3):
        x = 3 + 2 * draw(step, *shape, dtype=torch.float32)
        assert torch.equal(ours(x), theirs(x))
    for key, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize(
    ("kind", "arguments", "algebra", "message"),
    [
        ("Linear", (6, 8), "quaternion", r"`in_features` \(=6\) must be divisible by 4 for algebra 'quaternion'"),
        ("Linear", (8, 10), "quaternion", r"`out_features` \(=10\) must be divisible by 4 for algebra 'quaternion'"),
        ("Conv2d", (3, 8, 3), "complex", r"`in_channels` \(=3\) must be divisible by 2 for algebra 'complex'"),
        ("Conv1d", (8, 12, 3), "octonion", r"`out_channels` \(=12\) must be divisible by 8 for algebra 'octonion'"),
        ("Conv3d", (12, 8, 3, 1, 0, 1, 2), "quaternion", r"`in_channels` \(=12\) must be .* 8 \(2 groups of 4\)"),
        ("Conv2d", (8, 12, 3, 1, 0, 1, 2), "quaternion", r"`out_channels` \(=12\) must be .* 8 \(2 groups of 4\)"),
        ("BatchNorm2d", (6,), "quaternion", r"`num_features` \(=6\) must be divisible by 4 for algebra 'quaternion'"),
    ],
)
def test_sizes_that_the_algebra_does_not_divide_are_named_with_their_value(kind, arguments, algebra, message):
    with pytest.raises(UserError, match=message):
        getattr(fnn, kind)(*arguments, algebra=algebra)


@pytest.mark.parametrize("kind", ["Linear", "Conv2d", "BatchNorm2d"])
def test_an_unknown_algebra_lists_the_known_ones(kind):
    arguments = {"Linear": (8, 8), "Conv2d": (8, 8, 3), "BatchNorm2d": (8,)}[kind]
    with pytest.raises(ValueError, match="unknown algebra 'H'; known: real, complex, quaternion, octonion"):
        getattr(fnn, kind)(*arguments, algebra="H")
