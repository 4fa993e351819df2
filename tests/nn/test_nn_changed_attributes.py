"""What torch's layers read at each call, ours read at each call too: on both sides of every threshold, cached or not."""

import pytest
import torch
from layer_cases import first
from torch import nn

from fourfold import nn as fnn
from fourfold.algebra import QUATERNION as QUATERNION_ALGEBRA
from fourfold.algebra import Algebra

QUATERNION = {"algebra": "quaternion", "dtype": torch.float64}
CONVOLUTION = {
    "padding": [0, 2, (2,), (1, 2), "same", "valid"],
    "stride": [2, (2,), (1, 2)],
    "dilation": [2, (2,), (1, 2)],
    "groups": [1, 2],
    "bias": [None],
    "kernel_size": [7],
    "in_channels": [99],
    "out_channels": [99],
}
TRANSPOSED = {name: values for name, values in CONVOLUTION.items() if name != "padding"} | {
    "padding": [0, 1, (1,), (0, 1)],
    "output_padding": [(0, 1)],
}


@pytest.fixture(params=[False, True], ids=["matrix", "few products"])
def chosen(request, products_pay):
    products_pay(lambda *given: request.param)


@pytest.fixture(params=["training", "evaluation"])
def computed(request):
    """The output of a layer, in evaluation after an earlier call that left something in the cache."""
    if request.param == "training":
        return lambda layer, x: first(layer(x))

    def evaluated(layer, x):
        with torch.no_grad():
            return first(layer.eval()(x))

    return evaluated


def changes(table):
    return [(name, value) for name, values in table.items() for value in values]


def assert_as_reference(layer, x, computed):
    """Raise unless the layer computes what its reference path does, or both are refused."""
    try:
        with fnn.reference_path():
            expected = computed(layer, x)
    except (RuntimeError, ValueError):
        with pytest.raises((RuntimeError, ValueError)):
            computed(layer, x)
        return
    torch.testing.assert_close(computed(layer, x), expected)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize(("name", "value"), changes(CONVOLUTION))
@pytest.mark.parametrize(
    "start", [{}, {"padding": "same"}, {"padding": 1, "stride": 2}, {"padding": 1, "padding_mode": "circular"}]
)
def test_convolutions_follow_their_attributes(name, value, start, chosen, computed):
    layer = fnn.Conv2d(16, 16, (2, 3), **start, **QUATERNION)
    x = torch.randn(3, 16, 7, 8, dtype=torch.float64)
    computed(layer, x)
    setattr(layer, name, value)
    assert_as_reference(layer, x, computed)


@pytest.mark.parametrize(("name", "value"), [change for change in changes(CONVOLUTION) if change[0] not in ("groups", "bias")])
def test_the_reference_path_of_a_changed_convolution_is_a_convolution_built_so(name, value, chosen):
    layer, twin = fnn.Conv2d(16, 16, 3, **QUATERNION), nn.Conv2d(16, 16, 3, dtype=torch.float64)
    twin.load_state_dict({"weight": layer.matrix(), "bias": layer.bias})
    x = torch.randn(3, 16, 7, 8, dtype=torch.float64)
    for module in (layer, twin):
        setattr(module, name, value)
    torch.testing.assert_close(layer(x), twin(x))


@pytest.mark.parametrize(("name", "value"), changes(TRANSPOSED))
def test_transposed_convolutions_follow_their_attributes(name, value, chosen, computed):
    layer = fnn.ConvTranspose2d(16, 16, (2, 3), stride=2, **QUATERNION)
    x = torch.randn(3, 16, 4, 5, dtype=torch.float64)
    computed(layer, x)
    setattr(layer, name, value)
    assert_as_reference(layer, x, computed)


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize(
    ("name", "value"), [("in_features", 99), ("out_features", 99), ("bias", None), ("weight", "wider"), ("weight", "longer")]
)
def test_linear_layers_follow_their_attributes(name, value, rows, chosen, computed):
    layer = fnn.Linear(16, 8, bias=False, **QUATERNION)
    computed(layer, torch.randn(rows, 16, dtype=torch.float64))
    shapes = {"wider": (8, 6), "longer": (12, 4)}
    setattr(layer, name, nn.Parameter(torch.randn(shapes[value], dtype=torch.float64)) if name == "weight" else value)
    assert_as_reference(layer, torch.randn(rows, 4 * layer.weight.shape[1], dtype=torch.float64), computed)


class SelfAttention(nn.Module):
    """Attention of one input."""

    def __init__(self):
        super().__init__()
        self.attention = fnn.MultiheadAttention(16, 2, **QUATERNION)

    def forward(self, x):
        return self.attention(x, x, x)


def test_attention_follows_its_number_of_heads(computed):
    layer, x = SelfAttention(), torch.randn(5, 3, 16, dtype=torch.float64)
    computed(layer, x)
    layer.attention.num_heads, layer.attention.head_dim = 4, 4
    assert_as_reference(layer, x, computed)


@pytest.mark.parametrize(("name", "value"), [("groups", 2), ("real_part", "zero"), ("stride", (2, 2)), ("padding", 1)])
def test_rotation_layers_follow_their_attributes(name, value, computed):
    layer, x = fnn.RotationConv2d(16, 16, 3, dtype=torch.float64), torch.randn(3, 16, 6, 6, dtype=torch.float64)
    computed(layer, x)
    setattr(layer, name, value)
    assert_as_reference(layer, x, computed)


@pytest.mark.parametrize("kind", ["Linear", "Conv2d"])
def test_another_algebra_is_another_matrix(kind, chosen, computed):
    options, shape = {"Linear": ((16, 16), (3, 16)), "Conv2d": ((16, 16, 3), (3, 16, 6, 6))}[kind]
    layer, x = getattr(fnn, kind)(*options, **QUATERNION), torch.randn(shape, dtype=torch.float64)
    before = computed(layer, x)
    layer.algebra = Algebra("opposite", tuple(zip(*QUATERNION_ALGEBRA.constants, strict=True)))  # w·x is the other's x·w
    assert_as_reference(layer, x, computed)
    assert not torch.allclose(computed(layer, x), before)


@pytest.mark.parametrize("name", ["eps", "momentum"])
@pytest.mark.parametrize("kind", ["WhiteningBatchNorm2d", "BatchNorm2d", "InstanceNorm2d", "GroupNorm", "LayerNorm", "RMSNorm"])
def test_norms_follow_their_attributes(kind, name):
    sizes = {"GroupNorm": (2, 16), "LayerNorm": ([16, 4, 4],), "RMSNorm": ([16, 4, 4],)}.get(kind, (16,))
    if name == "momentum" and kind in ("GroupNorm", "LayerNorm", "RMSNorm"):
        pytest.skip("has no momentum")
    options = {"track_running_stats": True} if kind == "InstanceNorm2d" else {}
    x = torch.randn(6, 16, 4, 4)
    layer, built = (getattr(fnn, kind)(*sizes, **options, **more, algebra="quaternion") for more in ({}, {name: 0.7}))
    setattr(layer, name, 0.7)
    assert torch.equal(layer(x), built(x))
    for ours, theirs in zip(layer.state_dict().values(), built.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(layer.eval()(x), built.eval()(x))
