"""How many weights each part of a network keeps, exactly."""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from numbers import Real
from typing import Any

from fourfold.record import UserError


def num_kept(density: float, total: int) -> int:
    """Return `round(density · total)`, the weights that a network of `total` weights keeps."""
    check_density("density", density)
    return round(float(density) * total)


def check_density(name: str, value: Any) -> None:
    """Raise `UserError` unless a value is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UserError(f"`{name}` (={value!r}) must be a number in [0, 1]")
    if not 0 <= float(value) <= 1:
        raise UserError(f"`{name}` (={value}) must lie in [0, 1]")


def apportion(total: int, shares: Sequence[int], capacities: Sequence[int]) -> list[int]:
    """Divide an integer in proportion to shares, none above its capacity, such that the parts add up to it exactly.

    What a part cannot take is divided among the others, again in proportion. Of the remainders the largest are rounded
    up, the first of equal ones.

    Raises:
        ValueError: the capacities do not suffice.
    """
    if not 0 <= total <= sum(capacities):
        raise ValueError(f"`total` (={total}) must lie in [0, {sum(capacities)}], the sum of the capacities")
    full: set[int] = set()
    while True:
        left = total - sum(capacities[i] for i in full)
        open_shares = sum(share for i, share in enumerate(shares) if i not in full)
        if open_shares == 0:
            exact = [Fraction(capacities[i] if i in full else 0) for i in range(len(shares))]
            break
        factor = Fraction(left, open_shares)
        exact = [Fraction(capacities[i]) if i in full else factor * share for i, share in enumerate(shares)]
        over = {i for i, value in enumerate(exact) if i not in full and value > capacities[i]}
        if not over:
            break
        full |= over
    counts = [math.floor(value) for value in exact]
    order = sorted(range(len(shares)), key=lambda i: (counts[i] - exact[i], i))
    for i in order:
        if sum(counts) < total and counts[i] < capacities[i]:
            counts[i] += 1
    for i in order:  # layers of no share take what is left when all others are full
        counts[i] += min(total - sum(counts), capacities[i] - counts[i])
    assert sum(counts) == total
    return counts


def erdos_renyi_shares(shapes: Mapping[str, Sequence[int]], dimensions: Mapping[str, int]) -> dict[str, int]:
    """Return what the layers' numbers of kept weights are proportional to in Erdős–Rényi kernels (Evci et al. 2020, app. B).

    The density of a layer is proportional to (out + in + kernel height + kernel width) / (out · in · height · width), sizes
    being real neurons: so both algebras get the same densities, up to the stored weights that layers of the two have.

    Args:
        shapes: Of the stored weights (out, in / n, *kernel).
        dimensions: n of each weight's algebra.

    Returns:
        The sum in the numerator times n, which cancels against the real weights per stored one, scaled to integers.
    """
    largest = math.lcm(*(dimensions.get(name, 1) for name in shapes), 1)
    shares = {}
    for name, shape in shapes.items():
        n = dimensions.get(name, 1)
        out, inputs, *kernel = shape if len(shape) > 1 else (*shape, 1)
        shares[name] = (out + inputs * n + sum(kernel)) * largest // n
    return shares
