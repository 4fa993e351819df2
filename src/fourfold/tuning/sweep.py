"""Which settings suit each algebra: every point of a grid is an ordinary run, judged on held-out training images.

Every algebra gets the same points, trials, epochs and levels. The test set decides nothing: neither which setting is best
nor how far a point is trained.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fourfold import parts, tasks
from fourfold.record import (
    TICKET,
    TOP1,
    Metric,
    Row,
    RunStore,
    Spec,
    UserError,
    Value,
    get_field,
    is_number,
    parse_value,
    split_words,
    with_fields,
)

HELD_OUT = 0.1
"""Part of the training images that is held out where the preset holds out none."""

NEAR_END = 0.05
"""Part of a range within which a value counts as lying at its end."""

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

Run = Callable[[Sequence[Spec]], object]
"""Runs what is missing of some specs' trials; `lottery.run` with everything but the specs given."""


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


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one point in one algebra."""

    spec: Spec
    settings: Settings
    validation: tuple[float, ...]
    """The task's metric, such as accuracy in percent, on the held-out images at the sweep's level, a trial each; `worst_of` it
    for a trial that failed."""
    test: tuple[float, ...]
    """The same on the test set, of the trials that did not fail, to be looked at: nothing is selected by it."""
    num_failed: int
    data: tuple[str, ...] = ()
    """SHA-256 of the images and labels that its rows name, each once."""
    metric: Metric = TOP1
    """What the values are of."""

    @property
    def mean(self) -> float:
        """The mean validation metric over the trials: what points are ranked by."""
        return statistics.fmean(self.validation)

    @property
    def std(self) -> float | None:
        """The sample standard deviation over the trials; None for one, and where a trial failed and has no value."""
        return statistics.stdev(self.validation) if len(self.validation) > 1 and math.isfinite(self.mean) else None


def worst_of(metric: Metric) -> float:
    """Return what a trial that failed counts as: 0 of a percentage that shall be high, else the infinity that is worst."""
    if metric.higher_is_better:
        return 0.0 if metric.is_percent else -math.inf
    return math.inf


def base_of(spec: Spec, *, level: int = 0, validation: int | None = None) -> Spec:
    """Return the spec that a sweep changes: it holds images out, and trains to one level whatever the accuracy.

    Args:
        spec: A preset's, in one algebra.
        level: The level whose accuracy counts; 0 is dense.
        validation: Training images to hold out; None means the preset's, or a tenth where that holds out none. Data of the
            user's own that have a validation part are selected by it.

    Raises:
        UserError: no images are held out, or the level is none.
    """
    images, own = parts.facts(spec).train_items, parts.has_validation(spec)
    if validation is None:
        validation = 0 if own else spec.data.validation or round(HELD_OUT * images)
    if not (own and not validation) and not 0 < validation < images:
        raise UserError(
            f"`validation` (={validation}) must be at least 1 and below {images}: a sweep selects by training images held out"
        )
    return replace(
        spec,
        preset=f"{spec.preset}-sweep",
        data=replace(spec.data, validation=validation),
        stop=replace(spec.stop, accuracy=0.0, metric=None, max_level=level),
    )


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


def run_grid(
    bases: Sequence[Spec], space: Mapping[str, Sequence[Value]], *, trials: int, out: Path, run: Run
) -> dict[str, list[Outcome]]:
    """Run every point of a grid in every algebra, and return what came of those that are done, by algebra.

    Args:
        bases: What `base_of` returns, one spec an algebra.
        space: The values of each field.
        trials: Trials of each point.
        out: Where `run` puts its runs.
        run: Runs what is missing of some specs.
    """
    points = grid(space)
    run([at_point(base, settings) for settings in points for base in bases])
    outcomes_by_algebra = {
        base.model.algebra: [outcome(base, settings, trials=trials, out=out) for settings in points] for base in bases
    }
    return check_same_data(
        {algebra: [done for done in outcomes if done is not None] for algebra, outcomes in outcomes_by_algebra.items()}
    )


def check_same_data(by_algebra: dict[str, list[Outcome]]) -> dict[str, list[Outcome]]:
    """Return what was found, if all points are of the same images and labels; those of older rows are not known.

    Raises:
        UserError: two of them are not.
    """
    points: dict[str, Spec] = {}
    for each in itertools.chain.from_iterable(by_algebra.values()):
        for digest in each.data:
            points.setdefault(digest, each.spec)
    if len(points) > 1:
        (one, first), (other, second), *_ = points.items()
        raise UserError(
            f"{first.id} and {second.id} are of different {first.data.name} data (SHA-256 {one[:8]} and {other[:8]}): they "
            "cannot be compared; start the sweep afresh with another --out"
        )
    return by_algebra


def outcome(base: Spec, settings: Settings, *, trials: int, out: Path) -> Outcome | None:
    """Return what came of a point, from its rows on disk; None where a trial is not done."""
    spec = at_point(base, settings)
    store, level = RunStore(out / spec.id), spec.stop.max_level
    assert level is not None
    validation, test, failed, metric = [], [], 0, tasks.get(spec).metric
    named: set[str] = set()
    for trial in range(trials):
        row = _row(store, trial, level)
        if row is not None:
            assert row.validation is not None
            validation.append(row.validation)
            test.append(row.value)
            named |= {row.data} if row.data else set()
        elif store.failure(trial) is not None:
            validation.append(worst_of(metric))
            failed += 1
        else:
            return None
    return Outcome(
        spec=spec,
        settings=settings,
        validation=tuple(validation),
        test=tuple(test),
        num_failed=failed,
        data=tuple(sorted(named)),
        metric=metric,
    )


def _row(store: RunStore, trial: int, level: int) -> Row | None:
    rows = store.rows(trial)
    return next((row for row in rows if (row.level, row.control) == (level, TICKET)), None)


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return outcomes by their mean on the held-out images, the best first; of equal ones the first tried, each point once."""
    different: dict[str, Outcome] = {}
    for each in outcomes:
        different.setdefault(each.spec.id, each)
    return sorted(different.values(), key=lambda each: -each.mean if each.metric.higher_is_better else each.mean)


def at_the_edge(best: Outcome, space: Space) -> dict[str, str]:
    """Return the fields of which the best value lies at an edge of what was tried, and which: `smallest` or `largest`."""
    edges = {}
    for name, values in space.items():
        value = get_field(best.spec, name)
        if not is_number(name) or not isinstance(value, int | float):
            continue
        if isinstance(values, Range):
            position = values.position(value)
        else:
            numbers = sorted(v for v in values if isinstance(v, int | float))
            if len(numbers) < 2:
                continue
            position = (value - numbers[0]) / (numbers[-1] - numbers[0])
        near = NEAR_END if isinstance(values, Range) else 0.0
        if position <= near:
            edges[name] = "smallest"
        elif position >= 1 - near:
            edges[name] = "largest"
    return edges
