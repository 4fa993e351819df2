"""What a sweep or a study tries: lists of values and ranges, by field of a spec, and the points that they give."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fourfold.record import Spec, UserError, Value, is_number, parse_value, split_words, with_fields

NOT_SWEPT = {
    "preset": "which names the experiment",
    "model.algebra": "which --algebra sets",
    "data.name": "as accuracies on two data sets are not comparable",
    "data.size": "as accuracies on other images are not comparable",
    "data.resize": "as accuracies on other images are not comparable",
    "data.bad_images": "as accuracies on other images are not comparable",
    "data.validation": "which --validation sets for all points",
    "stop.accuracy": "as every point is trained to the level that --level sets",
    "stop.levels": "as every point is trained to the level that --level sets",
    "stop.metric": "as every point is trained to the level that --level sets",
    "stop.max_level": "which --level sets",
}
"""Fields that a sweep sets itself, and why."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """The numbers between two ends, for a study."""

    low: float
    high: float
    log: bool = False
    """Whether equal ratios count as equal steps."""

    def position(self, value: float) -> float:
        """Return where a value lies between the ends, 0 … 1."""
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return (at - low) / (high - low)


Space = Mapping[str, Sequence[Value] | Range]
"""What is tried, by dotted field name of a spec."""

Settings = dict[str, Value]
"""The values of one point."""


def parse_space(words: Sequence[str]) -> dict[str, tuple[Value, ...] | Range]:
    """Return the space that `field=value,value` and `field=low:high[:log]` describe.

    Raises:
        UserError: a word is neither, or names an unknown field, a value of another type, or one value twice.
    """
    expected = "a field and its values, such as train.learning_rate=3e-4,1e-3"
    texts = split_words(words, expected, "; give all its values at once, with commas")
    return {
        name: _range(name, text) if ":" in text else tuple(parse_value(name, value) for value in text.split(","))
        for name, text in texts.items()
    }


def _range(name: str, text: str) -> Range:
    low, high, *scale = text.split(":")
    right = "low:high or low:high:log, such as 1e-4:1e-2:log"
    if not is_number(name) or scale not in ([], ["log"]):
        what = right if is_number(name) else "values parted by commas, as its values are not numbers"
        raise UserError(f"`{name}` (={text!r}) must be {what}")
    ends = [parse_value(name, end) for end in (low, high)]
    if not all(isinstance(end, int | float) and math.isfinite(end) for end in ends):
        raise UserError(f"`{name}` (={text!r}) must be {right}")
    values = Range(low=float(low), high=float(high), log=bool(scale))
    if not values.low < values.high or (values.log and values.low <= 0):
        raise UserError(f"`{name}` (={text!r}) must rise from low to high{', both above 0' if values.log else ''}")
    return values


def check_space(bases: Sequence[Spec], space: Space, *, study: bool) -> None:
    """Check that a space can be swept, without running anything.

    Raises:
        UserError: a field that a sweep sets itself, a value that a spec refuses, nothing to choose from, a value named twice,
            or a range without a study.
    """
    for name, values in space.items():
        if name in NOT_SWEPT:
            raise UserError(f"`{name}` must be left out of a sweep, {NOT_SWEPT[name]}")
        if name == "data.classes" and (isinstance(values, Range) or len(values) > 1):
            raise UserError("`data.classes` must have one value, as accuracies on other classes are not comparable")
        if isinstance(values, Range):
            if not study:
                raise UserError(f"`{name}` is a range, from which a study chooses: add --optuna N, or list its values")
        elif len(set(values)) < len(values):
            raise UserError(f"`{name}` names a value twice")
    if not any(isinstance(values, Range) or len(values) > 1 for values in space.values()):
        raise UserError(
            "there is nothing to sweep: give a field more than one value, such as --set train.learning_rate=3e-4,1e-3"
        )
    for base in bases:
        for settings in grid({name: _ends(name, values) for name, values in space.items()}):
            at_point(base, settings)


def _ends(name: str, values: Sequence[Value] | Range) -> Sequence[Value]:
    if not isinstance(values, Range):
        return values
    return [parse_value(name, f"{end:.17g}") for end in (values.low, values.high)]


def lists_of(space: Space) -> dict[str, Sequence[Value]]:
    """Return the fields of a space that have a list of values, with it."""
    return {name: values for name, values in space.items() if not isinstance(values, Range)}


def epochs_of(base: Spec, space: Space) -> list[int]:
    """Return the epochs of a level that points may have, fewest first: one number unless they are swept."""
    values = space.get("train.epochs", [base.train.epochs])
    ends = _ends("train.epochs", values)
    return sorted(value for value in ends if isinstance(value, int))


def grid(space: Mapping[str, Sequence[Value]]) -> list[Settings]:
    """Return every combination of values, the last field changing fastest."""
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]


def at_point(base: Spec, settings: Settings) -> Spec:
    """Return the spec of one point."""
    return with_fields(base, settings)
