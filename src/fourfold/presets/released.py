"""What the papers' released code does where it departs from their texts, as changes of a preset.

Read from github.com/Sahel13/pruning_quaternions (paper 1) and github.com/smlab-niser/quatLT23 (paper 2).
"""

from collections.abc import Callable
from dataclasses import replace

from fourfold.record import Spec, UserError

POLAR_CONVOLUTION, POLAR_LINEAR = 4.4, 1.5
"""Variance of paper 1's quaternion weights, expanded, over that of the real twin's: hTorch's polar draw against torch's."""

COMPONENT_GLOROT = 4.0
"""The same of paper 2: Glorot's variance for each of four components."""

PAPER_1_LENET_EPOCHS = 80

PAPER_2_WARMUP_STEPS, PAPER_2_COSINE_STEPS = 10, 110
"""A schedule of 120 epochs, the first 10 rising, that is stepped once a batch: its epochs are steps."""

PAPER_2_MILESTONES = (11, 13)
"""On ImageNet64, epochs from 0."""


_SERIES = ("lstm-basic-motions", "gru-japanese-vowels", "lstm-spoken-digits", "transformer-spoken-digits")

_TASKS = ("yolo-tiny-bccd", "yolov1-voc", "gpt-wikitext2", "lstm-copy-memory")

NOT_RELEASED = (
    "digits",
    "digits-conv2",
    "digits-resnet8",
    "lenet-12-mnist",
    "vgg16-cifar10",
    "camvid-unet",
    *_TASKS,
    *_SERIES,
)
"""Presets of which there is no released code; nor is there of early stopping."""


def text(spec: Spec) -> Spec:
    """Return the spec as the paper's text has it: as it is."""
    return spec


def as_released(spec: Spec) -> Spec:
    """Return the spec as the paper's released code has it, under a name of its own.

    Raises:
        UserError: no code was released for it, or it contradicts what that does.
    """
    name = spec.preset
    if spec.train.early_stopping is not None or name in NOT_RELEASED:
        raise UserError(f"`protocol` (='released') must be 'text' for {name}, of which no code was released")
    changed = _paper_2(spec) if spec.data.encode_real else _paper_1(spec)
    return replace(changed, preset=f"{name}-released")


def _paper_1(spec: Spec) -> Spec:
    """Masks come from pruning and training on, with one Adam that is never reset; every mask is retrained from the start."""
    model, train = spec.model, spec.train
    if model.algebra == "quaternion":
        model = replace(model, init_scale=POLAR_CONVOLUTION, init_scale_linear=POLAR_LINEAR)
    if model.name == "lenet-300-100":
        train = replace(train, epochs=PAPER_1_LENET_EPOCHS)
    return replace(spec, model=model, train=train, prune=replace(spec.prune, search="continue"))


def _paper_2(spec: Spec) -> Spec:
    """Every component of every layer is pruned alone, and weights alone are redrawn; Nesterov's momentum."""
    model, train = spec.model, replace(spec.train, nesterov=True)
    if spec.data.name == "cifar-100":
        train = replace(train, warmup_steps=PAPER_2_WARMUP_STEPS, cosine_steps=PAPER_2_COSINE_STEPS)
    else:
        train = replace(train, milestones=PAPER_2_MILESTONES)
    if model.algebra == "quaternion":
        model = replace(model, init_scale=COMPONENT_GLOROT)
    return replace(spec, model=model, train=train, prune=replace(spec.prune, scope="component", rewind="weights"))


PROTOCOLS: dict[str, Callable[[Spec], Spec]] = {"text": text, "released": as_released}
"""Whom a preset follows, by name."""
