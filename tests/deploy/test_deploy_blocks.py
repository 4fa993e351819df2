"""Int8 convolutions as blocks, for VNNI of 512 bits: which there are, what they compute, and when they are chosen."""

import os
import re
import shutil

import numpy as np
import pytest
from compiled_programs import AS_CPP, SANITIZERS, STRICT, expected, quick_first, run_all, run_command
from random_programs import images_for, program_of_all_kinds

from fourfold.algebra import ALGEBRAS
from fourfold.deploy import quantize
from fourfold.deploy.backends.c.emit import generate, to_c
from fourfold.deploy.backends.c.int8.blocks import ALL, SPLITS, make_blocks
from fourfold.deploy.backends.c.int8.kernel_choice import COSTS, KERNELS
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.ops import Convolution, Flatten, Linear
from fourfold.deploy.ir.product import Product, real_matrix
from fourfold.deploy.ir.program import Program
from fourfold.record import UserError

NAMES = {1: "real", 2: "complex", 4: "quaternion", 8: "octonion"}

SEEDS = range(int(os.environ.get("FOURFOLD_SWEEP_BLOCKS", "4")))
"""Random programs that run."""

compilers = [name for name in ("gcc", "clang") if shutil.which(name)]
pytestmark = pytest.mark.skipif("gcc" not in compilers, reason="gcc is not here")


def has_vnni() -> bool:
    return "__AVX512VNNI__" in run_command(["gcc", "-march=native", "-dM", "-E", "-x", "c", "/dev/null"]).decode()


def weights(random: np.random.Generator, n: int, outputs: int, inputs: int, kernel: tuple[int, ...], density: float) -> Product:
    weight = random.integers(1, 64, (n, outputs, inputs, *kernel)) * random.choice([-1, 1], (n, outputs, inputs, *kernel))
    weight = (weight * (random.random(weight.shape) < density)).astype(np.float32)
    return Product(
        weight=weight, bias=random.standard_normal(n * outputs).astype(np.float32), table=ALGEBRAS[NAMES[n]].left_table
    )


def layers(seed: int) -> Program:
    """Return convolutions of one algebra on maps that are no multiple of a vector, with a stride, and channels in no fours."""
    random = np.random.default_rng(seed)
    n, density = (1, 2, 4, 8)[seed % 4], (0.1, 0.33, 0.7, 1.0)[seed // 4 % 4]
    first, second = (int(random.integers(1, 6)) for _ in range(2))
    about = [
        {"product": weights(random, n, first, 2, (3, 3), density), "padding": (1, 1, 1, 1)},
        {"product": weights(random, n, second, first, (3, 2), density), "stride": (2, 1), "padding": (0, 1, 1, 0)},
        {"product": weights(random, n, 3, second, (1, 1), density)},
    ]
    operations = [
        Convolution(name=f"layer{index}", inputs=(index,), output=index + 1, relu=index % 2 == 0, **each)
        for index, each in enumerate(about)
    ]
    width = (16, 23, 32, 7)[(seed + seed // 4) % 4]  # rows of whole vectors, and others
    plain = assemble((2 * n, int(random.integers(5, 22)), width), operations)
    features = int(np.prod(plain.shapes[-1]))
    last = weights(random, 1, 3, features, (), 0.1)
    operations += [Flatten(name="flat", inputs=(3,), output=4), Linear(name="last", inputs=(4,), output=5, product=last)]
    program = assemble(plain.shapes[0], operations)
    return quantize.calibrate(program, images_for(program, 0))


@pytest.mark.parametrize("n", NAMES)
@pytest.mark.parametrize("density", [0.05, 0.33, 0.8, 1.0])
@pytest.mark.parametrize("dense", [False, True])
def test_blocks_are_the_layer_byte_by_byte(n, density, dense):
    product = weights(np.random.default_rng(n), n, 3, 5, (2, 3), density)
    blocks, matrix = make_blocks(product, dense), real_matrix(product)
    found, place, block = np.zeros_like(matrix.reshape(*matrix.shape[:2], -1)), 0, 0
    for outputs, counts in zip(blocks.outputs, blocks.counts, strict=True):
        for split, count in zip(SPLITS, counts, strict=True):
            for _ in range(count):
                for taken in (split, ALL & ~split) if split else (ALL,):
                    four, position = blocks.sources[place]
                    for a, output in enumerate(outputs):
                        for b, source in enumerate(blocks.inputs[four]):
                            if taken >> (a ^ b) & 1 and output >= 0 and source >= 0:
                                found[output, source, position] += blocks.weights[block, a, b]
                    place += 1
                block += 1
    assert (place, block) == (len(blocks.sources), len(blocks.weights))
    np.testing.assert_array_equal(found.reshape(matrix.shape), matrix)


def test_no_blocks_are_left_that_could_share_their_bytes():
    product = weights(np.random.default_rng(1), 4, 8, 16, (3, 3), 0.33)
    elements, dense = make_blocks(product), make_blocks(product, dense=True)
    kept = int(product.weight.any(axis=0).sum())
    assert dense.alone == product.weight[0].size
    assert elements.alone + 2 * elements.merged == kept
    full = int((np.count_nonzero(product.weight, axis=0) == 4).sum())
    assert elements.alone <= full + 2 * len(elements.outputs)  # beside an odd one, only elements that keep all components


@pytest.mark.slow
@pytest.mark.parametrize("compiler", compilers)
@pytest.mark.parametrize("kernels", KERNELS[2:])
def test_each_kernel_gives_what_the_reference_does_bit_for_bit(tmp_path, compiler, kernels):
    if not has_vnni():
        pytest.skip("this processor has no VNNI of 512 bits")
    seeds = SEEDS[: len(SEEDS) // (1 if compiler == "gcc" else 4)]  # clang takes long to compile with sanitizers
    programs = [layers(seed) for seed in seeds]
    assert all(choice.kernel == kernels for choice in generate(programs[0], "n", kernels=kernels).choices)
    found = run_all(programs, tmp_path, compiler, (*SANITIZERS, "-march=native"), kernels=kernels)
    for seed, outputs, (wanted, _) in zip(seeds, found, expected(programs), strict=True):
        assert np.array_equal(outputs, wanted), seed


@pytest.mark.parametrize("compiler", quick_first(compilers))
def test_dot_products_are_taken_only_where_the_machine_has_them(tmp_path, compiler):
    for kernels in ("elements", "dense"):
        source, _ = to_c(layers(6), tmp_path, kernels=kernels)
        code = run_command([compiler, *AS_CPP, "-O1", "-march=icelake-server", "-S", "-o", "-", source]).decode()
        assert "vpdpbusd" in code
        assert ("vpblendmb" in code or "vmovdqu8" in code) == (kernels == "elements")
    assert "vpdpbusd" not in run_command([compiler, *STRICT, "-O1", "-march=x86-64-v3", "-S", "-o", "-", source]).decode()


@pytest.mark.parametrize("compiler", quick_first(compilers))
def test_sums_stay_in_registers(tmp_path, compiler):
    source, _ = to_c(layers(6), tmp_path, kernels="elements")
    code = run_command([compiler, *STRICT, "-O3", "-march=icelake-server", "-S", "-o", "-", source]).decode()
    products, spills = len(re.findall("vpdpbusd.*zmm", code)), len(re.findall(r"vmov\w+\s+%zmm\d+, .*\(%r[sb]p", code))
    assert spills < products / 4  # between lists gcc moves some; a store a product takes twice the time


def test_the_choice_is_recorded_and_is_that_of_the_least_estimate(tmp_path):
    program = layers(6)
    generated = generate(program, "network")
    assert [choice.layer for choice in generated.choices] == ["layer0", "layer1", "layer2"]
    for choice in generated.choices:
        assert choice.described in generated.source
        assert choice.kernel == min(choice.estimates, key=choice.estimates.__getitem__)
        for kernel, costs in COSTS.items():
            assert choice.work[kernel].keys() == costs.keys()
            total = sum(costs[kind] * amount for kind, amount in choice.work[kernel].items())
            assert choice.estimates[kernel] == pytest.approx(total / 1000)


def test_lists_alone_leave_the_source_without_blocks():
    program = quantize.calibrate(program_of_all_kinds(4), images_for(program_of_all_kinds(4), 0))
    assert "struct blocks" not in generate(program, "network", kernels="lists").source
    assert "struct blocks" in generate(program, "network", kernels="elements").source


def test_unknown_kernels_are_refused(tmp_path):
    with pytest.raises(UserError, match="kernels"):
        to_c(layers(0), tmp_path, kernels="element")
