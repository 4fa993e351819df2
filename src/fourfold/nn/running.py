"""How the running statistics of a norm follow those of its batches, also within `torch.func`."""

from typing import Any

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from fourfold.record import UserError


@torch.no_grad()
def follow(norm: Any, *statistics: tuple[Tensor, Tensor]) -> None:
    """Move each running statistic of a batch norm towards a batch's, as torch's batch norm does."""
    if torch.compiler.is_compiling() or not torch._C._are_functorch_transforms_active():
        _move(norm, *statistics)
        return
    statistics = tuple((running, _untracked(new)) for running, new in statistics)
    # As torch's own batch norm does within `torch.func.grad`, which refuses to change what it does not know.
    with temporarily_clear_interpreter_stack():
        _move(norm, *statistics)


def _move(norm: Any, *statistics: tuple[Tensor, Tensor]) -> None:
    norm.num_batches_tracked.add_(1)
    for running, new in statistics:
        weight = 1 / norm.num_batches_tracked if norm.momentum is None else norm.momentum
        running.copy_(torch.lerp(running.to(new.dtype), new, weight))


def _untracked(value: Tensor) -> Tensor:
    """Return a tensor without what `torch.func.grad` and `torch.func.jvp` have put around it.

    Raises:
        ValueError: it is one of several that `torch.vmap` computes at once, which a single running statistic cannot follow.
    """
    while torch._C._functorch.is_gradtrackingtensor(value):
        value = torch._C._functorch.get_unwrapped(value)
    if torch._C._functorch.is_batchedtensor(value):
        raise UserError(
            "running statistics cannot follow several batches at once under torch.vmap: bring the norm into `eval()` mode or "
            "make it with `track_running_stats=False`"
        )
    return value
