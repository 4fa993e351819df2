"""Layer, group, instance and RMS norm of elements, which keep their directions.

A mean is taken for every component, but one variance for elements, the mean of |q − μ|² / n, and one learned scale:
the form that Yin et al. 2019 give batch norm ("Quaternion convolutional neural network for color image classification and
forensics"), with their variance divided by n, so that components, not numbers, leave with variance 1 as from torch's norms.
Multiplying every element by the same unit quaternion before the layer is, without learned scale and shift, the same as
multiplying after it; a norm over the real features has no such law.

Once each component is centred, the variance of all real values together is that of elements: torch's kernels do the rest.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fourfold.algebra import Algebra
from fourfold.algebra.checking import widened
from fourfold.nn import native_groups
from fourfold.nn.base import check_divisible, fixed
from fourfold.nn.components import NumberLayer, laid_out_like
from fourfold.nn.running import follow
from fourfold.record import UserError


class _WholeNorm(NumberLayer):
    """What the norms share: a scale for every element instead of every real neuron."""

    weight: Any
    bias: Any

    def _use(self, algebra: Algebra) -> None:
        """Take an algebra after torch's constructor has run."""
        self.algebra = algebra
        if algebra.n > 1 and self.weight is not None:
            size, *rest = self.weight.shape
            self.weight = nn.Parameter(self.weight.new_ones(size // algebra.n, *rest))

    def _of_neurons(self, weight: Tensor | None) -> Tensor | None:
        """Return the scale of every real neuron, the same for all components of an element."""
        if weight is None:
            return None
        return widened(weight).repeat(self.algebra.n, *[1] * (weight.dim() - 1))


class LayerNorm(_WholeNorm, nn.LayerNorm):
    """Layer norm of elements; `real` is torch.nn's to the last bit.

    Shapes: x (..., *normalized_shape) → the same; components are blocked along the first axis of `normalized_shape`: the
    features, or the channels of maps; weight (normalized_shape[0] / n, ...), bias (*normalized_shape).

    Raises:
        ValueError: that axis is not divisible by the algebra's dimension n, or x has another shape.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        algebra = fixed(algebra)
        _check_shape(normalized_shape, algebra)
        super().__init__(normalized_shape, eps, elementwise_affine, bias, device, dtype)
        self._use(algebra)

    def forward(self, input: Tensor) -> Tensor:
        """Return the numbers of every sample with mean 0 and variance 1, scaled and shifted."""
        if self.algebra.n == 1:
            return super().forward(input)
        shape = self.normalized_shape
        _check_input(input, shape)
        weight: Tensor | None = self.weight
        bias: Tensor | None = self.bias
        if len(shape) == 1 and native_groups.pays(input, weight, bias):
            rows = input.reshape(-1, *shape)
            return native_groups.norm(rows, self.algebra.n, 1, weight, bias, self.eps, self._by_torch).view(input.shape)
        return self._by_torch(input, weight, bias)

    def _by_torch(self, input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        shape = self.normalized_shape
        parts = widened(input).unflatten(-len(shape), (self.algebra.n, -1))  # type: ignore[no-untyped-call]
        centred = parts - parts.mean(list(range(-len(shape), 0)), keepdim=True)
        y = F.layer_norm(centred.view(input.shape), shape, self._of_neurons(weight), _wide(bias), self.eps)
        return y.to(input.dtype)


class RMSNorm(_WholeNorm, nn.RMSNorm):
    """Root-mean-square norm of elements (Zhang & Sennrich 2019), divided by √(mean of |q|² / n + eps).

    That is torch's division; only the learned scale is one for every element. `real` is torch.nn's to the last bit.

    Shapes: as `LayerNorm`, without bias.

    Raises:
        ValueError: the first axis of `normalized_shape` is not divisible by the algebra's dimension n, or x has another shape.
    """

    bias = None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        algebra = fixed(algebra)
        _check_shape(normalized_shape, algebra)
        super().__init__(normalized_shape, eps, elementwise_affine, device, dtype)
        self._use(algebra)

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers of every sample divided by their root mean square, and scaled."""
        if self.algebra.n == 1:
            return super().forward(x)
        _check_input(x, self.normalized_shape)
        eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
        return F.rms_norm(widened(x), self.normalized_shape, self._of_neurons(self.weight), eps).to(x.dtype)


class GroupNorm(_WholeNorm, nn.GroupNorm):
    """Group norm of elements; `real` is torch.nn's to the last bit.

    Group g takes the g-th part of the numbers with all their components, as in our convolutions.

    Shapes: x (N, num_channels, *size) → the same, channels blocked by component; weight (num_channels / n),
    bias (num_channels).

    Raises:
        ValueError: `num_channels` is not divisible by n times `num_groups`, or x has other channels.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
        **options: Any,
    ) -> None:
        algebra = fixed(algebra)
        if algebra.n > 1:
            check_divisible("num_channels", num_channels, algebra, num_groups)
        super().__init__(num_groups, num_channels, eps, affine, device, dtype, **options)
        self._use(algebra)

    def forward(self, input: Tensor) -> Tensor:
        """Return the numbers of every group with mean 0 and variance 1, scaled and shifted."""
        if self.algebra.n == 1:
            return super().forward(input)
        _check_channels(input, 1, self.num_channels)
        weight: Tensor | None = self.weight
        bias: Tensor | None = self.bias
        if native_groups.pays(input, weight, bias):
            return native_groups.norm(input, self.algebra.n, self.num_groups, weight, bias, self.eps, self._by_torch)
        return self._by_torch(input, weight, bias)

    def _by_torch(self, input: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        images, channels, *size = input.shape
        n, groups = self.algebra.n, self.num_groups
        parts = widened(input).reshape(images, n, groups, channels // (n * groups) * math.prod(size))
        y = _by_group(parts - parts.mean(-1, keepdim=True), self.eps)
        return laid_out_like(_affine(y.reshape(input.shape), self._of_neurons(weight), _wide(bias)).to(input.dtype), input)


class _InstanceNorm(_WholeNorm):
    """What the instance norms share; `InstanceNorm2d` describes them."""

    num_features: int
    eps: float
    momentum: float | None
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any
    _check_input_dim: Any
    _get_no_batch_dim: Any

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
        **options: Any,
    ) -> None:
        algebra = fixed(algebra)
        check_divisible("num_features", num_features, algebra)
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, **options)
        self._use(algebra)
        if self.running_var is not None:
            self.running_var = self.running_var.new_ones(num_features // algebra.n)

    def forward(self, input: Tensor) -> Tensor:
        """Return the numbers of every image and channel with mean 0 and variance 1, scaled and shifted."""
        if self.algebra.n == 1:
            return super().forward(input)  # type: ignore[no-any-return]
        self._check_input_dim(input)
        unbatched = input.dim() == self._get_no_batch_dim()
        x = input.unsqueeze(0) if unbatched else input
        _check_channels(x, 1, self.num_features)
        of_batch = self.training or self.running_mean is None
        if of_batch and math.prod(x.shape[2:]) == 1:
            raise UserError(f"expected more than 1 position per channel in training, got `input` of shape {tuple(x.shape)}")
        weight, bias = self.weight, self.bias
        if of_batch and self.running_mean is None and native_groups.pays(x, weight, bias):
            numbers = x.shape[1] // self.algebra.n
            return native_groups.norm(x, self.algebra.n, numbers, weight, bias, self.eps, self._by_torch).view(input.shape)
        return laid_out_like(self._by_torch(x, weight, bias).view(input.shape), input)

    def _by_torch(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        n, eps = self.algebra.n, self.eps
        parts = widened(x).reshape(x.shape[0], n, x.shape[1] // n, math.prod(x.shape[2:]))
        if self.training or self.running_mean is None:
            mean = parts.mean(-1, keepdim=True)
            centred = parts - mean
            y = _by_group(centred, eps)
            if self.training and self.running_mean is not None and len(x):
                self._follow(mean, centred)
        else:
            centred = parts - self.running_mean.view(n, -1, 1)
            y = centred * (self.running_var + eps).rsqrt().unsqueeze(-1)
        return _affine(y.reshape(x.shape), self._of_neurons(weight), _wide(bias)).to(x.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, centred: Tensor) -> None:
        """Move the running statistics towards the mean over the batch of those of its images, as torch's instance norm does."""
        variance = centred.square().sum(-1).mean((0, 1)) / (centred.shape[-1] - 1)
        follow(self, (self.running_mean, mean.mean(0).flatten()), (self.running_var, variance))


class InstanceNorm1d(_InstanceNorm, nn.InstanceNorm1d):
    """`InstanceNorm2d` over (N, num_features, L) or (num_features, L)."""


class InstanceNorm2d(_InstanceNorm, nn.InstanceNorm2d):
    """Instance norm of elements: `GroupNorm` with every element in a group of its own; `real` is torch.nn's.

    Shapes: x (N, num_features, H, W) or without N → the same, channels blocked by component; weight (num_features / n),
    bias and running_mean (num_features), running_var (num_features / n).

    Raises:
        ValueError: `num_features` is not divisible by the algebra's dimension n, or not the channels of x, or maps of one
            position in training.
    """


class InstanceNorm3d(_InstanceNorm, nn.InstanceNorm3d):
    """`InstanceNorm2d` over (N, num_features, D, H, W) or without N."""


def _by_group(centred: Tensor, eps: float) -> Tensor:
    """Divide every group of elements by its standard deviation. Shapes: (N, n, groups, values) → the same.

    The kernel sees a group as one row: its gradient is then dense in memory, as compilers expect it to be.
    """
    rows = centred.transpose(1, 2).flatten(2)
    normed: Tensor = F.layer_norm(rows, rows.shape[2:], eps=eps)
    return normed.view(centred.transpose(1, 2).shape).transpose(1, 2)


def _wide(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else widened(bias)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """Scale and shift the channels of (N, C, *size)."""
    column = (-1, *[1] * (x.dim() - 2))
    if weight is None:
        return x if bias is None else x + bias.view(column)
    weight = weight.view(column)
    return x * weight if bias is None else torch.addcmul(bias.view(column), x, weight)


def _check_shape(normalized_shape: int | Sequence[int], algebra: Algebra) -> None:
    first = normalized_shape if isinstance(normalized_shape, int) else normalized_shape[0]
    check_divisible("normalized_shape" if isinstance(normalized_shape, int) else "normalized_shape[0]", first, algebra)


def _check_input(input: Tensor, shape: Sequence[int]) -> None:
    if tuple(input.shape[-len(shape) :]) != tuple(shape):
        raise UserError(f"`input` of shape {tuple(input.shape)} must end in `normalized_shape` (={tuple(shape)})")


def _check_channels(input: Tensor, axis: int, channels: int) -> None:
    if input.dim() <= axis or input.shape[axis] != channels:
        raise UserError(f"`input` of shape {tuple(input.shape)} must have {channels} channels on axis {axis}")
