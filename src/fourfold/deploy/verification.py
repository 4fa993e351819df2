"""Proof that the C of a network computes what the network does: both run on the same images; and what the C takes."""

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.ir.operation import Array
from fourfold.deploy.ir.program import Program
from fourfold.native import NoCompilerError, compiler, run_compiler
from fourfold.record.errors import UserError

TOLERANCE = 1e-4
"""Of the largest logit: by how much float32 may differ from the reference, which computes in float64. int8 may not differ."""

FLAGS = ("-std=c99", "-O2")

_MAIN = r"""
#include <stdio.h>
#include "network.h"
int main(void)
{
    static uint8_t image[NETWORK_BYTES];
    static float logits[NETWORK_OUTPUTS];
    while (fread(image, 1, sizeof image, stdin) == sizeof image) {
        network_run_bytes(image, logits);
        fwrite(logits, sizeof *logits, NETWORK_OUTPUTS, stdout);
    }
    return 0;
}
"""

_FLASH = (".text", ".rodata", ".data")
"""Sections that a device keeps in flash; those of the static arena and of debuggers are others."""

_NODE = re.compile(r'node: \{ title: "([^"]+)" label: "[^"]*?(\d+) bytes \((static|dynamic[^)]*)\)')
_EDGE = re.compile(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What came out on the images, and what the C takes."""

    exact: bool
    """Whether the logits must be equal bit for bit, as those of int8 must."""
    images: int
    equal: int
    """Images whose logits are the same bits."""
    difference: float
    """The largest of any logit."""
    largest: float
    """Size of the largest logit of the reference."""
    reference_top1: float
    """Percent."""
    c_top1: float
    flash: int | None
    """Bytes of code and constants of the object; None where `size` is not here."""
    arena: int
    """Bytes of memory that a run works in."""
    stack: int | None
    """Bytes of the deepest chain of calls, without the C library's; None where the compiler does not say."""
    compiler: str

    @property
    def agrees(self) -> bool:
        """Whether the C computes what the reference does."""
        if self.exact:
            return self.equal == self.images
        return self.difference <= self.allowed  # false of NaN

    @property
    def allowed(self) -> float:
        """The largest difference of float32 that is rounding."""
        return TOLERANCE * self.largest


def verify(program: Program, folder: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> Proof:
    """Compile network.c of a folder for this machine, and compare it with the reference.

    Args:
        program: What the C was made of; with an encoding.
        folder: That `to_c` wrote.
        images: uint8 (N, H, W, C).
        labels: Their classes.

    Raises:
        NoCompilerError: there is no C compiler, or it fails.
        UserError: the compiled program fails.
    """
    logits, flash, stack = _compiled_and_run(folder, images)
    assert program.encoding is not None
    if program.ranges:
        expected = reference.run_int8(program, images)
    else:
        expected = np.concatenate([_in_floats(program, images[k : k + 256]) for k in range(0, len(images), 256)])
    if logits.size != expected.size:
        raise UserError(f"{folder} gives {logits.size:,} logits for {len(images):,} images, and must give {expected.size:,}")
    logits, expected = logits.reshape(len(images), -1), expected.reshape(len(images), -1)
    arena = re.search(r"_ARENA (\d+)", (folder / "network.h").read_text())
    return Proof(
        exact=bool(program.ranges),
        images=len(images),
        equal=int((logits.view(np.uint32) == expected.view(np.uint32)).all(axis=1).sum()),
        difference=float(np.abs(logits.astype(np.float64) - expected).max()),
        largest=float(np.abs(expected).max()),
        reference_top1=_top1(expected, labels),
        c_top1=_top1(logits, labels),
        flash=flash,
        arena=int(arena[1]) if arena else 0,
        stack=stack,
        compiler=f"{compiler()}, {' '.join(FLAGS)}",
    )


def _in_floats(program: Program, images: NDArray[np.uint8]) -> Array:
    assert program.encoding is not None
    return reference.run(program, reference.encode(program.encoding, images))


def _top1(logits: Array, labels: NDArray[np.int64]) -> float:
    return 100 * float((logits.argmax(1) == labels).mean())


def _compiled_and_run(folder: Path, images: NDArray[np.uint8]) -> tuple[Array, int | None, int | None]:
    """Return the logits of images in the compiled C, flat; and its bytes of flash and stack where they are known."""
    with tempfile.TemporaryDirectory() as scratch:
        object_file, main, binary = Path(scratch) / "network.o", Path(scratch) / "main.c", Path(scratch) / "main"
        main.write_text(_MAIN)
        run_compiler(*FLAGS, "-c", str(folder / "network.c"), "-o", str(object_file))
        run_compiler(*FLAGS, f"-I{folder}", str(main), str(object_file), "-o", str(binary), "-lm")
        done = subprocess.run([binary], input=np.ascontiguousarray(images).tobytes(), capture_output=True, check=False)
        if done.returncode:
            raise UserError(f"the compiled {folder / 'network.c'} ended with status {done.returncode}")
        logits: Array = np.frombuffer(done.stdout, np.float32)
        return logits, _flash(object_file), _stack(folder / "network.c", Path(scratch))


def _flash(object_file: Path) -> int | None:
    """Return the bytes of an object's code and constants."""
    tool = shutil.which("size")
    done = subprocess.run([tool, "-A", object_file], capture_output=True, text=True, check=False) if tool else None
    if done is None or done.returncode:
        return None
    sections = [line.split() for line in done.stdout.splitlines()]
    sizes = [int(words[1]) for words in sections if len(words) == 3 and words[0].startswith(_FLASH) and words[1].isdigit()]
    return sum(sizes) or None


def _stack(source: Path, scratch: Path) -> int | None:
    """Return the bytes of the deepest chain of calls, by gcc's graph of them."""
    try:
        run_compiler(*FLAGS, "-fcallgraph-info=su", "-c", str(source), "-o", str(scratch / "stack.o"))
        graph = next(scratch.glob("*.ci")).read_text()
    except (NoCompilerError, StopIteration):  # other compilers than gcc
        return None
    nodes = _NODE.findall(graph)
    if not nodes or any(kind == "dynamic" for _, _, kind in nodes):
        return None
    frames: dict[str, int] = {name: int(size) for name, size, _ in nodes}
    calls: list[tuple[str, str]] = _EDGE.findall(graph)
    depth = dict(frames)
    for _ in frames:  # there is no recursion: after as many rounds as a chain has calls nothing changes
        deeper = {name: frames[name] + max((depth.get(b, 0) for a, b in calls if a == name), default=0) for name in frames}
        if deeper == depth:
            break
        depth = deeper
    return max(depth.values())
