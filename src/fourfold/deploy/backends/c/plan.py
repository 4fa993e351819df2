"""What a program becomes before it is C: steps that read and fill buffers."""

from dataclasses import dataclass, field

from fourfold.deploy.backends.c.int8.kernel_choice import Choice
from fourfold.deploy.backends.c.memory import Lifetime, Plane
from fourfold.deploy.backends.c.text import harmless, indent
from fourfold.deploy.ir.bounds import check
from fourfold.deploy.ir.operation import Shape
from fourfold.deploy.quantize import Quantized

IMAGE = -1
"""Stands for the image that the caller gives."""
LOGITS = -2
"""Stands for the numbers that the caller gets."""

SHARED = 2**15
"""Multiply-adds from which on a step is worth a meeting of threads, which takes one or two microseconds."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One C function: its tables and its body, and the buffers that it is called with. `@` begins the tables' names."""

    comment: str
    reads: tuple[int, ...]
    writes: int
    body: tuple[str, ...]
    """Lines of the function, whose arguments are x (and other), y, part and parts."""
    tables: str = ""
    reads_type: str = "NUMBER"
    writes_type: str = "NUMBER"
    memory: int | None = None
    """A buffer that it works in, if it needs one: `memory` among the arguments."""
    work: int = SHARED
    """Multiply-adds, or numbers moved; SHARED where it was not counted, as it is many."""

    def definition(self, name: str, linkage: str = "static") -> str:
        """Return the C of the function; one whose name begins with `@` belongs to a step, and stands among its tables."""
        sources = [f"const {self.reads_type} *restrict {source}" for source in ("x", "other")[: len(self.reads)]]
        memory = [] if self.memory is None else ["NUMBER *restrict memory"]
        arguments = ", ".join([*sources, f"{self.writes_type} *restrict y", *memory, "int part", "int parts"])
        tables, body = (text.replace("@", f"{name}_") for text in (self.tables, indent(self.body)))
        return f"/* {harmless(self.comment)} */\n{tables}{linkage} void {name}({arguments})\n{{\n{body}\n}}\n"

    def call(self, name: str, places: dict[int, str]) -> str:
        """Return the C that calls it, with an expression for each buffer."""
        buffers = [*self.reads, self.writes, *([] if self.memory is None else [self.memory])]
        return f"{name}({', '.join(places[buffer] for buffer in buffers)}, part, parts);"


@dataclass(frozen=True, kw_only=True)
class Begin:
    """Numbers of a buffer that are there before a series' first step: all of one byte."""

    first: int
    numbers: int
    byte: int = 0

    def line(self, buffer: str) -> str:
        """Return the C that sets them, with an expression for the buffer."""
        return f"memset({buffer} + {self.first}, {self.byte}, {self.numbers} * sizeof(NUMBER));"


@dataclass
class Draft:
    """The steps and buffers of a program, as they are being written."""

    planes: list[Plane]
    """Of each value."""
    shapes: tuple[Shape, ...]
    """Of each value."""
    buffers: dict[int, int] = field(default_factory=dict)
    """The buffer of each value made so far."""
    sizes: list[int] = field(default_factory=list)
    """Numbers of each buffer."""
    steps: list[Step] = field(default_factory=list)
    quantized: Quantized | None = None
    """The network in integers, or None in float32."""
    kernels: str = "auto"
    """What computes layers for which there are several kernels: one of `KERNELS`."""
    kept: dict[int, tuple[Begin, ...]] = field(default_factory=dict)
    """Buffers that one run leaves to the next, and how a series begins in them."""
    choices: list[Choice] = field(default_factory=list)
    """Which kernel was chosen, of every such layer."""

    def zero(self, value: int) -> int:
        """Return what stands for zero in a value's buffer."""
        return self.quantized.levels[value].zero if self.quantized else 0

    def buffer(self, size: int) -> int:
        """Return a new buffer.

        Raises:
            UserError: C's integers do not count so many numbers.
        """
        check("value", size, "with what C needs around it")
        self.sizes.append(size)
        return len(self.sizes) - 1

    def lifetimes(self, number_size: int) -> list[Lifetime]:
        """Return when each buffer is in use; the first step, which takes the image, is not among `steps`."""
        first, last = {0: 0}, {0: 0}
        for index, step in enumerate(self.steps, 1):
            for buffer in (*step.reads, step.writes, *([] if step.memory is None else [step.memory])):
                first.setdefault(buffer, index)
                last[buffer] = index
        for buffer in self.kept:
            first[buffer], last[buffer] = 0, len(self.steps)
        return [
            Lifetime(size=size * number_size, first=first[buffer], last=last[buffer]) for buffer, size in enumerate(self.sizes)
        ]


def wiped(target: Plane, zero: int, channel: str, channels: str) -> list[str]:
    """Return the line that puts zeros around the maps of some channels, where there is room for them.

    Args:
        target: The plane of the value.
        zero: What stands for zero.
        channel: C of the first channel's number.
        channels: C of how many there are.
    """
    if target.compact:
        return []
    shape = f"{target.height}, {target.width}, {target.pitch}, {target.origin}, {target.length}"
    return [f"wipe(y + ({channel}) * {target.length}, {channels}, {shape}, {zero});"]
