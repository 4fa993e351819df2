"""Experiments of other tasks than the papers', each a function that returns its `Spec`, sized for two cores."""

from fourfold.presets.described import with_description
from fourfold.record import DataSpec, ModelSpec, PruneSpec, Spec, StopSpec, TaskSpec, TrainSpec


@with_description(
    "Segmentation in minutes: a U-Net of 8 to 64 channels on CamVid at 160×120, down to an eighth of its weights."
)
def camvid_unet() -> Spec:
    return Spec(
        preset="camvid-unet",
        data=DataSpec(name="camvid", flip=True),
        model=ModelSpec(name="unet-8"),
        task=TaskSpec(name="segmentation"),
        train=TrainSpec(optimizer="adam", learning_rate=3e-3, batch_size=8, epochs=5, schedule="cosine"),
        prune=PruneSpec(fraction=0.5),
        stop=StopSpec(accuracy=5, levels=2, max_level=3),
    )


@with_description("Detection in minutes: eight convolutions on blood cells (BCCD) at 224×224, to a quarter of the weights.")
def yolo_tiny_bccd() -> Spec:
    return Spec(
        preset="yolo-tiny-bccd",
        data=DataSpec(name="bccd", flip=True, crop=16),
        model=ModelSpec(name="yolo-tiny"),
        task=TaskSpec(name="detection"),
        train=TrainSpec(optimizer="adam", learning_rate=1e-3, batch_size=16, epochs=16, schedule="cosine"),
        prune=PruneSpec(fraction=0.5),
        stop=StopSpec(accuracy=1, levels=2, max_level=2),
    )


VOC_STEPS = 259
"""Of an epoch: 16,551 images in batches of 64."""


@with_description("Paper 2's released code: YOLOv1 with batch norm on Pascal VOC, whose pruning reached the head alone.")
def yolov1_voc() -> Spec:
    # Its loss is the sum over a batch and ours the mean over images, so that its weight decay of 5e-4 is a 64th beside ours.
    # Its rate rises for five epochs to 1e-5, from a tenth of that; drops at epochs 75 and 105 are counted from there. It starts
    # from a network that was trained on ImageNet64, and this one does not.
    train = TrainSpec(
        optimizer="adam",
        learning_rate=1e-5,
        weight_decay=5e-4 / 64,
        batch_size=64,
        epochs=140,
        warmup_steps=5 * VOC_STEPS,
        milestones=(80, 110),
        decay=0.1,
    )
    return Spec(
        preset="yolov1-voc",
        data=DataSpec(name="voc", encoding="grey", encode_real=True),
        model=ModelSpec(name="yolov1"),
        task=TaskSpec(name="detection"),
        train=train,
        prune=PruneSpec(fraction=0.3),
        stop=StopSpec(accuracy=5, levels=2, max_level=25),
    )


@with_description("A decoder-only transformer on bytes of WikiText-2: bits per byte in windows of 128.")
def gpt_wikitext2() -> Spec:
    return Spec(
        preset="gpt-wikitext2",
        data=DataSpec(name="wikitext-2"),
        model=ModelSpec(name="gpt"),
        task=TaskSpec(name="language"),
        train=TrainSpec(optimizer="adam", learning_rate=1e-3, batch_size=64, epochs=3, schedule="cosine", clip_norm=1.0),
        prune=PruneSpec(fraction=0.5),
        stop=StopSpec(max_level=4),
    )


@with_description("Copy memory (Parcollet et al. 2019): an LSTM recalls ten symbols after ten steps; guessing gets 12.5 %.")
def lstm_copy_memory() -> Spec:
    return Spec(
        preset="lstm-copy-memory",
        data=DataSpec(name="copy-memory"),
        model=ModelSpec(name="lstm-steps"),
        train=TrainSpec(optimizer="adam", learning_rate=5e-3, batch_size=128, epochs=20, clip_norm=1.0),
        prune=PruneSpec(fraction=0.5),
        stop=StopSpec(accuracy=20, levels=2, max_level=8),
    )
