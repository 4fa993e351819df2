"""Which tensors of a network are its *weights*: kernels and matrices, not biases, not normalisation, not look-up tables."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.parameter import is_lazy

from fourfold.algebra import REAL, Algebra, LearnedAlgebra
from fourfold.nn import init
from fourfold.nn.base import AlgebraLayer, fan_in
from fourfold.nn.bilinear import draw_bilinear_
from fourfold.record import UserError

WeightLayer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


def layers_with_weights(model: nn.Module) -> dict[str, WeightLayer]:
    """Return the linear and convolution layers, ours and torch's own, by name and in the order of `named_modules`."""
    return {name: module for name, module in model.named_modules() if isinstance(module, WeightLayer)}


def stored_weights(module: nn.Module, where: str = "") -> dict[str, Tensor]:
    """Return the weights that a layer itself holds, by their local names; layers inside it hold their own.

    Args:
        module: The layer.
        where: Its name in the network, for the error.

    Raises:
        UserError: the layer computes a weight (parametrized, weight-normed, pruned by torch), so that none is stored.
    """
    names = _weight_names(module)
    if computed := [name for name in names if not _is_stored(module, name)]:
        raise computed_weights(where, ", ".join(computed))
    return {name: getattr(module, name) for name in names}


def named_weights(model: nn.Module, *, leave_computed: bool = False) -> dict[str, Tensor]:
    """Return the stored weights, those that pruning acts on, by the names they have in the state dict.

    A weight that several layers share comes once, under its first name.

    Args:
        model: The network.
        leave_computed: Leave out layers that compute their weights instead of refusing them.

    Raises:
        UserError: a layer computes its weight (parametrized, weight-normed, pruned by torch): what is written to the weight
            is lost in the next forward.
    """
    return {name: weight for name, (_, _, weight) in weights_with_layers(model, leave_computed=leave_computed).items()}


def weights_with_layers(model: nn.Module, *, leave_computed: bool = False) -> dict[str, tuple[nn.Module, str, Tensor]]:
    """Return the layer, local name and tensor of each of `named_weights`."""
    first: dict[Tensor, str] = {}  # tensors are distinguished by identity
    weights: dict[str, tuple[nn.Module, str, Tensor]] = {}
    for where, module in model.named_modules():
        if leave_computed and computes_weights(module):
            continue
        for local, weight in stored_weights(module, where).items():
            name = first.setdefault(weight, f"{where}.{local}".removeprefix("."))
            weights.setdefault(name, (module, local, weight))
    return weights


def computes_weights(module: nn.Module) -> bool:
    """Whether a layer computes a weight of its own, as under parametrizations, instead of storing it."""
    return not all(_is_stored(module, name) for name in _weight_names(module))


def computed_weights(where: str, what: str) -> UserError:
    """Return the error for a layer whose weights are computed."""
    return UserError(
        f"layer {where!r} computes its {what} (parametrized, pruned or weight-normed): bake them in first, as "
        "torch.nn.utils.parametrize.remove_parametrizations or torch.nn.utils.prune.remove does, or skip it"
    )


def copied(model: nn.Module) -> nn.Module:
    """Return a copy of a network.

    Raises:
        UserError: torch cannot copy it, as a hook computes its weights.
    """
    try:
        return copy.deepcopy(model)
    except RuntimeError as error:
        raise UserError(
            "torch cannot copy the model, as a layer computes its weights (pruned or weight-normed by hooks): bake them in "
            "first, as torch.nn.utils.prune.remove does"
        ) from error


def check_there(model: nn.Module) -> None:
    """Raise `UserError` for a network whose weights are not there yet: lazy, or on the meta device."""
    check_not_lazy(model)
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise UserError("the model is on the meta device, without weights: fill it first, as `to_empty` and `initialize` do")


def check_not_lazy(model: nn.Module) -> None:
    """Raise `UserError` for a network with lazy layers, whose shapes are not there yet."""
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        raise UserError("the model has lazy layers, without weights yet: run one batch through it first")


def _weight_names(module: nn.Module) -> list[str]:
    """Return the local names of a layer's weights, whether they are stored or computed."""
    own = getattr(module, "stored_weights", None)
    if callable(own):
        return list(own())
    if isinstance(module, nn.Linear | nn.Bilinear | _ConvNd):
        return ["weight"]
    if isinstance(module, nn.RNNBase):
        return [name for name in module._flat_weights_names if name.startswith("weight")]
    if isinstance(module, nn.RNNCellBase):
        return ["weight_ih", "weight_hh"]
    if isinstance(module, nn.MultiheadAttention):
        return ["in_proj_weight"] if module._qkv_same_embed_dim else ["q_proj_weight", "k_proj_weight", "v_proj_weight"]
    return []


def _is_stored(module: nn.Module, name: str) -> bool:
    return name in module._parameters or name in module._buffers


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
        elif isinstance(module, nn.Bilinear):
            draw_bilinear_(module, REAL, scheme, generator, form)
        elif isinstance(module, WeightLayer | _ConvTransposeNd):
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
