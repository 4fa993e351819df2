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
