"""torch.compile of the whole graph and strict torch.export, in a process in which no layer has run before."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from every_layer import FIXED, LAYERS

TORCH_CANNOT = {"RNN", "LSTM", "GRU"}
"""torch.compile refuses its own layers of these names, too."""
ALL = sorted({*LAYERS, *FIXED} - TORCH_CANNOT)
FEW = ["Conv2d", "Linear"]
NAMES = ALL if "FOURFOLD_SWEEP" in os.environ else FEW

SCRIPT = """
import os, sys, traceback
import torch, torch._dynamo, torch.export
from every_layer import case, outputs

torch.set_num_threads(1)

def check(name, tool):
    layer, inputs = case(name).make("quaternion").eval(), case(name).inputs("quaternion")
    with torch.no_grad():
        if tool == "compile":
            found = outputs(torch.compile(layer, fullgraph=True, backend="eager"), *inputs)
        else:
            found = outputs(torch.export.export(layer, inputs, strict=True).module(), *inputs)
        for value, expected in zip(found, outputs(layer, *inputs), strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)

failed = []
for word in sys.argv[1:]:
    child = os.fork()  # no layer has run in this process, and importing torch and its compiler takes seconds
    if child == 0:
        try:
            check(*word.split(":"))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        failed.append(word)
print(*failed)
"""


@pytest.mark.slow
def test_the_first_call_compiles_and_exports():
    tests = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent), *sys.path])}
    cases = [f"{name}:{tool}" for name in NAMES for tool in ("compile", "export")]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *cases], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [], done.stderr[-4000:]
