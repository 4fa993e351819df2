"""The papers' experiments, each a function that returns its `Spec`; presets derive from each other.

They follow the papers' texts; `released.py` turns them into what the released code does, and `docs/presets.md` says where
the two differ.
"""

from dataclasses import replace
from typing import cast

from fourfold.presets.described import Preset, with_description
from fourfold.presets.released import PROTOCOLS
from fourfold.presets.sequences import SEQUENCES
from fourfold.presets.tasks import camvid_unet, gpt_wikitext2, lstm_copy_memory, yolo_tiny_bccd, yolov1_voc
from fourfold.record import DataSpec, EarlyStopping, ModelSpec, PruneSpec, Spec, StopSpec, TrainSpec
from fourfold.record.errors import canonical, unknown
from fourfold.record.spec import AlgebraName


@with_description(
    "The whole story in a minute: Lenet-300-100 on the 8×8 digits that scikit-learn carries, until accuracy falls away."
)
def digits() -> Spec:
    return Spec(
        preset="digits",
        data=DataSpec(name="digits", encoding="pixels"),
        model=ModelSpec(name="lenet-300-100"),
        train=TrainSpec(optimizer="adam", learning_rate=1.2e-3, batch_size=60, epochs=30),
        prune=PruneSpec(fraction=0.3),
        stop=StopSpec(accuracy=30, levels=2),
    )


@with_description("Convolutions in minutes: Conv-2 on the digits, whose real network sees four pixels as four channels too.")
def digits_conv2() -> Spec:
    base = digits()
    return replace(
        base,
        preset="digits-conv2",
        data=replace(base.data, encode_real=True),
        model=ModelSpec(name="conv-2"),
        train=replace(base.train, epochs=20),
        prune=PruneSpec(fraction=0.5),
    )


@with_description("Batch norm in minutes: ResNet-8 on the digits, as `digits-conv2` gives them.")
def digits_resnet8() -> Spec:
    base = digits_conv2()
    return replace(base, preset="digits-resnet8", model=replace(base.model, name="resnet-8"))


@with_description("Paper 1, figure 4a.")
def lenet_300_100_mnist() -> Spec:
    return Spec(
        preset="lenet-300-100-mnist",
        data=DataSpec(name="mnist", encoding="pixels"),
        model=ModelSpec(name="lenet-300-100"),
        train=TrainSpec(optimizer="adam", learning_rate=1.2e-3, batch_size=60, epochs=40),
        prune=PruneSpec(fraction=0.2),
        stop=StopSpec(accuracy=30, levels=2),
    )


@with_description("Paper 1, figure 5: one hidden layer of 12 real neurons.")
def lenet_12_mnist() -> Spec:
    base = lenet_300_100_mnist()
    return replace(
        base, preset="lenet-12-mnist", model=replace(base.model, name="lenet-12"), train=replace(base.train, epochs=20)
    )


@with_description("Paper 1, figure 4b.")
def conv2_cifar10() -> Spec:
    return Spec(
        preset="conv2-cifar10",
        data=DataSpec(name="cifar-10", encoding="grey", crop=4, flip=True, normalization="imagenet"),
        model=ModelSpec(name="conv-2"),
        train=TrainSpec(optimizer="adam", learning_rate=2e-4, batch_size=60, epochs=40),
        prune=PruneSpec(fraction=0.2),
        stop=StopSpec(accuracy=30, levels=2),
    )


@with_description("Paper 1, figure 4c.")
def conv4_cifar10() -> Spec:
    base = conv2_cifar10()
    train = replace(base.train, learning_rate=3e-4)
    return replace(base, preset="conv4-cifar10", model=replace(base.model, name="conv-4"), train=train)


@with_description("Paper 1, figure 4d.")
def conv6_cifar10() -> Spec:
    base = conv4_cifar10()
    train = replace(base.train, epochs=60)
    return replace(base, preset="conv6-cifar10", model=replace(base.model, name="conv-6"), train=train)


@with_description("Paper 1, figure 4e.")
def conv4_cifar100() -> Spec:
    base = conv4_cifar10()
    return replace(base, preset="conv4-cifar100", data=replace(base.data, name="cifar-100"))


@with_description("Paper 1, figure 4f.")
def conv6_cifar100() -> Spec:
    base = conv6_cifar10()
    return replace(base, preset="conv6-cifar100", data=replace(base.data, name="cifar-100"))


@with_description("Paper 1, section 5.2; the text gives no settings, these are those of its released code.")
def resnet18_cifar10() -> Spec:
    base = conv2_cifar10()
    train = TrainSpec(optimizer="sgd", learning_rate=0.01, momentum=0.9, weight_decay=1e-4, batch_size=128, epochs=80)
    return replace(base, preset="resnet18-cifar10", model=replace(base.model, name="resnet-18"), train=train)


@with_description("Paper 1, section 5.2; settings as for its ResNet-18, which the text does not give either.")
def vgg16_cifar10() -> Spec:
    base = resnet18_cifar10()
    return replace(base, preset="vgg16-cifar10", model=replace(base.model, name="vgg-16"))


def _early_stopping(base: Preset) -> Preset:
    """Derive paper 1's section 5.1: minimum validation loss on 5,000 images held out of training, patience 10."""

    def preset() -> Spec:
        spec = base()
        train = replace(spec.train, early_stopping=EarlyStopping(every=100, patience=10))
        return replace(spec, preset=f"{spec.preset}-early-stopping", data=replace(spec.data, validation=5000), train=train)

    preset.__doc__ = (
        f"Paper 1, section 5.1{' and figure 6' if base is conv2_cifar10 else ''}: `{base().preset}` with early stopping."
    )
    return preset


def _resnet_cifar100(depth: int) -> Preset:
    def preset() -> Spec:
        return Spec(
            preset=f"resnet{depth}-cifar100",
            data=DataSpec(name="cifar-100", encoding="grey", encode_real=True, crop=4, flip=True),
            model=ModelSpec(name=f"resnet-{depth}", head="algebra", init="glorot"),
            train=TrainSpec(optimizer="sgd", learning_rate=0.1, momentum=0.9, weight_decay=1e-4, batch_size=100, epochs=100),
            prune=PruneSpec(fraction=0.3),
            stop=StopSpec(accuracy=20, levels=3),
        )

    preset.__doc__ = f"Paper 2: ResNet-{depth} on CIFAR-100, 70 % of the weights kept a level."
    return preset


def _resnet_imagenet64(depth: int) -> Preset:
    fraction = 0.5 if depth > 50 else 0.3

    def preset() -> Spec:
        base = _resnet_cifar100(depth)()
        return replace(
            base,
            preset=f"resnet{depth}-imagenet64",
            data=replace(base.data, name="imagenet64", crop=None, flip=False),
            train=replace(base.train, batch_size=256, epochs=15, milestones=(10, 12)),
            prune=PruneSpec(fraction=fraction),
        )

    preset.__doc__ = f"Paper 2: ResNet-{depth} on ImageNet64, {100 - 100 * fraction:.0f} % of the weights kept a level."
    return preset


_PAPER_1 = (
    lenet_300_100_mnist,
    conv2_cifar10,
    conv4_cifar10,
    conv6_cifar10,
    conv4_cifar100,
    conv6_cifar100,
    lenet_12_mnist,
)
_DEPTHS = (18, 34, 50, 101, 152)

PRESETS: dict[str, Preset] = {
    preset().preset: preset
    for preset in (
        digits,
        digits_conv2,
        digits_resnet8,
        *_PAPER_1,
        *(_early_stopping(base) for base in _PAPER_1),
        resnet18_cifar10,
        vgg16_cifar10,
        *(_resnet_cifar100(depth) for depth in _DEPTHS),
        *(_resnet_imagenet64(depth) for depth in _DEPTHS),
        camvid_unet,
        yolo_tiny_bccd,
        yolov1_voc,
        gpt_wikitext2,
        lstm_copy_memory,
        *SEQUENCES,
    )
}


def get(name: str, *, algebra: str = "real", protocol: str = "text") -> Spec:
    """Return a preset's spec in an algebra; use `dataclasses.replace` to change it.

    Args:
        name: One of `PRESETS`, in any spelling.
        algebra: Of the layers.
        protocol: `text` as the papers say it, `released` as their released code does it.

    Raises:
        ValueError: there is no such preset, algebra or protocol, or the code was not released for it.
    """
    name = canonical(name, PRESETS)
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS, "`fourfold presets` describes them")
    if protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, PROTOCOLS)
    spec = PRESETS[name]()
    return PROTOCOLS[protocol](replace(spec, model=replace(spec.model, algebra=cast("AlgebraName", algebra))))
