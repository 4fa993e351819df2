"""Batch norm over the images of several processes: its statistics are those of all their images together.

torch's `SyncBatchNorm` works on GPUs alone and does not whiten. Here one differentiable function serves every batch norm
on every device: to normalise each component is to whiten elements of one component.
"""

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fourfold.algebra.checking import widened, without_autocast
from fourfold.nn.components import laid_out_like
from fourfold.nn.copying import deepcopied
from fourfold.nn.running import follow
from fourfold.nn.whitening import WhiteningBatchNorm
from fourfold.nn.whitening_function import fine, inverse_factor
from fourfold.record import UserError


def synchronise(network: nn.Module, group: Any = None) -> nn.Module:
    """Let every batch norm of a network, in training, take its statistics over the images of all processes.

    The network is changed in place and returned: parameters, buffers and their names stay, evaluation does not change.
    Every process must run the network at the same time. Their numbers of images may differ and be zero. The gradient of a
    norm's scale and shift is that of this process's images; `DistributedDataParallel` adds them up as all others.

    Args:
        network: With torch's batch norms, norms of components or whitening norms, or none.
        group: A process group; None means all processes.

    Raises:
        UserError: there is no process group.
    """
    if not distributed.is_initialized():
        raise UserError("`synchronise` needs a process group: call `torch.distributed.init_process_group` first")
    for module in network.modules():
        if is_batch_norm(module) and not isinstance(module, _Synchronised):
            whitens = isinstance(module, WhiteningBatchNorm) and module.algebra.n > 1
            kind: Any = type(module)
            module.__class__ = _synchronised(kind, _Whitening if whitens else _Components)
            module.process_group = group
    return network


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module's output for an image depends on the other images of the batch, in a way that `synchronise` knows."""
    return isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm)


def whiten_together(x: Tensor, gamma: Tensor, beta: Tensor, eps: float, group: Any) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`whiten` by the statistics of all processes of a group; gradients flow through y to the x of every process.

    Shapes: x (N, n, c, S) with N of this process, gamma (c, n, n), beta (c, n) → y as x, μ (c, n), V (c, n, n) with divisor
    M, and the number of values M of all processes.
    """
    images, n, numbers, positions = x.shape
    rows = x.permute(2, 1, 0, 3).reshape(numbers, n, images * positions)
    if n > 1:  # numbers of one component cannot be dependent on one another
        rows = fine(rows)
    local = rows.sum(-1, dtype=fine(rows[:0]).dtype)
    total = summed(torch.cat([local.flatten(), local.new_full((1,), images * positions)]), group)
    # Only a process with at most one value can meet a batch of one value, so others need not wait to look.
    if images * positions <= 1 and total[-1].item() <= 1:
        raise UserError(f"expected more than 1 value per channel in training, got `input` of shape {tuple(x.shape)} alone")
    count = total[-1].detach()
    mean = total[:-1].view(numbers, n) / count
    rounded = mean.to(rows.dtype)
    rest = (mean - rounded).detach()  # what a mean loses in float32
    centred = rows - rounded.unsqueeze(-1)
    covariance = summed(fine(centred @ centred.mT), group) / count - rest.unsqueeze(-1) * rest.unsqueeze(-2)
    matrix = gamma.to(covariance.dtype) @ inverse_factor(covariance, eps)
    offset = beta.to(matrix.dtype) - (matrix @ rest.unsqueeze(-1)).squeeze(-1)
    y = torch.baddbmm(offset.to(rows.dtype).unsqueeze(-1), matrix.to(rows.dtype), centred).to(x.dtype)
    return y.view(numbers, n, images, positions).permute(2, 1, 0, 3), mean.detach(), covariance.detach(), count


def summed(x: Tensor, group: Any) -> Tensor:
    """Return the sum of the tensors of all processes of a group; its gradient reaches every process."""
    return _Sum.apply(x, group)  # type: ignore[no-untyped-call, no-any-return]


class _Sum(torch.autograd.Function):
    """Each one's loss depends on it, so its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return _all_reduced(x, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _all_reduced(grad, ctx.group), None


def _all_reduced(x: Tensor, group: Any) -> Tensor:
    x = x.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(x, group=group)
    return x


class _Synchronised:
    """What takes the place of a norm's class, before that class."""

    process_group: Any

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Say how a copy is made, as its class is found nowhere: from the norm's own class.

        Raises:
            ValueError: it is to be pickled and has a process group of its own, which belongs to this process.
        """
        if self.process_group is not None:
            raise UserError("a norm synchronised over a `group` of its own cannot be pickled; one over all processes can")
        return _new, type(self).__bases__, dict(vars(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Return a copy over the same processes."""
        if self.process_group is not None:
            memo[id(self.process_group)] = self.process_group
        return deepcopied(self, memo)


class _Components(_Synchronised):
    """Of norms with a variance for every channel."""

    training: bool
    eps: float
    weight: Any
    bias: Any
    running_mean: Any
    running_var: Any
    _check_input_dim: Any

    def forward(self, input: Tensor) -> Tensor:
        """Return what the norm would for the images of all processes, of which `input` are this one's."""
        if not self.training:
            return super().forward(input)  # type: ignore[misc,no-any-return]
        self._check_input_dim(input)
        images, channels, *size = input.shape
        with without_autocast(input.device.type):
            x = widened(input).reshape(images, 1, channels, math.prod(size))
            gamma = x.new_ones(channels) if self.weight is None else self.weight
            beta = x.new_zeros(channels) if self.bias is None else self.bias
            y, mean, variance, count = whiten_together(x, gamma.view(-1, 1, 1), beta.view(-1, 1), self.eps, self.process_group)
        if self.running_mean is not None:
            unbiased = variance.flatten() * (count / (count - 1))
            follow(self, (self.running_mean, mean.flatten()), (self.running_var, unbiased))
        return laid_out_like(y.reshape(input.shape).to(input.dtype), input)


class _Whitening(_Synchronised):
    """Of norms that whiten."""

    training: bool
    track_running_stats: bool
    eps: float
    _gamma: Any
    _beta: Any
    _follow: Any

    def _batch(self, x: Tensor) -> Tensor:
        if not self.training:
            return super()._batch(x)  # type: ignore[misc, no-any-return]
        gamma = self._gamma(x)
        y, mean, covariance, count = whiten_together(x, gamma, self._beta(gamma[..., 0]), self.eps, self.process_group)
        if self.track_running_stats:
            self._follow(mean, covariance * (count / (count - 1)))
        return y


def _new(mixin: type, kind: type) -> Any:
    """Return a synchronised norm of a class, without anything in it yet."""
    cls: Any = _synchronised(kind, mixin)
    return cls.__new__(cls)


@cache
def _synchronised(kind: type, mixin: type) -> type:
    return type(f"Synchronised{kind.__name__}", (mixin, kind), {})
