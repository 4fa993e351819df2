"""The example for microcontrollers: built for three machines, run in an emulator, with the logits of this one."""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fourfold.native import NoCompilerError, compiler

EXAMPLE = Path(__file__).parents[2] / "examples" / "microcontroller"
TOOLS = {
    "m4": ("make", "arm-none-eabi-gcc", "qemu-system-arm"),
    "m7": ("make", "arm-none-eabi-gcc", "qemu-system-arm"),
    "riscv": ("make", "riscv64-unknown-elf-gcc", "qemu-system-riscv32"),
}
FEWER = {"m4": 13, "m7": 13, "riscv": 8}
"""Times fewer instructions than the plain dense network takes; scaling costs more where there is no floating-point unit."""

try:
    compiler()
except NoCompilerError as reason:
    pytest.skip(str(reason), allow_module_level=True)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("microcontroller")
    for file in EXAMPLE.iterdir():
        if file.suffix in (".c", ".h", ".ld") or file.name == "Makefile":
            shutil.copy(file, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["generate.py", "--folder", str(folder)])
        runpy.run_path(str(EXAMPLE / "generate.py"), run_name="__main__")
    return folder


@pytest.mark.parametrize("machine", TOOLS)
def test_logits_and_instructions(project, machine):
    missing = [tool for tool in TOOLS[machine] if not shutil.which(tool)]
    if missing:
        pytest.skip(f"{missing[0]} is not here")
    done = subprocess.run(
        ["make", "-s", f"run-{machine}"], cwd=project, capture_output=True, text=True, timeout=120, check=False
    )
    printed = done.stdout + done.stderr  # QEMU writes what the machines print to the one or to the other
    if "cannot read spec file" in printed or "No such file or directory" in printed:
        pytest.skip("the compiler came without its C library")
    assert done.returncode == 0, printed
    logits = "".join(line + "\n" for line in printed.splitlines() if line.startswith("logit"))
    assert logits == (project / "expected.txt").read_text()
    counted = re.search(r"instructions (\d+) plain (\d+)", printed)
    assert counted is not None
    sparse, plain = map(int, counted.groups())
    assert plain > FEWER[machine] * sparse


def test_flash_and_memory_on_a_cortex_m4(project):
    if not shutil.which("arm-none-eabi-size"):
        pytest.skip("arm-none-eabi-gcc is not here")
    done = subprocess.run(["make", "-s", "size"], cwd=project, capture_output=True, text=True, timeout=120, check=True)
    text, data, bss = map(int, done.stdout.splitlines()[1].split()[:3])
    kept = 8200  # weights: a byte and two of its step each
    assert 3 * kept * 0.9 < text + data < 3 * kept + 8000
    header = (project / "network.h").read_text()
    arena = re.search(r"NETWORK_ARENA (\d+)", header)
    assert arena is not None
    assert bss == int(arena.group(1))
