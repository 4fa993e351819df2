"""Parameters to the last integer, and multiply-accumulates against counts by hand and on real tensors."""

import pytest
import torch
from torch import nn

from fourfold import models
from fourfold import nn as fnn

# Paper 1: ten classes, a real head, 3 channels for real and 4 for quaternion. Real, quaternion, inputs of the head.
PAPER_1 = {
    "lenet-300-100": (266_610, 67_710, 100),
    "lenet-12": (9_550, 2_494, 12),
    "conv-2": (4_301_642, 1_077_962, 256),
    "conv-4": (2_425_930, 609_226, 256),
    "conv-6": (2_262_602, 568_778, 256),
}
PAPER_1_CONVOLUTIONS = {"conv-2": (38_720, 9_920), "conv-4": (260_160, 65_472), "conv-6": (1_145_408, 287_168)}
# Paper 2: a thousand classes, the head in the algebra, 4 channels for both. Real, quaternion, inputs of the head.
PAPER_2 = {
    "resnet-18": (11_682_408, 2_928_552, 512),
    "resnet-34": (21_790_568, 5_461_160, 512),
    "resnet-50": (25_549_928, 6_428_072, 2048),
    "resnet-101": (44_542_056, 11_215_272, 2048),
    "resnet-152": (60_185_704, 15_160_744, 2048),
}


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", PAPER_1)
@pytest.mark.parametrize("num_classes", [10, 100])
def test_parameters_are_those_of_paper_1(name, num_classes):
    *counts, head_inputs = PAPER_1[name]
    for algebra, ten_classes in zip(("real", "quaternion"), counts, strict=True):
        network = models.build(name, algebra=algebra, num_classes=num_classes, device="meta")
        expected = ten_classes + (num_classes - 10) * (head_inputs + 1)
        assert parameters(network) == expected
        assert models.measure(network, models.input_shape(name, algebra)).parameters == expected


def test_a_learned_algebra_counts_as_its_layer_s_own():
    sizes = {
        algebra: models.measure(models.build("conv-2", algebra=algebra, device="meta"), models.input_shape("conv-2", algebra))
        for algebra in ("quaternion", "phm")
    }
    assert sizes["phm"].parameters == sizes["quaternion"].parameters + 4 * 4**3  # two convolutions, two linear layers
    assert sizes["phm"].weights == sizes["quaternion"].weights
    assert sizes["phm"].macs == sizes["quaternion"].macs


def test_an_algebra_that_layers_share_is_counted_once():
    shared = fnn.PHMLinear(8, 8, n=4).algebra
    network = nn.Sequential(fnn.PHMLinear(8, 8, bias=False, algebra=shared), fnn.PHMLinear(8, 8, bias=False, algebra=shared))
    assert models.measure(network, (8,)).parameters == parameters(network) == 2 * 16 + 64


@pytest.mark.parametrize("name", PAPER_1_CONVOLUTIONS)
def test_convolutions_have_the_parameters_of_paper_1(name):
    for algebra, expected in zip(("real", "quaternion"), PAPER_1_CONVOLUTIONS[name], strict=True):
        sizes = models.measure(models.build(name, algebra=algebra, device="meta"), models.input_shape(name, algebra))
        assert sum(layer.parameters for layer in sizes.layers if layer.kind == "Conv2d") == expected


@pytest.mark.parametrize("name", PAPER_2)
@pytest.mark.parametrize("num_classes", [100, 1000])
def test_parameters_are_those_of_paper_2(name, num_classes):
    *counts, head_inputs = PAPER_2[name]
    options = {"num_classes": num_classes, "shape": (4, 64, 64), "head": "algebra", "device": "meta"}
    for algebra, n, thousand_classes in zip(("real", "quaternion"), (1, 4), counts, strict=True):
        network = models.build(name, algebra=algebra, **options)
        assert parameters(network) == thousand_classes - (1000 - num_classes) * (head_inputs // n + 1)


@pytest.mark.parametrize(("name", "depth", "macs"), [("resnet-8", 1, 12_501_632), ("resnet-20", 3, 40_813_184)])
def test_small_resnets_have_three_stages_from_16_channels(name, depth, macs):
    for algebra, n, colours in (("real", 1, 3), ("quaternion", 4, 4)):
        expected, before = colours * 16 * 9 // n + 32, 16
        for channels in (16, 32, 64):
            for _ in range(depth):
                expected += (before + channels) * channels * 9 // n + 4 * channels
                if before != channels:
                    expected += before * channels // n + 2 * channels  # the shortcut
                before = channels
        network = models.build(name, algebra=algebra, device="meta")
        assert parameters(network) == expected + 64 * 10 + 10
        more = 16 * 9 * 32 * 32 if algebra == "quaternion" else 0  # of the fourth channel
        assert models.measure(network, (colours, 32, 32)).macs == macs + more


def test_vgg_16_has_the_parameters_of_its_description():
    channels = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    for algebra, n, first in (("real", 1, 3), ("complex", 2, 4), ("quaternion", 4, 4), ("octonion", 8, 8)):
        pairs = zip([first, *channels], channels, strict=False)
        expected = sum(9 * i * o // n + 2 * o for i, o in pairs) + 512 * 10 + 10
        assert parameters(models.build("vgg-16", algebra=algebra, device="meta")) == expected


def test_weights_are_what_is_left_without_biases_and_normalisation():
    network = models.build("resnet-18", algebra="quaternion", device="meta")
    sizes = models.measure(network, (4, 32, 32))
    one_axis = sum(p.numel() for p in network.parameters() if p.dim() == 1)
    assert sizes.weights == sizes.parameters - one_axis
    assert sizes.weights == sum(weight.numel() for weight in fnn.named_weights(network).values())
    assert [layer.weights for layer in sizes.layers if layer.kind == "BatchNorm2d"] == [0] * 20


def test_macs_of_conv_4_counted_by_hand():
    convolutions = 3 * 64 * 9 * 32 * 32 + 64 * 64 * 9 * 32 * 32 + 64 * 128 * 9 * 16 * 16 + 128 * 128 * 9 * 16 * 16
    linear = 128 * 8 * 8 * 256 + 256 * 256 + 256 * 10
    sizes = models.measure(models.build("conv-4", device="meta"), (3, 32, 32))
    assert sizes.macs == convolutions + linear
    assert [layer.name for layer in sizes.layers] == ["conv1", "conv2", "conv3", "conv4", "fc1", "fc2", "fc3"]
    assert sizes.layers[2].output == (128, 16, 16)


def test_macs_of_resnet_18_counted_by_hand():
    total, inputs, size = 3 * 64 * 9 * 32**2, 64, 32
    for outputs in (64, 128, 256, 512):
        if outputs > inputs:  # the first block of a stage halves the map and widens its shortcut
            size //= 2
            total += inputs * outputs * size**2
        total += (inputs + 3 * outputs) * outputs * 9 * size**2
        inputs = outputs
    sizes = models.measure(models.build("resnet-18", device="meta"), (3, 32, 32))
    assert sizes.macs == total + 512 * 10
    assert size == 4
    assert sizes.layers[-3].output == (512, 4, 4)


@pytest.mark.parametrize("algebra", ["complex", "quaternion", "octonion"])
def test_another_algebra_does_the_macs_of_its_real_twin(algebra):
    shape = models.input_shape("conv-2", algebra)
    twin = models.measure(models.build("conv-2", shape=shape, device="meta"), shape)
    assert models.measure(models.build("conv-2", algebra=algebra, device="meta"), shape).macs == twin.macs


def counted_on_real_tensors(network: nn.Module, x: torch.Tensor) -> int:
    """Every output of a layer is a sum over one row of its real matrix."""
    total = 0

    def count(layer, _, output):
        nonlocal total
        total += output.numel() * (layer.matrix() if hasattr(layer, "matrix") else layer.weight)[0].numel()

    handles = [layer.register_forward_hook(count) for layer in fnn.layers_with_weights(network).values()]
    network.eval()(x)
    for handle in handles:
        handle.remove()
    return total


@pytest.mark.parametrize(
    ("name", "algebra", "options"),
    [
        ("lenet-300-100", "quaternion", {}),
        ("conv-6", "octonion", {"shape": (8, 9, 11)}),
        ("conv-2", "quaternion", {"shape": (4, 6, 6), "learned_from": 3}),
        ("resnet-18", "complex", {"shape": (4, 7, 8)}),
        ("resnet-50", "quaternion", {"shape": (4, 8, 8), "head": "algebra", "num_classes": 20}),
    ],
)
def test_macs_are_those_counted_on_real_tensors(name, algebra, options):
    network = models.build(name, algebra=algebra, seed=0, **options)
    shape = options.get("shape", models.input_shape(name, algebra))
    shape = (options.get("learned_from", shape[0]), *shape[1:])
    assert models.measure(network, shape).macs == counted_on_real_tensors(network, torch.zeros(1, *shape))


def test_macs_of_any_network_are_counted_with_groups_strides_and_torchs_own_layers():
    grouped = fnn.Conv2d(8, 16, 3, groups=2, algebra="quaternion")
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.GELU(), grouped, nn.Flatten(), nn.Linear(16, 3))
    by_hand = 8 * 27 * 3 * 3 + 16 * (8 // 2 * 9) + 16 * 3
    sizes = models.measure(network, (3, 7, 7))
    assert sizes.macs == by_hand == counted_on_real_tensors(network, torch.zeros(1, 3, 7, 7))
    assert [layer.algebra for layer in sizes.layers] == ["real", "quaternion", "real"]


def test_macs_of_a_pruned_network_are_those_of_its_kept_weights():
    sizes = models.measure(models.build("lenet-12", algebra="quaternion", device="meta"), (4, 28, 7))
    first, head = sizes.layers
    assert (first.weights, head.weights) == (784 * 12 // 4, 120)
    assert sizes.kept_macs({"fc1": 100, "fc2": 7}) == 4 * 100 + 7
    assert sizes.kept_macs({"fc1": 100}) == 4 * 100 + 120
    assert sizes.kept_macs({}) == sizes.macs == 4 * first.weights + 120


def test_measuring_changes_nothing():
    network = models.build("resnet-18", shape=(3, 8, 8), seed=0).train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    models.measure(network, (3, 8, 8))
    assert network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    with pytest.raises(ValueError, match=r"^`model` \(=Sequential\) does not run on `shape` \(=\(5, 8, 8\)\): .*channels"):
        models.measure(network, (5, 8, 8))
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_frozen_parameters_are_not_counted():
    network = models.build("lenet-12", seed=0)
    network.fc1.bias.requires_grad_(False)
    assert models.measure(network, (1, 28, 28)).parameters == 9_550 - 12


def test_layers_that_do_not_run_come_last_and_do_nothing():
    network = models.build("lenet-12", seed=0)
    network.fc1.unused = nn.Linear(2, 2)
    sizes, before = models.measure(network, (1, 28, 28)), models.measure(models.build("lenet-12", seed=0), (1, 28, 28))
    assert sizes.layers[:-1] == before.layers
    assert sizes.layers[-1].name == "fc1.unused"
    assert (sizes.layers[-1].weights, sizes.layers[-1].parameters, sizes.layers[-1].macs) == (4, 6, 0)
    assert sizes.macs_per_weight["fc1.unused.weight"] == 0


def test_linear_layers_on_more_axes_count_every_position():
    assert models.measure(nn.Linear(8, 5), (3, 8, 8)).macs == 8 * 5 * 24


def test_modes_of_modules_are_left_alone():
    network = models.build("resnet-18", seed=0).train()
    frozen = network.stem.norm.eval()
    models.measure(network, (3, 32, 32))
    assert not frozen.training
    assert network.training
    assert network.stem.conv.training
