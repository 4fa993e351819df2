"""Choosing the weights that stay, with exact counts: ties go to the weight that comes first."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fourfold.nn import named_weights
from fourfold.pruning.masks import Masks, apply_, dense


def num_kept(density: float, total: int) -> int:
    """Return `round(density · total)`, the weights that a network of `total` weights keeps."""
    if not 0 <= density <= 1:
        raise ValueError(f"`density` (={density}) must lie in [0, 1]")
    return round(density * total)


def keep_largest(scores: Tensor, count: int) -> Tensor:
    """Return a mask with exactly `count` True, at the largest scores; of equal scores the first ones.

    Shapes: scores (m,), finite → bool (m,).
    """
    if not 0 <= count <= scores.numel():
        raise ValueError(f"`count` (={count}) must lie in [0, {scores.numel()}], the number of scores")
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = torch.kthvalue(scores, scores.numel() - count + 1).values
    above = scores > threshold
    ties = scores == threshold
    mask = above | (ties & (ties.cumsum(0) <= count - above.sum()))
    assert int(mask.sum()) == count
    return mask


def magnitude(weights: Mapping[str, Tensor], masks: Masks, density: float, scope: str = "global") -> Masks:
    """Return the masks that keep the largest absolute weights among those that are kept now.

    Args:
        weights: The trained weights by name, any shapes.
        masks: What is kept now; the result keeps a part of it.
        density: Weights to keep / all weights, of the dense network (`global`) or of each of its layers (`layer`).
        scope: Compare weights over the whole network (`global`, both papers' texts) or within each layer (`layer`).

    Raises:
        ValueError: the masks keep fewer weights than asked for, or a weight is not finite.
    """
    scores = {name: torch.where(masks[name], weight.detach().abs(), -1).flatten() for name, weight in weights.items()}
    for name, score in scores.items():
        if not bool(score.isfinite().all()):
            raise ValueError(f"weight {name!r} is not finite, so it has no rank")
    if scope == "global":
        groups = [list(scores)]
    elif scope == "layer":
        groups = [[name] for name in scores]
    else:
        raise ValueError(f"unknown scope {scope!r}; known: global, layer")
    result: Masks = {}
    for names in groups:
        flat = torch.cat([scores[name] for name in names])
        count, now = num_kept(density, flat.numel()), int((flat >= 0).sum())
        if count > now:
            raise ValueError(f"`density` (={density}) asks for {count} of {flat.numel()} weights, but only {now} are kept now")
        parts = torch.split(keep_largest(flat, count), [scores[name].numel() for name in names])
        result |= {name: part.view(weights[name].shape) for name, part in zip(names, parts, strict=True)}
    return result


def prune(model: nn.Module, *, density: float, scope: str = "global", masks: Masks | None = None) -> Masks:
    """Set all but the largest weights of a model to zero, and return what was kept.

    Args:
        model: Any network of linear and convolution layers, ours or torch's own; changed in place.
        density: Weights to keep / all weights.
        scope: `global` or `layer`, see `magnitude`.
        masks: What is kept now; default: everything.

    To train on, call `apply_(named_weights(model), masks)` after every optimiser step.
    """
    weights = named_weights(model)
    if not weights:
        raise ValueError("the model has no linear or convolution layer, so there is nothing to prune")
    chosen = magnitude(weights, dense(weights) if masks is None else masks, density, scope)
    apply_(weights, chosen)
    return chosen
