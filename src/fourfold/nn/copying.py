"""Deep copies of layers, and which copies torch's own tools get."""

import copy
import sys
from typing import Any, TypeVar

Copied = TypeVar("Copied")


def deepcopied(module: Copied, memo: dict[int, Any]) -> Copied:
    """Return what `copy.deepcopy` makes of a module that has no say in it, also of a parametrized one."""
    twin = module.__new__(type(module))
    memo[id(module)] = twin
    twin.__dict__ = copy.deepcopy(vars(module), memo)
    return twin


def is_copied_for_fusion() -> bool:
    """Whether `copy.deepcopy` was called by torch.nn.utils.fusion, from the `__deepcopy__` that asks."""
    return sys._getframe(3).f_globals.get("__name__") == "torch.nn.utils.fusion"
