"""Whitening of a batch of elements, forward and backward, in as few passes over the maps as the mathematics allows.

Maps are seen as (N, n, c, S): images, components, numbers and positions. Whatever belongs to a number is small, (c, n) or
(c, n, n), and is computed in float64: covariances V, factors W with W (V + eps) Wᵀ = 1, scales Γ.

A training step makes four passes over the maps, as batch norm does: products of all pairs of components, then
y = ΓW·x + const; backward, products of dy with x, then dx = (ΓW)ᵀ·dy + B·x + const. In float32 that is exact enough where
neither means nor correlations are large. Elsewhere, and where values may not be read (GPUs, transforms, compilers), numbers are
centred, multiplied and mixed in float64, as their differences are what is left of numbers thousands of times as large.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from fourfold.nn import native_whitening
from fourfold.nn.eager import is_plain_eager

CHUNK = 2**19
"""Entries of a map that are mixed at a time: few enough for a shared cache, while a call costs tens of microseconds."""
LONG_ROW = 256
"""Positions from which an image's rows are summed where they lie; shorter ones of several images are first joined."""
ILL_CONDITIONED = 256.0
"""The ratio of mean squares to the least pivot of V beyond which the rounding of float32 shows in the whitened numbers."""
SMALLEST_MAP = 16
"""Positions below which the rows of a map are too short for the passes in chunks."""
LEAST_PIVOT = 64.0
"""Roundings of a variance below which a pivot is rounding alone: sums of products are off by a few of them."""


def whiten(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return y = Γ W (x − μ) + β with the mean μ and the covariance V of this batch; W (V + eps) Wᵀ = 1.

    Shapes: x (N, n, c, S) of float32 or float64, gamma (c, n, n), beta (c, n) → y as x, μ (c, n) and V (c, n, n) in float64,
    V with divisor N·S. Gradients flow through y alone.
    """
    if native_whitening.pays(x):
        roundings = LEAST_PIVOT * torch.finfo(torch.float64).eps
        whitened = native_whitening.whiten(x, gamma, beta, eps, roundings, ILL_CONDITIONED, _gradients)
        return _whiten_rows(x, gamma, beta, eps) if whitened is None else whitened
    if not (_traced() or _in_chunks(x)):
        return _whiten_rows(x, gamma, beta, eps)
    x = x.contiguous()
    with torch.no_grad():
        mean, covariance = (_traced_statistics if _traced() else _statistics)(x.detach())
        factor = inverse_factor(covariance, eps)
    if not _traced() and not is_precise(mean, covariance, factor):
        return _whiten_rows(x, gamma, beta, eps)
    y: Tensor = _Whiten.apply(x, gamma, beta, mean, factor, eps)  # type: ignore[no-untyped-call]
    return y, mean, covariance


def evaluate(x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, covariance: Tensor, eps: float) -> Tensor:
    """Return Γ W (x − μ) + β for a given mean and covariance. Shapes: as `whiten`."""
    factor = inverse_factor(covariance, eps)
    matrix, beta = gamma.to(factor.dtype) @ factor, beta.to(factor.dtype)
    if _in_chunks(x) and not _traced() and is_precise(mean, covariance, factor):
        offset = (beta - (matrix @ mean.unsqueeze(-1)).squeeze(-1)).to(x.dtype)
        matrix = matrix.to(x.dtype)
        if torch.is_grad_enabled() and (x.requires_grad or matrix.requires_grad or offset.requires_grad):
            return torch.einsum("cij,ajcl->aicl", matrix, x) + offset.t().unsqueeze(-1)
        return _mix(offset, (matrix, x.contiguous()))
    if _traced():  # also for programs that have no float64: what a mean loses in float32 is part of the offset
        rounded = mean.to(x.dtype)
        offset = beta - (matrix @ (mean - rounded).unsqueeze(-1)).squeeze(-1)
        return _traced_mix(offset.to(x.dtype), (matrix.to(x.dtype), x - rounded.t().unsqueeze(-1)))
    centred = fine(x) - mean.t().unsqueeze(-1)
    return (torch.einsum("cij,ajcl->aicl", matrix, centred) + beta.t().unsqueeze(-1)).to(x.dtype)


def map_numbers(x: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Return matrix·x + offset for every element, without gradients. Shapes: (N, n, c, S), (c, n, n), (c, n) → as x."""
    if native_whitening.pays(x):
        return native_whitening.mix(x, matrix, offset)
    if _in_chunks(x):
        return _mix(offset, (matrix, x.contiguous()))
    return torch.einsum("cij,ajcl->aicl", matrix, x) + offset.t().unsqueeze(-1)


def inverse_factor(covariance: Tensor, eps: float) -> Tensor:
    """Return the lower triangular W with W (V + eps) Wᵀ = 1: the inverse of the Cholesky factor. Shapes: (c, n, n) → the same.

    Elimination on [V + eps | 1]. No pivot of V + eps is below eps; one that rounding has put there is raised to it, and to
    what rounding alone can be, so that constant, equal and dependent components leave everything finite and small.
    """
    n = covariance.shape[-1]
    identity = torch.eye(n, dtype=covariance.dtype, device=covariance.device)
    least = (covariance.diagonal(dim1=-2, dim2=-1) * (LEAST_PIVOT * torch.finfo(covariance.dtype).eps)).clamp_min(eps)
    work = torch.cat([covariance + eps * identity, identity.expand_as(covariance)], dim=-1)
    rows = []
    for j in range(n):
        row = work[:, j] * torch.maximum(work[:, j, j, None], least[:, j, None]).rsqrt()
        rows.append(row[:, n:])
        if j + 1 < n:
            work = torch.addcmul(work, row[:, :n, None], row[:, None, :], value=-1)
    return torch.stack(rows, dim=1)


class _Whiten(torch.autograd.Function):
    """`whiten` by given statistics with the gradient written out, for contiguous maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, factor: Tensor, eps: float) -> Tensor:
        matrix = gamma.to(factor.dtype) @ factor
        ctx.eps = eps
        ctx.save_for_backward(x, gamma, mean, factor)
        if _traced():
            return _traced_mix(beta.to(factor.dtype), (matrix, fine(x) - mean.t().unsqueeze(-1))).to(x.dtype)
        offset = beta - (matrix @ mean.unsqueeze(-1)).squeeze(-1)
        return _mix(offset.to(x.dtype), (matrix.to(x.dtype), x))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, gamma, mean, factor = ctx.saved_tensors
        return *_gradients(x, gamma, mean, factor, ctx.eps, grad), None, None, None


def _gradients(x: Tensor, gamma: Tensor, mean: Tensor, factor: Tensor, eps: float, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients of `whiten` by x, gamma and beta, from that by y."""
    dtype = x.dtype
    if torch.is_grad_enabled() and not _traced():
        return *_differentiable_backward(x, gamma, eps, grad), grad.sum((0, 3)).t()
    if plain := _traced() or _transformed(grad):
        x, grad, mean = fine(x) - mean.t().unsqueeze(-1), fine(grad), torch.zeros_like(mean)
        products, grad_beta = _traced_moments(grad.unbind(1), x.unbind(1), symmetric=False)
    else:
        grad = grad.contiguous()
        products, grad_beta = _moments(grad, x)
        products = products - grad_beta.unsqueeze(-1) * mean.unsqueeze(-2)
    count = x.shape[0] * x.shape[3]
    grad_gamma = products @ factor.mT
    # With W the inverse of the Cholesky factor, dV = ½ Wᵀ (Φ + Φᵀ) W where Φ is the lower triangle of −Γᵀ dΓ with half
    # its diagonal (Murray 2016, on the Cholesky decomposition); V adds 2/count · dV (x − μ) to dx.
    scale = gamma.to(factor.dtype)
    lower = -(scale.mT @ grad_gamma).tril()
    symmetric = lower + lower.tril(-1).mT
    by_x = factor.mT @ symmetric @ factor / count
    by_grad = (scale @ factor).mT
    offset = -(by_grad @ grad_beta.unsqueeze(-1) / count + by_x @ mean.unsqueeze(-1)).squeeze(-1)
    mixed = _traced_mix if plain else _mix
    grad_x = mixed(offset.to(x.dtype), (by_grad.to(x.dtype), grad), (by_x.to(x.dtype), x)).to(dtype)
    return grad_x, grad_gamma.to(gamma.dtype), grad_beta.to(gamma.dtype)


def _differentiable_backward(x: Tensor, gamma: Tensor, eps: float, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients by x and gamma with a graph of their own, for second derivatives."""
    targets = [tensor for tensor in (x, gamma) if tensor.requires_grad]
    y, _, _ = _whiten_rows(x, gamma, gamma.new_zeros(gamma.shape[:2]), eps)
    gradients = iter(torch.autograd.grad(y, targets, grad, create_graph=True) if targets else ())
    return next(gradients) if x.requires_grad else None, next(gradients) if gamma.requires_grad else None


def _whiten_rows(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """`whiten` in plain operations in float64 on one row of all values per component: what every other way must agree with."""
    images, n, numbers, positions = x.shape
    rows = fine(x.permute(2, 1, 0, 3).reshape(numbers, n, images * positions))
    mean = rows.mean(-1, keepdim=True)
    centred = rows - mean
    covariance = centred @ centred.mT / (images * positions)
    matrix = gamma.to(rows.dtype) @ inverse_factor(covariance, eps)
    y = torch.baddbmm(beta.to(rows.dtype).unsqueeze(-1), matrix, centred).to(x.dtype)
    y = y.view(numbers, n, images, positions).permute(2, 1, 0, 3)
    return y, mean.detach().squeeze(-1), covariance.detach()


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (c, n) and the covariance (c, n, n) from one pass, which loses the digits that `_is_precise` asks for."""
    return _about_zero(*_moments(x, x), x)


def _traced_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """`_statistics` in float64 about the mean of one image, which costs compilers nothing.

    It bounds the share of the mean by N, since that image's deviation from the mean is itself a part of V.
    """
    shift = fine(x[0].mean(-1))
    shifted = [fine(part) - shift[i].unsqueeze(-1) for i, part in enumerate(x.unbind(1))]
    mean, covariance = _about_zero(*_traced_moments(shifted, shifted, symmetric=True), x)
    return mean + shift.t(), covariance


def is_precise(mean: Tensor, covariance: Tensor, factor: Tensor) -> bool:
    """Whether E[xxᵀ] − μμᵀ, and sums of products with ΓW, keep their digits.

    They lose those in which the mean square of a component exceeds the least pivot of V.
    """
    squares = covariance.diagonal(dim1=-2, dim2=-1) + mean.square()
    ratio = squares.amax(-1) * factor.diagonal(dim1=-2, dim2=-1).square().amax(-1)
    return bool((ratio <= ILL_CONDITIONED).all())


def _about_zero(products: Tensor, sums: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of values with these moments, as many as x has of each component."""
    count = x.shape[0] * x.shape[3]
    mean = sums / count
    return mean, products / count - mean.unsqueeze(-1) * mean.unsqueeze(-2)


def _moments(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ l rᵀ and Σ l over images and positions. Shapes: maps (N, n, c, S) → (c, n, n) and (c, n), in float64."""
    n, numbers = left.shape[1:3]
    lefts = _rows(left)
    rights = lefts if left is right else _rows(right)
    products = left.new_empty(len(lefts), numbers, n, n)
    for rows, others, product in zip(lefts, rights, products.unbind(), strict=True):
        torch.bmm(rows, others.mT, out=product)
    wide = fine(products[:0]).dtype
    return products.sum(0, dtype=wide), left.sum(-1).sum(0, dtype=wide).t()


def _mix(offset: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """Return the sum of matrix·map over the terms, plus the offset. Shapes: (c, n), (c, n, n) and (N, n, c, S) → (N, n, c, S).

    A component of the result is a weighted sum of n rows of the map. torch's embedding bag does just that, reading each row
    once: on small maps three times as fast as batched products of such thin matrices.
    """
    x = terms[0][1]
    n, numbers, positions = x.shape[1:]
    images = min(x.shape[0], _images(x))
    rows, starts = _bags(images, n, numbers)
    weights = [matrix.transpose(0, 1).expand(images, -1, -1, -1).flatten() for matrix, _ in terms]
    result = torch.empty_like(x)
    chunks = zip(*[torch.split(part, images) for part in (result, *[part for _, part in terms])], strict=True)
    for out, *parts in chunks:
        bags = out.shape[0] * n * numbers
        addend = offset.t().unsqueeze(-1)
        for weight, part in zip(weights, parts, strict=True):
            table = part.view(bags, positions)
            mixed = F.embedding_bag(
                rows[: bags * n], table, starts[:bags], mode="sum", per_sample_weights=weight[: bags * n]
            ).view(out.shape)
            addend = torch.add(mixed, addend, out=out if part is parts[-1] else mixed)
    return result


@lru_cache(maxsize=32)
def _bags(images: int, n: int, numbers: int) -> tuple[Tensor, Tensor]:
    """Return the rows of a map that make each row of its mixture, n after n, and where each bag of n starts."""
    with torch.inference_mode(False):  # the tensors are kept, and training may need them next
        rows = torch.arange(images * n * numbers, device="cpu").view(images, 1, n, numbers).transpose(2, 3)
        return rows.expand(-1, n, -1, -1).flatten(), torch.arange(0, rows.numel() * n, n, device="cpu")


def _traced_moments(lefts: Sequence[Tensor], rights: Sequence[Tensor], symmetric: bool) -> tuple[Tensor, Tensor]:
    """`_moments` of lists of components, for compilers: sums that fuse into one loop, over positions first to stay in cache."""
    n = len(lefts)
    products = [one * rights[j] for i, one in enumerate(lefts) for j in range(i + 1 if symmetric else n)]
    moments = fine(torch.stack([part.sum(-1) for part in (*lefts, *products)], dim=-1).sum(0))
    sums, flat = moments[:, :n], moments[:, n:]
    if symmetric:
        flat = flat[:, symmetric_positions(n, flat.device).flatten()]
    return flat.reshape(*flat.shape[:-1], n, n), sums  # gradients of a batch of outputs know no `unflatten`


def _traced_mix(offset: Tensor, *terms: tuple[Tensor, Tensor]) -> Tensor:
    """`_mix` for compilers and exporters: sums that fuse into one loop."""
    rows = []
    for i in range(offset.shape[1]):
        row = offset[:, i, None]
        for matrix, x in terms:
            for j, part in enumerate(x.unbind(1)):
                row = row + matrix[:, i, j, None] * part
        rows.append(row)
    return torch.stack(rows, dim=1)


def symmetric_positions(n: int, device: torch.device) -> Tensor:
    """Return where each entry of a symmetric matrix (n, n) stands among its lower triangle, listed row by row."""
    place = [[max(i, j) * (max(i, j) + 1) // 2 + min(i, j) for j in range(n)] for i in range(n)]
    return torch.tensor(place, device=device)


def _rows(x: Tensor) -> Sequence[Tensor]:
    """Return the values of each component of each element, (c, n, values) for some images each."""
    if x.shape[3] >= LONG_ROW:
        return x.transpose(1, 2).unbind()
    chunks = torch.split(x.permute(2, 1, 0, 3), _images(x), dim=2)
    return [chunk.flatten(2) for chunk in chunks]


def _images(x: Tensor) -> int:
    """How many images make a chunk."""
    return max(1, CHUNK // (x.shape[1] * x.shape[2] * x.shape[3]))


def _in_chunks(x: Tensor) -> bool:
    """Whether these are ordinary CPU tensors in plain eager mode, of maps that are worth it."""
    return is_plain_eager(x) and x.shape[3] >= SMALLEST_MAP and x.shape[0] > 0


def _transformed(gradient: Tensor | None = None) -> bool:
    """Whether `torch.func` is at work, or a gradient is that of a whole batch of outputs."""
    batched = gradient is not None and torch._C._functorch.is_legacy_batchedtensor(gradient)
    return bool(batched or torch._C._are_functorch_transforms_active())


def _traced() -> bool:
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def fine(small: Tensor) -> Tensor:
    """Return a small tensor in float64, where the device has it."""
    return small.float() if small.device.type == "mps" else small.double()
