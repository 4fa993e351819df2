"""What code of the user's may change of this process for as long as it runs, and no longer."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

_OURS = frozenset({"fourfold", "numpy", "torch", *sys.stdlib_module_names})


@contextmanager
def as_it_was() -> Iterator[None]:
    """Put the process's settings back afterwards: torch's and numpy's, filters of warnings, the current folder, and imports.

    What one trial sets, such as the default type of tensors, would otherwise reach the trials after it, in an order that
    depends on the number of workers.
    """
    dtype, device, has_grad = torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    anomaly, precision = torch.is_anomaly_enabled(), torch.get_float32_matmul_precision()
    threads, errors, filters = torch.get_num_threads(), np.geterr(), warnings.filters[:]
    folder, places, modules = _folder(), sys.path[:], dict(sys.modules)
    try:
        yield
    finally:
        _restore_imports(places, modules)
        if torch.get_default_dtype() != dtype:
            torch.set_default_dtype(dtype)
        if torch.get_default_device() != device:
            torch.set_default_device(None if device.type == "cpu" else device)
        torch.set_grad_enabled(has_grad)
        if (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ) != deterministic:
            torch.use_deterministic_algorithms(deterministic[0], warn_only=deterministic[1])
        if torch.is_anomaly_enabled() != anomaly:
            torch.autograd.set_detect_anomaly(anomaly)
        if torch.get_float32_matmul_precision() != precision:
            torch.set_float32_matmul_precision(precision)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        np.seterr(**errors)
        if warnings.filters != filters:
            warnings.filters[:] = filters  # type: ignore[index]
        if folder is not None and _folder() != folder:
            with contextlib.suppress(OSError):
                os.chdir(folder)


def _restore_imports(places: list[str], modules: dict[str, ModuleType]) -> None:
    """Put back what was taken from where modules are found, and modules that this process needs itself.

    Places and modules that are new stay, and so does a module of the user's that was taken out to be imported again.
    """
    if any(place not in sys.path for place in places):
        sys.path[:] = [*places, *(place for place in sys.path if place not in places)]
    for name, module in modules.items():
        if name not in sys.modules and name.partition(".")[0] in _OURS:
            sys.modules[name] = module


def _folder() -> Path | None:
    """Return the current folder; None where it was removed."""
    try:
        return Path.cwd()
    except OSError:
        return None
