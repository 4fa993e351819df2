"""Weights, parameters and multiply-accumulates (MACs) of a network, layer by layer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fourfold.algebra import REAL, Algebra, LearnedAlgebra
from fourfold.models.small import Shape
from fourfold.nn import layers_with_weights, stored_weights
from fourfold.record import UserError


@dataclass(frozen=True, kw_only=True)
class LayerSize:
    """One layer that has parameters."""

    name: str
    kind: str
    """Such as `Conv2d` or `BatchNorm2d`."""
    algebra: str
    weights: int
    """Stored prunable numbers; 0 for normalisation."""
    parameters: int
    """Stored trainable numbers: weights, biases, scales and shifts, and the constants of an algebra that the layer learns."""
    macs_per_weight: int
    """MACs that each stored weight does for one image: output positions times the algebra's dimension. Products with the
    constants of a learned algebra, n² for each output, are not counted."""
    output: tuple[int, ...]
    """Shape of its output for one image."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image, nothing pruned."""
        return self.weights * self.macs_per_weight


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """A network's layers, in the order in which it runs them."""

    layers: tuple[LayerSize, ...]

    @property
    def weights(self) -> int:
        """Stored prunable numbers."""
        return sum(layer.weights for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Stored trainable numbers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image, nothing pruned."""
        return sum(layer.macs for layer in self.layers)

    @property
    def macs_per_weight(self) -> dict[str, int]:
        """MACs that each stored weight does for one image, by the weight's name in the state dict."""
        return {f"{layer.name}.weight".removeprefix("."): layer.macs_per_weight for layer in self.layers if layer.weights}

    def kept_macs(self, kept: Mapping[str, int]) -> int:
        """Return the MACs for one image when only so many weights of each layer (by its name) are kept."""
        return sum(kept.get(layer.name, layer.weights) * layer.macs_per_weight for layer in self.layers)


def measure(model: nn.Module, shape: Shape) -> Sizes:
    """Run the model once on the meta device and return the sizes of its layers.

    Args:
        model: Any network of linear, convolution and normalisation layers; it is not changed.
        shape: Channels, height and width of an image as the network sees it.

    Raises:
        ValueError: a layer with weights of another kind, or parameters that belong to no layer that ran.
    """
    found: list[LayerSize] = []
    counted: set[nn.Parameter] = set()
    weighted = layers_with_weights(model)
    handles = []
    for name, module in model.named_modules():
        if name not in weighted and stored_weights(module):
            raise UserError(f"cannot count the MACs of {name!r} ({type(module).__name__}): linear and convolution layers alone")
        if not list(module.parameters(recurse=False)):
            continue

        def note(module: nn.Module, _: object, output: Tensor, name: str = name) -> None:
            algebra: Algebra = getattr(module, "algebra", REAL)
            weights = weighted[name].weight.numel() if name in weighted else 0
            channels = output.shape[-1] if isinstance(module, nn.Linear) else output.shape[1]
            positions = output[0].numel() // channels
            own = set(_own_parameters(module)) - counted
            counted.update(own)
            found.append(
                LayerSize(
                    name=name,
                    kind=type(module).__name__,
                    algebra=algebra.name,
                    weights=weights,
                    parameters=sum(p.numel() for p in own if p.requires_grad),
                    macs_per_weight=positions * algebra.n if weights else 0,
                    output=tuple(output.shape[1:]),
                )
            )

        handles.append(module.register_forward_hook(note))
    was_training = [module for module in model.modules() if module.training]
    try:
        model.eval()
        state = {k: v.to("meta") for k, v in (*model.named_parameters(), *model.named_buffers())}
        with torch.no_grad():
            torch.func.functional_call(model, state, (torch.empty(1, *shape, device="meta"),))
    finally:
        for module in was_training:
            module.training = True
        for handle in handles:
            handle.remove()
    sizes = Sizes(layers=tuple(found))
    total = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if sizes.parameters != total:
        raise ValueError(f"the model has {total} parameters, but the layers that ran add up to {sizes.parameters}")
    return sizes


def _own_parameters(layer: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters of a layer without those of layers inside it; the algebra that it learns is its own."""
    yield from layer.parameters(recurse=False)
    learned = getattr(layer, "algebra", None)
    if isinstance(learned, LearnedAlgebra):
        yield from learned.parameters()
