"""Import paths of version 0.1 still work, and a package's function keeps its name beside a module that had the same."""

import subprocess
import sys
from importlib import import_module

import pytest

from fourfold._old_paths import MOVED

SHARED = (
    *("nn.convert", "nn.fold", "pruning.prune", "pruning.select", "pruning.shrink", "lottery.connectivity"),
    *("report.build", "report.curves", "report.experiments"),
)


@pytest.mark.parametrize("path", SHARED)
def test_a_module_that_shared_its_name_with_a_function_is_found_by_it(path):
    package, _, name = path.rpartition(".")
    room = import_module(f"fourfold.{package}")
    module = import_module(f"fourfold.{path}")
    assert module is import_module(f"fourfold.{package}._{name}")
    assert getattr(room, name) is getattr(module, name)
    assert callable(getattr(room, name))
    assert getattr(module, name).__module__ == f"fourfold.{package}._{name}"


def test_what_users_of_version_0_1_import():
    from fourfold.lottery.connectivity import rewinding_sweep
    from fourfold.nn.convert import convert

    from fourfold import presets, run
    from fourfold.lottery import presets as old_presets
    from fourfold.lottery import run as old_run

    assert (old_presets, old_run) == (presets, run)
    assert callable(convert)
    assert callable(rewinding_sweep)


@pytest.mark.parametrize("old", [old for old in MOVED if "ray" not in MOVED[old]])
def test_a_module_that_moved_is_found_by_its_old_path(old):
    module = import_module(MOVED[old])
    assert import_module(old) is module
    assert module.__spec__.name == MOVED[old]


def test_old_paths_come_first_in_a_fresh_process():
    code = "import fourfold.deploy.packing.container as old, fourfold.deploy.artifact.container as new; print(old is new)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
