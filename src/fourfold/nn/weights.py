"""Which tensors of a network are its *weights*: kernels and matrices, not biases, not normalisation, not look-up tables."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.conv import _ConvNd

from fourfold.algebra import REAL, Algebra, LearnedAlgebra
from fourfold.nn import init
from fourfold.nn.base import AlgebraLayer, fan_in

WeightLayer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def layers_with_weights(model: nn.Module) -> dict[str, WeightLayer]:
    """Return the linear and convolution layers, ours and torch's own, by name and in the order of `named_modules`."""
    return {name: module for name, module in model.named_modules() if isinstance(module, WeightLayer)}


def stored_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights that a layer itself holds, by their local names; layers inside it hold their own."""
    own = getattr(module, "stored_weights", None)
    if callable(own):
        weights: dict[str, Tensor] = own()
        return weights
    if isinstance(module, nn.Linear | nn.Bilinear | _ConvNd):
        return {"weight": module.weight}
    if isinstance(module, nn.RNNBase | nn.RNNCellBase | nn.MultiheadAttention):
        return {name: parameter for name, parameter in module.named_parameters(recurse=False) if "weight" in name}
    return {}


def named_weights(model: nn.Module) -> dict[str, Tensor]:
    """Return the stored weights, those that pruning acts on, by the names they have in the state dict.

    A weight that several layers share comes once, under its first name.
    """
    weights: dict[Tensor, str] = {}  # tensors are told apart by identity
    for name, module in model.named_modules():
        for local, weight in stored_weights(module).items():
            weights.setdefault(weight, f"{name}.{local}".removeprefix("."))
    return {name: weight for weight, name in weights.items()}


def algebra_of(layer: nn.Module) -> Algebra:
    """Return the algebra of a layer; torch's own layers are real."""
    return layer.algebra if isinstance(layer, AlgebraLayer) else REAL


def initialize(model: nn.Module, scheme: str = "torch", generator: Generator | None = None, form: str = "polar") -> None:
    """Draw the weights and biases of every linear and convolution layer afresh, in the order of `model.modules()`.

    Learned algebras start afresh before them, and after them all other layers that can (normalisation, recurrent layers,
    attention) start as their constructors make them. The draw is a function of the arguments alone.

    Args:
        model: The network, changed in place.
        scheme: The variance, one of `SCHEMES`.
        generator: What to draw from; None means torch's global one.
        form: The distribution, one of `FORMS`.

    Raises:
        ValueError: an unknown scheme or form.
    """
    others = []
    for module in model.modules():
        if isinstance(module, LearnedAlgebra):
            module.reset_parameters(generator)
    for module in model.modules():
        if isinstance(module, AlgebraLayer):
            module.draw(scheme, generator, form)
        elif isinstance(module, WeightLayer):
            init.weight_(module.weight, REAL, getattr(module, "groups", 1), scheme, generator, form)
            if module.bias is not None:
                init.bias_(module.bias, fan_in(module), scheme, generator)
        elif not isinstance(module, LearnedAlgebra):
            others.append(module)
    with _global_draws_from(generator):
        for module in others:
            reset = getattr(module, "reset_parameters", getattr(module, "_reset_parameters", None))
            if callable(reset):
                reset()


@contextmanager
def _global_draws_from(generator: Generator | None) -> Iterator[None]:
    """Let what draws from torch's global state draw from a generator."""
    if generator is None:
        yield
        return
    with torch.random.fork_rng([generator.device] if generator.device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator, device=generator.device)))
        yield
