"""Weights, parameters and multiply-accumulates (MACs) of a network, layer by layer."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LayerSize:
    """One layer that has parameters; layers with several weights have an entry for each."""

    name: str
    """The layer's, or the weight's where it is not called `weight`, such as `lstm.weight_ih_l0`."""
    kind: str
    """Such as `Conv2d` or `BatchNorm2d`."""
    algebra: str
    weights: int
    """Stored prunable numbers; 0 for normalisation, and for a weight that belongs to a layer before."""
    parameters: int
    """Stored trainable numbers: weights, biases, scales and shifts, and the constants of an algebra that the layer learns."""
    macs_per_weight: int
    """MACs that each stored weight does for one image: output positions times the algebra's dimension, over all runs of the
    layer; 0 if it does not run. Products with the constants of a learned algebra, n² for each output, are not counted, nor
    those of queries, keys and values with each other."""
    output: tuple[int, ...]
    """Shape of its output for one image, of the first of several; () if it does not run."""
    weight_name: str = ""
    """The weight's name in the state dict; empty for `weight` of the layer, or if there is none."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image, nothing pruned."""
        return self.weights * self.macs_per_weight

    @property
    def weight_key(self) -> str:
        """The weight's name in the state dict; of an entry without weights, the one it would have."""
        return self.weight_name or f"{self.name}.weight".removeprefix(".")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """A network's layers, in the order in which it runs them, and then those that it does not run."""

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
        weighted = [layer for layer in self.layers if layer.weights]
        return {layer.weight_key: layer.macs_per_weight for layer in weighted}

    def kept_macs(self, kept: Mapping[str, int]) -> int:
        """Return the MACs for one image when only so many weights of each layer (by its name) are kept."""
        return sum(kept.get(layer.name, layer.weights) * layer.macs_per_weight for layer in self.layers)
