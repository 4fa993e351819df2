"""Generated C: it compiles without a warning, and computes what the reference does, within its own memory."""

import os
import platform
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from compiled_programs import AS_CPP, SANITIZERS, STRICT, expected, prepared, run_all, run_command, under
from general_programs import general_program
from random_programs import images_for, program_of_all_kinds, random_program

from fourfold.deploy import quantize
from fourfold.deploy.backends.c.emit import to_c
from fourfold.deploy.ir.ops import Convolution
from fourfold.record import UserError

SWEEP = int(os.environ.get("FOURFOLD_SWEEP", "24"))
"""Random programs that are tried; thousands take hours, or with FOURFOLD_SANITIZE=0 a tenth of it."""

ARM_SEEDS = range(1, 1 + 2 * int(os.environ.get("FOURFOLD_SWEEP_ARM", "4")), 2)
"""Random programs in int8 that are tried under the emulator."""

MACHINES = {"native": ("-march=native",), "portable": ("-DPORTABLE",), "bytewise": ("-DPORTABLE", "-DBYTEWISE"), "plain": ()}
if platform.machine() in ("x86_64", "AMD64"):
    MACHINES["SSSE3"] = ("-mssse3",)

compilers = [name for name in ("gcc", "clang") if shutil.which(name)]
pytestmark = pytest.mark.skipif("gcc" not in compilers, reason="gcc is not here")


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_every_kind_of_layer_in_every_algebra(tmp_path, machine):
    plain = [program_of_all_kinds(n) for n in (1, 2, 4, 8)]
    programs = plain + [quantize.calibrate(program, images_for(program, 4 + i)) for i, program in enumerate(plain)]
    found = run_all(programs, tmp_path, "gcc", ("-O1", *MACHINES[machine]))
    for program, outputs, (wanted, tolerance) in zip(programs, found, expected(programs), strict=True):
        assert np.abs(wanted).max() > 0
        assert np.abs(outputs - wanted).max() <= tolerance, program.operations[0]


@pytest.mark.slow
@pytest.mark.parametrize(("compiler", "machine"), [(c, m) for c in compilers for m in MACHINES])
def test_random_programs_under_sanitizers(tmp_path, compiler, machine):
    checks = SANITIZERS if os.environ.get("FOURFOLD_SANITIZE", "1") != "0" else ("-O0",)
    share = len(compilers) * len(MACHINES)
    mine = compilers.index(compiler) * len(MACHINES) + list(MACHINES).index(machine)
    seeds = [seed for seed in range(SWEEP) if seed // 3 % share == mine]
    for start in range(0, len(seeds), 30):
        programs = [prepared(seed, index) for index, seed in enumerate(seeds[start : start + 30])]
        found = run_all(programs, tmp_path, compiler, (*checks, *MACHINES[machine]))
        for outputs, (wanted, tolerance) in zip(found, expected(programs), strict=True):
            assert np.abs(outputs - wanted).max() <= tolerance, f"one of the seeds {seeds[start : start + 30]}"


@pytest.mark.slow
@pytest.mark.parametrize("compiler", compilers)
def test_the_source_is_cpp_too(tmp_path, compiler):
    if not shutil.which("g++"):
        pytest.skip("there is no g++ on this machine")
    plain = [program_of_all_kinds(n) for n in (1, 4)] + [general_program(seed) for seed in range(3)]
    programs = plain + [quantize.calibrate(program, images_for(program, len(plain) + i)) for i, program in enumerate(plain[:2])]
    found = run_all(programs, tmp_path, compiler, ("-O1", "-march=native"), under(), AS_CPP)
    for outputs, (wanted, tolerance) in zip(found, expected(programs), strict=True):
        assert np.abs(outputs - wanted).max() <= tolerance


ARM = ("aarch64-linux-gnu-gcc", "qemu-aarch64")
ARM_MACHINES = {"NEON": ("-march=armv8-a",), "SDOT": ("-march=armv8.2-a+dotprod",)}


@pytest.mark.slow
@pytest.mark.parametrize("machine", ARM_MACHINES)
def test_arm_gives_what_the_reference_does_in_int8_bit_for_bit(tmp_path, machine):
    missing = [tool for tool in ARM if not shutil.which(tool)]
    if missing:
        pytest.skip(f"{missing[0]} is not here")
    plain = [program_of_all_kinds(n) for n in (1, 4)]
    programs = plain + [quantize.calibrate(program, images_for(program, 2 + i)) for i, program in enumerate(plain)]
    programs += [prepared(seed, index) for index, seed in enumerate(ARM_SEEDS, len(programs))]
    emulator = under(ARM[1], "-L", "/usr/aarch64-linux-gnu")
    found = run_all(programs, tmp_path, ARM[0], ("-O1", *ARM_MACHINES[machine]), emulator)
    for outputs, (wanted, tolerance) in zip(found, expected(programs), strict=True):
        assert np.abs(outputs - wanted).max() <= tolerance


def test_sdot_is_taken_where_levels_are_signed_bytes(tmp_path):
    if not shutil.which(ARM[0]):
        pytest.skip(f"{ARM[0]} is not here")
    program = program_of_all_kinds(4)
    source, _ = to_c(quantize.calibrate(program, images_for(program, 0)), tmp_path)
    for machine, flags in ARM_MACHINES.items():
        code = run_command([ARM[0], *STRICT, "-O2", *flags, "-S", "-o", "-", source]).decode()
        assert ("sdot" in code) == (machine == "SDOT")
        assert re.search(r"\bmla\tv\d+\.8h", code)  # the image's layer, in 16 bits


@pytest.mark.skipif("SSSE3" not in MACHINES, reason="not an x86 processor")
def test_products_of_bytes_are_taken_where_there_are_some(tmp_path):
    program = program_of_all_kinds(4)
    source, _ = to_c(quantize.calibrate(program, images_for(program, 0)), tmp_path)
    for machine in ("SSSE3", "plain"):
        code = run_command(["gcc", *STRICT, "-O2", *MACHINES[machine], "-S", "-o", "-", source]).decode()
        assert ("pmaddubsw" in code) == (machine == "SSSE3")


def test_names_that_c_does_not_allow(tmp_path):
    with pytest.raises(UserError, match=r"`name` \(='2fast'\) must begin with a letter"):
        to_c(random_program(0), tmp_path, name="2fast")


def test_names_from_an_artifact_stay_in_comments(tmp_path):
    injected = "*/ int injected = 1; /* @NAME@ \n#define injected\\"
    plain = random_program(3)
    named = replace(plain, operations=tuple(replace(operation, name=injected) for operation in plain.operations))
    for program in (named, quantize.calibrate(named, images_for(named, 0))):
        source, header = to_c(program, tmp_path, name="net")
        run_command(["gcc", *STRICT, "-c", source, "-o", tmp_path / "net.o"])
        assert "injected" not in run_command(["nm", tmp_path / "net.o"]).decode()
        for file in (source, header):
            preprocessed = run_command(["gcc", "-E", "-P", "-dD", file]).decode()
            assert "injected" not in preprocessed


def test_the_header_says_types_and_scales(tmp_path):
    program = random_program(3)
    assert "are float32." in to_c(program, tmp_path)[1].read_text()
    program = quantize.calibrate(program, images_for(program, 0))
    quantized = quantize.Quantized(program)
    header = to_c(program, tmp_path)[1].read_text()
    for name, levels in zip(
        ["the image", *(operation.name for operation in program.operations)], quantized.levels, strict=True
    ):
        assert f"{name}: 0 to {levels.largest}, scale {levels.scale:.9g}, zero {levels.zero}" in header
    layer = next(operation for operation in program.operations if isinstance(operation, Convolution))
    largest = np.abs(layer.product.weight).max() / quantize.WEIGHT_LEVELS
    (said,) = re.findall(rf"  {layer.name}: \S+ to (\S+)\n", header)
    assert float(said) == pytest.approx(largest, rel=1e-6)


def test_only_what_the_header_declares_is_exported_and_only_memory_functions_are_imported(tmp_path):
    program = random_program(0)
    assert program.encoding is not None
    source, _ = to_c(program, tmp_path, name="net")
    run_command(["gcc", *STRICT, "-O2", "-c", source, "-o", tmp_path / "net.o"])
    symbols = [line.split() for line in run_command(["nm", tmp_path / "net.o"]).decode().splitlines()]
    exported = {words[-1] for words in symbols if words[-2] in "TDBRC"}
    assert exported == {f"net_{name}" for name in ("run", "run_in", "run_bytes", "run_bytes_in", "step")}
    imported = {words[-1] for words in symbols if words[-2] == "U"}
    assert imported <= {"memcpy", "memset", "memmove", "_GLOBAL_OFFSET_TABLE_"}
