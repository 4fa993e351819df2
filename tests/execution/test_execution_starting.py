"""Starting a run imports what it needs, and not what takes a second of every process."""

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from dataclasses import replace
from fourfold import execution, presets

spec = presets.get("digits", algebra="quaternion")
spec = replace(spec, train=replace(spec.train, epochs=1), stop=replace(spec.stop, max_level=0))
rows = execution.run(spec, trials=1, workers=0, device="cpu", out=sys.argv[1])
print(len(rows), *sorted(name for name in ("torch._dynamo", "sklearn", "scipy", "sympy", "matplotlib") if name in sys.modules))
"""


@pytest.mark.slow
def test_a_run_of_the_native_engine_imports_no_compiler_and_no_scikit_learn(tmp_path):
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
