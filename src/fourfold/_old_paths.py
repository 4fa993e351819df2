"""Import paths that have moved: importing the old one gives the module of the new one."""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_EXECUTION = {name: f"execution.{name}" for name in ("interrupts", "pool", "serving", "shared_store", "tracking", "worker")}
_RAY = {name: f"execution.ray.{name}" for name in ("bridge", "chain", "cluster", "joining", "parcels")}
_PARTS = {name: f"parts.{name}" for name in ("building", "examining", "fitting", "user_errors")}
_TIMING = {name: f"timing.{name}" for name in ("clock", "plain", "planning", "throughput")}
_OTHERS = {
    "local": "execution._run",
    "parts": "parts.named",
    "optuna_study": "tuning.optuna_study",
    "presets": "presets",
    "protocols": "presets.released",
    "saving": "train.saving",
    "studies": "presets.studies",
    "sweep": "tuning.sweep",
    "together": "execution.ranks",
}

_REPORT = ("chosen_levels", "comparisons", "differences", "findings", "forecast", "sections", "style")

MOVED = {
    f"fourfold.lottery.{old}": f"fourfold.{new}" for old, new in (_EXECUTION | _RAY | _PARTS | _TIMING | _OTHERS).items()
} | {
    "fourfold.deploy.frontend.fuse": "fourfold.deploy.frontend._fuse",
    "fourfold.deploy.frontend.simplify": "fourfold.deploy.frontend._simplify",
    "fourfold.deploy.ir.assemble": "fourfold.deploy.ir._assemble",
    "fourfold.deploy.ir.ops.windows": "fourfold.deploy.ir.ops._windows",
    "fourfold.deploy.packing": "fourfold.deploy.artifact",
    "fourfold.deploy.program": "fourfold.deploy.ir.program",
    **{f"fourfold.report.{name}": f"fourfold.report._{name}" for name in _REPORT},
}
"""The new path of each module."""


def new_path(old: str) -> str | None:
    """Return where a module is now, or None if it has not moved."""
    return next(
        (new + old.removeprefix(path) for path, new in MOVED.items() if old == path or old.startswith(f"{path}.")), None
    )


class OldPaths(MetaPathFinder, Loader):
    """Finds modules by their old paths."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        return ModuleSpec(name, self) if new_path(name) else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the module of the new path."""
        module = import_module(str(new_path(spec.name)))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Leave the module as it is, for it has been executed, but for its spec, which importing has replaced."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def install() -> None:
    """Let old paths be imported; once."""
    if not any(isinstance(finder, OldPaths) for finder in sys.meta_path):
        sys.meta_path.insert(0, OldPaths())  # before others find the files of a package by its old name
