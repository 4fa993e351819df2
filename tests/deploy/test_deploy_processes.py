"""A loaded network in other processes: after a fork, pickled, copied; with one thread and with several."""

import contextlib
import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from random_programs import images_for, random_program

from fourfold.deploy.runtime import load
from fourfold.native import NoCompilerError, compiler
from fourfold.record import UserError

try:
    compiler()
except NoCompilerError as reason:
    pytest.skip(str(reason), allow_module_level=True)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no fork is here")


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


FORKS = """
import os, sys, threading, time
sys.path.insert(0, {tests!r})
import numpy as np
from random_programs import images_for, random_program
from fourfold.deploy.runtime import load

program = random_program(3)
images = images_for(program, 1, 5)

def assert_right(network, wanted):
    for count in (1, 5, 1, 2):
        assert np.array_equal(network(images[:count]), wanted[:count])

def fork(network, wanted):
    child = os.fork()
    if child:
        return child
    assert_right(network, wanted)
    grandchild = os.fork()
    if grandchild:
        assert os.waitpid(grandchild, 0)[1] == 0
    assert_right(network, wanted)
    sys.exit(0)  # by way of everything that is to be done at the end

for threads in (1, 2):
    network = load(program, threads=threads)
    wanted = network(images)
    for callers in (0, 1):
        busy = callers > 0
        def call():
            while busy:
                network(images)
        others = [threading.Thread(target=call) for _ in range(callers)]
        for other in others:
            other.start()
        for child in [fork(network, wanted) for _ in range(1 + callers)]:
            assert os.waitpid(child, 0)[1] == 0, (threads, callers)
        busy = False
        for other in others:
            other.join()
        assert_right(network, wanted)
"""


@pytest.mark.slow
def test_a_child_of_a_fork_computes_what_its_parent_does():
    """With one thread and with several, also where other threads are within a call; and it ends."""
    code = FORKS.format(tests=str(Path(__file__).parent))
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True) as parent:
        try:
            _, errors = parent.communicate(timeout=100)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)  # children that never return
    assert parent.returncode == 0, errors


@pytest.mark.parametrize("threads", [1, 2])
def test_a_network_is_pickled_and_copied_as_its_program(threads):
    program = random_program(3)
    network, images = load(program, threads=threads), images_for(program, 1, 3)
    for twin in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network), copy.copy(network)):
        assert twin.threads == threads
        assert twin.notice is None
        assert np.array_equal(twin(images), network(images))


def test_threads_of_one_process_load_and_call_at_the_same_time():
    programs = [random_program(seed) for seed in (3, 6)]
    wanted = [load(program)(images_for(program, 1, 3)) for program in programs]
    found = {}

    def call(index):
        program = programs[index % 2]
        found[index] = load(program, threads=1 + index % 3)(images_for(program, 1, 3))

    callers = [threading.Thread(target=call, args=(index,)) for index in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for index in range(6):
        assert np.abs(found[index] - wanted[index % 2]).max() <= 1e-5 * np.abs(wanted[index % 2]).max()


def test_a_fall_to_numpy_is_told_once(monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler-at-all")
    compiler.cache_clear()
    program = random_program(3)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        networks = [load(program) for _ in range(3)]
    compiler.cache_clear()
    assert [str(warning.message) for warning in told] == [networks[0].notice]
    assert "no-such-compiler-at-all" in networks[0].notice
    assert told[0].filename == __file__


@pytest.mark.parametrize("threads", [0, -1, 1025, 1.5, "2", None])
def test_threads_beyond_their_bounds(threads):
    with pytest.raises(UserError, match=r"`threads` \(=.*\) must be at (least 1|most 1024)"):
        load(random_program(3), threads=threads)
