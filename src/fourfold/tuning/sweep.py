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
)
from fourfold.tuning.space import (
    NOT_SWEPT,
    Range,
    Settings,
    Space,
    at_point,
    check_space,
    epochs_of,
    grid,
    lists_of,
    parse_space,
)

__all__ = [
    "HELD_OUT",
    "NEAR_END",
    "NOT_SWEPT",
    "Outcome",
    "Range",
    "Run",
    "Settings",
    "Space",
    "at_point",
    "at_the_edge",
    "base_of",
    "check_same_data",
    "check_space",
    "epochs_of",
    "grid",
    "lists_of",
    "outcome",
    "parse_space",
    "ranked",
    "run_grid",
    "worst_of",
]

HELD_OUT = 0.1
"""Part of the training images that is held out where the preset holds out none."""

NEAR_END = 0.05
"""Part of a range within which a value counts as lying at its end."""

Run = Callable[[Sequence[Spec]], object]
"""Runs what is missing of some specs' trials; `lottery.run` with everything but the specs given."""


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
