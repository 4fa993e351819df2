"""When a layer may take a path of its own: plain eager mode on a CPU, unless the reference path is asked for.

The reference path of every layer is torch's functional on the layer's expanded real matrix, or plain operations of torch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

_REFERENCE: ContextVar[bool] = ContextVar("reference_path", default=False)


@contextmanager
def reference_path() -> Iterator[None]:
    """Let every layer take its reference path: torch's functional on the expanded matrix, and nothing cached.

    For comparisons, and where components of very different size need the accuracy of the matrix. It holds in this thread,
    as `torch.no_grad` does, and also decorates functions.
    """
    token = _REFERENCE.set(True)
    try:
        yield
    finally:
        _REFERENCE.reset(token)


def is_plain_eager(*tensors: Tensor | None) -> bool:
    """Whether plain eager mode computes with ordinary CPU tensors, so that a function of our own may stand in for torch's.

    Compilers, exporters, `torch.func`, batched gradients, forward-mode derivatives, dispatch modes and subclasses of tensors
    see the reference path.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return False  # first, for a compiler need not follow the rest
    if _REFERENCE.get() or torch._C._len_torch_dispatch_stack():
        return False
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return False
    return all(tensor is None or _is_ordinary(tensor) for tensor in tensors)


def _is_ordinary(tensor: Tensor) -> bool:
    kind = type(tensor)
    return (
        (kind is Tensor or kind is torch.nn.Parameter)
        and tensor.is_cpu
        and tensor.layout == torch.strided
        and not tensor.is_neg()  # whose memory holds other numbers
        and not torch._C._functorch.is_legacy_batchedtensor(tensor)  # of `torch.autograd.grad(..., is_grads_batched=True)`
    )
