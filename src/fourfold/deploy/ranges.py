"""The range of every value for int8: the largest seen, or one that leaves rare large values out."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.ir.encoding import encoded_terms
from fourfold.deploy.ir.operation import IMAGES_AT_A_TIME, Array, Shape, apply
from fourfold.deploy.ir.ops import Linear
from fourfold.deploy.ir.program import Encoding, Program

KEPT_FRACTION = 0.9999
"""Of a value's numbers, which `percentile` holds."""

BINS_PER_OCTAVE = 32
"""Of a histogram over logarithms: each bin is 2 % wide, however far the largest number lies from the others."""

LEAST_EXPONENT, LARGEST_EXPONENT = -100, 100
"""Of two: where histograms end."""

OCTAVES_BELOW = 8
"""Below the largest number, among which `mse` looks for a range."""

Counts = NDArray[np.int64]


def encoded_range(encoding: Encoding, shape: Shape) -> float:
    """Return the largest absolute value that an encoding makes of any bytes, for images of `shape` as the network sees them."""
    ends = []
    for constant, terms in encoded_terms(encoding, shape):
        ends += [constant + 255 * sum(sign * max(sign * factor, 0) for factor in terms.values()) for sign in (1, -1)]
    return max(map(abs, ends))


def largest_ranges(program: Program, images: Array) -> dict[int, float]:
    """Return the largest absolute number of every value, over images as the network sees them."""
    ranges = dict.fromkeys(range(len(program.shapes)), 0.0)
    for chosen in _chunks(len(images)):
        values = {0: images[chosen].astype(np.float64)}
        for operation in program.operations:
            operands = (values[value] for value in operation.inputs)
            values[operation.output] = apply(operation, *operands, images=len(images[chosen]))
        ranges = {value: max(largest, float(np.abs(values[value]).max())) for value, largest in ranges.items()}
    return ranges


def chosen_ranges(program: Program, images: Array, choice: str, steps: list[int]) -> dict[int, float]:
    """Return a range for every value: of its numbers behind values that are cut to their own ranges, as int8 will cut them.

    Args:
        program: The network.
        images: As the network sees them.
        choice: `percentile` or `mse`.
        steps: Of every value, the quantisation steps between zero and its range.
    """
    last_use = {value: operation for operation in program.operations for value in operation.inputs}
    logits = program.operations[-1].output
    values = {0: images.astype(np.float32)}
    ranges = {0: _cut(values[0], choice, steps[0])}
    for operation in program.operations:
        outputs = np.empty((len(images), *program.shapes[operation.output]), np.float32)
        for chosen in _chunks(len(images)):
            operands = (values[value][chosen].astype(np.float64) for value in operation.inputs)
            outputs[chosen] = apply(operation, *operands, images=len(images[chosen]))
        kept_whole = operation.keeps_scale or (operation.output == logits and isinstance(operation, Linear))
        ranges[operation.output] = (
            float(np.abs(outputs).max()) if kept_whole else _cut(outputs, choice, steps[operation.output])
        )
        values[operation.output] = outputs
        for value in {value for value in operation.inputs if last_use[value] is operation}:
            del values[value]
    return ranges


def _cut(values: Array, choice: str, steps: int) -> float:
    """Return the range of a value, and cut its numbers to it."""
    largest = float(np.abs(values).max())
    if largest == 0 or not np.isfinite(largest):
        return largest
    chosen = min(largest, _CHOOSE[choice](_histogram(values), steps))
    np.clip(values, -chosen, chosen, out=values)
    return chosen


def _chunks(images: int) -> Iterator[slice]:
    for start in range(0, images, IMAGES_AT_A_TIME):
        yield slice(start, start + IMAGES_AT_A_TIME)


def _edges() -> NDArray[np.float64]:
    exponents = np.arange(LEAST_EXPONENT * BINS_PER_OCTAVE, LARGEST_EXPONENT * BINS_PER_OCTAVE + 1)
    edges: NDArray[np.float64] = np.exp2(exponents / BINS_PER_OCTAVE)
    return edges


def _histogram(values: Array) -> Counts:
    """Return how many absolute numbers lie below each of `_edges` and not below the one before; the first holds zeros, too."""
    counts = np.zeros(len(_edges()), np.int64)
    for part in np.array_split(values.reshape(-1), max(1, values.size // 2**20)):
        with np.errstate(divide="ignore"):
            places = np.ceil(np.log2(np.abs(part)) * BINS_PER_OCTAVE) - LEAST_EXPONENT * BINS_PER_OCTAVE
        counts += np.bincount(np.clip(places, 0, len(counts) - 1).astype(np.int64), minlength=len(counts))
    return counts


def _percentile(counts: Counts, steps: int) -> float:
    return float(_edges()[np.searchsorted(np.cumsum(counts), KEPT_FRACTION * counts.sum())])


def _least_squares(counts: Counts, steps: int) -> float:
    """Return the range with the least squared error: of rounding below it, and of cutting above it."""
    edges = _edges()
    centres = edges * 2 ** (-0.5 / BINS_PER_OCTAVE)
    filled = np.flatnonzero(counts)
    numbers, many = centres[filled], counts[filled]
    candidates = edges[max(0, filled[-1] - OCTAVES_BELOW * BINS_PER_OCTAVE) : filled[-1] + 1]
    errors = []
    for candidate in candidates:
        step = candidate / steps
        rounding = np.minimum(numbers, step / np.sqrt(12))  # numbers below half a step become zero
        errors.append(float(many @ np.where(numbers > candidate, numbers - candidate, rounding) ** 2))
    return float(candidates[int(np.argmin(errors))])


_CHOOSE: dict[str, Callable[[Counts, int], float]] = {"percentile": _percentile, "mse": _least_squares}

RANGES = ("max", *_CHOOSE)
"""What `calibrate` may be told to take for a value's range."""
