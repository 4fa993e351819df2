"""Neural networks at a fraction of their size: quaternion layers, lottery tickets, deployment."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fourfold import _old_paths

if TYPE_CHECKING:
    from fourfold import algebra, data, deploy, models, nn, presets, pruning, report, tasks
    from fourfold.execution import run
    from fourfold.lottery import export_torch, load_ticket
    from fourfold.nn import convert
    from fourfold.record import Spec, UserError

__version__ = "0.1.0"

__all__ = [
    "Spec",
    "UserError",
    "algebra",
    "convert",
    "data",
    "deploy",
    "export_torch",
    "load_ticket",
    "models",
    "nn",
    "presets",
    "pruning",
    "report",
    "run",
    "tasks",
]

_HOMES = {
    "Spec": "fourfold.record",
    "UserError": "fourfold.record",
    "convert": "fourfold.nn",
    "export_torch": "fourfold.lottery",
    "load_ticket": "fourfold.lottery",
    "run": "fourfold.execution",
}

_old_paths.install()


def __getattr__(name: str) -> Any:
    """Import a room when it is first used, so that `import fourfold` costs nothing."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        return import_module(f"fourfold.{name}")
    raise AttributeError(f"module 'fourfold' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
