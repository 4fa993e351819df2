"""The papers' experiments, as the papers state them."""

import math
import re
from dataclasses import replace

import pytest

from fourfold import data, presets
from fourfold.lottery import levels
from fourfold.record import DataSpec, EarlyStopping, ModelSpec, PruneSpec, StopSpec, TrainSpec, UserError

# preset: data, model, learning rate, batch, epochs
PAPER_1 = {
    "lenet-300-100-mnist": ("mnist", "lenet-300-100", 1.2e-3, 60, 40),
    "lenet-12-mnist": ("mnist", "lenet-12", 1.2e-3, 60, 20),
    "conv2-cifar10": ("cifar-10", "conv-2", 2e-4, 60, 40),
    "conv4-cifar10": ("cifar-10", "conv-4", 3e-4, 60, 40),
    "conv6-cifar10": ("cifar-10", "conv-6", 3e-4, 60, 60),
    "conv4-cifar100": ("cifar-100", "conv-4", 3e-4, 60, 40),
    "conv6-cifar100": ("cifar-100", "conv-6", 3e-4, 60, 60),
}
EARLY = {f"{name}-early-stopping": name for name in PAPER_1}
# The text of paper 1 gives no settings for its larger networks.
LARGER = {"resnet18-cifar10": "resnet-18", "vgg16-cifar10": "vgg-16"}
# Those of other tasks read their data before a network is built: tests of each task run them on stand-ins.
OF_IMAGES = [name for name in presets.PRESETS if presets.get(name).data.name in data.DATASETS]
DEPTHS = (18, 34, 50, 101, 152)
# Trainable parameters, with 10 or 1000 classes, from the papers' tables; for the digits worked out by hand.
PARAMETERS = {
    "lenet-300-100-mnist": (266_610, 67_710),
    "lenet-12-mnist": (9_550, 2_494),
    "conv2-cifar10": (4_301_642, 1_077_962),
    "conv4-cifar10": (2_425_930, 609_226),
    "conv6-cifar10": (2_262_602, 568_778),
    "resnet18-imagenet64": (11_682_408, 2_928_552),
    "resnet34-imagenet64": (21_790_568, 5_461_160),
    "resnet50-imagenet64": (25_549_928, 6_428_072),
    "resnet101-imagenet64": (44_542_056, 11_215_272),
    "resnet152-imagenet64": (60_185_704, 15_160_744),
    "digits": (65 * 300 + 301 * 100 + 1010, 16 * 300 + 300 + 75 * 100 + 100 + 1010),
    "digits-conv2": (64 * (36 + 1 + 576 + 1) + 2 * 256 * 257 + 2570, 64 * (9 + 1 + 144 + 1) + 2 * 256 * 65 + 2570),
    "digits-resnet8": (78_042 + 16 * 9, 20_538),  # the real network sees a fourth channel
}


def test_every_preset_is_covered_here():
    resnets = {f"resnet{depth}-{data}" for depth in DEPTHS for data in ("cifar100", "imagenet64")}
    ours = {"digits", "digits-conv2", "digits-resnet8"}
    assert set(OF_IMAGES) == ours | set(PAPER_1) | set(EARLY) | set(LARGER) | resnets


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_preset_goes_by_its_name_and_says_what_it_is(name):
    assert presets.PRESETS[name]().preset == name
    first = (presets.PRESETS[name].__doc__ or "").splitlines()[0]
    assert first.endswith((".", ",")) or first
    assert len(first) > 15
    for algebra in ("real", "quaternion"):
        assert presets.get(name, algebra=algebra).model.algebra == algebra


@pytest.mark.parametrize("name", OF_IMAGES)
def test_both_networks_of_every_preset_can_be_built(name):
    networks = [levels.build(presets.get(name, algebra=algebra), device="meta") for algebra in ("real", "quaternion")]
    real, quaternion = [sum(p.numel() for p in network.parameters() if p.requires_grad) for network in networks]
    assert 0.24 < quaternion / real < 0.28
    assert presets.get(name, algebra="quaternion").real_twin == presets.get(name, algebra="real")
    if name in PARAMETERS:
        assert (real, quaternion) == PARAMETERS[name]


@pytest.mark.parametrize("name", PAPER_1)
def test_paper_1(name):
    dataset, model, learning_rate, batch_size, epochs = PAPER_1[name]
    spec = presets.get(name)
    cifar = DataSpec(name=dataset, encoding="grey", crop=4, flip=True, normalization="imagenet")
    assert spec.data == (DataSpec(name=dataset, encoding="pixels") if dataset == "mnist" else cifar)
    assert spec.model == ModelSpec(name=model, head="real", init="torch")
    assert spec.train == TrainSpec(optimizer="adam", learning_rate=learning_rate, batch_size=batch_size, epochs=epochs)
    assert spec.train.weight_decay == 0
    assert spec.prune == PruneSpec(fraction=0.2, scope="global")
    assert spec.stop == StopSpec(accuracy=30, levels=2, max_level=None)


@pytest.mark.parametrize(("name", "base"), EARLY.items())
def test_early_stopping_changes_nothing_else(name, base):
    expected = presets.get(base)
    early = replace(expected.train, early_stopping=EarlyStopping(every=100, patience=10))
    expected = replace(expected, preset=name, train=early, data=replace(expected.data, validation=5000))
    assert presets.get(name) == expected


@pytest.mark.parametrize(("name", "model"), LARGER.items())
def test_paper_1_larger_networks(name, model):
    spec = presets.get(name)
    assert spec.data == presets.get("conv2-cifar10").data
    assert spec.model == ModelSpec(name=model)
    assert (spec.train.optimizer, spec.prune.fraction) == ("sgd", 0.2)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("data", ["cifar100", "imagenet64"])
def test_paper_2(data, depth):
    spec = presets.get(f"resnet{depth}-{data}", algebra="quaternion")
    train = TrainSpec(optimizer="sgd", learning_rate=0.1, momentum=0.9, weight_decay=1e-4, batch_size=100, epochs=100)
    if data == "imagenet64":
        train = replace(train, batch_size=256, epochs=15, milestones=(10, 12), decay=0.1)
    assert spec.train == train
    assert spec.model == ModelSpec(name=f"resnet-{depth}", algebra="quaternion", head="algebra", init="glorot")
    assert (spec.data.encoding, spec.data.encode_real, spec.data.normalization) == ("grey", True, "dataset")
    assert (spec.data.crop, spec.data.flip) == ((4, True) if data == "cifar100" else (None, False))
    assert spec.real_twin.inputs == spec.data  # four channels for both
    assert spec.prune.fraction == (0.5 if data == "imagenet64" and depth > 50 else 0.3)
    assert (spec.stop.accuracy, spec.stop.levels) == (20, 3)


def test_an_unknown_preset_suggests_the_nearest():
    with pytest.raises(
        UserError, match=r"^unknown preset 'conv4-cifr10'; did you mean conv4-cifar10 or .*\? `fourfold presets`"
    ):
        presets.get("conv4-cifr10")


def test_an_unknown_algebra_lists_the_known():
    with pytest.raises(
        UserError, match=re.escape("unknown model algebra 'sedenion'; known: complex, octonion, phm, quaternion, real")
    ):
        presets.get("digits", algebra="sedenion")


NOT_RELEASED = ["digits", "digits-conv2", "digits-resnet8", "vgg16-cifar10", "lenet-12-mnist", "conv2-cifar10-early-stopping"]
RELEASED = [name for name in OF_IMAGES if name not in EARLY and name not in NOT_RELEASED]


@pytest.mark.parametrize("name", RELEASED)
@pytest.mark.parametrize("algebra", ["real", "quaternion"])
def test_the_released_protocol_changes_what_the_code_does_and_nothing_else(name, algebra):
    text, found = presets.get(name, algebra=algebra), presets.get(name, algebra=algebra, protocol="released")
    assert found.preset == f"{name}-released"
    assert (found.data, found.stop, found.model.init) == (text.data, text.stop, text.model.init)
    assert found.prune.fraction == text.prune.fraction
    scales = (found.model.init_scale, found.model.init_scale_linear)
    if name.startswith(("lenet", "conv")) or name == "resnet18-cifar10":
        assert scales == ((4.4, 1.5) if algebra == "quaternion" else (1.0, None))
        assert found.prune == replace(text.prune, search="continue")
        assert found.train == replace(text.train, epochs=80 if name.startswith("lenet") else text.train.epochs)
        return
    assert scales == ((4.0, None) if algebra == "quaternion" else (1.0, None))
    assert found.prune == replace(text.prune, scope="component", rewind="weights")
    assert found.train.nesterov
    if name.endswith("cifar100"):  # LambdaLR of the code's own function, stepped once a batch
        for step in (10, 65, 120, 175, 230, 1000):
            assert found.train.rate(step, 0) == pytest.approx(0.1 * 0.5 * (1 + math.cos(math.pi * (step - 10) / 110)))
        for step in range(10):
            assert found.train.rate(step, 0) == pytest.approx(0.1 * (step + 1 / 500) / 10, abs=3e-5)
    else:
        assert [found.train.rate(0, epoch) for epoch in (10, 11, 12, 13)] == pytest.approx([0.1, 0.01, 0.01, 0.001])


@pytest.mark.parametrize("name", NOT_RELEASED)
def test_what_was_not_released_is_refused(name):
    with pytest.raises(
        UserError, match=rf"^`protocol` \(='released'\) must be 'text' for {name}, of which no code was released$"
    ):
        presets.get(name, protocol="released")


def test_an_unknown_protocol_lists_the_known():
    with pytest.raises(UserError, match=r"^unknown protocol 'code'; known: released, text$"):
        presets.get("digits", protocol="code")
