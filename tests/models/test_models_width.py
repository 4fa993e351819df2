"""Networks of another width: every hidden layer scaled, elements of the algebra, images and classes as they were."""

import pytest
import torch
from torch import nn

from fourfold import models
from fourfold.nn import layers_with_weights
from fourfold.record import UserError

NAMES = ("lenet-300-100", "conv-4", "vgg-16", "resnet-18")


def outputs(model: nn.Module) -> list[int]:
    """Real outputs of every layer with weights."""
    return [getattr(layer, "out_features", None) or layer.out_channels for layer in layers_with_weights(model).values()]


@pytest.mark.parametrize("algebra", ["real", "quaternion"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [0.5, 0.27, 1e-6, 1.5])
def test_hidden_layers_are_scaled_and_rounded(name, algebra, width):
    n = {"real": 1, "quaternion": 4}[algebra]
    full = outputs(models.build(name, algebra=algebra, device="meta"))
    found = outputs(models.build(name, algebra=algebra, device="meta", width=width))
    assert found[-1] == full[-1] == 10
    for size, scaled in zip(full[:-1], found[:-1], strict=True):
        assert scaled == n * max(1, round(size * width / n))
    sizes = models.measure(models.build(name, algebra=algebra, device="meta", width=width), models.input_shape(name, algebra))
    assert sizes.layers[-1].output == (10,)


@pytest.mark.parametrize("algebra", ["real", "quaternion"])
def test_bottlenecks_keep_their_shape(algebra):
    network = models.build("resnet-50", algebra=algebra, device="meta", width=0.27)
    found = outputs(network)
    middles = [16, 36, 68, 140] if algebra == "quaternion" else [17, 35, 69, 138]
    assert {found[1], found[3]} == {middles[0], 4 * middles[0]}
    assert found[-2] == 4 * middles[3]
    assert models.measure(network, models.input_shape("resnet-50", algebra)).layers[-1].output == (10,)  # all layers fit


def test_width_1_changes_nothing():
    one, other = (models.build("conv-2", seed=0, width=width).state_dict() for width in (1, 1.0))
    assert all(torch.equal(one[name], value) for name, value in other.items())
    assert outputs(models.build("lenet-300-100", width=0.5, algebra="quaternion", device="meta")) == [152, 48, 10]


@pytest.mark.parametrize("width", [0, -1, float("nan")])
def test_a_width_that_leaves_nothing_is_refused(width):
    with pytest.raises(UserError, match=rf"^`width` \(={width}\) must be above 0$"):
        models.build("conv-2", width=width)
