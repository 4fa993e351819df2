"""Instruction sets that the generated C has kernels for: one table, from which the `#if` ladders and the tiles follow.

docs/deploy.md shows how to add one.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Vectors:
    """Vectors of floats."""

    name: str
    condition: str
    """C's preprocessor knows by it that a compiler has them."""
    lanes: int
    registers: int
    """That hold vectors."""


VECTORS = (
    Vectors(name="AVX-512", condition="defined(__AVX512F__)", lanes=16, registers=32),
    Vectors(name="AVX2", condition="defined(__AVX2__)", lanes=8, registers=16),
    Vectors(
        name="SSE2, NEON or WebAssembly",
        condition="defined(__SSE2__) || defined(__ARM_NEON) || defined(__wasm_simd128__)",
        lanes=4,
        registers=16,
    ),
    Vectors(name="none", condition="1", lanes=1, registers=16),
)
"""The widest first; the last is any machine."""


@dataclass(frozen=True, kw_only=True)
class ByteKernel:
    """A way to compute a tile of bytes, of which the compiler takes the widest that the machine has."""

    name: str
    """What its types and functions end with in the C files."""
    instructions: str
    pixels: int
    """Of a vector."""
    sums: int
    """Vectors of sums that fit into registers."""
    signed: bool = False
    """Whether it reads levels up to 127 alone."""

    @property
    def dots(self) -> bool:
        """Whether it takes four entries at once, by dot products of four bytes; others take two."""
        return self.name.startswith("dots_")

    @property
    def macro(self) -> str:
        """What is defined where the machine has it."""
        return self.name.upper() if self.dots else f"PAIRS_{self.name}"


BYTE_KERNELS = (
    ByteKernel(name="dots_64", instructions="AVX-512 with VNNI", pixels=64, sums=6),
    ByteKernel(name="64", instructions="AVX-512BW", pixels=64, sums=12),
    ByteKernel(name="dots_32", instructions="AVX-VNNI, or VNNI of AVX-512VL", pixels=32, sums=3),
    ByteKernel(name="32", instructions="AVX2", pixels=32, sums=5),
    ByteKernel(name="dots_16", instructions="SDOT", pixels=16, sums=5, signed=True),
    ByteKernel(name="16", instructions="SSSE3, NEON, SSE2 or WebAssembly", pixels=16, sums=5),
    ByteKernel(name="1", instructions="none", pixels=1, sums=8),
)
"""The widest first."""


def kernel_ladders() -> str:
    """Return the `#if` ladders that choose a kernel, by the pixels of a map and the largest level of what it reads.

    KERNEL_P_L(name) is of the widest kernel up to P pixels for levels up to L; FOURS_P_L whether it takes four entries at once.
    """
    *vectors, none = BYTE_KERNELS
    text = "\n/* KERNEL_P_L(name): of the kernel for maps of P pixels and more, and levels up to L.\n"
    text += " * FOURS_P_L: whether it takes four entries at once. */\n"
    for pixels, largest in ((32, 255), (32, 127), (64, 255), (64, 127)):
        lines, word = [], "if"
        for kernel in vectors:
            if kernel.pixels <= pixels and not (kernel.signed and largest == 255):
                lines += [f"#{word} defined({kernel.macro})", f"#define KERNEL_{pixels}_{largest}(name) name##_{kernel.name}"]
                lines += [f"#define FOURS_{pixels}_{largest} {int(kernel.dots)}"]
                word = "elif"
        lines += ["#else", f"#define KERNEL_{pixels}_{largest}(name) name##_{none.name}"]
        lines += [f"#define FOURS_{pixels}_{largest} 0", "#endif"]
        text += "\n".join(lines) + "\n\n"
    return text + f"#define KERNEL_{none.name}(name) name##_{none.name}\n"


@dataclass(frozen=True, kw_only=True)
class X86:
    """A width of registers for which runtime/int8_x86.h is written out."""

    pixels: int
    intrinsics: str
    """What the names of functions begin with."""
    pairs: str
    """C's condition for products of pairs of bytes."""
    dots: str
    """C's condition for dot products of four bytes, where there are pairs."""

    @property
    def words(self) -> dict[str, str]:
        """What stands for @WORDS@ in the file."""
        return {
            "PIXELS": str(self.pixels),
            "BITS": str(8 * self.pixels),
            "MM": self.intrinsics,
            "IF_PAIRS": self.pairs,
            "IF_DOTS": self.dots,
        }


X86_WIDTHS = (
    X86(pixels=16, intrinsics="_mm", pairs="LANES == 4 && defined(__SSSE3__)", dots="0"),
    X86(
        pixels=32,
        intrinsics="_mm256",
        pairs="LANES >= 8 && defined(__AVX2__)",
        dots="defined(__AVXVNNI__) || (defined(__AVX512VNNI__) && defined(__AVX512VL__))",
    ),
    X86(pixels=64, intrinsics="_mm512", pairs="LANES >= 16 && defined(__AVX512BW__)", dots="defined(__AVX512VNNI__)"),
)


def lanes_ladder() -> str:
    """Return the `#if` ladder that defines LANES: the widest vectors of the machine that is compiled for."""
    *vectors, none = VECTORS
    lines = ["#if !defined(__GNUC__) || defined(PORTABLE)", f"#define LANES {none.lanes}"]
    for each in vectors:
        lines += [f"#elif {each.condition}", f"#define LANES {each.lanes}"]
    return "\n".join([*lines, "#else", f"#define LANES {none.lanes}", "#endif"])
