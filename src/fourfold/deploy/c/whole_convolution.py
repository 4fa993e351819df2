"""Convolutions of bytes in C: entries are walked by twos, whose products with 32 pixels are added up in 16 bits.

What 16 bits hold is known beforehand, from the weights: a run of pairs ends where its sums might become too large, and is then
added to sums of 32 bits.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.c.layout import Plane
from fourfold.deploy.c.lists import Lists, Pattern, make_lists
from fourfold.deploy.c.places import read_places
from fourfold.deploy.c.step import Draft, Step, wiped
from fourfold.deploy.c.text import array
from fourfold.deploy.program import Array, Convolution
from fourfold.deploy.quantize import Codes

PIXELS = 32
"""Of the widest kernel."""

LARGEST_WORD = 2**15 - 1

LONGEST_RUN = 127
"""Pairs, counted in seven bits."""

FLUSH = 128
"""The eighth bit: after the run, the sums of 16 bits are added to those of 32."""

LARGEST_SIGNED = 2**7 - 1
"""Of a level that can be read as a signed byte."""

WIDE_SUMS = 5
"""Outputs whose 32 sums of 16 bits fit into registers."""

NARROW_SUMS = 8
"""Outputs that a kernel for one pixel at a time keeps in registers."""


Reach = list[int]
"""The largest sums that an entry can make, by output: of what it adds, and then of what it takes away."""


def add_whole_convolution(draft: Draft, operation: Convolution) -> None:
    """Append the steps of a convolution in whole numbers."""
    assert draft.quantized is not None
    made, (source, buffer, where) = draft.planes[operation.output], read_places(draft, operation)
    codes = draft.quantized.codes(operation)
    lists = own_entries(make_lists(codes.product, where, operation.groups))
    runs = make_runs(lists, LARGEST_WORD // draft.quantized.levels[operation.inputs[0]].largest)
    draft.buffers[operation.output] = draft.buffer(made.size)
    draft.steps.append(_walk(draft, operation, lists, runs, codes, source, made, buffer))


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
    weights: list[int] = field(default_factory=list)
    """For each pair and weight of an entry, that of the first and that of the second."""


def make_runs(lists: Lists, limit: int) -> Runs:
    """Return lists by twos.

    Args:
        lists: The codes of a layer.
        limit: The largest Σ code that a run may add to an output, and the largest that it may take away.
    """
    runs, start, entries, steps = Runs(), 0, lists.weights.astype(int).tolist(), lists.steps.tolist()
    signs = [_signs(pattern) for pattern in lists.patterns]
    for counts in lists.counts.tolist():
        filled = [0] * (2 * lists.outputs)
        for pattern, count in enumerate(counts):
            chosen = slice(start, start + count)
            reaches = _reach(signs[pattern], lists.weights[chosen]).tolist()
            listed = list(zip(steps[chosen], entries[chosen], reaches, strict=True))
            filled = _append_list(runs, listed, signs[pattern], limit, filled)
            start += count
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
    reaches = _reach(signs, alone).tolist()
    parts = zip(alone.astype(int).tolist(), reaches, strict=True)
    return [(0 if part else step, codes, reach) for part, (codes, reach) in enumerate(parts)]


def _signs(pattern: Pattern) -> Array:
    """Return (outputs, weights): the sign with which a weight comes into an output."""
    rows = sorted({term.output for term in pattern.terms})
    signs = np.zeros((len(rows), pattern.weights), np.float32)
    for term in pattern.terms:
        signs[rows.index(term.output), term.weight] = term.sign
    return signs


def _reach(signs: Array, entries: Array) -> NDArray[np.int64]:
    terms = entries[:, None, :] * signs
    both = np.concatenate([np.maximum(terms, 0).sum(axis=2), np.maximum(-terms, 0).sum(axis=2)], axis=1)
    return both.astype(np.int64)


def _walk(
    draft: Draft, operation: Convolution, lists: Lists, runs: Runs, codes: Codes, source: Plane, made: Plane, reads: int
) -> Step:
    assert draft.quantized is not None
    span, numbers, patterns = made.span, range(lists.outputs), len(lists.patterns)
    group_step, output_step = lists.channel_steps
    input_step = source.size // codes.product.n
    bias = codes.bias - draft.quantized.zero_sums(operation, codes)
    largest, zero = draft.quantized.levels[operation.output].largest, draft.zero(operation.output)
    most = max(1, min(WIDE_SUMS // lists.outputs, span // PIXELS))
    vectors = min(range(1, most + 1), key=lambda size: (math.ceil(span / (PIXELS * size)) * size, -size))
    wide = "CAP32" if draft.quantized.levels[operation.inputs[0]].largest > LARGEST_SIGNED else "CAPDOT"
    name, alone = wide if span >= PIXELS else "CAP1", max(1, min(NARROW_SUMS // lists.outputs, span))
    pick = f"PICK32({vectors}, {alone})" if span >= PIXELS else str(alone)
    tables = (
        array("uint8_t", "@runs", np.array(runs.counts))
        + array("uint16_t", "@steps", np.array(runs.steps))
        + array("int8_t", "@weights", np.array(runs.weights))
        + array("int32_t", "@bias", bias[lists.channels])
        + array("float", "@factor", codes.factor[lists.channels])
    )
    body = [
        *(f"typedef {name}({kind}) {kind};" for kind in ("pair", "words", "totals")),
        f"enum {{ WIDTH = {name}(lanes), VECTORS = {pick}, TILE = WIDTH * VECTORS }};",
        f"const int first = part * {lists.groups} / parts, last = (part + 1) * {lists.groups} / parts;",
        "const uint8_t *first_run = @runs;",
        f"const uint32_t skipped = skip_runs(&first_run, first * {patterns});",
        f"for (int tile = 0; tile < {span}; tile += TILE) {{",
        f"    const int at = tile < {span} - TILE ? tile : {span} - TILE;",
        "    const uint8_t *run = first_run;",
        "    const uint16_t *step = @steps + 2 * skipped;",
        f"    const int8_t *weight = @weights + skipped * {2 * lists.patterns[0].weights};",
        "    for (int group = first; group < last; group++) {",
        f"        words {', '.join(f'sum{a}[VECTORS]' for a in numbers)};",
        f"        totals {', '.join(f'total{a}[VECTORS]' for a in numbers)};",
        "        UNROLL",
        "        for (int v = 0; v < VECTORS; v++) {",
        *(f"            sum{a}[v] = {name}(no_words)(), total{a}[v] = {name}(no_totals)();" for a in numbers),
        "        }",
    ]
    for pattern in lists.patterns:
        body += _list(pattern, lists.outputs, input_step, name)
    body += [
        *(f"        {line}" for line in _flush(lists.outputs, name)),
        f"        uint8_t *to = y + group * {group_step * made.length} + at + {made.origin};",
        f"        const int32_t *const bias = @bias + group * {lists.outputs};",
        f"        const float *const factor = @factor + group * {lists.outputs};",
        "        UNROLL",
        "        for (int v = 0; v < VECTORS; v++) {",
        *(
            f"            {name}(store)(to + {a * output_step * made.length} + v * WIDTH, total{a}[v], sum{a}[v], bias[{a}], "
            f"factor[{a}], {largest});"
            for a in numbers
        ),
        "        }",
        "    }",
        "}",
    ]
    if output_step == 1:  # a group's outputs are neighbours
        body += wiped(made, zero, f"first * {group_step}", f"(last - first) * {group_step}")
    else:
        body += [line for a in numbers for line in wiped(made, zero, f"first + {a * output_step}", "last - first")]
    comment = f"{operation.name}: convolution, {lists.described(codes.product)}"
    writes = draft.buffers[operation.output]
    return Step(comment=comment, reads=(reads,), writes=writes, body=tuple(body), tables=tables)


def _list(pattern: Pattern, outputs: int, input_step: int, name: str) -> list[str]:
    lines = [
        "        {",
        "            const uint8_t *from = x + at;",
        "            for (int length; (length = *run++) != 0;) {",
    ]
    lines += [f"                int left = length % {FLUSH};"]
    if name == "CAPDOT":
        lines += ["#ifdef DOTS", *_entries(pattern, input_step, name, 4), *_entries(pattern, input_step, name, 2), "#else"]
    lines += _entries(pattern, input_step, "CAP32" if name == "CAPDOT" else name, 2)
    lines += ["#endif"] if name == "CAPDOT" else []
    lines += [
        f"                if (length < {FLUSH})",
        "                    continue;",
        *(f"                {line}" for line in _flush(outputs, name)),
        "            }",
        "        }",
    ]
    return lines


def _entries(pattern: Pattern, input_step: int, name: str, at_once: int) -> list[str]:
    """Return the loop over the pairs of a run, one at a time, or for kernels of four entries two or the last one."""
    pairs = at_once // 2
    froms = ["one", "other", "third", "fourth"][:at_once]
    lines = [f"                for (; left >= {pairs}; left -= {pairs}) {{"]
    for index, (before, place) in enumerate(zip(["from", *froms], froms, strict=False)):
        lines += [f"                    const uint8_t *const {place} = {before} + step[{index}];"]
    lines += [
        f"                    from = {froms[-1]};",
        f"                    step += {at_once};",
        "                    UNROLL",
        "                    for (int v = 0; v < VECTORS; v++) {",
    ]
    for b in pattern.inputs:
        read = froms if name != "CAPDOT" else (froms + froms[1:] * 2)[:4]
        joined = ", ".join(f"{place} + {b * input_step} + v * WIDTH" for place in read)
        lines += [f"                        const pair input{b} = {name}(join)({joined});"]
        for term in (term for term in pattern.terms if term.input == b):
            weight = f"weight + {2 * term.weight}"
            if name == "CAPDOT":
                weight = f"weights_dot({weight}, {f'weight + {2 * (pattern.weights + term.weight)}' if pairs > 1 else 0})"
            change = f"{name}({'gain' if term.sign > 0 else 'lose'})(sum{term.output}[v], input{b}, {weight})"
            lines += [f"                        sum{term.output}[v] = {change};"]
    return [
        *lines,
        "                    }",
        f"                    weight += {2 * pairs * pattern.weights};",
        "                }",
    ]


def _flush(outputs: int, name: str) -> list[str]:
    each = [f"    {name}(flush)(&total{a}[v], &sum{a}[v]);" for a in range(outputs)]
    return ["UNROLL", "for (int v = 0; v < VECTORS; v++) {", *each, "}"]
