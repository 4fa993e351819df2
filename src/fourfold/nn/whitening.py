"""Batch norm that whitens: it decorrelates the components of every element (Gaudet & Maida 2018, Trabelsi et al. 2018)."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fourfold.algebra import REAL, Algebra
from fourfold.algebra.checking import NARROW, widened, without_autocast
from fourfold.nn.caching import cached, forget
from fourfold.nn.components import laid_out_like
from fourfold.nn.eager import is_plain_eager
from fourfold.nn.norm import ComponentNorm
from fourfold.nn.running import follow
from fourfold.nn.whitening_function import evaluate, fine, inverse_factor, is_precise, map_numbers, symmetric_positions, whiten
from fourfold.record import UserError


class WhiteningBatchNorm(ComponentNorm):
    """What the whitening batch norms share; `WhiteningBatchNorm2d` describes them."""

    algebra: Algebra = REAL
    num_features: int
    eps: float
    momentum: float | None
    weight: Any
    bias: Any
    running_mean: Any
    running_var: Any
    running_covariance: Any
    num_batches_tracked: Any
    _check_input_dim: Any

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "quaternion",
        **options: Any,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, algebra=algebra, **options)
        n = self.algebra.n
        if n == 1:
            return
        if self.weight is not None:
            self.weight = nn.Parameter(self.weight.new_empty(n * (n + 1) // 2, num_features // n))
        covariance = None
        if self.running_mean is not None:
            self.running_mean = fine(self.running_mean)
            covariance = self.running_mean.new_empty(num_features // n, n, n)
        del self.running_var
        self.register_buffer("running_covariance", covariance)
        self.reset_parameters()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Move and convert as all modules do, but keep running statistics in float64, on a device that has it."""
        kept = {name: buffer for name, buffer in self._buffers.items() if buffer is not None and buffer.dtype is torch.float64}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in kept.items() if self.algebra.n > 1 else ():
            moved = self._buffers[name]
            assert moved is not None
            if moved.dtype is not torch.float64 and moved.device.type != "mps":
                self._buffers[name] = buffer.to(moved.device)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Load as all modules do; a covariance of a narrower type is first made one again, which rounding may have undone."""
        name = f"{prefix}running_covariance"
        statistic = state_dict.get(name)
        if (
            self.algebra.n > 1
            and isinstance(statistic, Tensor)
            and statistic.dtype in (torch.float32, *NARROW)
            and not statistic.is_meta
        ):
            state_dict = {**state_dict, name: _definite(statistic)}
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def __getattr__(self, name: str) -> Any:
        """Say to torch's tools for batch norms, which read `running_var`, what there is instead."""
        if name == "running_var" and "running_covariance" in self._buffers:
            raise AttributeError(
                f"{type(self).__name__} has `running_covariance` in the place of `running_var`: to take its statistics over "
                "several processes use fourfold.nn.synchronise, to fold it into a layer fourfold.nn.fold"
            )
        return super().__getattr__(name)

    def reset_running_stats(self) -> None:
        """Start from mean 0 and the identity as covariance."""
        if self.algebra.n == 1:
            super().reset_running_stats()  # type: ignore[misc]
        elif self.track_running_stats:
            self.running_mean.zero_()
            self.running_covariance.copy_(torch.eye(self.algebra.n))
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Start from the scale 1/√n times the identity and the shift 0."""
        if self.algebra.n == 1:
            super().reset_parameters()  # type: ignore[misc]
            return
        self.reset_running_stats()
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        if self.weight is not None:
            nn.init.zeros_(self.weight)
            with torch.no_grad():
                for i in range(self.algebra.n):
                    self.weight[i * (i + 3) // 2] = 1 / math.sqrt(self.algebra.n)

    def evaluation(self) -> tuple[Tensor, Tensor]:
        """Return the matrices (c, n, n) and offsets (c, n) by which the layer maps its c numbers in evaluation.

        Raises:
            ValueError: the layer keeps no running statistics.
        """
        mean, covariance = self._running()
        matrix = self._gamma(covariance) @ inverse_factor(covariance, self.eps)
        return matrix, self._beta(mean) - (matrix @ mean.unsqueeze(-1)).squeeze(-1)

    def forward(self, input: Tensor) -> Tensor:
        """Return the numbers whitened, scaled and shifted; in training the running statistics follow the batch's."""
        if self.algebra.n == 1:
            return super().forward(input)  # type: ignore[no-any-return]
        self._check_input_dim(input)
        images, channels, *size = input.shape
        if channels != self.num_features:
            raise UserError(f"`input` has {channels} channels, but `num_features` (={self.num_features}) says otherwise")
        if self.training:
            forget(self)
        with without_autocast(input.device.type):
            n = self.algebra.n
            x = widened(input).reshape(images, n, channels // n, math.prod(size))
            y = self._batch(x) if self.training or self.running_mean is None else self._evaluated(x)
        return laid_out_like(y.reshape(input.shape).to(input.dtype), input)

    def _running(self) -> tuple[Tensor, Tensor]:
        """Return the running mean (c, n) and covariance (c, n, n), in float64."""
        if self.running_mean is None or self.running_covariance is None:
            raise UserError("a norm with `track_running_stats` (=False) maps every batch in its own way")
        return fine(self._by_number(self.running_mean)), fine(self.running_covariance)

    def _evaluated(self, x: Tensor) -> Tensor:
        """Whiten elements (N, n, c, S) by the running statistics."""
        if not torch.is_grad_enabled() and is_plain_eager(x):
            tensors = {name: getattr(self, name) for name in ("running_mean", "running_covariance", "weight", "bias")}
            known = {name: tensor for name, tensor in tensors.items() if tensor is not None}
            make = partial(self._evaluation_of, tuple(known), x.dtype)
            settings = x.dtype, self.eps, self.algebra, tuple(known)
            matrix, offset, precise = cached(self, f"evaluation in {x.dtype}", make, tuple(known.values()), settings)
            if precise:
                return map_numbers(x, matrix, offset)
        mean, covariance = self._running()
        return evaluate(x, self._gamma(x), self._beta(mean), mean, covariance, self.eps)

    def _evaluation_of(self, names: tuple[str, ...], dtype: torch.dtype, *tensors: Tensor) -> tuple[Tensor, Tensor, bool]:
        """Return matrix and offset, in a type, from parameters and statistics, and whether they are precise enough in it."""
        arguments = dict(zip(names, tensors, strict=True))
        mean, covariance = fine(self._by_number(arguments["running_mean"])), fine(arguments["running_covariance"])
        gamma, bias = self._symmetric(arguments.get("weight"), covariance), arguments.get("bias")
        beta = torch.zeros_like(mean) if bias is None else self._by_number(bias).to(mean.dtype)
        factor = inverse_factor(covariance, self.eps)
        matrix = gamma @ factor
        offset = beta - (matrix @ mean.unsqueeze(-1)).squeeze(-1)
        return matrix.to(dtype), offset.to(dtype), is_precise(mean, covariance, factor)

    def _batch(self, x: Tensor) -> Tensor:
        """Whiten elements (N, n, c, S) by their own statistics."""
        count = x.shape[0] * x.shape[3]
        if count == 0:
            return x
        if count == 1:
            raise UserError(f"expected more than 1 value per channel in training, got `input` of shape {tuple(x.shape)}")
        gamma = self._gamma(x)
        y, mean, covariance = whiten(x, gamma, self._beta(gamma[..., 0]), self.eps)
        if self.training and self.track_running_stats:
            self._follow(mean, covariance * (count / (count - 1)))
        return y

    def _follow(self, mean: Tensor, covariance: Tensor) -> None:
        """Move the running statistics towards those of a batch."""
        follow(self, (self.running_mean, mean.t().flatten()), (self.running_covariance, covariance))

    def _gamma(self, like: Tensor) -> Tensor:
        """Return the symmetric matrices that multiply whitened numbers, (c, n, n)."""
        return self._symmetric(self.weight, like)

    def _symmetric(self, weight: Tensor | None, like: Tensor) -> Tensor:
        n = self.algebra.n
        if weight is None:
            return torch.eye(n, dtype=like.dtype, device=like.device).expand(self.num_features // n, n, n)
        gamma: Tensor = weight[symmetric_positions(n, weight.device)].permute(2, 0, 1)
        return gamma.to(like.dtype)

    def _beta(self, like: Tensor) -> Tensor:
        """Return the shifts of elements, of the shape (c, n) and the type of `like`."""
        return torch.zeros_like(like) if self.bias is None else self._by_number(self.bias).to(like.dtype)

    def _by_number(self, vector: Tensor) -> Tensor:
        """Bring a vector over channels, blocked by component, into the shape (c, n)."""
        return vector.view(self.algebra.n, -1).t()


@torch.no_grad()
def _definite(covariance: Tensor) -> Tensor:
    """Return covariances (c, n, n) in float64, with as much variance more as the rounding of their type may have cost."""
    wide = fine(covariance)
    variances = wide.diagonal(dim1=-2, dim2=-1).clamp_min(0)
    scale = variances.sqrt().clamp_min(torch.finfo(torch.float32).tiny)
    correlation = wide / (scale.unsqueeze(-1) * scale.unsqueeze(-2))
    least = torch.linalg.eigvalsh(correlation)[:, :1]
    missing = (covariance.shape[-1] * torch.finfo(covariance.dtype).eps - least).clamp_min(0)
    return wide + torch.diag_embed(missing * variances)


class WhiteningBatchNorm1d(WhiteningBatchNorm, nn.BatchNorm1d):
    """`WhiteningBatchNorm2d` over (N, num_features) or (N, num_features, L)."""


class WhiteningBatchNorm2d(WhiteningBatchNorm, nn.BatchNorm2d):
    """Batch norm that leaves the n components of every element uncorrelated: y = Γ W (x − μ) + β.

    For each of the c = num_features / n elements of a position, μ and V are the mean and the covariance of its n components
    over the batch and all positions (with divisor N·S), and W, lower triangular, is the inverse of the Cholesky factor of
    V + eps: W (V + eps) Wᵀ = 1. So the covariance of the whitened numbers is 1 − eps · W Wᵀ, the identity as long as every
    direction of V has much more variance than `eps`, and no direction is enlarged by more than 1/√eps. The learned scale Γ
    is symmetric and starts as 1/√n times the identity, so that numbers start with variance 1. Evaluation uses running
    means of μ and of V with divisor N·S − 1, as in torch. Gaudet & Maida 2018, section 3.4, for quaternions; Trabelsi et
    al. 2018, section 3.5, for complex numbers. `real` is torch.nn's to the last bit.

    Statistics are computed in float32 or better whatever the type of x, also under autocast; small matrices in float64.

    Shapes: x (N, num_features, H, W) → the same, channels blocked by component ([r…, x…, y…, z…]);
    weight (n·(n + 1)/2, c), the lower triangle of Γ row by row; bias and running_mean (num_features);
    running_covariance (c, n, n).

    Raises:
        ValueError: `num_features` is not divisible by n, or not the channels of the input, or in training there is only
            one value per channel.
    """


class WhiteningBatchNorm3d(WhiteningBatchNorm, nn.BatchNorm3d):
    """`WhiteningBatchNorm2d` over (N, num_features, D, H, W)."""
