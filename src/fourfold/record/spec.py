"""`Spec`: everything that decides what one experiment computes, and nothing else.

Two runs with the same spec and the same trial number give the same rows. Settings that only decide where or how
fast it runs (device, number of processes, output folder) are not part of it.
"""

import dataclasses
import hashlib
import json
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from fourfold.record.checks import check_choice, check_count, check_flag, check_number, check_part, check_text, check_whole
from fourfold.record.combinations import WHOLE, check_combinations
from fourfold.record.errors import UserError
from fourfold.record.metric import TOP1, Metric
from fourfold.record.prune_spec import PruneSpec
from fourfold.record.references import Part, Trust, is_code
from fourfold.record.task_spec import TaskSpec, check_name
from fourfold.record.train_spec import ADDED_TO_TRAINING, EarlyStopping, TrainSpec

SPEC_VERSION = 2
"""Raised whenever a field is removed or changes its meaning, or is added and not among `ADDED`."""

ADDED: dict[str, tuple[str, ...]] = {
    "": ("task",),
    "data": ("classes", "size", "resize", "bad_images"),
    "model": ("norm",),
    "train": ("precision", *ADDED_TO_TRAINING),
    "prune": ("skip", "layer_fractions"),
    "stop": ("metric",),
    "task": ("grid", "boxes", "coordinate_factor", "no_object_factor"),
}
"""Fields that were added later, by part: at None (`task` at its default) they are left out of the JSON, so that ids from before
them stay."""

AlgebraName = Literal["real", "complex", "quaternion", "octonion", "phm"]
Encoding = Literal["none", "grey", "zero", "learned", "pixels"]
Normalization = Literal["dataset", "imagenet"]
Resize = Literal["crop", "fit", "stretch"]
BadImages = Literal["refuse", "skip"]
Head = Literal["real", "algebra"]
Init = Literal["torch", "he", "glorot"]
Norm = Literal["whitening"]


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Which images, and how they reach the network."""

    name: str
    """A data set of `fourfold data list`, or code such as roads.py:data."""
    encoding: Encoding = "none"
    """Channels added for a hypercomplex input: none, grey (RGB + grey), zero (RGB + 0), learned (RGB + a small trained
    layer), or pixels (each n consecutive pixels of a row are the components of one number)."""
    encode_real: bool = False
    """Give the real network the encoded channels too (paper 2 does, paper 1 does not)."""
    crop: int | None = None
    """Random crops after padding this many pixels on each side; None means off."""
    flip: bool = False
    """Random horizontal flips."""
    normalization: Normalization = "dataset"
    """Channel means and deviations: those of the training set, or ImageNet's (as paper 1's code uses for CIFAR)."""
    validation: int = 0
    """Training images held out for anything that is selected (early stopping)."""
    classes: int | tuple[int, ...] | None = None
    """Some classes alone: their labels, or how many, drawn once and for all; None means all. They are counted from 0 anew."""
    size: int | None = None
    """Height and width of the images of a folder, such as photos/; None where all have one size already."""
    resize: Resize | None = None
    """How the images of a folder come to their size, as in `data.from_folder`: crop, fit or stretch; None means crop."""
    bad_images: BadImages | None = None
    """What becomes of damaged images of a folder: refuse or skip; None means refuse."""

    def __post_init__(self) -> None:
        if self.size is not None:
            check_count(self, "data", "size", 1)
        if self.resize is not None:
            check_choice(self, "data", "resize", Resize)
        if self.bad_images is not None:
            check_choice(self, "data", "bad_images", BadImages)
        check_name("data", self.name)
        check_choice(self, "data", "encoding", Encoding)
        check_flag(self, "data", "encode_real")
        check_flag(self, "data", "flip")
        check_choice(self, "data", "normalization", Normalization)
        if self.crop is not None:
            check_count(self, "data", "crop", 1)
        check_count(self, "data", "validation", 0)
        if isinstance(self.classes, list | tuple):
            object.__setattr__(self, "classes", tuple(self.classes))
            self._check_labels()
        elif self.classes is not None:
            check_count(self, "data", "classes", 2)

    def _check_labels(self) -> None:
        assert isinstance(self.classes, tuple)
        for label in self.classes:
            check_whole("data.classes", label, 0)
        if len(self.classes) < 2 or list(self.classes) != sorted(set(self.classes)):
            raise UserError(f"`data.classes` (={self.classes}) must be at least two labels, increasing")


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Which network, in which algebra."""

    name: str
    """A model of `fourfold info`, or code such as roads.py:net."""
    algebra: AlgebraName = "real"
    """The algebra of the layers; phm is one of four components that every layer learns for itself."""
    head: Head = "real"
    """The output layer: real (paper 1) or in the algebra (paper 2)."""
    init: Init = "torch"
    """Variance of the real twin's weights: torch (torch's own default, a third of 1 / fan-in), he or glorot. The other
    algebras draw in polar form with exactly that variance in their real matrix."""
    init_scale: float = 1.0
    """Factor of the variance that the initial weights have otherwise, of all layers but a real output layer: for studies of
    what the start does (paper 1's quaternion convolutions started at 4.4 times the variance of the real ones)."""
    init_scale_linear: float | None = None
    """The factor of linear layers, where it is another; None means `init_scale`."""
    norm: Norm | None = None
    """Batch norm, where the network has it: whitening also takes the correlation of a number's components away; None means
    that of each component alone."""

    def __post_init__(self) -> None:
        check_name("model", self.name)
        check_choice(self, "model", "algebra", AlgebraName)
        check_choice(self, "model", "head", Head)
        check_choice(self, "model", "init", Init)
        check_number(self, "model", "init_scale", 0, 10_000, "()")
        if self.init_scale_linear is not None:
            check_number(self, "model", "init_scale_linear", 0, 10_000, "()")
        if self.norm is not None:
            check_choice(self, "model", "norm", Norm)


@dataclass(frozen=True, kw_only=True)
class StopSpec:
    """When a trial ends."""

    accuracy: float = 30.0
    """Top-1 accuracy in percent below which a level counts as failed."""
    levels: int = 2
    """A trial ends after this many successive levels below that accuracy."""
    max_level: int | None = None
    """The last level in any case; None means no bound."""
    metric: float | None = None
    """Value of the task's metric beyond which a level counts as failed; None means `accuracy` where the metric is a percentage
    that shall be high, and that none counts as failed elsewhere."""

    def __post_init__(self) -> None:
        check_number(self, "stop", "accuracy", 0, 100, "[]")
        if self.metric is not None:
            check_number(self, "stop", "metric", -1e30, 1e30, "[]")
        check_count(self, "stop", "levels", 1)
        if self.max_level is not None:
            check_count(self, "stop", "max_level", 0)

    def bound(self, metric: Metric = TOP1) -> float | None:
        """Return the value of a metric beyond which a level counts as failed; None if none does."""
        if self.metric is not None:
            return self.metric
        return self.accuracy if metric.is_percent and metric.higher_is_better else None

    def reached(self, values: list[float], metric: Metric = TOP1) -> bool:
        """Whether a trial with these values of its metric (level 0 first) has ended."""
        if self.max_level is not None and len(values) > self.max_level:
            return True
        bound = self.bound(metric)
        if bound is None:
            return False
        return len(values) >= self.levels and all(metric.better(bound, value) for value in values[-self.levels :])


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One experiment: a network in one algebra, on one data set, trained and pruned level after level."""

    preset: str
    """The name it goes by in tables and figures."""
    data: DataSpec
    model: ModelSpec
    train: TrainSpec = field(default_factory=TrainSpec)
    prune: PruneSpec = field(default_factory=PruneSpec)
    stop: StopSpec = field(default_factory=StopSpec)
    task: TaskSpec = field(default_factory=TaskSpec)
    trust: Trust | None = field(default=None, compare=False, repr=False)
    """Permission to import the code that the spec names; a spec that was read from a file has none. No part of the id."""

    def __post_init__(self) -> None:
        check_text(self, "spec", "preset")
        for part in fields(self):
            if part.name in _NESTED:
                check_part(self, "spec", part.name, _NESTED[part.name])
        if self.trust is not None:
            check_part(self, "spec", "trust", Trust)
        if self.train.early_stopping and not self.data.validation:
            raise UserError("`train.early_stopping` needs `data.validation` (=0) images to look at")
        check_combinations(WHOLE, lambda name: operator.attrgetter(name)(self))
        prune = self.prune
        if prune.rewind == "epoch" and (prune.rewind_to or 0) >= self.train.epochs:
            raise UserError(
                f"`prune.rewind_to` (={prune.rewind_to}) must be below `train.epochs` (={self.train.epochs}) to leave some"
            )

    @property
    def id(self) -> str:
        """A readable name and a hash of all fields, defaults included."""
        known: str | None = vars(self).get("_id")  # a cached property takes a lock, which a forked process may find held
        if known is None:
            text = json.dumps(self.to_json(), sort_keys=True)
            known = f"{self.preset}-{self.model.algebra}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
            object.__setattr__(self, "_id", known)
        return known

    @property
    def inputs(self) -> DataSpec:
        """The data as this algebra's network sees it: the real one without encoding, unless `encode_real`."""
        if self.model.algebra == "real" and not self.data.encode_real:
            return dataclasses.replace(self.data, encoding="none")
        return self.data

    @property
    def real_twin(self) -> "Spec":
        """The same experiment with the real network of the same neurons."""
        return dataclasses.replace(self, model=dataclasses.replace(self.model, algebra="real"))

    def finished(
        self, values: list[float], num_weights: int, layers: Mapping[str, int] | None = None, metric: Metric = TOP1
    ) -> bool:
        """Whether a trial with these values of its metric (level 0 first) has no further level.

        It ends by its stop rule, or when the next level would keep none of the weights that are pruned.

        Args:
            values: The metric of each level, such as its accuracy in percent.
            num_weights: The network's weights.
            layers: Those of each layer, by name; needed where layers are skipped or have fractions of their own.
            metric: What the values are of.
        """
        prune, level = self.prune, len(values)
        if layers is None or not (prune.skip or prune.layer_fractions):
            left = round(prune.density(level) * num_weights)
        else:
            left = prune.num_pruned_to(layers, level)
        return bool(values) and (self.stop.reached(values, metric) or left == 0)

    @property
    def code(self) -> dict[Part, str]:
        """The references to code among the names of its parts."""
        names: dict[Part, str] = {"data": self.data.name, "model": self.model.name, "task": self.task.name}
        return {part: name for part, name in names.items() if is_code(name)}

    def trusted(self, trust: Trust | None) -> "Spec":
        """Return the spec with permission to import the code that it names, or (None) without."""
        return dataclasses.replace(self, trust=trust)

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON values, with the version of its form."""
        value = dataclasses.asdict(dataclasses.replace(self, trust=None))
        del value["trust"]
        for part, names in ADDED.items():
            for name in names if part else ():
                if value[part][name] is None:
                    del value[part][name]
        if self.task == TaskSpec():
            del value["task"]
        return {"spec_version": SPEC_VERSION, **value}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], source: str = "spec") -> "Spec":
        """Rebuild a spec; raise `UserError` if it is of another version or has other fields than ours."""
        version = value.get("spec_version")
        if version != SPEC_VERSION:
            raise UserError(
                f"{source} was written with spec version {version}, this fourfold reads version {SPEC_VERSION}; "
                "use the fourfold that wrote it, or another --out to start afresh"
            )
        rest = {k: v for k, v in value.items() if k != "spec_version"}
        try:
            spec = _build(cls, rest, "")
        except (TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UserError(f"{source} is not a spec of this version ({error})") from error
        assert isinstance(spec, cls)
        return spec


_NESTED: dict[str, type] = {
    "data": DataSpec,
    "model": ModelSpec,
    "train": TrainSpec,
    "prune": PruneSpec,
    "stop": StopSpec,
    "early_stopping": EarlyStopping,
    "task": TaskSpec,
}


def _build(cls: type, value: Mapping[str, Any], part: str) -> Any:
    """Build a dataclass from JSON values; every field must be there, but for those that were added, and no other."""
    names = {f.name for f in fields(cls)} - {"trust"}
    if names - set(ADDED.get(part, ())) != set(value) - set(ADDED.get(part, ())):
        raise KeyError(f"fields {sorted(names ^ set(value))} are missing or unknown in {cls.__name__}")
    built: dict[str, Any] = {}
    for key, item in value.items():
        if key in _NESTED and item is not None:
            built[key] = _build(_NESTED[key], item, key)
        else:
            built[key] = tuple(item) if isinstance(item, list) else item
    return cls(**built)
