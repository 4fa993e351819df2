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
import sys, torch
from every_layer import case, outputs

torch.set_num_threads(1)
name = sys.argv[1]
layer, inputs = case(name).make("quaternion").eval(), case(name).inputs("quaternion")
with torch.no_grad():
    if sys.argv[2] == "compile":
        found = outputs(torch.compile(layer, fullgraph=True, backend="eager"), *inputs)
    else:
        found = outputs(torch.export.export(layer, inputs, strict=True).module(), *inputs)
    for value, expected in zip(found, outputs(layer, *inputs), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
"""


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["compile", "export"])
@pytest.mark.parametrize("name", NAMES)
def test_the_first_call_compiles_and_exports(name, tool):
    tests = Path(__file__).parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent), *sys.path])}
    done = subprocess.run([sys.executable, "-c", SCRIPT, name, tool], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
