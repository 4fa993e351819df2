"""Trained tickets made small and fast: artifacts, generated C, and a runtime.

Importing this room is cheap: what needs numpy or torch is imported when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fourfold.deploy.artifact import pack, read
    from fourfold.deploy.backends.c.emit import to_c
    from fourfold.deploy.backends.onnx import to_onnx
    from fourfold.deploy.backends.web.page import to_web
    from fourfold.deploy.frontend.trace import lower
    from fourfold.deploy.ir.program import Encoding, Program
    from fourfold.deploy.runtime import Network, load

__all__ = ["Encoding", "Network", "Program", "load", "lower", "pack", "read", "to_c", "to_onnx", "to_web"]

_HOMES = {
    "Encoding": "ir.program",
    "Network": "runtime",
    "Program": "ir.program",
    "load": "runtime",
    "lower": "frontend.trace",
    "pack": "artifact",
    "read": "artifact",
    "to_c": "backends.c.emit",
    "to_onnx": "backends.onnx",
    "to_web": "backends.web.page",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
