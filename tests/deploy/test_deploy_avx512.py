"""AVX-512 and VNNI: their instructions are in what compilers make, and an emulated processor computes the same with them."""

import os
import re
import shutil

import numpy as np
import pytest
from compiled_programs import STRICT, expected, prepared, quick_first, run_all, run_command
from emulated_processor import FLAGS, in_bochs
from random_programs import images_for, program_of_all_kinds

from fourfold.deploy import quantize
from fourfold.deploy.backends.c.emit import to_c

EMULATED = int(os.environ.get("FOURFOLD_SWEEP_AVX512", "6"))
"""Random programs that the emulated processor runs."""

MACHINES = {
    "AVX-512": ("-march=skylake-avx512",),
    "AVX-512 with VNNI": ("-march=icelake-server",),
    "VNNI of 256 bits": ("-march=x86-64-v3", "-mavx512vl", "-mavx512vnni"),
}

INT8 = {"AVX-512": r"vpmaddubsw.*zmm", "AVX-512 with VNNI": r"vpdpbusd.*zmm", "VNNI of 256 bits": r"vpdpbusd.*ymm"}
"""The instruction that the int8 kernel of a machine is made of."""

compilers = [name for name in ("gcc", "clang") if shutil.which(name)]
pytestmark = pytest.mark.skipif("gcc" not in compilers, reason="gcc is not here")


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_an_emulated_processor_computes_what_the_reference_does(tmp_path, machine):
    if not shutil.which("bochs"):
        pytest.skip("bochs is not here")
    plain = [program_of_all_kinds(n) for n in (1, 4)]
    programs = plain + [quantize.calibrate(program, images_for(program, 2 + i)) for i, program in enumerate(plain)]
    programs += [prepared(seed, index) for index, seed in enumerate(range(EMULATED), len(programs))]
    found = run_all(programs, tmp_path, "gcc", ("-O1", *FLAGS, *MACHINES[machine]), in_bochs)
    for outputs, (wanted, tolerance) in zip(found, expected(programs), strict=True):
        assert np.abs(outputs - wanted).max() <= tolerance


@pytest.mark.slow
@pytest.mark.parametrize("compiler", compilers)
@pytest.mark.parametrize("n", [1, 4])
def test_compilers_make_the_instructions_of_each_machine(tmp_path, compiler, n):
    program = program_of_all_kinds(n)
    floats, _ = to_c(program, tmp_path, name="floats")
    whole, _ = to_c(quantize.calibrate(program, images_for(program, 0)), tmp_path, name="whole")
    for machine, flags in MACHINES.items():
        compiled = (compiler, *STRICT, "-O1", *flags, "-S", "-o", "-")
        assert re.search(r"v(mul|fn?m(add|sub)\w+)ps.*zmm", run_command([*compiled, floats]).decode())
        code = run_command([*compiled, whole]).decode()
        assert re.search(INT8[machine], code)
        assert ("vpdpbusd" in code) == ("VNNI" in machine)


@pytest.mark.parametrize("compiler", quick_first(compilers))
def test_avx_vnni_without_avx512_takes_the_kernel_of_256_bits(tmp_path, compiler):
    program = program_of_all_kinds(4)
    source, _ = to_c(quantize.calibrate(program, images_for(program, 0)), tmp_path)
    code = run_command([compiler, *STRICT, "-O1", "-march=alderlake", "-S", "-o", "-", source]).decode()
    assert re.search(INT8["VNNI of 256 bits"], code)
    assert "zmm" not in code
