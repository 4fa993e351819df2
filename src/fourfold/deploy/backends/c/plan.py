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
    work: int = SHARED
    """Multiply-adds, or numbers moved; SHARED where it was not counted, as it is many."""

    def definition(self, name: str, linkage: str = "static") -> str:
        """Return the C of the function."""
        sources = [f"const {self.reads_type} *restrict {source}" for source in ("x", "other")[: len(self.reads)]]
        arguments = ", ".join([*sources, f"{self.writes_type} *restrict y", "int part", "int parts"])
        text = f"/* {harmless(self.comment)} */\n{self.tables}{linkage} void {name}({arguments})\n{{\n{indent(self.body)}\n}}\n"
        return text.replace("@", f"{name}_")

    def call(self, name: str, places: dict[int, str]) -> str:
        """Return the C that calls it, with an expression for each buffer."""
        buffers = ", ".join(places[buffer] for buffer in (*self.reads, self.writes))
        return f"{name}({buffers}, part, parts);"


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
            first.setdefault(step.writes, index)
            for buffer in (*step.reads, step.writes):
                last[buffer] = index
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
