"""Densities over the steps of one training."""

from fourfold.pruning.counts import check_density
from fourfold.record import UserError


def gradual_density(step: int, *, begin: int, end: int, initial: float = 1.0, final: float) -> float:
    """Return the density after a step when pruning gradually while training (Zhu & Gupta 2017, equation 1).

    It falls with the cube of the part of the way that is left: fast while there are many weights, slowly near the end.

    Args:
        step: Optimiser steps taken.
        begin: Step up to which the density is `initial`.
        end: Step from which it is `final`, after `begin`.
        initial: Density at the beginning.
        final: Density at the end, at most `initial`.

    Raises:
        UserError: a density is none, or `end` does not come after `begin`.
    """
    check_density("initial", initial)
    check_density("final", final)
    for name, value in {"step": step, "begin": begin, "end": end}.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise UserError(f"`{name}` (={value!r}) must be an integer, a number of steps")
    if not 0 <= begin < end:
        raise UserError(f"`begin` (={begin}) must be at least 0 and before `end` (={end})")
    left = 1 - min(max((step - begin) / (end - begin), 0), 1)
    return final + (initial - final) * left**3
