"""The networks of a spec: built from a seed, measured, and the images that they take."""

import torch
from torch import nn

from fourfold import data, models, pruning
from fourfold.nn import layers_with_weights
from fourfold.record import Spec


def components(spec: Spec) -> int:
    """Return how many components the numbers of the images have: a real network that sees encoded images sees quaternions."""
    return 4 if spec.model.algebra == "real" and spec.inputs.encoding != "none" else models.dimension(spec.model.algebra)


def build(spec: Spec, seed: int | None = None, device: torch.device | str = "cpu", *, width: float = 1.0) -> nn.Module:
    """Return the spec's network, drawn from a seed; `width` scales all sizes but those of images and classes."""
    info = data.info_for(spec.data)
    network = models.build(
        spec.model.name,
        algebra=spec.model.algebra,
        num_classes=info.num_classes,
        shape=data.input_channels(spec.inputs, info, components(spec)),
        head=spec.model.head,
        init=spec.model.init,
        seed=seed,
        learned_from=info.channels if spec.inputs.encoding == "learned" else None,
        device=device,
        width=width,
        norm=spec.model.norm or "component",
    )
    _scale_(network, spec)
    return network


def _scale_(network: nn.Module, spec: Spec) -> None:
    """Multiply the initial weights, but those of a real output layer, so that their variance has the spec's factor."""
    layers = list(layers_with_weights(network).values())
    with torch.no_grad():
        for layer in layers if spec.model.head == "algebra" else layers[:-1]:
            factor = spec.model.init_scale
            if isinstance(layer, nn.Linear) and spec.model.init_scale_linear is not None:
                factor = spec.model.init_scale_linear
            if factor != 1:
                layer.weight.mul_(factor**0.5)


def splits_of(image_set: data.ImageSet, spec: Spec, device: torch.device) -> data.Splits:
    """Return a data set's images as the spec's network takes them.

    Raises:
        UserError: the spec does not fit the images.
    """
    return data.prepare(image_set, spec.inputs, components(spec), device)


def input_shape(spec: Spec) -> tuple[int, int, int]:
    """Return channels, height and width of the images in the spec's batches."""
    info = data.info_for(spec.data)
    channels, height, width = data.input_channels(spec.inputs, info, components(spec))
    return (info.channels if spec.inputs.encoding == "learned" else channels), height, width


def measure(spec: Spec, *, width: float = 1.0) -> models.Sizes:
    """Return the sizes of the spec's network.

    Raises:
        UserError: unknown names, also of layers that are not pruned as the others, or sizes that do not fit each other.
    """
    network = build(spec, device="meta", width=width)
    shares(spec, network)
    return models.measure(network, input_shape(spec))


def shares(spec: Spec, network: nn.Module) -> pruning.Shares:
    """Return which weights of a network the spec prunes together, which with fractions of their own, and which not at all."""
    return pruning.shares_of(network, spec.prune.skip or (), spec.prune.densities(1), spec.prune.unit)
