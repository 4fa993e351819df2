"""The device that trains: choosing it, describing it, and computing reproducibly on it."""

import contextlib
import functools
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from fourfold.record import UserError, launched


def resolve_device(name: str) -> torch.device:
    """Return the device for `auto` (CUDA where there is one), `cpu`, `cuda` or `cuda:1`.

    A launcher's processes take one GPU each, by their local rank.

    Raises:
        UserError: there is no such device here.
    """
    launch = launched()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if launch and name.startswith("cuda:"):
        raise UserError(
            f"`device` (={name}) must be auto, cpu or cuda where a launcher started the process: rank N takes GPU N"
        )
    if launch and name == "cuda":
        name = f"cuda:{launch.local_rank}"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device {name!r}; known: auto, cpu, cuda, cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"unknown device {name!r}; known: auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        visible = f"{torch.cuda.device_count()} CUDA device(s)" if torch.cuda.is_available() else "no CUDA device"
        raise UserError(f"device {name!r} is not here: torch {torch.__version__} sees {visible}; use --device cpu or auto")
    return device


def describe_device(device: torch.device) -> str:
    """Return such as `cpu (1 thread, AMD EPYC 9B45)` or `cuda (NVIDIA H200)`."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'s' if threads > 1 else ''}, {_processor()})"


def multiplies_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in hardware; False where a CPU's system does not say."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    with contextlib.suppress(OSError):
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
        return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(flags)
    return False


def versions() -> dict[str, str]:
    """Return the versions that a row's numbers depend on."""
    return {"fourfold": _own_version(), "torch": torch.__version__, "python": platform.python_version()}


@functools.cache  # each row asks, and the answer is parsed from a long text
def _own_version() -> str:
    return version("fourfold")


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Compute on one CPU thread with denormal numbers flushed to zero, and put both back afterwards.

    Sums then never depend on how many cores there are, so that a run gives the same bits anywhere on one kind of CPU;
    denormals, of which Adam's averages are full, would cost up to ten times the time.
    """
    threads = torch.get_num_threads()
    flushed = bool(torch.tensor(1e-40) * 1 == 0)  # torch has no other way to ask
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(threads)


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
