"""Whether a row can be the result of a level, given its spec and the row before.

Digests do not show that: those of a line that was altered can be computed again.
"""

import itertools
import math
from collections.abc import Iterator

from fourfold.record.rows import TICKET, Row
from fourfold.record.spec import Spec

Contradiction = tuple[str, str]
"""What was expected and what was found, as errors say it."""


def contradiction(row: Row, before: Row | None, spec: Spec | None) -> Contradiction | None:
    """Return what a row says that no level can have come to; None if it makes sense.

    Args:
        row: The row.
        before: The ticket's row of the level before; None of level 0, and of controls, whose levels are run in any order.
        spec: The run's; None where it is lost, and then less can be told.
    """
    return next(_of_itself(row), None) or next(_of_spec(row, spec), None) or next(_after(row, before, spec), None)


def _of_itself(row: Row) -> Iterator[Contradiction]:
    """Yield where a row's numbers contradict each other."""
    for kept, total, what in (
        (row.weights, row.weights_total, "weights"),
        (row.parameters, row.parameters_total, "parameters"),
        (row.macs, row.macs_dense, "MACs"),
    ):
        if kept > total:
            yield f"at most the {total} {what} of the network", f"{kept}"
    kept, total = (sum(numbers) for numbers in zip(*row.layers.values(), strict=True))
    if (kept, total) != (row.weights, row.weights_total):
        yield f"layers that keep {row.weights} of {row.weights_total} weights", f"layers that keep {kept} of {total}"
    if not _is_part(row.density, row.weights, row.weights_total):
        yield f"the density of {row.weights} of {row.weights_total} weights", f"{row.density:g}"
    if not _is_part(row.fraction_of_real, row.parameters, row.parameters_real):
        expected = f"the fraction that {row.parameters} parameters are of the real network's {row.parameters_real}"
        yield expected, f"{row.fraction_of_real:g}"
    epochs = [epoch.epoch for epoch in row.epochs]
    if any(later <= earlier for earlier, later in itertools.pairwise(epochs)):
        yield "epochs in order", f"epochs {epochs!s:.60}"
    for percent in (value for epoch in row.epochs if (value := epoch.top1) is not None):
        if not 0 <= percent <= 100:
            yield "accuracies from 0 to 100 %", f"{percent:g}"


def _of_spec(row: Row, spec: Spec | None) -> Iterator[Contradiction]:
    """Yield where a ticket's row is none of its run; controls may be of another network, such as the real one."""
    if spec is None or row.control != TICKET:
        return
    for expected, actual in ((spec.preset, row.preset), (spec.data.name, row.dataset), (spec.model.algebra, row.algebra)):
        if actual != expected:
            yield f"a row of {expected!r}", f"one of {actual!r}"
    if spec.stop.max_level is not None and row.level > spec.stop.max_level:
        yield f"no level beyond {spec.stop.max_level}, the last one", f"level {row.level}"


def _after(row: Row, before: Row | None, spec: Spec | None) -> Iterator[Contradiction]:
    """Yield where a row does not follow the one before it."""
    if before is None:
        return
    for name in ("weights_total", "parameters_total", "parameters_real"):  # not MACs, which a later version may count better
        expected, actual = getattr(before, name), getattr(row, name)
        if actual != expected:
            yield f"`{name}` as in the row before, {expected}", f"{actual}"
    if (expected := _sizes(before)) != (sizes := _sizes(row)):
        layer = min(name for name in expected | sizes if expected.get(name) != sizes.get(name))
        expected_size, actual_size = (of_row.get(layer, "no such layer") for of_row in (expected, sizes))
        yield f"the layers of the row before, {layer!r:.60} of {expected_size}", f"{actual_size}"
    if row.weights > before.weights and _only_prunes(spec):
        yield f"at most the {before.weights} weights of the row before", f"{row.weights}"


def _only_prunes(spec: Spec | None) -> bool:
    """Whether a level keeps at most what the one before kept; a gradual one starts dense, and may count something else."""
    if spec is None:
        return False
    prune = spec.prune
    return prune.schedule != "gradual" or (prune.budget, prune.unit) == ("weights", "weight")


def _is_part(part: float, kept: int, total: int) -> bool:
    """Whether a number is what some are of a total, up to half a one."""
    return math.isclose(part * total, kept, rel_tol=1e-9, abs_tol=0.5)


def _sizes(row: Row) -> dict[str, int]:
    return {name: total for name, (_, total) in row.layers.items()}
