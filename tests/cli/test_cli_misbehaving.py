"""Files of the user's that misbehave in one network: one sentence, nothing lost, and the other network's trials end.

`FOURFOLD_SWEEP=1` runs all that does no harm; CI runs some.
"""

import os
import re
import sys
from pathlib import Path

import pytest
from cli_samples import call, draw_nothing

from forked_commands import ForkedCommand
from fourfold.parts import as_it_was
from fourfold.record import find_runs

FILE = """
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

import fourfold as ff

CALLS = []

def data():
    x = np.random.default_rng(0).standard_normal((120, 8)).astype("float32")
    return ff.data.from_arrays((x, (x[:, 0] > 0).astype("int64")))

def in_a_trial():
    \"\"\"Whether this is called for a trial, and not by the command that plans it.\"\"\"
    frame = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "run_level":
            return True
        frame = frame.f_back
    return False

def net(algebra, inputs, outputs):
    CALLS.append(algebra)
    width = 8
    if algebra == "quaternion" and in_a_trial():
        BUILDS
    return Net(algebra, inputs[0], outputs, width)

class Net(nn.Module):
    def __init__(self, algebra, inputs, outputs, width):
        super().__init__()
        self.algebra = algebra
        self.one = ff.nn.Linear(inputs, width, algebra=algebra)
        self.two = nn.Linear(width, outputs)

    def forward(self, x):
        y = self.two(self.one(x).relu())
        if self.algebra == "quaternion" and self.training and in_a_trial():
            RUNS
        return y

def experiment():
    return ff.presets.new("roads", data="roads.py:data", model="roads.py:net", epochs=1, max_level=1, batch_size=16)
"""

ENDS = {
    "raises in net": ("raise ValueError('no bridge')", "pass", "expected `net` to return, found ValueError: no bridge"),
    "returns no network": ("return None", "pass", "expected `net` to return a torch.nn.Module, found a NoneType"),
    "returns a network of another width": (
        "width = 12",
        "pass",
        "to have the same weights at each call, found 24 in one.weight, where 16 were measured",
    ),
    "returns a network without weights": ("return nn.ReLU()", "pass", "nothing to convert to 'quaternion'"),
    "returns NaN weights": (
        "n = Net(algebra, inputs[0], outputs, width); n.one.weight.data[0] = float('nan'); return n",
        "pass",
        "expected finite weights in the network of `net`",
    ),
    "raises in forward": ("pass", "raise RuntimeError('no road')", "expected code that runs, found RuntimeError: no road"),
    "returns other shapes": ("pass", "y = torch.cat([y, y])", "must have shape (32,) for the network's output (32, 2)"),
    "returns other classes": ("pass", "y = y[:, :1]", "must be (batch, classes, …) with two classes or more"),
    "returns None": ("pass", "y = None", "must be a tensor for this task, found a NoneType"),
    "ends its process": ("pass", "sys.exit('enough')", "found SystemExit: enough"),
    "returns a network without values": (
        "return Net(algebra, inputs[0], outputs, width).to('meta')",
        "pass",
        "expected the network of `net` to have values, found none in one.weight (on meta)",
    ),
    "raises what cannot be shown": (
        "raise type('Odd', (Exception,), {'__str__': lambda self: 3})()",
        "pass",
        "expected `net` to return, found Odd",
    ),
    "raises what cannot be pickled": (
        "raise type('Odd', (Exception,), {'__reduce__': lambda self: 1 / 0})('x', lambda: 0)",
        "pass",
        "expected `net` to return, found Odd: ('x', <function",
    ),
    "raises what is no Exception": ("raise type('Odd', (BaseException,), {})('x')", "pass", "`net` to return, found Odd: x"),
    "raises escape codes": ("raise ValueError('\\x1b[2J')", "pass", "found ValueError: \\x1b[2J"),
    "raises several lines": ("raise ValueError('one\\ntwo')", "pass", "`net` to return, found ValueError: one"),
    "allocates too much": ("torch.empty(2**55)", "pass", "expected `net` to return, found RuntimeError: "),
    "has no file": ("pass", "Path('none').read_text()", "expected code that runs, found FileNotFoundError: "),
    "turns gradients off": ("pass", "torch.set_grad_enabled(False)", "expected code that runs, found RuntimeError: element 0"),
    "calls itself for ever": ("f = lambda f: f(f); f(f)", "pass", "`net` to return, found RecursionError: maximum"),
    "returns NaN": ("pass", "y = y * float('nan')", "the training loss became nan in epoch 1"),
}
"""What a network does in its trial, when it is made and when it is called, and what is said of it."""

SELDOM = {
    name
    for name in ENDS
    if name.startswith(("raises what is", "raises escape", "raises several", "allocates", "has no", "calls"))
}
"""What only a sweep runs."""

LIVES = {
    "prints a million lines": ("pass", "print('x\\\\n' * 250_000)"),
    "writes to the descriptor of events": ("pass", "os.write(1, b'{\"event\": ')"),
    "forks": ("pass", "child = os.fork()\n            if child == 0: os._exit(0)\n            os.waitpid(child, 0)"),
    "has a DataLoader in its forward": ("pass", "list(torch.utils.data.DataLoader(range(4), num_workers=1))"),
    "closes standard input": ("pass", "sys.stdin.close()"),
    "changes the folder": ("pass", "os.chdir('/')"),
    "draws from the global generators": ("pass", "torch.rand(3), np.random.rand(3)"),
    "sets the number of threads": ("pass", "torch.set_num_threads(1)"),
    "starts threads": ("import threading; threading.Thread(target=lambda: None).start()", "pass"),
    "prints escape codes": ("pass", "print('\\x1b[2J')"),
    "closes standard output": ("pass", "sys.stdout.close()"),
    "sets what it does not need": ("torch.set_default_dtype(torch.float64); torch.set_default_dtype(torch.float32)", "pass"),
    "is renamed": ("pass", "Path(__file__).exists() and os.rename(__file__, __file__ + '.old')"),
}
"""What does no harm, or none to what is being trained."""

ALWAYS = ("prints a million lines", "forks", "closes standard input", "is renamed")
CHOSEN = LIVES if "FOURFOLD_SWEEP" in os.environ else ALWAYS


def write(folder, builds, runs, algebra="quaternion"):
    """Write the file; what misbehaves is the network of an algebra."""
    code = FILE.replace("BUILDS", builds).replace("RUNS", runs).replace('== "quaternion"', f'== "{algebra}"')
    (folder / "roads.py").write_text(code)


def rows():
    return {(store.spec().model.algebra, row.level) for store in find_runs(Path("runs")) for row in store.rows(0)}


@pytest.fixture(autouse=True)
def _as_it_was(here):
    before = list(sys.path)
    yield
    sys.path[:] = before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behaviour", "workers"),
    [
        *((behaviour, 0) for behaviour in ENDS if "FOURFOLD_SWEEP" in os.environ or behaviour not in SELDOM),
        ("raises in net", 2),
        ("returns None", 2),
    ],
)
def test_a_network_that_misbehaves_ends_its_own_trial_with_a_sentence(here, quick_plan, behaviour, workers):
    builds, runs, sentence = ENDS[behaviour]
    write(here, builds, runs)
    ended = call("run", "roads.py", "--trials", 1, "--workers", workers)
    assert ended.code in (1, 2)
    assert sentence in (ended.err if ended.code == 2 else ended.out)
    assert "Traceback" not in ended.err + ended.out
    assert len(ended.err.strip().splitlines()) == ended.code - 1
    assert {("real", 0), ("real", 1)} <= rows()
    if ended.code == 2:
        assert "roads.py:" in ended.err
        write(here, "pass", "pass")
        resumed = call("run", "roads.py", "--trials", 1, "--workers", 0, "--accept-changed-code")
        assert resumed.code == 0, resumed.err
        assert len(rows()) == 4


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", CHOSEN)
def test_what_does_no_harm_to_training_does_none_to_the_run(here, quick_plan, behaviour):
    write(here, *LIVES[behaviour])
    ended = ForkedCommand(("run", "roads.py", "--trials", 1, "--workers", 1), here / "command", 1, draw_nothing).wait()
    assert "Traceback" not in ended.said
    if behaviour == "is renamed":  # the level that is trained is finished, and no other begins
        assert ended.code == 2
        assert "expected a file of Python code, found none" in ended.said
        assert ("quaternion", 0) in rows()
    else:
        assert ended.code == 0, ended.said[-500:]
        assert len(rows()) == 4


KILLED = {
    "ends its process at once": ("os._exit(3)", "pass", "exit code 3"),
    "is ended by a signal": ("pass", "os.kill(os.getpid(), 11)", "exit code -11, SIGSEGV"),
    "ends the thread that it runs in": ("pass", "raise KeyboardInterrupt", "found KeyboardInterrupt"),
}
"""What ends a worker."""


@pytest.mark.slow
@pytest.mark.parametrize("behaviour", KILLED if "FOURFOLD_SWEEP" in os.environ else ["is ended by a signal"])
def test_a_network_that_ends_its_worker_leaves_the_other_trials_alone(here, quick_plan, behaviour):
    builds, runs, sentence = KILLED[behaviour]
    write(here, builds, runs, "real")
    ended = call("run", "roads.py", "--trials", 1, "--workers", 1)
    assert ended.code == 2
    assert re.search(rf"trial 0 of roads-real-\w+: .*{sentence}.*; all rows so far are safe", ended.err)
    assert rows() == {("quaternion", 0), ("quaternion", 1)}


SETTINGS = {
    "the type of tensors": "torch.set_default_dtype(torch.float64)",
    "the device of tensors": "torch.set_default_device('meta')",
    "gradients": "torch.set_grad_enabled(False)",
    "determinism": "torch.use_deterministic_algorithms(True)",
    "threads": "torch.set_num_threads(3)",
    "the folder": "os.chdir('/')",
    "seeds": "torch.manual_seed(0), np.random.seed(0)",
    "warnings": "import warnings; warnings.simplefilter('error')",
    "modules": "import sys; [sys.modules.pop(name) for name in list(sys.modules) if name.startswith('fourfold')]",
}
"""What a network may set of its process."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", SETTINGS if "FOURFOLD_SWEEP" in os.environ else ["the type of tensors", "the folder", "modules"]
)
@pytest.mark.parametrize("place", ["builds", "runs"])
def test_what_a_network_sets_of_its_process_reaches_no_other_trial(here, quick_plan, name, place):
    write(here, "pass", "pass")
    assert call("run", "roads.py", "--trials", 1, "--workers", 0, "--algebra", "quaternion", "--out", "undisturbed").code == 0
    calls = {"builds": "pass", "runs": "pass"} | {place: SETTINGS[name]}
    write(here, **calls, algebra="real")
    call("run", "roads.py", "--trials", 1, "--workers", 0)
    alone, beside = (
        [row.result() for store in find_runs(here / out) for row in store.rows(0) if row.algebra == "quaternion"]
        for out in ("undisturbed", "runs")
    )
    assert len(alone) == 2
    assert beside == alone


@pytest.mark.slow
def test_a_network_that_fails_while_it_is_looked_at_leaves_the_other_runs_measurements(here, quick_plan):
    fails = "import os\n        if self.algebra == 'quaternion' and 'FAILS' in os.environ: raise RuntimeError('no road')"
    code = (
        FILE.replace("BUILDS", "pass").replace("RUNS", "pass").replace("        y = self", f"        {fails}\n        y = self")
    )
    (here / "roads.py").write_text(code)
    assert call("run", "roads.py", "--trials", 1, "--workers", 0).code == 0
    os.environ["FAILS"] = "1"
    try:
        ended = call("stability", "runs", "--code", "roads.py", "--points", 2, "--workers", 1)
    finally:
        del os.environ["FAILS"]
    assert ended.code == 2
    assert "found RuntimeError: no road; all measurements so far are safe, the same command resumes" in ended.err
    measured = {store.spec().model.algebra: len(store.connectivity(0)) for store in find_runs(Path("runs"))}
    assert measured == {"real": 2, "quaternion": 0}
    assert call("stability", "runs", "--code", "roads.py", "--points", 2, "--workers", 1).code == 0


def test_places_where_modules_are_found_are_put_back_and_new_ones_stay():
    before = list(sys.path)
    with as_it_was():
        sys.path[:] = ["new"]
    assert sys.path == [*before, "new"]
