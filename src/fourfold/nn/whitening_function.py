"""Whitening of a batch of numbers, forward and backward, in as few passes over the maps as the mathematics allows.

Maps are seen as (N, n, c, S): images, components, numbers and positions. Whatever belongs to a number is small, (c, n) or
(c, n, n), and is computed in float64: covariances V, factors W with W (V + eps) Wᵀ = 1, scales Γ.

A training step makes four passes over the maps, as batch norm does: products of all pairs of components, then
y = ΓW·x + const; backward, products of dy with x, then dx = (ΓW)ᵀ·dy + B·x + const.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 2**19
"""Entries of a map that are mixed at a time: few enough for a shared cache, while a call costs tens of microseconds."""
LONG_ROW = 256
"""Positions from which an image's rows are summed where they lie; shorter ones of several images are first joined."""
ILL_CONDITIONED = 256.0
"""The ratio of mean squares to the least pivot of V beyond which the rounding of float32 shows in the whitened numbers."""
SMALLEST_MAP = 16
"""Positions below which the rows of a map are too short for the passes in chunks."""


def whiten(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return y = Γ W (x − μ) + β with the mean μ and the covariance V of this batch; W (V + eps) Wᵀ = 1.

    Shapes: x (N, n, c, S) of float32 or float64, gamma (c, n, n), beta (c, n) → y as x, μ (c, n) and V (c, n, n) in float64,
    V with divisor N·S. Gradients flow through y alone.
    """
    if _traced() or _in_chunks(x):
        return _Whiten.apply(x.contiguous(), gamma, beta, eps)  # type: ignore[no-untyped-call, no-any-return]
    return _whiten_rows(x, gamma, beta, eps)


def mix(x: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """Return matrix·x + offset for every number.

    Shapes: x (N, n, c, S), matrix (c, n, n), offset (c, n) → as x.
    """
    matrix, offset = matrix.to(x.dtype), offset.to(x.dtype)
    needs_grad = torch.is_grad_enabled() and (x.requires_grad or matrix.requires_grad or offset.requires_grad)
    if _traced() or (_in_chunks(x) and not needs_grad):
        return _mix(offset, (matrix, x.contiguous()))
    return torch.einsum("cij,ajcl->aicl", matrix, x) + offset.t().unsqueeze(-1)


def inverse_factor(covariance: Tensor, eps: float) -> Tensor:
    """Return the lower triangular W with W (V + eps) Wᵀ = 1: the inverse of the Cholesky factor. Shapes: (c, n, n) → the same.

    Elimination on [V + eps | 1]. No pivot of V + eps is below eps; one that rounding has put there is raised to it, so that
    constant or equal components leave everything finite.
    """
    n = covariance.shape[-1]
    identity = torch.eye(n, dtype=covariance.dtype, device=covariance.device)
    work = torch.cat([covariance + eps * identity, identity.expand_as(covariance)], dim=-1)
    rows = []
    for j in range(n):
        row = work[:, j] * work[:, j, j, None].clamp_min(eps).rsqrt()
        rows.append(row[:, n:])
        if j + 1 < n:
            work = torch.addcmul(work, row[:, :n, None], row[:, None, :], value=-1)
    return torch.stack(rows, dim=1)


class _Whiten(torch.autograd.Function):
    """`whiten` with the gradient written out, for contiguous maps."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean, covariance, factor = _statistics(x, eps)
        matrix = gamma.to(factor.dtype) @ factor
        offset = beta - (matrix @ mean.unsqueeze(-1)).squeeze(-1)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, covariance)
        ctx.save_for_backward(x, gamma, mean, factor)
        return _mix(offset.to(x.dtype), (matrix.to(x.dtype), x)), mean, covariance

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor, None]:
        x, gamma, mean, factor = ctx.saved_tensors
        if torch.is_grad_enabled() and not _traced():
            return *_differentiable_backward(x, gamma, ctx.eps, grad), grad.sum((0, 3)).t(), None
        grad = grad.contiguous()
        count = x.shape[0] * x.shape[3]
        products, grad_beta = _moments(grad, x)
        products = products - grad_beta.unsqueeze(-1) * mean.unsqueeze(-2)
        grad_gamma = products @ factor.mT
        # With W the inverse of the Cholesky factor, dV = ½ Wᵀ (Φ + Φᵀ) W where Φ is the lower triangle of −Γᵀ dΓ with half
        # its diagonal (Murray 2016, on the Cholesky decomposition); V adds 2/count · dV (x − μ) to dx.
        scale = gamma.to(factor.dtype)
        lower = -(scale.mT @ grad_gamma).tril()
        symmetric = lower + lower.tril(-1).mT
        by_x = factor.mT @ symmetric @ factor / count
        by_grad = (scale @ factor).mT
        offset = -(by_grad @ grad_beta.unsqueeze(-1) / count + by_x @ mean.unsqueeze(-1)).squeeze(-1)
        grad_x = _mix(offset.to(x.dtype), (by_grad.to(x.dtype), grad), (by_x.to(x.dtype), x))
        return grad_x, grad_gamma.to(gamma.dtype), grad_beta.to(gamma.dtype), None


def _differentiable_backward(x: Tensor, gamma: Tensor, eps: float, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients by x and gamma with a graph of their own, for second derivatives."""
    wanted = [tensor for tensor in (x, gamma) if tensor.requires_grad]
    y, _, _ = _whiten_rows(x, gamma, gamma.new_zeros(gamma.shape[:2]), eps)
    found = iter(torch.autograd.grad(y, wanted, grad, create_graph=True) if wanted else ())
    return next(found) if x.requires_grad else None, next(found) if gamma.requires_grad else None


def _whiten_rows(x: Tensor, gamma: Tensor, beta: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """`whiten` in plain operations on one row of all values per component: for short maps, and for GPUs."""
    images, n, numbers, positions = x.shape
    rows = x.permute(2, 1, 0, 3).reshape(numbers, n, -1)
    mean = rows.mean(-1, keepdim=True)
    centred = rows - mean
    covariance = fine(centred @ centred.mT) / (images * positions)
    matrix = gamma.to(x.dtype) @ inverse_factor(covariance, eps).to(x.dtype)
    y = torch.baddbmm(beta.to(x.dtype).unsqueeze(-1), matrix, centred)
    y = y.view(numbers, n, images, positions).permute(2, 1, 0, 3)
    return y, fine(mean.detach().squeeze(-1)), covariance.detach()


def _statistics(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean (c, n), the covariance (c, n, n) and the inverse of its factor, in one pass if it is precise enough.

    E[xxᵀ] − μμᵀ in float32 loses the digits in which the mean square of a component exceeds the least pivot of V. If they
    are many, the same is done again to the numbers as nearly whitened as is known so far, which lose none. Compilers take
    the moments about the mean of one image instead, for a shift costs them nothing: it bounds the share of the mean by
    N, since that image's deviation from the mean is itself a part of V.
    """
    if _traced():
        shift = x[0].mean(-1)
        shifted = [part - shift[i].unsqueeze(-1) for i, part in enumerate(x.unbind(1))]
        mean, covariance = _about_zero(*_traced_moments(shifted, shifted, symmetric=True), x)
        return mean + shift.t(), covariance, inverse_factor(covariance, eps)
    mean, covariance = _about_zero(*_moments(x, x), x)
    factor = inverse_factor(covariance, eps)
    squares = covariance.diagonal(dim1=-2, dim2=-1) + mean.square()
    if bool((squares.amax(-1) * factor.diagonal(dim1=-2, dim2=-1).square().amax(-1) > ILL_CONDITIONED).any()):
        shift, rough = mean.to(x.dtype), factor.to(x.dtype)
        nearly = _mix(torch.zeros_like(shift), (rough, x - shift.t().unsqueeze(-1)))
        mean, covariance = _about_zero(*_moments(nearly, nearly), x)
        back, _ = torch.linalg.inv_ex(rough.to(factor.dtype))
        mean = (back @ mean.unsqueeze(-1)).squeeze(-1) + shift
        covariance = back @ covariance @ back.mT
        factor = inverse_factor(covariance, eps)
    return mean, covariance, factor


def _about_zero(products: Tensor, sums: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of values with these moments, as many as x has of each component."""
    count = x.shape[0] * x.shape[3]
    mean = sums / count
    return mean, products / count - mean.unsqueeze(-1) * mean.unsqueeze(-2)


def _moments(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ l rᵀ and Σ l over images and positions. Shapes: maps (N, n, c, S) → (c, n, n) and (c, n), in float64."""
    if _traced():
        return _traced_moments(left.unbind(1), right.unbind(1), symmetric=False)
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
    if _traced():
        return _traced_mix(offset, *terms)
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
    return flat.unflatten(-1, (n, n)), sums  # type: ignore[no-untyped-call]


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
    """Return the values of each component of each number, (c, n, values) for some images each."""
    if x.shape[3] >= LONG_ROW:
        return x.transpose(1, 2).unbind()
    chunks = torch.split(x.permute(2, 1, 0, 3), _images(x), dim=2)
    return [chunk.flatten(2) for chunk in chunks]


def _images(x: Tensor) -> int:
    """How many images make a chunk."""
    return max(1, CHUNK // (x.shape[1] * x.shape[2] * x.shape[3]))


def _in_chunks(x: Tensor) -> bool:
    return type(x) is Tensor and x.device.type == "cpu" and x.shape[3] >= SMALLEST_MAP and x.shape[0] > 0


def _traced() -> bool:
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def fine(small: Tensor) -> Tensor:
    """Return a small tensor in float64, where the device has it."""
    return small.float() if small.device.type == "mps" else small.double()
