"""Which tensors of a network are its *weights*: kernels and matrices, not biases, not normalisation."""

from torch import Generator, Tensor, nn

from fourfold.algebra import REAL, Algebra
from fourfold.nn import init
from fourfold.nn.base import AlgebraLayer, fan_in

WeightLayer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def layers_with_weights(model: nn.Module) -> dict[str, WeightLayer]:
    """Return the linear and convolution layers, ours and torch's own, by name and in the order of `named_modules`."""
    return {name: module for name, module in model.named_modules() if isinstance(module, WeightLayer)}


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the stored weights, those that pruning acts on, by the names they have in the state dict."""
    return {f"{name}.weight".removeprefix("."): layer.weight for name, layer in layers_with_weights(model).items()}


def algebra_of(layer: nn.Module) -> Algebra:
    """Return the algebra of a layer; torch's own layers are real."""
    return layer.algebra if isinstance(layer, AlgebraLayer) else REAL


def initialize(model: nn.Module, scheme: str = "torch", generator: Generator | None = None) -> None:
    """Draw the weights and biases of every linear and convolution layer afresh, in the order of `model.modules()`.

    All other layers that can (normalisation, PReLU) are reset to their constants. The draw is a function of `scheme` and
    `generator` alone, if those others draw nothing.
    """
    for layer in layers_with_weights(model).values():
        groups = getattr(layer, "groups", 1)
        algebra = algebra_of(layer)
        init.weight_(layer.weight, algebra, groups, scheme, generator)
        if isinstance(layer.bias, Tensor):
            init.bias_(layer.bias, fan_in(layer), scheme, generator)
    for module in model.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset) and not isinstance(module, WeightLayer):
            reset()
