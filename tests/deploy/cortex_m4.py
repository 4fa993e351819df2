"""Programs on a Cortex-M4F, which QEMU emulates, with the files of the example for microcontrollers."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from fourfold.deploy.backends.c.emit import to_c
from fourfold.deploy.backends.c.text import array
from fourfold.deploy.ir.program import Program

EXAMPLE = Path(__file__).parents[2] / "examples" / "microcontroller"
COMPILER, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
FLAGS = (
    "-mthumb",
    "-O2",
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-mcpu=cortex-m4",
    "-mfpu=fpv4-sp-d16",
    "-mfloat-abi=hard",
)
LINKED = ("-ffunction-sections", "-fdata-sections", "--specs=rdimon.specs", "-T", "arm.ld", "-Wl,--gc-sections")

MAIN = r"""
#include "machine.h"
@INCLUDES@
#include <stdio.h>
#define RUN(NAME, GUARD, IMAGE, FUNCTION)                                                                                \
    {                                                                                                                    \
        static float logits[GUARD##_OUTPUTS];                                                                            \
        const uint32_t start = instructions();                                                                           \
        FUNCTION(IMAGE, logits);                                                                                         \
        printf("%s %lu", NAME, (unsigned long)(instructions() - start));                                                 \
        for (int i = 0; i < GUARD##_OUTPUTS; i++) {                                                                      \
            union {                                                                                                      \
                float number;                                                                                            \
                uint32_t bits;                                                                                           \
            } logit = {logits[i]};                                                                                       \
            printf(" %lx", (unsigned long)logit.bits);                                                                   \
        }                                                                                                                \
        printf("\n");                                                                                                    \
    }
int main(void)
{
    start_counting();
@CALLS@
    return 0;
}
"""


def skip_without_tools() -> None:
    for tool in (COMPILER, EMULATOR):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not here")


def run_on_cortex_m4(programs: Mapping[str, tuple[Program, np.ndarray]], folder: Path) -> dict[str, tuple[int, np.ndarray]]:
    """Run programs on one image each, bytes or numbers, and return how many instructions that takes, and the logits."""
    includes, calls, sources = [], [], []
    for index, (name, (program, image)) in enumerate(programs.items()):
        source, _ = to_c(program, folder, name=f"n{index}")
        sources.append(source.name)
        coded = image.dtype == np.uint8
        includes += [f'#include "n{index}.h"', array("uint8_t" if coded else "float", f"image{index}", image)]
        calls.append(f'    RUN("{name}", N{index}, image{index}, n{index}_run{"_bytes" if coded else ""})')
    main = MAIN.replace("@INCLUDES@", "\n".join(includes)).replace("@CALLS@", "\n".join(calls))
    (folder / "main.c").write_text(main)
    for file in ("machine.h", "arm.ld", "startup_arm.c"):
        shutil.copy(EXAMPLE / file, folder)
    command = [COMPILER, *FLAGS, *LINKED, "main.c", "startup_arm.c", *sources, "-o", "main.elf"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if "cannot read spec file" in built.stderr or "stdio.h: No such file" in built.stderr:
        pytest.skip("the compiler came without its C library")
    assert built.returncode == 0, built.stderr
    command = [EMULATOR, "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none", "-icount", "shift=0"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", "main.elf"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    printed = ran.stdout + ran.stderr  # QEMU writes what the machine prints to the one or to the other
    assert ran.returncode == 0, printed
    found = {}
    for name in programs:
        line = re.search(rf"^{re.escape(name)} (\d+)((?: [0-9a-f]+)*)$", printed, re.MULTILINE)
        assert line is not None, printed
        logits = np.array([int(bits, 16) for bits in line[2].split()], np.uint32).view(np.float32)
        found[name] = int(line[1]), logits
    return found
