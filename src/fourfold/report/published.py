"""The curves that the two papers print, to be drawn behind ours."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from fourfold.report.scaling import unscaled

DATASETS = {"mnist": "MNIST", "cifar-10": "CIFAR-10", "cifar-100": "CIFAR-100", "imagenet64": "ImageNet64"}
"""Our names of the data sets, and the papers'."""

MODELS = {
    "lenet-300-100": "Lenet-300-100",
    "lenet-12": "Lenet-12",
    "conv-2": "Conv-2",
    "conv-4": "Conv-4",
    "conv-6": "Conv-6",
    "resnet-8": "ResNet-8",
    "resnet-20": "ResNet-20",
    "resnet-18": "ResNet-18",
    "resnet-34": "ResNet-34",
    "resnet-50": "ResNet-50",
    "resnet-101": "ResNet-101",
    "resnet-152": "ResNet-152",
    "vgg-16": "VGG-16",
}
"""Our names of the networks, and as they are written, the papers' as there."""

EARLY_STOPPING = "-early-stopping"
"""How the names of presets with early stopping end."""


@dataclass(frozen=True, kw_only=True)
class PublishedCurve:
    """Top-1 accuracy against fraction of real, as a paper prints it."""

    dataset: str
    model: str
    algebra: str
    paper: int
    """1 or 2: which of the two papers."""
    trials: int
    read_from: str
    """How the numbers were read, and how exactly."""
    points: tuple[tuple[float, float], ...]
    """Fraction of real (from 1 down) and top-1 accuracy in percent."""

    @property
    def label(self) -> str:
        """What a legend says, such as `published, paper 1 (5 trials)`."""
        return f"published, paper {self.paper} ({self.trials} {'trial' if self.trials == 1 else 'trials'})"


@cache
def _file() -> dict[str, Any]:
    value = json.loads(files("fourfold.report").joinpath("published.json").read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    return value


def about() -> str:
    """Return what the published numbers are, in the words of their file."""
    return str(_file()["about"])


def published_curves(dataset: str, model: str, preset: str = "") -> tuple[PublishedCurve, ...]:
    """Return the published curves of a network on a data set (in our names), real before quaternion; none is no error.

    Paper 1 trains Conv-2 twice, the second time with early stopping: a `preset` whose name ends in `-early-stopping`
    chooses that.
    """
    name = MODELS.get(model)
    if unscaled(preset).endswith(EARLY_STOPPING):
        name = f"{name} (early stopping)"
    known = [
        PublishedCurve(
            dataset=dataset,
            model=model,
            algebra=curve["algebra"],
            paper=curve["paper"],
            trials=curve["trials"],
            read_from=curve["read_from"],
            points=tuple((percent / 100, top1) for percent, top1 in curve["points"]),
        )
        for curve in _file()["curves"]
        if (curve["dataset"], curve["model"]) == (DATASETS.get(dataset), name)
    ]
    return tuple(sorted(known, key=lambda curve: curve.algebra != "real"))
