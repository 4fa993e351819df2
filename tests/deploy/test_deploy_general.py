"""Operations along any axes: numpy, torch, onnxruntime and the generated C compute the same, in int8 bit for bit."""

import math
import os
import shutil

import numpy as np
import pytest
from compiled_programs import SANITIZERS, run_all
from general_in_torch import general_in_torch
from general_programs import general_int8_program, general_program, tolerance
from random_programs import images_for

from fourfold import deploy
from fourfold.deploy import artifact
from fourfold.deploy.artifact.container import seal
from fourfold.deploy.artifact.writing import write
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.frontend._fuse import fuse, needed
from fourfold.deploy.frontend._simplify import simplify
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.ops import OPS

SWEEP = int(os.environ.get("FOURFOLD_SWEEP", "24"))
"""Random programs that are compiled; four times as many are compared in torch."""

MACHINES = {"native": ("-march=native",), "portable": ("-DPORTABLE",), "plain": ()}

compilers = [name for name in ("gcc", "clang") if shutil.which(name)]


def test_torch_and_onnxruntime_compute_the_same(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    seen, compared = set(), 0
    for seed in range(4 * SWEEP):
        program = general_program(seed)
        seen |= {type(operation) for operation in program.operations}
        images = images_for(program, seed)
        if (near := tolerance(program, images)) == math.inf:
            continue
        compared, wanted = compared + 1, reference.run(program, images)
        deploy.to_onnx(program, tmp_path / "a.onnx")
        session = onnxruntime.InferenceSession(tmp_path / "a.onnx", options, providers=["CPUExecutionProvider"])
        (by_onnxruntime,) = session.run(["logits"], {"image": images})
        for found in (by_onnxruntime, general_in_torch(program, images)):
            assert found.shape == wanted.shape, seed
            assert np.abs(found - wanted).max(initial=0) <= near, (seed, program.operations)
    assert compared >= 3 * SWEEP
    assert len(seen) >= min(SWEEP, 20)


@pytest.mark.slow
@pytest.mark.parametrize(("compiler", "machine"), [(c, m) for c in compilers for m in MACHINES])
def test_c_computes_the_same_under_sanitizers(tmp_path, compiler, machine):
    share = len(compilers) * len(MACHINES)
    mine = compilers.index(compiler) * len(MACHINES) + list(MACHINES).index(machine)
    seeds = [seed for seed in range(2 * SWEEP) if seed % share == mine]
    plain = [general_program(seed) for seed in seeds]
    plain = [program for index, program in enumerate(plain) if tolerance(program, images_for(program, index)) < math.inf]
    programs = plain + [each for seed in seeds if (each := general_int8_program(1000 + seed))]
    found = run_all(programs, tmp_path, compiler, (*SANITIZERS, *MACHINES[machine]))
    for index, (program, outputs) in enumerate(zip(programs, found, strict=True)):
        images = images_for(program, index)
        if program.ranges:
            wanted, near = reference.run_int8(program, images).reshape(len(images), -1), 0.0
        else:
            wanted, near = reference.run(program, images).reshape(len(images), -1), tolerance(program, images)
        assert np.abs(outputs - wanted).max(initial=0) <= near, (index, program.shapes, program.operations)


def test_artifacts_come_back_exactly():
    for seed in range(4 * SWEEP):
        program = general_program(seed)
        again = artifact.parse(seal(*write(program, "fp32", bool(seed % 2))))
        assert again.shapes == program.shapes
        images = images_for(program, seed)
        assert np.array_equal(reference.run(again, images), reference.run(program, images), equal_nan=True)


def test_every_operation_is_made_by_some_seed():
    made = {type(operation) for seed in range(300) for operation in general_program(seed).operations}
    assert set(OPS) - made <= {
        kind for kind in OPS if kind.kind in ("linear", "average_pool", "affine", "add", "flatten", "relu")
    }


def test_programs_with_fewer_changes_of_shape_compute_the_same():
    fewer = 0
    for seed in range(8 * SWEEP):
        program = general_program(seed)
        output = program.operations[-1].output
        operations, value = simplify(program.operations, program.shapes, output)
        left = fuse(needed(operations, value))
        fewer += len(program.operations) - len(left)
        images = images_for(program, seed)
        with np.errstate(all="ignore"):
            wanted = reference.run(program, images)
            found = reference.run(assemble(program.shapes[0], left), images) if left else images
        assert np.allclose(found, wanted, rtol=1e-5, atol=1e-6, equal_nan=True), seed
    assert fewer > SWEEP
