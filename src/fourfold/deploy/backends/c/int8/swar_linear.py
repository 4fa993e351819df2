"""Linear layers of bytes on machines without vectors: a product adds to two sums of 16 bits, in the halves of a register."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.backends.c.int8.runs import LARGEST_WORD, LONGEST_RUN
from fourfold.deploy.backends.c.sparse_lists import LARGEST_STEP, Lists
from fourfold.deploy.backends.c.text import array, share_of
from fourfold.deploy.ir.product import Product

REGISTER = 4
"""Bytes of a register: as many components of a number come at once."""


def has_halves(product: Product, lists: Lists) -> bool:
    """Return whether a layer can be walked so: by single components of numbers of 4, 8 …, near enough for places of 16 bits."""
    n, _, inputs = product.weight.shape
    return lists.patterns[0].weights == 1 and n % REGISTER == 0 and n * inputs <= LARGEST_STEP


def run_tables(lists: Lists, n: int, largest_level: int) -> list[str]:
    """Return lists in runs whose sums fit into 16 bits: the runs' lengths, a zero behind each list's, and places for steps."""
    lengths, order, places, start = [], [], [], 0
    for count in lists.counts.ravel().tolist():
        chosen = np.arange(start, start + count)
        run_of = _fill(lists.weights[chosen, 0].astype(int).tolist(), LARGEST_WORD // largest_level)
        lengths += [*np.bincount(run_of).tolist(), 0]
        order.append(chosen[np.argsort(run_of, kind="stable")])
        places.append(n * np.cumsum(lists.steps[chosen]))
        start += count
    listed = np.concatenate(order)
    return [
        array("uint8_t", "@runs", np.array(lengths)),
        array("uint16_t", "@places", np.concatenate(places)[listed]),
        array("int8_t", "@weights", lists.weights[listed].astype(np.int8)),
    ]


def _fill(weights: list[int], limit: int) -> NDArray[np.int64]:
    """Return the run of each entry of a list. Entries may stand in any order: runs are filled by gains and by losses apart.

    Args:
        weights: Of the entries, in codes.
        limit: The sum of codes that a run may gain, or lose.
    """
    run, total, sizes = {True: 0, False: 0}, {True: 0, False: 0}, Counter[int]()
    runs = []
    for weight in weights:
        gains = weight > 0
        total[gains] += abs(weight)
        while total[gains] > limit or sizes[run[gains]] == LONGEST_RUN:
            run[gains], total[gains] = run[gains] + 1, abs(weight)
        sizes[run[gains]] += 1
        runs.append(run[gains])
    return np.array(runs, np.int64)


def start_runs(lists: Lists) -> list[str]:
    """Return the lines before the loop over rows: which rows are ours, and where their runs begin."""
    return [
        share_of(lists.groups),
        "const uint8_t *run = @runs;",
        f"const uint32_t skipped = skip_runs(&run, first * {len(lists.patterns)});",
        "const uint16_t *place = @places + skipped;",
        "const int8_t *weight = @weights + skipped;",
    ]


def walk_by_halves(lists: Lists, n: int) -> list[str]:
    """Return the walk over a row's lists."""
    registers = range(n // REGISTER)
    lines = ["    const uint32_t mask = bytes_0_and_2();"]
    for pattern in lists.patterns:
        lines += [
            "    for (int left; (left = *run++) != 0;) {",
            f"        uint32_t {', '.join(f'even{r} = 0, odd{r} = 0' for r in registers)};",
            "        do {",
            "            const uint8_t *const from = x + *place++;",
            "            const uint32_t by = (uint32_t)*weight++;",
            "            MOVED(weight);",
        ]
        for r in registers:
            lines += [
                f"            const uint32_t four{r} = four_bytes(from + {REGISTER * r});",
                f"            even{r} += (four{r} & mask) * by;",
                f"            odd{r} += (four{r} >> 8 & mask) * by;",
            ]
        lines += ["        } while (--left);"]
        for term in pattern.terms:
            r, byte = divmod(term.input, REGISTER)
            half = f"{'upper' if byte > 1 else 'lower'}_sum({'odd' if byte % 2 else 'even'}{r})"
            lines += [f"        sum{term.output} {'+' if term.sign > 0 else '-'}= {half};"]
        lines += ["    }"]
    return lines
