"""How much a unit matters: pure functions from weights and derivatives to scores. The largest scores are kept.

What adds up over weights (w · ∂L/∂w, the first-order change of the loss) is summed up over a unit before its absolute
value is taken; magnitudes are joined by their Euclidean norm.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Generator, Tensor

from fourfold.algebra.checking import widened
from fourfold.pruning.units import Units

Tensors = Mapping[str, Tensor]
"""By weight name."""

Scores = dict[str, Tensor]
"""Of every weight's units (units,), by weight name."""


def magnitude_scores(weights: Tensors, units: Units) -> Scores:
    """Return the Euclidean norm of every unit, in float64; of single weights, their absolute values to the last bit."""
    return {name: _norm(units.split(name, weight.detach())) for name, weight in weights.items()}


def random_scores(weights: Tensors, units: Units, generator: Generator | None = None) -> Scores:
    """Return a uniform random number for every unit; without a generator from torch's global one."""
    scores = {}
    for name, weight in weights.items():
        count = len(units.split(name, weight))
        device = generator.device if generator is not None else weight.device
        scores[name] = torch.rand(count, generator=generator, device=device, dtype=torch.float64).to(weight.device)
    return scores


def gradient_scores(weights: Tensors, gradients: Tensors, units: Units) -> Scores:
    """Return |Σ w · ∂L/∂w| of every unit: what the loss changes by without it, to first order (Molchanov et al. 2017)."""
    return {name: _sums(name, _products(weight, gradients[name]), units).abs() for name, weight in weights.items()}


def snip_scores(weights: Tensors, gradients: Tensors, units: Units) -> Scores:
    """Return the connection sensitivity |∂L/∂c| of every unit, c = 1 multiplying its weights (Lee et al. 2019).

    All add up to 1. They rank units as `gradient_scores` does; SNIP's point is to take them before training.
    """
    scores = gradient_scores(weights, gradients, units)
    total = sum(float(score.sum()) for score in scores.values())
    return {name: score / total if total > 0 else score for name, score in scores.items()}


def fisher_scores(weights: Tensors, gradients: Iterable[Tensors], units: Units) -> Scores:
    """Return ½ mean (Σ w · ∂L/∂w)² of every unit, the mean over images (Theis et al. 2018, equation 6).

    That is the second-order change of the loss without the unit, where the Hessian is replaced by the empirical Fisher
    matrix and the mean gradient is zero, as after training.

    Args:
        weights: The weights.
        gradients: Of the loss of one image each.
        units: What is scored together.

    Raises:
        ValueError: there are no gradients.
    """
    totals: Scores = {}
    count = 0
    for of_image in gradients:
        for name, weight in weights.items():
            square = _sums(name, _products(weight, of_image[name]), units).double().square()
            totals[name] = totals[name] + square if name in totals else square
        count += 1
    if count == 0:
        raise ValueError("`gradients` (=0 images) must be those of at least one image")
    return {name: total / (2 * count) for name, total in totals.items()}


def taylor_scores(weights: Tensors, gradients: Tensors, hessian_times_weights: Tensors, units: Units) -> Scores:
    """Return (Σ w · g − ½ w · (H w))² of every unit, the change of the loss to second order (Molchanov et al. 2019, eq. 7).

    Args:
        weights: The weights w.
        gradients: g = ∂L/∂w.
        hessian_times_weights: H w, H being the Hessian of L over all the weights.
        units: What is scored together.
    """
    changes = {name: widened(gradients[name]) - widened(hessian_times_weights[name]) / 2 for name in weights}
    sums = {name: _sums(name, _products(weight, changes[name]), units) for name, weight in weights.items()}
    return {name: change.double().square() for name, change in sums.items()}


def grasp_scores(weights: Tensors, hessian_times_gradients: Tensors, units: Units) -> Scores:
    """Return Σ w · (H g) of every unit: by how much |g|² shrinks without it, to first order, over 2 (Wang et al. 2020).

    GraSP removes the weights with the largest −w · (H g), so these are kept from the largest down. They may be negative.
    """
    return {name: _sums(name, _products(weight, hessian_times_gradients[name]), units) for name, weight in weights.items()}


def _products(one: Tensor, other: Tensor) -> Tensor:
    """Return the products entry by entry, in float32 or better: those of half precision underflow."""
    return widened(one) * widened(other)


def _sums(name: str, values: Tensor, units: Units) -> Tensor:
    parts = units.split(name, values.detach())
    return parts[:, 0] if parts.shape[1] == 1 else parts.sum(1)


def _norm(parts: Tensor) -> Tensor:
    """Return the Euclidean norm of every row in float64, scaled by a power of two so that no square over- or underflows."""
    if parts.numel() == 0:  # units of no entries, as rows of a layer without inputs
        return parts.new_zeros(len(parts))
    if parts.shape[1] == 1:
        return parts[:, 0].abs()
    lengths = parts.abs().double()
    largest = lengths.amax(1)
    exponents = torch.frexp(torch.where(largest.isfinite(), largest, 1)).exponent  # 0 of 0
    scaled = lengths * power_of_two(-exponents).unsqueeze(1)
    norms: Tensor = torch.linalg.vector_norm(scaled, dim=1)
    return norms * power_of_two(exponents)


def power_of_two(exponents: Tensor) -> Tensor:
    """Return 2 to integers as float64, exactly, and within its normal range: `torch.ldexp` goes by float32."""
    return ((exponents.long() + 1023).clamp(1, 2046) << 52).view(torch.float64)
