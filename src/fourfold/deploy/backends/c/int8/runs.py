"""The lists of a layer of bytes by twos, in runs whose products fit into sums of 16 bits.

What 16 bits hold is known beforehand, from the weights: a run of pairs ends where its sums might become too large, and is then
added to sums of 32 bits.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.backends.c.sparse_lists import Lists, Pattern
from fourfold.deploy.ir.operation import Array

LONGEST_RUN = 127
"""Pairs, counted in seven bits."""

FLUSH = 128
"""The eighth bit: after the run, the sums of 16 bits are added to those of 32."""

CARRIED = 7
"""Bits of a sum of 16 bits that stay in it where the others are carried to a second one."""

LARGEST_WORD = 2**15 - 1

Reach = list[int]
"""The largest sums that an entry can make, by output: of what it adds, and then of what it takes away."""


def own_entries(lists: Lists) -> Lists:
    """Return lists of which each group has its own entries: by twos, those of a dense layer no longer stand side by side."""
    if not lists.shared:
        return lists
    counts, steps = np.tile(lists.counts, (lists.groups, 1)), np.tile(lists.steps, lists.groups)
    return replace(lists, shared=False, counts=counts, steps=steps)


@dataclass(kw_only=True)
class Runs:
    """The lists of a layer by twos, in runs whose sums fit into 16 bits."""

    counts: list[int] = field(default_factory=list)
    """Pairs of each run, and whether its sums are full then; a zero ends a list, but not the sums of a group."""
    steps: list[int] = field(default_factory=list)
    """Two a pair."""
    carries: bool = True
    """Whether what is carried from the sums fits into 16 bits, too."""
    weights: list[int] = field(default_factory=list)
    """For each pair and weight of an entry, that of the first and that of the second."""


def make_runs(lists: Lists, largest_level: int) -> Runs:
    """Return lists by twos.

    Args:
        lists: The codes of a layer.
        largest_level: Of its inputs.
    """
    # The largest Σ code that a run may add to an output, or take away, beside what an earlier run left.
    limit = (LARGEST_WORD - (1 << CARRIED) + 1) // largest_level
    runs, start, entries, steps = Runs(), 0, lists.weights.astype(int).tolist(), lists.steps.tolist()
    signs = [signs_of(pattern) for pattern in lists.patterns]
    for counts in lists.counts.tolist():
        filled, most = [0] * (2 * lists.outputs), np.zeros(2 * lists.outputs, np.int64)
        for pattern, count in enumerate(counts):
            chosen = slice(start, start + count)
            reaches = reach_of(signs[pattern], lists.weights[chosen])
            listed = list(zip(steps[chosen], entries[chosen], reaches.tolist(), strict=True))
            filled = _append_list(runs, listed, signs[pattern], limit, filled)
            most += reaches.sum(axis=0)
            start += count
        runs.carries &= int(most.max()) * largest_level // (1 << CARRIED) < LARGEST_WORD
    return runs


def _append_list(runs: Runs, entries: list[tuple[int, list[int], Reach]], signs: Array, limit: int, filled: Reach) -> Reach:
    """Append a list to the runs; `filled`, and what is returned, is what the sums of 16 bits may hold by then."""
    pieces = [piece for entry in entries for piece in ([entry] if max(entry[2]) <= limit else _split(*entry[:2], signs))]
    length = index = 0
    while index < len(pieces):
        step, first, reach = pieces[index]
        second_step, second, more = pieces[index + 1] if index + 1 < len(pieces) else (0, [0] * len(first), reach)
        together = [a + b for a, b in zip(reach, more, strict=True)]
        if index + 1 < len(pieces) and max(together) <= limit:
            reach, index = together, index + 2
        else:
            second_step, second, index = 0, [0] * len(first), index + 1
        longer = [a + b for a, b in zip(filled, reach, strict=True)]
        if max(longer) > limit:
            runs.counts.append(length + FLUSH)
            longer, length = reach, 0
        elif length == LONGEST_RUN:
            runs.counts.append(length)
            length = 0
        filled, length = longer, length + 1
        runs.steps += [step, second_step]
        runs.weights += [weight for pair in zip(first, second, strict=True) for weight in pair]
    runs.counts += [length, 0] if length else [0]
    return filled


def _split(step: int, entry: list[int], signs: Array) -> list[tuple[int, list[int], Reach]]:
    """Return a number as several of one component each: their sums always fit."""
    alone = np.diag(np.array(entry, np.float32))
    reaches = reach_of(signs, alone).tolist()
    parts = zip(alone.astype(int).tolist(), reaches, strict=True)
    return [(0 if part else step, codes, reach) for part, (codes, reach) in enumerate(parts)]


def signs_of(pattern: Pattern) -> Array:
    """Return (outputs, weights): the sign with which a weight comes into an output."""
    rows = sorted({term.output for term in pattern.terms})
    signs = np.zeros((len(rows), pattern.weights), np.float32)
    for term in pattern.terms:
        signs[rows.index(term.output), term.weight] = term.sign
    return signs


def reach_of(signs: Array, entries: Array) -> NDArray[np.int64]:
    """Return (entries, 2 · outputs): what each entry adds to each output at most, and then what it takes away."""
    terms = entries[:, None, :] * signs
    both = np.concatenate([np.maximum(terms, 0).sum(axis=2), np.maximum(-terms, 0).sum(axis=2)], axis=1)
    return both.astype(np.int64)
