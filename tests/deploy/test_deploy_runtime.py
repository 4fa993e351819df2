"""`load`: arrays of any batch in, logits out, the same with threads, and in numpy where nothing compiles."""

import re
import threading

import numpy as np
import pytest
import torch
from random_programs import bytes_for, images_for, program_of_all_kinds, random_program

from fourfold.deploy import quantize
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.backends.c.emit import generate
from fourfold.deploy.backends.c.plan import SHARED
from fourfold.deploy.runtime import load
from fourfold.native import NoCompilerError, compiler
from fourfold.record import UserError

try:
    compiler()
    compiles = True
except NoCompilerError:
    compiles = False

needs_compiler = pytest.mark.skipif(not compiles, reason="no C compiler is here")
ENCODED = 3  # seeds that 3 divides have an encoding


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def assert_near(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    assert not found.size or np.abs(found - wanted).max() <= 1e-5 * max(np.abs(wanted).max(), 1e-3)


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_batches_and_threads(threads, count):
    program = random_program(ENCODED)
    network = load(program, threads=threads)
    assert network.notice is None
    images, coded = images_for(program, 1, count), bytes_for(program, 2, count)
    assert_near(network(images), reference.run(program, images))
    assert_near(network(coded), reference.run(program, reference.encode(program.encoding, coded)))


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(
    ("shared", "compiler"), [(0, "cc"), (SHARED, "cc"), (0, "cc -DPORTABLE")], ids=["all", "large steps", "without vectors"]
)
def test_threads_share_the_outputs_of_every_kind_of_layer(shared, compiler, monkeypatch):
    monkeypatch.setattr("fourfold.deploy.backends.c.emit.SHARED", shared)
    monkeypatch.setenv("CC", compiler)
    program = program_of_all_kinds(4)
    images = images_for(program, 1)
    (alone,) = re.findall(r"alone\[STEPS\] = {(.*)}", generate(program, "network").with_harness())
    linear = "1, 1, 1, 1, 1, 1, 1" if shared else "0, 0, 0, 0, 0, 0, 0"  # three, each with its inputs turned, and the output
    assert alone == f"0, 0, 0, 0, {'1' if shared else '0'}, {linear}"
    for wanted, network in (
        (reference.run(program, images), program),
        (reference.run_int8(quantize.calibrate(program, images), images), quantize.calibrate(program, images)),
    ):
        for threads in (3, 4):
            assert_near(load(network, threads=threads)(images), wanted)


@needs_compiler
def test_images_of_torch_and_arrays_with_strides():
    program = random_program(ENCODED)
    network, images = load(program), images_for(program, 1, 4)
    wanted = network(images)
    assert np.array_equal(network(torch.from_numpy(images)), wanted)
    assert np.array_equal(network(images.astype(np.float64)), wanted)
    backwards = np.ascontiguousarray(images[::-1, :, :, ::-1])[::-1, :, :, ::-1]
    assert np.array_equal(network(backwards), wanted)


@needs_compiler
def test_the_logits_of_one_image_stay_what_they_were_at_the_next_call():
    program = random_program(ENCODED)
    network, images = load(program), images_for(program, 1, 2)
    first = network(images[:1])
    kept = first.copy()
    second = network(images[1:])
    assert np.array_equal(first, kept)
    assert np.array_equal(np.concatenate([first, second]), network(images))
    assert np.array_equal(network(images[:1, ::-1][:, ::-1]), kept)


@needs_compiler
def test_calls_from_several_threads():
    program = random_program(ENCODED)
    network = load(program, threads=2)
    batches = [images_for(program, seed, 3) for seed in range(8)]
    found: dict[int, np.ndarray] = {}
    callers = [threading.Thread(target=lambda i=i: found.__setitem__(i, network(batches[i]))) for i in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for index, images in enumerate(batches):
        assert_near(found[index], reference.run(program, images))


@pytest.mark.filterwarnings("ignore:running in numpy")
def test_without_a_compiler_it_runs_in_numpy_and_says_so(monkeypatch):
    monkeypatch.setenv("FOURFOLD_NATIVE", "0")
    program = random_program(ENCODED)
    network = load(program)
    assert network.notice == "running in numpy, many times slower than compiled: native code is off ($FOURFOLD_NATIVE=0)"
    coded = bytes_for(program, 1)
    assert np.array_equal(network(coded), reference.run(program, reference.encode(program.encoding, coded)))
    images = images_for(program, 1)
    assert np.array_equal(network(images), reference.run(program, images))


@needs_compiler
def test_mistakes_are_one_sentence():
    program = random_program(ENCODED)
    network = load(program)
    with pytest.raises(UserError, match=r"`images` of type float32 and shape \(2, 5\) must be uint8 \(N, .*\) or floats \(N, "):
        network(np.zeros((2, 5), np.float32))
    with pytest.raises(UserError, match=r"`images` of type float32 and shape \(\) must be"):
        network(np.float32(1))
    with pytest.raises(UserError, match=r"`images` \(of type int64\) must be uint8 or floats"):
        network(np.zeros((1, *program.shapes[0]), np.int64))
    plain = load(random_program(1))
    with pytest.raises(UserError, match="bytes, but this network does not know how to encode them"):
        plain(np.zeros((1, *plain.program.shapes[0]), np.uint8))
    with pytest.raises(UserError, match=r"`threads` \(=0\) must be at least 1"):
        load(program, threads=0)
