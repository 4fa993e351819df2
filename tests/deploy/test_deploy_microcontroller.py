"""The example for microcontrollers: built for three machines, run in an emulator, with the logits of this one."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from compiled_programs import prepared
from cortex_m4 import EXAMPLE, run_on_cortex_m4, skip_without_tools
from general_programs import general_int8_program
from random_programs import bytes_for, images_for, program_of_all_kinds
from torch import nn

from fourfold import deploy, models, pruning
from fourfold import nn as fnn
from fourfold.deploy import quantize
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.ops import Linear
from fourfold.deploy.ir.product import Product
from fourfold.deploy.ir.program import Encoding, Program
from fourfold.native import NoCompilerError, compiler

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


@pytest.mark.slow
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


SEEDS = range(1, 1 + 2 * int(os.environ.get("FOURFOLD_SWEEP_M4", "24")), 2)
"""Random programs in int8 that are tried."""


def sparse_product(inputs: int, outputs: int) -> Product:
    """Return real weights that are walked as lists, of which some are longer than four entries."""
    random = np.random.default_rng(inputs)
    weight = random.standard_normal((1, outputs, inputs)) * (random.random((1, outputs, inputs)) < 0.2)
    return Product(weight=weight.astype(np.float32), bias=None, table=(((0, 1),),))


@pytest.mark.slow
def test_a_cortex_m4_gives_what_the_reference_does_in_int8_bit_for_bit(tmp_path):
    skip_without_tools()
    plain = [program_of_all_kinds(n) for n in (1, 2, 4, 8)]
    programs = {f"all{i}": quantize.calibrate(program, images_for(program, i)) for i, program in enumerate(plain)}
    layer = Linear(name="sparse", inputs=(0,), output=1, product=sparse_product(64, 9), relu=True)
    sparse = assemble((64,), [layer, Linear(name="last", inputs=(1,), output=2, product=sparse_product(9, 5))])
    programs["sparse"] = quantize.calibrate(sparse, images_for(sparse, 0, 8))
    programs |= {f"random{seed}": prepared(seed, seed) for seed in SEEDS}
    programs |= {f"general{seed}": program for seed in SEEDS if (program := general_int8_program(seed))}
    given: dict[str, tuple[Program, np.ndarray]] = {}
    for seed, (name, program) in enumerate(programs.items()):
        given[name] = program, images_for(program, seed, 1)
        if program.encoding is not None:
            given[f"{name}bytes"] = program, bytes_for(program, seed, 1)
    found = run_on_cortex_m4(given, tmp_path)
    for name, (program, image) in given.items():
        assert np.array_equal(found[name][1], reference.run_int8(program, image).ravel()), name


def perceptron(algebra: str, density: float, unit: str = "weight") -> Program:
    torch.manual_seed(0)
    model = models.build("lenet-300-100", algebra=algebra, num_classes=10)
    pruning.prune(model, density=density, score="random", unit=unit, generator=torch.Generator().manual_seed(0))
    kind, n = ("none", 1) if algebra == "real" else ("pixels", 4)
    encoding = Encoding(kind=kind, n=n, shape=(1, 28, 28), mean=(0.13,), std=(0.31,))
    model = nn.Sequential(nn.Flatten(), model) if algebra == "real" else model
    return deploy.lower(model, (n, 28, 28 // n), encoding=encoding)


def convolutions(algebra: str, density: float, unit: str = "weight") -> Program:
    torch.manual_seed(0)
    inputs, settings = 3 if algebra == "real" else 4, {"algebra": algebra}
    layers: list[nn.Module] = []
    for before, after in ((inputs, 16), (16, 16), (16, 32), (32, 32)):
        layers += [fnn.Conv2d(before, after, 3, padding=1, **settings), nn.ReLU()]
        if before == after:
            layers.append(nn.MaxPool2d(2))
    model = nn.Sequential(*layers, nn.Flatten(), fnn.Linear(512, 64, **settings), nn.ReLU(), nn.Linear(64, 10))
    pruning.prune(model, density=density, score="random", unit=unit, generator=torch.Generator().manual_seed(0))
    kind, n = ("none", 1) if algebra == "real" else ("zero", 4)
    encoding = Encoding(kind=kind, n=n, shape=(3, 16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    return deploy.lower(model.eval(), (inputs, 16, 16), encoding=encoding)


SPARSE = {
    "lenet, quaternion, 12 %": lambda: perceptron("quaternion", 0.12),
    "lenet, quaternion, 12 % of numbers": lambda: perceptron("quaternion", 0.12, "element"),
    "lenet, real, 3 %": lambda: perceptron("real", 0.03),
    "lenet, real, 20 %": lambda: perceptron("real", 0.2),
    "convolutions, quaternion, 10 %": lambda: convolutions("quaternion", 0.1),
    "convolutions, quaternion, 30 %": lambda: convolutions("quaternion", 0.3),
    "convolutions, quaternion, 10 % of numbers": lambda: convolutions("quaternion", 0.1, "element"),
    "convolutions, real, 10 %": lambda: convolutions("real", 0.1),
    "convolutions, real, 30 %": lambda: convolutions("real", 0.3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SPARSE)
def test_int8_takes_four_fifths_of_the_instructions_of_float32_at_most(name, tmp_path):
    skip_without_tools()
    program = SPARSE[name]()
    whole = quantize.calibrate(program, bytes_for(program, 0, 16))
    image = bytes_for(program, 1, 1)
    found = run_on_cortex_m4({"float32": (program, image), "int8": (whole, image)}, tmp_path)
    wanted = reference.run(program, reference.encode(program.encoding, image)).ravel()
    assert np.abs(found["float32"][1] - wanted).max() <= 1e-4 * np.abs(wanted).max()
    assert np.array_equal(found["int8"][1], reference.run_int8(whole, image).ravel())
    print(f"{name}: {found['int8'][0]} instructions in int8, {found['float32'][0]} in float32")
    assert found["int8"][0] <= 0.8 * found["float32"][0]
