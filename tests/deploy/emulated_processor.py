"""Programs run without a system by Bochs, which emulates a processor with AVX-512 and VNNI instruction by instruction."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from compiled_programs import run_command

FILES = Path(__file__).parent / "emulated"

FLAGS = ("-fno-pie", "-fno-stack-protector", "-fcf-protection=none", "-U_FORTIFY_SOURCE")
"""What everything is compiled with that runs there."""

SECTOR = 512
CYLINDER = 16 * 63 * SECTOR
"""Bytes that a disk must have a multiple of."""


def in_bochs(folder: Path, compiler: str, files: Sequence[Path], given: bytes) -> bytes:
    """Make a disk that starts into a program, run it with what it reads, and return what it writes."""
    (folder / "input.bin").write_bytes(given)
    own = ("-O1", "-ffreestanding", "-fno-tree-loop-distribute-patterns", *FLAGS)
    linked = ("-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none,--no-warn-rwx-segments", "-T", FILES / "bare.ld")
    run_command([compiler, *own, *linked, FILES / "bare.c", *files, "-o", "program.elf"], folder=folder)
    run_command(
        ["objcopy", "-O", "binary", "--set-section-flags", ".all=alloc,load,contents", "program.elf", "program.bin"],
        folder=folder,
    )
    program = (folder / "program.bin").read_bytes()
    sectors = math.ceil(len(program) / SECTOR)
    run_command([compiler, "-c", f"-Wa,--defsym,SECTORS={sectors}", FILES / "boot.S", "-o", "boot.o"], folder=folder)
    run_command(["ld", "-Ttext=0x7c00", "--oformat=binary", "-e", "start", "boot.o", "-o", "boot.bin"], folder=folder)
    disk = (folder / "boot.bin").read_bytes() + program
    (folder / "disk.img").write_bytes(disk.ljust(math.ceil(len(disk) / CYLINDER) * CYLINDER, b"\0"))
    shutil.copy(FILES / "bochsrc", folder)
    # Debian's Bochs has a debugger, which waits for this before it begins; it ends with status 1 when the machine is shut down.
    printed = run_command(["bochs", "-q", "-f", "bochsrc"], b"c\n", folder, status=1)
    begin, end = printed.find(b"<<begin>>"), printed.rfind(b"<<end>>")
    assert 0 <= begin < end, (folder / "log.txt").read_text()[-2000:]
    return printed[begin + len(b"<<begin>>") : end]
