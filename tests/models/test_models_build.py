"""`build`: every network by name in every algebra that divides its sizes, from a seed."""

import pytest
import torch
from torch import nn

from fourfold import models
from fourfold import nn as fnn
from fourfold.algebra import ALGEBRAS, QUATERNION
from fourfold.record import UserError

TOO_ODD = [("lenet-300-100", "octonion"), ("lenet-12", "octonion")]
NOT_LEARNED = {"unet-transposed"}
DEEP = {"resnet-34", "resnet-101", "resnet-152"}  # built of the same blocks as resnet-18 and resnet-50
FITTING = [
    (name, algebra)
    for name, info in models.MODELS.items()
    for algebra in (["quaternion"] if name in DEEP else [*ALGEBRAS, models.PHM])
    if (name, algebra) not in TOO_ODD and not ((info.series or info.tokens or name in NOT_LEARNED) and algebra == models.PHM)
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "algebra"), FITTING)
def test_every_network_gives_one_output_a_class_in_every_algebra_that_divides_it(name, algebra):
    shape = models.input_shape(name, algebra)
    kind = models.MODELS[name].outputs
    for classes, head in ((7, "real"), (22 if kind == "boxes" else 16, "algebra")):
        network = models.build(name, algebra=algebra, device="meta", num_classes=classes, head=head)
        steps = models.MODELS[name].series or models.MODELS[name].tokens
        places = () if kind != "label map" else shape[:1] if steps else shape[1:]
        outputs = 7 * 7 * (classes + 2 * 5) if kind == "boxes" else classes
        dtype = torch.int64 if models.MODELS[name].tokens else torch.float32
        assert network.eval()(torch.empty(2, *shape, device="meta", dtype=dtype)).shape == (2, outputs, *places)


@pytest.mark.parametrize(
    ("name", "algebra", "size"),
    [
        *[(name, algebra, 8) for name in ("conv-2", "conv-4", "conv-6") for algebra in ALGEBRAS],
        *[
            (name, algebra, 28)
            for name in ("lenet-300-100", "lenet-12")
            for algebra in ("real", "complex", "quaternion", "phm")
        ],
        ("vgg-16", "quaternion", 32),
        ("resnet-8", "quaternion", 8),
        ("resnet-18", "phm", 8),
        ("resnet-18", "real", 8),
        ("resnet-18", "octonion", 8),
        ("resnet-50", "quaternion", 8),
    ],
)
def test_networks_compute_finite_outputs_and_gradients(name, algebra, size):
    channels = models.input_shape(name, algebra)[0]
    shape = models.input_shape(name, algebra) if size == 28 else (channels, size, size)
    network = models.build(name, algebra=algebra, shape=shape, seed=0)
    output = network(torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)))
    output.square().sum().backward()
    assert output.shape == (2, 10)
    assert output.isfinite().all()
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("name", "algebra"), TOO_ODD)
def test_an_algebra_that_does_not_divide_a_network_is_refused(name, algebra):
    with pytest.raises(UserError, match=r"`image width` \(=28\) must be divisible by 8 for algebra 'octonion'"):
        models.build(name, algebra=algebra, device="meta")
    with pytest.raises(UserError, match=r"`out_features` \(=(300|12)\) must be divisible by 8 for algebra 'octonion'"):
        models.build(name, algebra=algebra, shape=(1, 32, 32), device="meta")


def test_every_layer_but_the_head_is_in_the_algebra():
    for name in ("conv-6", "vgg-16", "resnet-50"):
        for head in ("real", "algebra"):
            network = models.build(name, algebra="quaternion", num_classes=8, head=head, device="meta")
            *body, last = fnn.layers_with_weights(network).values()
            assert {fnn.algebra_of(layer) for layer in body} == {QUATERNION}
            assert fnn.algebra_of(last).name == ("real" if head == "real" else "quaternion")


def test_resnets_have_the_residuals_and_depths_of_their_names():
    for depth in (18, 34, 50, 101, 152):
        network = models.build(f"resnet-{depth}", device="meta")
        names = [layer for layer in fnn.layers_with_weights(network) if layer != "fc"]
        assert len([layer for layer in names if "shortcut" not in layer]) == depth - 1
        assert len([layer for layer in names if "shortcut" in layer]) == (3 if depth < 50 else 4)


def test_a_residual_block_whose_body_is_silent_is_the_identity_on_what_is_positive():
    network = models.build("resnet-18", shape=(3, 8, 8), seed=0).eval()
    block = network.stage1[0]
    nn.init.zeros_(block.body[-1].norm.weight)
    x = torch.rand(1, 64, 4, 4)
    assert torch.equal(block(x), x)
    assert not block(-x).any()


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("conv4", "conv-4"),
        ("conv_4", "conv-4"),
        ("LeNet_300_100", "lenet-300-100"),
        ("ResNet 18", "resnet-18"),
        ("VGG16", "vgg-16"),
        *((info.title, name) for name, info in models.MODELS.items()),
    ],
)
def test_names_are_read_in_any_spelling(spelling, name):
    assert models.canonical_name(spelling) == name


@pytest.mark.parametrize(
    ("name", "algebra", "shape"),
    [
        ("lenet-12", "real", (1, 28, 28)),
        ("lenet-12", "quaternion", (4, 28, 7)),
        ("conv-4", "real", (3, 32, 32)),
        ("conv-4", "complex", (4, 32, 32)),
        ("conv-4", "quaternion", (4, 32, 32)),
        ("resnet18", QUATERNION, (4, 32, 32)),
        ("vgg-16", "octonion", (8, 32, 32)),
    ],
)
def test_the_default_input_is_the_published_one_filled_up_to_whole_numbers(name, algebra, shape):
    assert models.input_shape(name, algebra) == shape


def flat(network: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("algebra", ["real", "quaternion"])
def test_a_seed_decides_the_network_whatever_torchs_global_state(algebra):
    drawn = []
    for state, seed in ((1, 7), (2, 7), (1, 8)):
        torch.manual_seed(state)
        before = torch.get_rng_state()
        drawn.append(flat(models.build("lenet-12", algebra=algebra, seed=seed)))
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_without_a_seed_the_network_is_drawn_from_torchs_global_state():
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn += [flat(models.build("lenet-12")), flat(models.build("lenet-12"))]
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])


def test_nothing_of_a_network_is_left_undrawn():
    network = models.build("resnet-18", algebra="quaternion", shape=(4, 8, 8), learned_from=3, seed=0)
    for name, tensor in network.state_dict().items():
        assert tensor.isfinite().all(), name
        if "norm" in name and not name.endswith("tracked"):
            assert tensor.eq(1 if name.endswith(("norm.weight", "running_var")) else 0).all(), name
        elif name.endswith("weight"):
            assert 0 < tensor.std() < 1, name


def test_the_scheme_changes_the_variance_alone():
    variances = {init: models.build("conv-2", init=init, seed=0).conv2.weight.square().mean() for init in ("torch", "he")}
    assert (variances["he"] / variances["torch"]).item() == pytest.approx(6, rel=0.05)


def test_learned_channels_are_appended_to_the_unchanged_image():
    network = models.build("conv-2", algebra="octonion", shape=(8, 6, 6), learned_from=3, seed=0)
    x = torch.randn(2, 3, 6, 6)
    encoded = network.encoding(x)
    assert encoded.shape == (2, 8, 6, 6)
    assert torch.equal(encoded[:, :3], x)
    assert torch.equal(encoded[:, 3:], network.encoding.conv(x).relu())
    assert torch.equal(network(x), network.network(encoded))
    assert "encoding.conv.weight" in fnn.named_weights(network)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "conv-8"}, r"unknown model 'conv-8'; did you mean conv-2 or conv-4 or conv-6\?"),
        ({"algebra": "quat"}, "unknown algebra 'quat'; known: real, complex, quaternion, octonion"),
        ({"head": "complex"}, "unknown head 'complex'; known: algebra, real"),
        ({"init": "xavier"}, "unknown scheme 'xavier'; known: torch, he, glorot"),
        ({"num_classes": 0}, r"`num_classes` \(=0\) must lie in \[1, 2147483647\]"),
        ({"num_classes": 2**31}, r"`num_classes` \(=2147483648\) must lie in \[1, 2147483647\]"),
        ({"name": "conv-6", "shape": (3, 32, 7)}, "images of 32×7 are too small for conv-6: it needs 8×8"),
        ({"name": "vgg-16", "shape": (3, 28, 28)}, "images of 28×28 are too small for vgg-16: it needs 32×32"),
        (
            {"algebra": "quaternion", "shape": (3, 32, 32)},
            r"`in_channels` \(=3\) must be divisible by 4 for algebra 'quaternion'",
        ),
        ({"algebra": "quaternion", "head": "algebra"}, r"\(=10\) must be divisible by 4 for algebra 'quaternion'"),
    ],
)
def test_mistakes_are_named_with_their_value(options, message):
    with pytest.raises(ValueError, match=message):
        models.build(**{"name": "conv-2", **options})


def test_networks_run_at_their_smallest_size():
    for name, info in models.MODELS.items():
        if name != "vgg-16" and not name.startswith("resnet") and not (info.series or info.tokens):
            network = models.build(name, shape=(3, info.smallest, info.smallest), device="meta")
            places = (info.smallest, info.smallest) if info.outputs == "label map" else ()
            count = 1 if info.outputs == "classes" else 2  # batch norm of one pixel
            batch = torch.empty(count, 3, info.smallest, info.smallest, device="meta")
            outputs = 7 * 7 * (10 + 2 * 5) if info.outputs == "boxes" else 10
            assert network(batch).shape == (len(batch), outputs, *places)


def test_the_head_names_the_classes():
    with pytest.raises(ValueError, match=r"`num_classes` \(=10\) must be divisible by 4 for algebra 'quaternion'"):
        models.build("conv2", algebra="quaternion", head="algebra")


@pytest.mark.parametrize("learned_from", [0, 3, 4])
def test_learned_channels_are_made_of_fewer(learned_from):
    with pytest.raises(ValueError, match=rf"`learned_from` \(={learned_from}\) must be fewer channels than the 3 that"):
        models.build("conv2", learned_from=learned_from)


@pytest.mark.parametrize("name", ["vgg-16", "resnet-18", "resnet-50"])
def test_batch_norm_whitens_where_that_is_asked(name):
    norms = {
        norm: [module for module in _built(name, norm).modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        for norm in models.NORMS
    }
    assert {type(norm) for norm in norms["component"]} == {fnn.BatchNorm2d}
    assert {type(norm) for norm in norms["whitening"]} == {fnn.WhiteningBatchNorm2d}
    assert [norm.num_features for norm in norms["component"]] == [norm.num_features for norm in norms["whitening"]]
    assert all(norm.algebra is QUATERNION for kind in norms.values() for norm in kind)


def _built(name, norm):
    return models.build(name, algebra="quaternion", norm=norm, device="meta")


@pytest.mark.parametrize(
    ("name", "norm", "complaint"),
    [
        ("conv-2", "whitening", r"^`norm` \(='whitening'\) needs a network with batch norm; conv-2 has none$"),
        ("vgg-16", "white", r"unknown norm 'white'"),
    ],
)
def test_a_norm_that_a_network_cannot_have_is_refused(name, norm, complaint):
    with pytest.raises(UserError, match=complaint):
        _built(name, norm)


def test_every_layer_learns_an_algebra_of_its_own_from_the_seed():
    first, again, other = (models.build("conv-2", algebra="phm", seed=seed) for seed in (0, 0, 1))
    learned = [layer.algebra.constants for layer in first.modules() if isinstance(getattr(layer, "algebra", None), nn.Module)]
    assert len(learned) == len({id(constants) for constants in learned}) == 4  # all but the real output layer
    assert all(constants.shape == (4, 4, 4) for constants in learned)
    assert not torch.equal(learned[0], learned[1])
    assert torch.equal(first.conv1.algebra.constants, again.conv1.algebra.constants)
    assert not torch.equal(first.conv1.algebra.constants, other.conv1.algebra.constants)
