"""A few of the mutated artifacts of `fuzz_artifacts.py`; `FOURFOLD_FUZZ=100000` tries more, with as many hundredths as C."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = int(os.environ.get("FOURFOLD_FUZZ", "1200"))

HARNESS = Path(__file__).with_name("fuzz_artifacts.py")


@pytest.mark.slow
def test_mutated_artifacts_are_read_or_refused(tmp_path):
    """In a process of its own: one that crashes, hangs or takes memory is seen."""
    compiled = max(20, COUNT // 100) if shutil.which("gcc") else 0
    command = [sys.executable, HARNESS, "--count", str(COUNT), "--seed", "0", "--compiled", str(compiled)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stderr == ""
    assert f"{COUNT} mutations: " in ended.stdout


@pytest.mark.parametrize("number", range(5))
def test_a_mutation_is_made_again_from_its_number(number):
    import numpy as np
    from artifact_mutations import corpus, mutated

    contents = corpus(2)
    first, again = (mutated(np.random.default_rng([7, number]), contents) for _ in range(2))
    assert first == again
