"""Programs compiled and run, by this machine or an emulator, and what should come out."""

import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from general_programs import tolerance
from random_programs import bytes_for, images_for, magnitude, random_program

from fourfold.deploy import quantize
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.backends.c.emit import to_c
from fourfold.deploy.ir.ops import OPS
from fourfold.deploy.ir.program import Program

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
AS_CPP = ("-x", "c++", "-std=c++11", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-warning-option", "-Wno-maybe-uninitialized")
"""Without the warning that GCC 12's own headers of AVX-512 give."""
SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

Execute = Callable[[Path, str, Sequence[Path], bytes], bytes]
"""How a program is linked from files and run: in a folder, by a compiler, with what it reads; returns what it writes."""


def quick_first(compilers: Sequence[str]) -> list[object]:
    """Return the compilers as parameters of a test: the first in the fast lane, the others in the slow one."""
    return [*compilers[:1], *(pytest.param(name, marks=pytest.mark.slow) for name in compilers[1:])]


def run_command(command: Sequence[str | Path], given: bytes = b"", folder: Path | None = None, status: int = 0) -> bytes:
    """Run a command with what it reads, which must end with a status, and return what it writes."""
    done = subprocess.run(command, input=given, capture_output=True, cwd=folder, check=False)
    assert done.returncode == status, done.stderr.decode()
    return done.stdout


MAIN = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
@INCLUDES@
static void *filled(size_t size)
{
    char *memory = malloc(size ? size : 1); /* of exactly this size, so that a byte too far is seen */
    memset(memory, 255, size); /* not numbers, so that what nobody wrote is seen */
    return memory;
}
#define RUN(NAME, GUARD, COUNT, IMAGE, TYPE, FUNCTION)                                                                   \
    for (int i = 0; i < COUNT; i++) {                                                                                    \
        TYPE *image = filled(IMAGE * sizeof(TYPE));                                                                      \
        float *logits = filled(GUARD##_OUTPUTS * sizeof(float));                                                         \
        void *memory = filled(GUARD##_ARENA);                                                                            \
        if (fread(image, sizeof(TYPE), IMAGE, stdin) != IMAGE) return 1;                                                 \
        FUNCTION(memory, image, logits);                                                                                 \
        fwrite(logits, sizeof(float), GUARD##_OUTPUTS, stdout);                                                          \
        free(image), free(logits), free(memory);                                                                         \
    }
int main(void)
{
@CALLS@
    return 0;
}
"""


def natively(folder: Path, compiler: str, files: Sequence[Path], given: bytes) -> bytes:
    """Link a program, run it under sanitizers with what it is given, and return what it writes."""
    return _linked_and_run((), SANITIZERS, folder, compiler, files, given)


def under(*emulator: str) -> Execute:
    """Return how a program is linked and run by an emulator of Linux."""
    return partial(_linked_and_run, emulator, ())


def _linked_and_run(
    emulator: Sequence[str], checks: Sequence[str], folder: Path, compiler: str, files: Sequence[Path], given: bytes
) -> bytes:
    run_command([compiler, *checks, *files, "-o", folder / "main"])
    return run_command([*emulator, folder / "main"], given)


def run_all(
    programs: Sequence[Program],
    folder: Path,
    compiler: str,
    flags: Sequence[str],
    execute: Execute = natively,
    language: Sequence[str] = STRICT,
    kernels: str = "auto",
) -> list[np.ndarray]:
    """Compile programs into one, and return what each makes of its images, and then of its bytes."""
    includes, calls, inputs, sizes = [], [], [], []
    for index, program in enumerate(programs):
        source, _ = to_c(program, folder, name=f"n{index}", kernels=kernels)
        includes.append(f'#include "n{index}.h"')
        for coded, images in ((False, images_for(program, index)), (True, program.encoding and bytes_for(program, index))):
            if images is not None:
                kind, size, suffix = ("uint8_t", "BYTES", "_bytes_in") if coded else ("float", "INPUTS", "_in")
                name = f"N{index}"
                calls.append(f"RUN(n{index}, {name}, {len(images)}, {name}_{size}, {kind}, n{index}_run{suffix})")
                inputs.append(images.tobytes())
                sizes.append((len(images), int(np.prod(program.shapes[program.operations[-1].output]))))
        run_command([compiler, *language, *flags, "-c", source, "-o", source.with_suffix(".o")])
    main = folder / "main.c"
    main.write_text(MAIN.replace("@INCLUDES@", "\n".join(includes)).replace("@CALLS@", "\n".join(calls)))
    objects = [folder / f"n{index}.o" for index in range(len(programs))]
    written = execute(folder, compiler, [main, *objects], b"".join(inputs))
    ends = np.cumsum([images * outputs for images, outputs in sizes])
    return [part.reshape(size) for part, size in zip(np.split(np.frombuffer(written, np.float32), ends), sizes, strict=False)]


def prepared(seed: int, index: int) -> Program:
    """Return a random program, every second one in int8, calibrated with the images that it will see."""
    program = random_program(seed)
    return quantize.calibrate(program, images_for(program, index)) if seed % 2 else program


def near(program: Program, images: np.ndarray) -> float:
    """Return by how much rounding in float32 may move a program's outputs."""
    general = any(isinstance(operation, OPS[8:]) for operation in program.operations)
    return max(2e-6 * magnitude(program, images), tolerance(program, images) if general else 0.0)


def expected(programs: Sequence[Program]) -> list[tuple[np.ndarray, float]]:
    """Return the outputs that `run_all` should give, and how far they may be from them: in int8 not at all."""
    inputs: list[tuple[Program, np.ndarray]] = []
    for index, program in enumerate(programs):
        inputs.append((program, images_for(program, index)))
        if program.encoding:
            coded = bytes_for(program, index)
            inputs.append((program, coded if program.ranges else reference.encode(program.encoding, coded)))
    return [
        (reference.run_int8(program, images).reshape(len(images), -1), 0.0)
        if program.ranges
        else (reference.run(program, images).reshape(len(images), -1), near(program, images))
        for program, images in inputs
    ]
