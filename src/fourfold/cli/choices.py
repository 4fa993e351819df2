"""The values that arguments have, for help and completion: from the spec's own types, and from tables by name.

Tables of rooms that import torch are copied here, for help must not import it; a test compares them.
"""

from collections.abc import Callable, Iterable
from typing import get_args

from fourfold.record import CONTROLS
from fourfold.record.spec import AlgebraName, BadImages, Head, Resize
from fourfold.record.train_spec import Precision

CHOICES: dict[str, tuple[str, ...]] = {
    "--algebra": get_args(AlgebraName),
    "--bad-images": get_args(BadImages),
    "--controls": tuple(CONTROLS),
    "--executor": ("local", "ray"),
    "--head": get_args(Head),
    "--precision": get_args(Precision),
    "--protocol": ("text", "released"),
    "--ranges": ("max", "percentile", "mse"),
    "--resize": get_args(Resize),
    "--task": ("classification", "multilabel", "segmentation", "detection", "language", "regression"),
    "--to": ("artifact", "c", "web", "onnx", "torch", "pt2"),
    "--track": ("tensorboard", "wandb", "mlflow", "trackio"),
    "--values": ("fp32", "fp16", "int8", "codebook"),
    "data ACTION": ("list", "get", "check", "pack"),
    "new --task": ("classification", "segmentation", "detection", "sequences", "multilabel", "regression", "custom"),
}
"""By option, or by command and argument where it is that command's own."""

WORDS: dict[str, tuple[str, ...]] = {
    "--checkpoint": ("auto", "epoch", "off"),
    "--control-levels": ("all",),
    "--device": ("auto", "cpu", "cuda"),
    "--keep": ("all",),
    "--levels": ("all",),
}
"""Words that options take beside other values, such as numbers."""


def choices_of(command: str, name: str) -> tuple[str, ...]:
    """Return the only values of a command's option or argument; empty where it takes others, too."""
    return CHOICES.get(f"{command} {name}", CHOICES.get(name, ()))


def _presets() -> Iterable[str]:
    from fourfold.presets import PRESETS
    from fourfold.record.references import entry_point_names

    return [*PRESETS, *entry_point_names("preset")]


def _presets_and_tasks() -> Iterable[str]:
    from fourfold.cli.experiments import TASKS

    return [*_presets(), *TASKS]


def _models() -> Iterable[str]:
    from fourfold.models import MODELS

    return MODELS


def _data_sets() -> Iterable[str]:
    from fourfold.data import DATASETS
    from fourfold.data.named import READERS

    return [*DATASETS, *READERS]


def _studies() -> Iterable[str]:
    from fourfold.presets.studies import STUDIES

    return STUDIES


def _figures() -> Iterable[str]:
    from fourfold.report.paper_figures import FIGURES, TABLES

    return [*FIGURES, *TABLES, *_presets()]


_NAMES: dict[str, Callable[[], Iterable[str]]] = {
    "--base": _presets,
    "--data": _data_sets,
    "--model": _models,
    "MODEL": _models,
    "PRESET": _presets,
    "STUDY": _studies,
    "data NAME": _data_sets,
    "reproduce NAME": _figures,
    "run PRESET": _presets_and_tasks,
}
"""Names that are too many for help, or that other packages add."""


def completions_of(command: str, name: str) -> list[str]:
    """Return what completion offers for a command's option or argument beside files."""
    names = _NAMES.get(f"{command} {name}", _NAMES.get(name))
    return list(names()) if names else [*choices_of(command, name), *WORDS.get(name, ())]
