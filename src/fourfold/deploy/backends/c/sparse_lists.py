"""The weights of a layer as lists: for each group of outputs, which inputs come in, and with which numbers."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.ir.bounds import ENTRIES_PER_WEIGHT, check
from fourfold.deploy.ir.operation import Array
from fourfold.deploy.ir.product import Product

Integers = NDArray[np.int64]
Content = TypeVar("Content", Integers, Array)

LARGEST_STEP = 2**16 - 1
"""Steps between entries are stored in 16 bits; a longer way is gone in several, with weights of zero."""

SHARED_LOAD = 0.62
"""Time of a multiply-add whose input is loaded once for several outputs, where one that loads its own input takes 1."""

ROWS = 4
"""Outputs of a dense real layer that are computed together."""


@dataclass(frozen=True, kw_only=True)
class Term:
    """One multiply-add: output += sign · weight · input, counted within a group of outputs, an input element and an entry."""

    output: int
    input: int
    weight: int
    sign: int


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """What each entry of a list does."""

    weights: int
    """Stored numbers an entry."""
    terms: tuple[Term, ...]

    @property
    def inputs(self) -> tuple[int, ...]:
        """The components of an input element that come in."""
        return tuple(sorted({term.input for term in self.terms}))

    @property
    def reuses(self) -> bool:
        """Whether an input, once loaded, serves several multiply-adds."""
        return len(self.terms) > len(self.inputs)


@dataclass(frozen=True, kw_only=True, eq=False)
class Lists:
    """A layer's weights in the order in which its kernel walks them: by group, pattern, entry."""

    patterns: tuple[Pattern, ...]
    """A group has a list for each."""
    outputs: int
    """Of a group: they stand in registers while its lists are walked."""
    groups: int
    shared: bool
    """Whether all groups have the same entries, stored once: a dense layer."""
    counts: Integers
    """(groups, patterns) entries, or (1, 1) where shared."""
    steps: Integers
    """From each entry's input to the next one's; the first of a list is counted from 0. Or places, where `placed`."""
    weights: Array
    """(entries, weights an entry) of all lists, one after the other."""
    channels: Integers
    """(groups, outputs): the output channel of each."""
    placed: bool = False
    """Whether `steps` tell where each entry's input begins, in components from the first number's."""

    @property
    def channel_steps(self) -> tuple[int, int]:
        """Channels from one group to the next, and from one output of a group to the next."""
        group = int(self.channels[1, 0] - self.channels[0, 0]) if self.groups > 1 else self.outputs
        return group, int(self.channels[0, 1] - self.channels[0, 0]) if self.outputs > 1 else 1

    def described(self, product: Product) -> str:
        """Return for a comment how many weights there are, and how they are walked."""
        kind = "dense" if self.shared else "components" if self.patterns[0].weights == 1 else "elements"
        return f"{np.count_nonzero(product.weight)} of {product.weight.size} weights, walked as {kind}"


def make_lists(product: Product, where: Integers, groups: int = 1) -> Lists:
    """Return a layer's weights as lists, of the kind that should be walked fastest.

    Args:
        product: The weights, (n, out / n, in / n / groups, *kernel).
        where: (in / n, *kernel): distance of each input element from the first, for the output at 0.
        groups: Of a convolution.
    """
    weight = product.weight
    n, rows = weight.shape[:2]
    together = n if n > 1 else next(size for size in range(ROWS, 0, -1) if rows % size == 0)
    alone = float(np.count_nonzero(weight)) * n
    numbers = float(np.count_nonzero(weight.any(axis=0))) * n * n * SHARED_LOAD
    dense = float(weight.size) * n * (SHARED_LOAD if together > 1 else 1)
    if groups == 1 and dense <= min(alone, numbers if n > 1 else alone):
        return _dense(product, where, together)
    if n > 1 and numbers < alone:
        return _element_lists(product, where)
    return component_lists(product, where, groups)


def turned_lists(product: Product) -> Lists:
    """Return a linear layer's weights as one list for each output element, of inputs that stand there once for each component.

    Input element i, turned as component c of a weight turns it, is element i · n + c: an entry adds it to the outputs.
    """
    weight = product.weight.transpose(1, 2, 0)
    rows, _, n = weight.shape
    row, source, component = np.nonzero(weight)
    return Lists(
        patterns=(Pattern(weights=1, terms=tuple(Term(output=a, input=a, weight=0, sign=1) for a in range(n))),),
        outputs=n,
        groups=rows,
        shared=False,
        counts=np.bincount(row, minlength=rows).reshape(rows, 1),
        steps=(source * n + component) * n,
        weights=weight[row, source, component][:, None],
        channels=_number_channels(n, rows),
        placed=True,
    )


def component_patterns(product: Product) -> tuple[Pattern, ...]:
    """Return for each component of the weights what one stored number of it does."""
    table, n = product.table, range(product.n)
    return tuple(
        Pattern(
            weights=1,
            terms=tuple(
                Term(output=a, input=b, weight=0, sign=table[a][b][1]) for a in n for b in n if table[a][b][0] == component
            ),
        )
        for component in n
    )


def element_pattern(product: Product) -> Pattern:
    """Return what one entire element of the weights does."""
    n = range(product.n)
    terms = (Term(output=a, input=b, weight=product.table[a][b][0], sign=product.table[a][b][1]) for b in n for a in n)
    return Pattern(weights=product.n, terms=tuple(terms))


def component_lists(product: Product, where: Integers, groups: int) -> Lists:
    """Return a layer's weights as lists of single components, whatever would be fastest; see `make_lists`."""
    weight = product.weight
    n, rows, inputs = weight.shape[:3]
    group_of_row = np.arange(rows) * groups // rows
    index = np.nonzero(weight.swapaxes(0, 1))
    row, component, source, *place = index
    offsets = where[(source + group_of_row[row] * inputs, *place)]
    counts, steps, weights = _chain(row * n + component, rows * n, offsets, weight.swapaxes(0, 1)[index][:, None])
    return Lists(
        patterns=component_patterns(product),
        outputs=n,
        groups=rows,
        shared=False,
        counts=counts.reshape(rows, n),
        steps=steps,
        weights=weights,
        channels=_number_channels(n, rows),
    )


def _element_lists(product: Product, where: Integers) -> Lists:
    weight = np.moveaxis(product.weight, 0, -1)
    rows, n = len(weight), product.n
    index = np.nonzero(weight.any(axis=-1))
    counts, steps, weights = _chain(index[0], rows, where[index[1:]], weight[index])
    return Lists(
        patterns=(element_pattern(product),),
        outputs=n,
        groups=rows,
        shared=False,
        counts=counts.reshape(rows, 1),
        steps=steps,
        weights=weights,
        channels=_number_channels(n, rows),
    )


def _dense(product: Product, where: Integers, together: int) -> Lists:
    n, rows = product.weight.shape[:2]
    if n > 1:
        pattern, channels = element_pattern(product), _number_channels(n, rows)
        numbers = np.moveaxis(product.weight, 0, -1).reshape(rows, -1, n)
    else:
        terms = (Term(output=output, input=0, weight=output, sign=1) for output in range(together))
        pattern, channels = Pattern(weights=together, terms=tuple(terms)), np.arange(rows).reshape(-1, together)
        numbers = product.weight.reshape(rows // together, together, -1).swapaxes(1, 2)
    order = np.argsort(where.ravel(), kind="stable")
    ordered = where.ravel()[order]
    counts, steps, place = _chain(np.zeros(order.size, np.int64), 1, ordered, np.arange(order.size)[:, None])
    filled = np.append(order, -1)[place[:, 0]]  # a filler's place is -1, and -1 reads the zeros appended below
    padded = np.concatenate([numbers, np.zeros_like(numbers[:, :1])], axis=1)
    return Lists(
        patterns=(pattern,),
        outputs=together,
        groups=len(channels),
        shared=True,
        counts=counts.reshape(1, 1),
        steps=steps,
        weights=padded[:, filled].reshape(-1, together),
        channels=channels,
    )


def _number_channels(n: int, rows: int) -> Integers:
    return np.arange(rows)[:, None] + rows * np.arange(n)


def _chain(list_of: Integers, lists: int, offsets: Integers, content: Content) -> tuple[Integers, Integers, Content]:
    """Order entries by list and offset, and return the lists' counts, the steps from entry to entry, and the content.

    Where a step is too long for its 16 bits, entries are put between: of zeros, or of -1 where the content is of places.
    """
    order = np.lexsort((offsets, list_of))
    list_of, offsets, content = list_of[order], offsets[order], content[order]
    begins = np.concatenate([[True], list_of[1:] != list_of[:-1]]) if list_of.size else np.zeros(0, bool)
    steps = np.where(begins, offsets, np.diff(offsets, prepend=0))
    fillers = np.maximum(steps - 1, 0) // LARGEST_STEP
    times = fillers + 1
    check("entries", int(times.sum()), free=ENTRIES_PER_WEIGHT * times.size)
    last = np.cumsum(times) - 1  # where each entry itself lands, behind its fillers
    filler = np.ones(int(times.sum()), bool)
    filler[last] = False
    repeated = np.repeat(content, times, axis=0)
    repeated[filler] = -1 if content.dtype == np.int64 else 0
    walked = np.full(filler.size, LARGEST_STEP, np.int64)
    walked[last] = steps - fillers * LARGEST_STEP
    return np.bincount(np.repeat(list_of, times), minlength=lists), walked, repeated
