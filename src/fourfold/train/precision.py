"""Precision of a network's products; weights, losses and the optimiser are always float32."""

import contextlib
import os
from collections.abc import Iterator

import torch
from torch import nn

from fourfold.data import Splits
from fourfold.record import TrainSpec, UserError
from fourfold.record.train_spec import Precision
from fourfold.train.memory_format import laid_out
from fourfold.train.narrow_images import narrow_images_in_float32


@contextlib.contextmanager
def in_precision(network: nn.Module, splits: Splits, spec: TrainSpec) -> Iterator[Splits]:
    """Compute in a spec's precision, and lay the images out as the network is fastest with them."""
    device = splits.train.device
    in_bf16_on_cpu = spec.precision == "bf16" and device.type == "cpu"
    careful = narrow_images_in_float32(network) if in_bf16_on_cpu else contextlib.nullcontext()
    with computing(spec.precision, device), careful, laid_out(network, splits, spec.precision) as images:
        yield images


def check_precision(precision: Precision | None, device: torch.device) -> None:
    """Raise `UserError` for a precision that a device does not have."""
    if precision == "tf32" and device.type != "cuda":
        raise UserError(f"`train.precision` (='tf32') needs a CUDA device; {device.type} computes in float32 or bf16")


@contextlib.contextmanager
def computing(precision: Precision | None, device: torch.device) -> Iterator[None]:
    """Compute products in a precision; None is float32, also where torch would take TF32 for a GPU's convolutions.

    TF32 on a GPU is a setting of the whole process, and so are deterministic algorithms: on by the environment variable
    `FOURFOLD_DETERMINISTIC=1` or by torch's own setting. A CPU is always deterministic.

    Raises:
        UserError: TF32 on a device that has none.
    """
    check_precision(precision, device)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        if os.environ.get("FOURFOLD_DETERMINISTIC", "0") != "0":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch needs it for reproducible products
            torch.use_deterministic_algorithms(True)
    if precision != "bf16":
        yield
        return
    # Without the cache, which would keep a weight's rounded copy while recorded steps change the weight.
    with torch.autocast(device.type, torch.bfloat16, cache_enabled=False):
        yield
