"""Convolutions of bytes on machines without vectors: a register holds four pixels, and sums of 16 bits of two."""

from dataclasses import dataclass

import numpy as np

from fourfold.deploy.backends.c.int8.runs import FLUSH, LARGEST_WORD, LONGEST_RUN, reach_of, signs_of
from fourfold.deploy.backends.c.sparse_lists import Lists, Pattern
from fourfold.deploy.backends.c.text import array

PIXELS = 4
"""Of a register."""

SUMS, SUMS_ALONE = 8, 6
"""Registers for sums, of several outputs and of one. Others of a Cortex-M's 14 hold pixels, a weight, and where the walk is;
compilers keep some of more sums in memory."""


class WordRuns:
    """Lists in runs of single entries, whose sums fit into 16 bits."""

    def __init__(self, lists: Lists, largest_level: int) -> None:
        """Fill runs.

        Args:
            lists: The codes of a layer, with entries of its own for each group.
            largest_level: Of its inputs.
        """
        limit = LARGEST_WORD // largest_level
        signs = [signs_of(pattern) for pattern in lists.patterns]
        self.counts: list[int] = []
        """Entries of a run, and whether its sums are full behind it; a zero ends a list, but not the sums of a group."""
        self.flushes = False
        """Whether any run is full."""
        start = 0
        for counts in lists.counts.tolist():
            filled = [0] * (2 * lists.outputs)
            for pattern, count in enumerate(counts):
                filled = self._append(reach_of(signs[pattern], lists.weights[start : start + count]).tolist(), limit, filled)
                start += count

    def _append(self, reaches: list[list[int]], limit: int, filled: list[int]) -> list[int]:
        """Append a list's runs; `filled`, and what is returned, is what the sums of 16 bits may hold by then."""
        length = 0
        for reach in reaches:
            more = [before + added for before, added in zip(filled, reach, strict=True)]
            if max(more) > limit:
                self.counts.append(length + FLUSH)
                self.flushes, length, more = True, 0, reach
            elif length == LONGEST_RUN:
                self.counts.append(length)
                length = 0
            filled, length = more, length + 1
        self.counts += [length, 0] if length else [0]
        return filled

    @staticmethod
    def fits(lists: Lists, largest_level: int) -> bool:
        """Return whether the sums of every single entry fit."""
        signs = [signs_of(pattern) for pattern in lists.patterns]
        most = max(int(reach_of(sign, lists.weights).max(initial=0)) for sign in signs)
        return most * largest_level <= LARGEST_WORD


def word_tables(lists: Lists, runs: WordRuns) -> str:
    """Return the tables of runs; an entry of a single weight is one register: its step below, its weight above."""
    tables = array("uint8_t", "@runs", np.array(runs.counts))
    codes = lists.weights.astype(np.int64)
    if lists.patterns[0].weights == 1:
        return tables + array("uint32_t", "@entries", lists.steps | (codes[:, 0] & 0xFFFF) << 16)
    return tables + array("uint16_t", "@steps", lists.steps) + array("int8_t", "@weights", codes)


@dataclass(frozen=True, kw_only=True)
class WordWalk:
    """The C of a walk over all tiles and groups, with @bias and @factor for each output of a group."""

    lists: Lists
    runs: WordRuns
    """Of the lists."""
    span: int
    """Pixels of a plane that are computed, at least four."""
    input_step: int
    """Bytes from one component of an input element to the next."""
    output_step: int
    """Bytes from one output of a group to the next."""
    group_step: int
    """Bytes from one group to the next."""
    to: str
    """C of the first output pixel."""
    largest: int
    """Level of the outputs."""

    @property
    def words(self) -> int:
        """Registers of pixels in a tile."""
        sums = SUMS if self.lists.outputs > 1 else SUMS_ALONE
        return max(1, min(sums // 2 // self.lists.outputs, self.span // PIXELS))

    def _sum(self, output: int, word: int) -> str:
        return f"sum{output}_{word}"

    def _wide(self, output: int, word: int) -> str:
        return f"wide + {PIXELS * (output * self.words + word)}"

    def _sums(self) -> list[tuple[int, int]]:
        return [(output, word) for output in range(self.lists.outputs) for word in range(self.words)]

    def body(self) -> list[str]:
        """Return the lines of a step."""
        lists, tile = self.lists, PIXELS * self.words
        single, patterns = lists.patterns[0].weights == 1, len(lists.patterns)
        start = (
            ["const uint32_t *entry = @entries + skipped;"]
            if single
            else [
                "const uint16_t *step = @steps + skipped;",
                f"const int8_t *weight = @weights + skipped * {lists.patterns[0].weights};",
            ]
        )
        lines = [
            f"const int first = part * {lists.groups} / parts, last = (part + 1) * {lists.groups} / parts;",
            "const uint8_t *first_run = @runs;",
            f"const uint32_t skipped = skip_runs(&first_run, first * {patterns});",
            f"for (int tile = 0; tile < {self.span}; tile += {tile}) {{",
            f"    const int at = tile < {self.span - tile} ? tile : {self.span - tile};",
            "    const uint8_t *run = first_run;",
            *(f"    {line}" for line in start),
            "    for (int group = first; group < last; group++) {",
            f"        halves {', '.join(f'{self._sum(*each)} = {{0, 0}}' for each in self._sums())};",
        ]
        if self.runs.flushes:
            lines += [
                f"        int32_t sums[{PIXELS * len(self._sums())}], *wide = sums;",
                "        int begun = 0; /* whether there is something in them */",
                "        IN_MEMORY(wide);",
            ]
        for pattern in lists.patterns:
            lines += [f"        {line}" for line in self._list(pattern)]
        lines += [f"        uint8_t *const to = {self.to} + group * {self.group_step} + at;"]
        lines += [f"        {line}" for line in self._levels()]
        return [*lines, "    }", "}"]

    def _list(self, pattern: Pattern) -> list[str]:
        """Return the walk over a list."""
        lines = [
            "{",
            "    const uint8_t *from = x + at;",
            "    for (int length; (length = *run++) != 0;) {",
            f"        for (int left = length % {FLUSH}; left; left--) {{",
            *(f"            {line}" for line in self._entry(pattern)),
            "        }",
        ]
        if self.runs.flushes:
            lines += [f"        if (length < {FLUSH})", "            continue;", "        if (begun) {"]
            lines += [f"            widen({self._wide(*each)}, {self._sum(*each)}, 1);" for each in self._sums()]
            lines += ["        } else {"]
            lines += [f"            widen({self._wide(*each)}, {self._sum(*each)}, 0);" for each in self._sums()]
            lines += ["        }", "        begun = 1;"]
            lines += [f"        {self._sum(*each)} = (halves){{0, 0}};" for each in self._sums()]
        return [*lines, "    }", "}"]

    def _entry(self, pattern: Pattern) -> list[str]:
        """Return the lines that add an entry's inputs to its outputs."""
        if pattern.weights == 1:
            lines = ["from += word_step(*entry);", "const int32_t by = word_weight(*entry++);"]
            for term in pattern.terms:
                for word in range(self.words):
                    name, place = self._sum(term.output, word), f"from + {term.input * self.input_step + PIXELS * word}"
                    lines.append(f"{name} = {_change(term.sign)}_pixels({name}, {place}, by);")
            return lines
        lines = ["from += *step++;"]
        for word in range(self.words):
            for b in pattern.inputs:
                lines += ["{", f"    const halves pixels = pixels_at(from + {b * self.input_step + PIXELS * word});"]
                for term in (term for term in pattern.terms if term.input == b):
                    name = self._sum(term.output, word)
                    lines.append(f"    {name} = {_change(term.sign)}_halves({name}, pixels, weight + {term.weight});")
                lines.append("}")
        return [*lines, f"weight += {pattern.weights};"]

    def _levels(self) -> list[str]:
        """Return the lines that store a group's levels; where nothing was widened, its wide sums need not be read."""
        narrow, wide = [], []
        for output, word in self._sums():
            place = f"to + {output * self.output_step + word * PIXELS}"
            bias, factor = (f"@{name}[group * {self.lists.outputs} + {output}]" for name in ("bias", "factor"))
            scaling, name = f"{factor}, {self.largest}", self._sum(output, word)
            narrow.append(f"put_levels({place}, {bias}, {name}, {scaling});")
            wide.append(f"put_wide_levels({place}, {bias}, {name}, {self._wide(output, word)}, {scaling});")
        if not self.runs.flushes:
            return narrow
        return ["if (begun) {", *(f"    {line}" for line in wide), "} else {", *(f"    {line}" for line in narrow), "}"]


def _change(sign: int) -> str:
    return "gain" if sign > 0 else "lose"
