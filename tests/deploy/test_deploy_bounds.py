"""Every bound of the table holds below it and at it, and no further; and what is refused costs nothing."""

import math
import os
import re
import resource
import shutil
import subprocess
import time
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_programs import random_program

from fourfold import deploy
from fourfold.algebra import ALGEBRAS
from fourfold.deploy import artifact, quantize
from fourfold.deploy.artifact.bits import DamageError
from fourfold.deploy.artifact.container import seal, unseal
from fourfold.deploy.artifact.products import coding_from_json
from fourfold.deploy.artifact.reading import Reader
from fourfold.deploy.artifact.writing import write
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.backends.c.emit import MOST_INLINED, generate
from fourfold.deploy.backends.c.plan import Draft
from fourfold.deploy.backends.c.sparse_lists import LARGEST_STEP, _chain
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.bounds import BOUNDS, FREE_WEIGHTS, WEIGHTS_PER_BYTE, check, check_weights
from fourfold.deploy.ir.encoding import encoded_shape
from fourfold.deploy.ir.operation import output_shape
from fourfold.deploy.ir.ops import (
    AdaptivePool,
    Add,
    Affine,
    AveragePool,
    Convolution,
    InsertZeros,
    Linear,
    MaxPool,
    Pad,
    Permute,
    Relu,
    Resize,
    Slice,
)
from fourfold.deploy.ir.product import Product, check_table
from fourfold.deploy.ir.program import Encoding
from fourfold.deploy.runtime import load
from fourfold.native.compiling import FLAGS
from fourfold.record import UserError

REAL = (((0, 1),),)


def product(*shape):
    """Weights that take no memory, as far as nobody touches them."""
    return Product(weight=np.broadcast_to(np.float32(0), (1, *shape)), bias=None, table=REAL)


def relus(count):
    return [Relu(name="", inputs=(k,), output=k + 1) for k in range(count)]


def read_operations(count):
    operations = [{"kind": "relu", "name": "", "inputs": [k]} for k in range(count)]
    about = {"shape": [1], "operations": operations, "tables": [], "values": "fp32", "entropy": False, "encoding": None}
    Reader(about | {"class_names": [], "provenance": {}, "ranges": {}}, {}).program()


def read_header(length):
    try:
        unseal(length.to_bytes(8, "little") + b"{}")
    except DamageError:  # of the file, whose header is shorter
        return


def read_weights(size):
    coding_from_json({"shape": [1, size // 2**13, 2**13 + size % 2], "weights": 0, "bias": False, "mask": {"kept": 0}}, 1)


def read_file(size, path="sparse"):
    with open(path, "wb") as file:  # noqa: PTH123
        file.truncate(size)
    with pytest.raises(UserError) as raised:
        deploy.read(path)
    if "must be at most" in str(raised.value):
        raise raised.value


def convolve(multiply_adds):
    """In layers of 2^38 multiply-adds, and one more."""
    layers, rest = divmod(multiply_adds, 2**38)
    shape = 2**10, 2**9, 2**9
    operations = [Convolution(name="", inputs=(k,), output=k + 1, product=product(2**10, 2**10, 1, 1)) for k in range(layers)]
    if rest:
        last = layers + 1
        operations.append(Convolution(name="", inputs=(layers,), output=last, product=product(1, 2**10, 2**9, 2**9)))
    assemble(shape, operations)


def arena(size):
    """Of two values of floats that live at the same time, or three."""
    operations = relus(2) if size <= BOUNDS["arena"].largest else [*relus(2), Add(name="", inputs=(1, 2), output=3)]
    generate(assemble((min(size // 8, 2**28),), operations), "network")


def chain(entries):
    step = LARGEST_STEP * (entries - 1) + 1
    _chain(np.zeros(1, np.int64), 1, np.array([step]), np.ones((1, 1), np.float32))


def linears(count):
    generate(
        assemble((1,), [Linear(name="", inputs=(k,), output=k + 1, product=product(1, 1)) for k in range(count)]), "network"
    )


ASK = {
    "file": read_file,
    "header": read_header,
    "operations": read_operations,
    "layers": linears,
    "encoding.n": lambda n: encoded_shape(Encoding(kind="none", n=n, shape=(1, 1, 1), mean=(0.0,), std=(1.0,))),
    "value": lambda size: assemble((size,), relus(1)),
    "outputs": lambda size: assemble((1,), [Linear(name="", inputs=(0,), output=1, product=product(size, 1))]),
    "weights": read_weights,
    "work": convolve,
    "arena": arena,
    "entries": chain,
    "threads": lambda threads: load(random_program(3), threads=threads),
}
FREE = {"entries": 16}
"""What a bound gives beside itself in these situations."""
NOT_AT = {"file": "a gigabyte would be read", "threads": "a thousand threads would be started"}


def test_every_bound_is_asked():
    assert set(ASK) == set(BOUNDS)


@pytest.mark.parametrize("name", BOUNDS)
def test_below_at_and_above_a_bound(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    largest = BOUNDS[name].largest + FREE.get(name, 0)
    above = {"work": largest + 1, "arena": largest + 8}.get(name, largest + 1)
    with pytest.raises(UserError, match=rf"`{name}` \(=\d+\) must be at most {largest} "):
        ASK[name](above)
    if name not in NOT_AT:
        ASK[name](largest)
    check(name, BOUNDS[name].largest)
    ASK[name](max(largest // 1024, 1))


def test_weights_are_bounded_by_the_files_own_size():
    for stored in (0, 1, 1000):
        largest = FREE_WEIGHTS + WEIGHTS_PER_BYTE * stored
        check_weights(largest - 1, stored)
        check_weights(largest, stored)
        with pytest.raises(UserError, match=rf"`weights` \(={largest + 1}\) must be at most {largest} in a file with {stored}"):
            check_weights(largest + 1, stored)


ABOUT = {"name": "layer", "inputs": (0,), "output": 1}
PADDED = {
    "a convolution": lambda pad: Convolution(**ABOUT, product=product(1, 1, 1, 1), padding=(pad, 0, 0, 0)),
    "a largest": lambda pad: MaxPool(**ABOUT, kernel=(2 * pad, 1), stride=(1, 1), padding=(pad, 0)),
    "a mean": lambda pad: AveragePool(**ABOUT, kernel=(2 * pad, 1), stride=(1, 1), padding=(pad, 0)),
}


@pytest.mark.parametrize("kind", PADDED)
def test_zeros_around_a_map_count(kind):
    sides = 1 if kind == "a convolution" else 2
    width = 2**14
    most = (2**14 - 1) // sides
    shape = (1, 2**14 - sides * most, width)
    output_shape(PADDED[kind](most), [shape])
    with pytest.raises(UserError, match=r"with its padding: `value` \(=\d+\) must be at most 268435456 numbers"):
        output_shape(PADDED[kind](most + 1), [shape])


def test_what_c_adds_around_a_map_counts():
    draft = Draft(planes=[], shapes=())
    draft.buffer(2**28)
    with pytest.raises(UserError, match="`value`"):
        draft.buffer(2**28 + 1)


HUGE = 2**28 - 1
PROMISES = {
    "slice": ((2**28,), Slice, {"axis": 0, "start": 1, "size": HUGE}),
    "permute": ((2, 2**27), Permute, {"order": (1, 0)}),
    "pad": ((1,), Pad, {"before": (HUGE,), "after": (0,)}),
    "circular": ((2**27,), Pad, {"before": (2**27,), "after": (0,), "mode": "circular"}),
    "insert_zeros": ((1, 1, 2), InsertZeros, {"factors": (1, HUGE)}),
    "resize": ((1, 1, 1), Resize, {"size": (1, HUGE), "mode": "nearest", "steps": (1.0, 1.0)}),
    "adaptive_pool": ((1, 1, 1), AdaptivePool, {"function": "max", "size": (1, HUGE)}),
}
"""What a few bytes may ask for, and would take tables of gigabytes."""


@pytest.mark.parametrize("name", PROMISES)
def test_tables_of_places_are_refused_before_they_are_made(name):
    shape, kind, settings = PROMISES[name]
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"`(entries|value)` \(=\d+\) must be at most"):
            assemble(shape, [kind(**ABOUT, **settings)])
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


RANGES = [(0, True), (1e-30, True), (1.0, True), (1e30, True), (2, True), (np.nextafter(1e-30, 0), False), (-1e-3, False)]
RANGES += [(1e-320, False), (np.nextafter(1e30, 1e31), False), (1e300, False), (math.inf, False), (math.nan, False)]
RANGES += [(True, False), ("1", False), (None, False), (10**400, False)]


@pytest.mark.parametrize(("largest", "right"), RANGES, ids=[repr(largest)[:20] for largest, _ in RANGES])
def test_ranges_are_zero_or_within_their_bounds(largest, right):
    def make():
        return assemble((4,), relus(1), ranges={0: largest, 1: largest})

    if right:
        generate(make(), "network")
    else:
        with pytest.raises(UserError, match=r"`ranges` \(=.* for value 0\) must be 0 or from 1e-30 to 1e\+30"):
            make()


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    exponents=st.lists(st.floats(-30, 30), min_size=5, max_size=5),
    weight=st.floats(-38, 38),
    shift=st.floats(-38, 38),
)
def test_ranges_of_any_size_make_finite_c_or_one_sentence(exponents, weight, shift):
    """What 32 bits do not hold is refused; the rest has no number in its C that is infinite, or overflows as an int."""
    scale, bias = np.full((1, 3, 4), 10.0**weight, np.float32), np.full(4, 10.0**shift, np.float32)
    weights = Product(weight=scale, bias=bias[:3], table=REAL)
    operations = [
        Affine(name="affine", inputs=(0,), output=1, scale=scale[0, 0], shift=bias),
        Add(name="add", inputs=(1, 0), output=2),
        Linear(name="linear", inputs=(2,), output=3, product=weights),
        Relu(name="relu", inputs=(3,), output=4),
    ]
    ranges = {value: 10.0**exponent for value, exponent in enumerate(exponents)}
    program = assemble((4,), operations, ranges=ranges)
    try:
        quantize.check_quantized(program)
        source = generate(program, "network").source
    except UserError as error:
        assert "int8" in str(error) or "finite" in str(error)  # noqa: PT017
        return
    for constants in (quantize.Quantized(program).codes(operations[2]),):
        assert np.isfinite(constants.factor).all()
    for factors, shifts, _ in (operations[k].int8_factors(quantize.Quantized(program)) for k in (0, 1, 3)):
        reach = sum(np.abs(factor.astype(np.int64)).max() for factor in factors) * 255 + np.abs(shifts.astype(np.int64)).max()
        assert reach < 2**31
    assert "inff" not in source
    assert "nanf" not in source


def test_sums_of_very_many_inputs_are_refused_in_int8():
    for inputs, fits in ((60_000, True), (90_000, False)):
        weights = Product(weight=np.ones((1, 2, inputs), np.float32), bias=None, table=REAL)
        program = assemble((inputs,), [Linear(name="wide", inputs=(0,), output=1, product=weights)], ranges={0: 1.0, 1: 9.0})
        if fits:
            quantize.check_quantized(program)
        else:
            with pytest.raises(UserError, match=r"layer 'wide' has sums up to .*, which do not fit into int8's 32 bits"):
                quantize.check_quantized(program)


def test_tables_are_those_of_algebras():
    for algebra in ALGEBRAS.values():
        check_table(algebra.left_table)
    quaternion = ALGEBRAS["quaternion"].left_table
    wrong = {
        "a component twice in a row": (((0, 1), (0, 1)), ((1, 1), (0, 1))),
        "a component twice in a column": (((0, 1), (1, 1)), ((0, 1), (1, 1))),
        "no one": (((1, 1), (0, 1)), ((0, 1), (1, 1))),
        "minus one": (((0, -1), (1, -1)), ((1, 1), (0, 1))),
        "a sign of two": (((0, 1), (1, 2)), ((1, 1), (0, 1))),
        "three rows": tuple(row[:3] for row in quaternion[:3]),
        "rows of other lengths": (*quaternion[:3], quaternion[3][:3]),
        "nothing": (),
    }
    for table in wrong.values():
        with pytest.raises(UserError, match="`table`"):
            check_table(table)


NAMES = {
    "surrogate": "\ud800",
    "escape": "\x1b[31m",
    "zero": "a\x00",
    "line": "a\nb",
    "C1": "\x9b31m",
    "number": 7,
    "none": None,
}


@pytest.mark.parametrize("place", ["name", "class_names", "provenance", "provenance name"])
@pytest.mark.parametrize("kind", NAMES)
def test_names_that_cannot_be_shown_are_refused_before_anything_is_written(tmp_path, place, kind):
    program, name = assemble((1,), relus(1)), NAMES[kind]
    changed = {
        "name": {"operations": [replace(program.operations[0], name=name)]},
        "class_names": {"class_names": (name,)},
        "provenance": {"provenance": {"run": "\x1b[m" if kind == "line" else name}},
        "provenance name": {"provenance": {name: "a"}},
    }[place]
    deploy.pack(program, tmp_path / "a.safetensors")
    before = (tmp_path / "a.safetensors").read_bytes()
    with pytest.raises(UserError, match=rf"`{place.partition(' ')[0]}") as raised:
        deploy.pack(replace(program, **changed), tmp_path / "a.safetensors")
    assert str(raised.value).isprintable()
    assert (tmp_path / "a.safetensors").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_names_of_every_language_and_lines_in_provenance_are_kept(tmp_path):
    program = assemble((2,), relus(1), class_names=("猫", "café 😀"), provenance={"notes": "first\nsecond\tthird"})
    packed = deploy.pack(program, tmp_path / "a.safetensors")
    assert (packed.class_names, packed.provenance) == (program.class_names, program.provenance)


def test_a_large_convolution_in_numpy_goes_place_by_place(monkeypatch):
    images = np.random.default_rng(0).standard_normal((2, 6, 9, 8))
    weights = Product(
        weight=np.random.default_rng(1).standard_normal((1, 4, 3, 3, 2)).astype(np.float32), bias=None, table=REAL
    )
    operation = Convolution(**ABOUT, product=weights, stride=(2, 1), padding=(1, 0, 2, 1), dilation=(1, 2), groups=2)
    at_once = reference.apply(operation, images)
    monkeypatch.setattr("fourfold.deploy.ir.ops.convolution.MOST_UNROLLED", 0)
    assert np.allclose(reference.apply(operation, images), at_once, rtol=1e-12, atol=1e-12)


@contextmanager
def little_memory():
    """Let this process have half a gigabyte more: without an end, /dev/zero would else take the machine's whole memory."""
    before, pages = resource.getrlimit(resource.RLIMIT_AS), int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**29, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="asks Linux how much memory there is")
@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "."])
def test_only_regular_files_are_read(path):
    with little_memory(), pytest.raises(UserError, match=r"cannot read .* \(it is no regular file\)"):
        deploy.read(path)


def test_four_thousand_operations_become_c_in_seconds():
    start = time.process_time()
    generate(assemble((1,), relus(BOUNDS["operations"].largest)), "network")
    assert time.process_time() - start < 30


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_steps_are_functions_of_their_own_where_a_compiler_would_join_too_many(more):
    """The way into and out of the network takes steps, too: the first is no function of this kind."""
    source = generate(assemble((1,), relus(MOST_INLINED - 1 + more)), "network").source
    steps = re.findall(r"^(STEP|static) void step_\d+\(", source, re.MULTILINE)
    assert len(steps) == MOST_INLINED + more
    assert set(steps) == {"STEP" if more > 0 else "static"}
    assert ("__attribute__((noinline))" in source) == (more > 0)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not here")
def test_the_compilers_time_grows_with_the_steps_and_not_with_their_square():
    """Joined to one function, 3,000 ReLUs took 120 s; now they take 10."""
    seconds = {
        count: compiler_seconds(generate(assemble((1,), relus(count)), "network").with_harness()) for count in (512, 2048)
    }
    assert seconds[2048] < 8 * seconds[512]
    assert seconds[2048] < 20


def compiler_seconds(source):
    """Processor time of gcc as `load` calls it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    command = ["gcc", *FLAGS, "-x", "c", "-", "-o", os.devnull, "-lm"]
    subprocess.run(command, input=source.encode(), check=True, capture_output=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def test_the_documented_table_is_the_one_that_is_checked():
    page = (Path(__file__).parents[2] / "docs" / "artifact.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)` \| 2\^(\d+) ", page, re.MULTILINE)
    assert {name: 2 ** int(power) for name, power in rows} == {name: bound.largest for name, bound in BOUNDS.items()}
    assert "| `weights` | 2^27 weights, kept and pruned; and 2^24, and 2^12 for each byte" in page
    assert (FREE_WEIGHTS, WEIGHTS_PER_BYTE) == (2**24, 2**12)


@pytest.mark.slow
@pytest.mark.parametrize(("values", "density"), [("codebook", 1), ("int8", 0.5), ("int8", 0.001)])
def test_reading_takes_at_most_the_documented_bytes_for_each_weight(values, density):
    """Of weights that entropy coding brings to a 500th of a byte, too."""
    kept = np.random.default_rng(0).random((1, 2**11, 2**10)) < density
    weights = Product(weight=np.where(kept, np.float32(1.5), np.float32(0)), bias=None, table=REAL)
    program = assemble((2**10,), [Linear(name="a", inputs=(0,), output=1, product=weights)])
    content = seal(*write(program, values, entropy=True))
    if density == 1:
        assert len(content) < kept.size / 400
    tracemalloc.start()
    try:
        artifact.parse(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= 16 * kept.size + 2**22
