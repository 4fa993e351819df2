"""Steps that walk values along their own axes: each axis of a value lies at a fixed distance in its plane."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fourfold.deploy.backends.c.memory import Plane
from fourfold.deploy.backends.c.plan import Draft, Step, wiped
from fourfold.deploy.backends.c.text import share_of
from fourfold.deploy.ir.operation import Operation, Shape


@dataclass(frozen=True, kw_only=True)
class View:
    """Where the numbers of a value lie in its buffer."""

    shape: Shape
    strides: tuple[int, ...]
    origin: int

    def at(self, *places: str) -> str:
        """Return the C of a number's place, from those of its place along each axis."""
        terms = [str(self.origin)] if self.origin else []
        for place, stride in zip(places, self.strides, strict=True):
            if stride and place != "0":
                terms.append(f"({place}) * {stride}" if " " in place else f"{place} * {stride}")
        return " + ".join(terms) or "0"


def view_of(plane: Plane, shape: Shape) -> View:
    """Return where the numbers of a value of a shape lie."""
    strides = [plane.length]
    for axis in range(1, len(shape)):
        last = axis == len(shape) - 1
        strides.append(1 if last else plane.pitch * math.prod(shape[axis + 1 : -1]))
    return View(shape=shape, strides=tuple(strides), origin=plane.origin)


def view(draft: Draft, value: int) -> View:
    """Return where the numbers of a value lie."""
    return view_of(draft.planes[value], draft.shapes[value])


def indices(rank: int) -> list[str]:
    """Return the C names of an output's places along each axis."""
    return [f"i{axis}" for axis in range(rank)]


def loops(names: Sequence[str], extents: Sequence[int | tuple[str, str]], lines: Sequence[str]) -> list[str]:
    """Return loops of C around lines, from 0 to each extent or between two expressions."""
    nested = list(lines)
    for name, extent in reversed(list(zip(names, extents, strict=True))):
        start, end = extent if isinstance(extent, tuple) else ("0", str(extent))
        nested = [f"for (int {name} = {start}; {name} < {end}; {name}++) {{", *(f"    {line}" for line in nested), "}"]
    return nested


def shared(names: Sequence[str], extents: Sequence[int], lines: Sequence[str]) -> list[str]:
    """Return loops of which the parts of a step share the first."""
    if not names:
        return ["(void)parts;", "if (part == 0) {", *(f"    {line}" for line in lines), "}"]
    return [share_of(extents[0]), *loops(names, [("first", "last"), *extents[1:]], lines)]


def append(
    draft: Draft,
    operation: Operation,
    body: Sequence[str],
    *,
    comment: str = "",
    tables: str = "",
    reads: Sequence[int] | None = None,
    by_channel: bool = True,
    first_channel: int = 0,
    work: int | None = None,
    memory: int | None = None,
) -> None:
    """Append a step that fills an operation's value.

    Args:
        draft: What the program becomes.
        operation: That makes the value.
        body: Lines that fill the maps.
        comment: What they do.
        tables: Constants.
        reads: Values; those of the operation's inputs by default.
        by_channel: Whether parts share the value's first axis: then each wipes its own channels.
        first_channel: From which on.
        work: Multiply-adds.
        memory: A buffer that the step works in, if it needs one.
    """
    target, zero = draft.planes[operation.output], draft.zero(operation.output)
    if operation.output not in draft.buffers:
        draft.buffers[operation.output] = draft.buffer(target.size)
    lines = list(body)
    if by_channel:
        lines += wiped(target, zero, f"first + {first_channel}" if first_channel else "first", "last - first")
    elif not target.compact:
        lines += ["if (part == 0) {", *(f"    {line}" for line in wiped(target, zero, "0", str(target.channels))), "}"]
    draft.steps.append(
        Step(
            comment=f"{operation.name}: {comment or operation.kind}",
            reads=tuple(draft.buffers[value] for value in (operation.inputs if reads is None else reads)),
            writes=draft.buffers[operation.output],
            body=tuple(lines),
            tables=tables,
            memory=memory,
            work=target.size if work is None else work,
        )
    )
