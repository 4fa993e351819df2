"""U-Net and SegNet: parameters to the last integer, maps of any size, and skips that the decoder reads."""

import pytest
import torch

from fourfold import models
from fourfold.algebra import get
from fourfold.models import segmentation
from fourfold.record import UserError

CHANNELS = {
    "unet": (32, 64, 128, 256),
    "unet-transposed": (32, 64, 128, 256),
    "unet-8": (8, 16, 32, 64),
    "segnet": (32, 64, 128),
}
# Eleven classes, a real head, 3 channels for real and 4 for quaternion.
PARAMETERS = {
    "unet": (2_142_603, 538_443),
    "unet-transposed": (1_927_563, 484_683),
    "unet-8": (134_763, 34_395),
    "segnet": (445_003, 112_651),
}


def stage(inputs, outputs, n, depth=2):
    """Parameters of 3×3 convolutions without biases and their batch norms."""
    return sum(9 * before * outputs // n + 2 * outputs for before in [inputs, *[outputs] * (depth - 1)])


def by_hand(name, n, classes):
    channels = CHANNELS[name]
    total = sum(stage(before, size, n) for before, size in zip([3 if n == 1 else 4, *channels], channels, strict=False))
    for below, size in zip(channels[:0:-1], channels[-2::-1], strict=True):
        larger = 4 * below * size // n + 2 * size if name == "unet-transposed" else stage(below, size, n, 1)
        total += larger + stage(2 * size, size, n) if name != "segnet" else stage(below, size, n)
    if name == "segnet":
        # Stages of the decoder begin where the encoder's end: the last keeps its channels.
        total += stage(channels[0], channels[0], n)
    return total + channels[0] * classes + classes


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("classes", [2, 11])
def test_parameters_of_both_networks_are_those_of_their_description(name, classes):
    for algebra, n, of_eleven in zip(("real", "quaternion"), (1, 4), PARAMETERS[name], strict=True):
        network = models.build(name, algebra=algebra, num_classes=classes, device="meta")
        count = sum(p.numel() for p in network.parameters())
        assert count == by_hand(name, n, classes) == of_eleven - (11 - classes) * (CHANNELS[name][0] + 1)
        assert models.measure(network, models.input_shape(name, algebra)).parameters == count


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("algebra", ["real", "complex", "quaternion", "octonion", "phm"])
@pytest.mark.parametrize("size", [(8, 8), (15, 22), (9, 17)])
def test_maps_of_any_size_have_an_output_at_every_pixel_and_a_gradient_in_every_weight(name, algebra, size):
    channels = models.input_shape(name, algebra)[0]
    if (name, algebra) == ("unet-transposed", "phm"):
        with pytest.raises(UserError, match=r"`algebra` \(='phm'\) cannot be combined with transposed convolutions"):
            models.build(name, algebra=algebra)
        return
    network = models.build(name, algebra=algebra, num_classes=3, shape=(channels, *size), seed=0, width=0.25)
    output = network(torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0)))
    output.square().sum().backward()
    assert output.shape == (2, 3, *size)
    assert output.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_width_scales_hidden_layers_alone():
    wide, narrow = (models.build("unet", num_classes=11, width=width, device="meta") for width in (1, 0.25))
    eight = models.build("unet-8", num_classes=11, device="meta")
    shapes = [[tuple(p.shape) for p in network.parameters()] for network in (narrow, eight, wide)]
    assert shapes[0] == shapes[1] != shapes[2]


@pytest.mark.parametrize("algebra", ["real", "quaternion"])
def test_the_decoder_reads_the_skips_component_by_component(algebra):
    n = get(algebra).n
    network = models.build("unet-8", algebra=algebra, num_classes=3, shape=(4, 16, 16), seed=0).eval()
    seen = {}
    net = network.unet
    net.down[0].register_forward_hook(lambda module, args, output: seen.update(skip=output))
    net.resized[2].register_forward_hook(lambda module, args, output: seen.update(below=output))
    net.up[2].register_forward_hook(lambda module, args, output: seen.update(both=args[0]))
    with torch.no_grad():
        network(torch.rand(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)))
    skip, below, both = (seen[key].unflatten(1, (n, -1)) for key in ("skip", "below", "both"))
    assert torch.equal(both, torch.cat([skip, below], 2))


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (2, 3)])
def test_unpooling_is_that_of_torch(size):
    maps = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    pooled, places = torch.nn.functional.max_pool2d(maps, 2, return_indices=True)
    right = torch.nn.functional.max_unpool2d(pooled, places, 2, output_size=list(size))
    assert torch.equal(segmentation._unpool(pooled, places, size), right)
