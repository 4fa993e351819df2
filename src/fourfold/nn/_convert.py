"""`convert`: any torch model to an algebra, from scratch or by projection of its weights; `to_real`: back to torch.nn."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from fourfold.algebra import ALGEBRAS, Algebra
from fourfold.nn.base import AlgebraLayer, fixed, own_algebra
from fourfold.nn.blocks import BlockedLayer
from fourfold.nn.conversion.projection import project_, real_weights
from fourfold.nn.conversion.rearranging import rearrange_
from fourfold.nn.conversion.replacing import (
    allow_fused_encoders_,
    make,
    refuse_fused_encoders_,
    rename_,
    replace_,
    state_of,
)
from fourfold.nn.conversion.rules import rule_of
from fourfold.nn.conversion.selecting import (
    Skip,
    counterpart,
    has_weights,
    layers_of,
    leave_tied,
    modules_of,
    nothing_to_convert,
    num_parameters,
    output_layer,
    overridden,
    skipped,
)
from fourfold.nn.transformer import TransformerEncoderLayer
from fourfold.nn.weights import check_not_lazy, copied
from fourfold.record import UserError
from fourfold.record.errors import unknown


@dataclass(frozen=True, kw_only=True)
class LayerConversion:
    """What became of one layer."""

    name: str
    kind: str
    """Its class, such as `Conv2d`."""
    before: int
    """Its parameters in the given model."""
    after: int
    """Its parameters in the converted one."""
    error: float | None = None
    """Of a projected layer, |W − Π(W)| / |W|: 0 if its weights had the algebra's form, √(1 − 1/n) on average if random."""
    left: str = ""
    """Of a layer left as it was, why."""


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """A converted model, and what became of each layer that holds parameters; printed as a table."""

    model: nn.Module
    layers: tuple[LayerConversion, ...]
    before: int
    """Parameters of the given model, shared ones counted once."""
    after: int
    """Parameters of the converted one."""

    def __str__(self) -> str:
        rows = [("layer", "kind", "before", "after", "error", "left as it was")]
        for layer in self.layers:
            error = "" if layer.error is None else f"{layer.error:.3f}"
            rows.append((layer.name, layer.kind, f"{layer.before:,}", f"{layer.after:,}", error, layer.left))
        rows.append(("total", "", f"{self.before:,}", f"{self.after:,}", "", ""))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        return "\n".join(_line(row, widths) for row in rows)


def convert(
    model: nn.Module,
    algebra: str | Algebra = "quaternion",
    *,
    head: str = "real",
    skip: Skip = (),
    weights: str = "scratch",
    seed: int | None = None,
) -> nn.Module:
    """Return a copy of a model whose layers are those of an algebra, with an n-th of the weights.

    Linear, convolution, bilinear, recurrent and attention layers and batch norms become ours; torch's transformer layers
    consist of such. All others stay: activations, pooling, dropout and layer norm act on every real feature alone or on all.
    Layers whose sizes the algebra does not divide stay real, such as a convolution of 3-channel images; so do depthwise
    convolutions, embeddings, and subclasses that override torch's methods. `convert_with_report` says which, and why.

    The features between two layers are seen as blocked by component ([r…, x…, y…, z…]). The result is a proper network for any
    order of them. Where a trace by `torch.fx` shows that a module's forward joins or parts features by `torch.cat`, `chunk` or
    `split`, the converted one calls `fourfold.nn.cat` and its like, which keep numbers whole; a warning names other places.
    A module that reads the weights of another instead of calling it may be better skipped. Layers used in several places, and
    weights shared by several layers, stay shared; device, dtype, training flags, `requires_grad` and hooks stay; optimisers
    must be made anew.

    Args:
        model: Any torch model; it is not changed.
        algebra: The algebra, or its name. `real` changes nothing.
        head: `real` leaves the output layer as it is: the last linear or convolution layer in the order of `named_modules`,
            unless it ends a transformer or recurrent network. `algebra`, or the algebra's name, converts it too.
        skip: Names of modules that stay as they are, with all inside them; patterns such as `*.downsample`; or classes.
        weights: `scratch` draws the converted layers afresh, with the variance of the real ones that torch draws; batch norms
            start afresh, too. `project` takes the nearest weights in least squares and copies all else, forwards too: exact if
            the weights have the algebra's form, else a start for training that depends on the order of the neurons.
        seed: What `scratch` draws from, whatever torch's global state; None draws from that state.

    Warns:
        UserWarning: features may leave the algebra where a forward joins or parts them.

    Raises:
        ValueError: an unknown name; nothing to convert; a layer whose weights are computed (pruned, parametrized) or not there
            yet (lazy, meta).
    """
    return convert_with_report(model, algebra, head=head, skip=skip, weights=weights, seed=seed).model


def convert_with_report(
    model: nn.Module,
    algebra: str | Algebra = "quaternion",
    *,
    head: str = "real",
    skip: Skip = (),
    weights: str = "scratch",
    seed: int | None = None,
) -> Conversion:
    """Do what `convert` does and say, layer by layer, what became of it."""
    check_module("model", model)
    algebra = fixed(algebra)
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
        raise UserError(f"`seed` (={seed!r}) must be an integer or None")
    if head not in ("real", "algebra", algebra.name):
        raise unknown("head", head, ("real", "algebra"))
    if weights not in ("scratch", "project"):
        raise unknown("weights", weights, ("scratch", "project"))
    check_not_lazy(model)
    if weights == "project" and any(parameter.is_meta for parameter in model.parameters()):
        raise UserError("`weights` (='project') must be 'scratch' for a model on the meta device, which has none")
    before = _size(model)
    model = copied(model)
    layers = layers_of(model)
    left = dict.fromkeys(output_layer(model, layers) if head == "real" else [], "output layer, with `head`='real'")
    left |= dict.fromkeys(skipped(model, layers, skip), "skipped")
    untouched = modules_of(model, layers, skip)
    replacements: dict[str, nn.Module] = {}
    with _drawing(model, seed if weights == "scratch" else 0):
        for name, layer in layers.items():
            if name in left:
                continue
            replacement = counterpart(name, layer, algebra, keeps_function=weights == "project")
            if isinstance(replacement, str):
                left[name] = replacement
            else:
                replacements[name] = replacement
    leave_tied(model, layers, replacements, left)
    if algebra.n > 1 and not any(has_weights(layer) for layer in replacements.values()):
        raise nothing_to_convert(layers, left, algebra)
    sizes = {name: num_parameters(layer) for name, layer in layers.items()}
    errors = {name: project_(layer, layers[name]) for name, layer in replacements.items()} if weights == "project" else {}
    replace_((layers[name], layer) for name, layer in replacements.items())
    refuse_fused_encoders_(model)
    if algebra.n > 1:
        _rearrange(model, algebra, untouched, weights)
    rows = tuple(
        LayerConversion(
            name=name,
            kind=type(layer).__name__,
            before=sizes[name],
            after=num_parameters(layer),
            error=errors.get(name) if has_weights(layer) else None,
            left=left.get(name, ""),
        )
        for name, layer in layers.items()
    )
    return Conversion(model=model, layers=rows, before=before, after=_size(model))


def _rearrange(model: nn.Module, algebra: Algebra, untouched: list[nn.Module], weights: str) -> None:
    """Keep numbers whole where forwards join and part features, and warn of where they do not."""
    keep_function = weights == "project" or algebra.name not in ALGEBRAS
    places = rearrange_(model, algebra, untouched, keep_function)
    if places:
        kept = " (`weights`='project' keeps what the model computes)" if weights == "project" else ""
        warnings.warn(
            f"features may leave the algebra {algebra.name!r} where they are joined or parted component by component{kept}: in "
            f"{'; '.join(places)}. Use fourfold.nn.cat, chunk and split there, or `skip` these modules",
            UserWarning,
            stacklevel=4,
        )


def to_real(model: nn.Module) -> nn.Module:
    """Return a copy of a model in which torch's layers compute what ours did, from the expanded weights.

    Its state dict loads into the plain architecture, as it was before `convert`, unless that joined or parted features in
    another order than the converted one does. Grouped convolutions are the exception: their
    groups join elements, so torch needs one group, zeros and all. Torch's own layers stay, and ours that hold no matrices,
    such as pooling by norm and whitening. Parametrized weights are baked in.

    Raises:
        ValueError: torch has no such layer: a light GRU, a bidirectional one, whose outputs come in another order, or a
            subclass of ours with its own methods.
    """
    check_module("model", model)
    model = copied(model)
    replacements: list[tuple[nn.Module, nn.Module]] = []
    with _drawing(model, 0):
        for name, layer in layers_of(model).items():
            known = rule_of(layer)
            expands = has_weights(layer) and own_algebra(layer).n > 1
            if known is not None and type(layer) is known[1].ours and not expands:
                rename_(layer, known[0])
            elif isinstance(layer, AlgebraLayer | BlockedLayer):
                replacements.append((layer, _expanded(name, layer)))
    replace_(replacements)
    for encoder in model.modules():
        if type(encoder) is TransformerEncoderLayer:
            rename_(encoder, nn.TransformerEncoderLayer)
    allow_fused_encoders_(model)
    return model


def _expanded(name: str, layer: nn.Module) -> nn.Module:
    """Return torch's layer of the same function, with the real matrices of all weights."""
    known = rule_of(layer)
    if known is None or getattr(layer, "bidirectional", False):
        what = "" if known is None else " that orders the outputs of both directions so"
        raise UserError(f"layer {name!r} ({type(layer).__name__}) must stay: torch.nn has none{what}")
    own = overridden(layer, next(cls for cls in type(layer).__mro__ if cls.__module__.startswith("fourfold.")))
    if own and not is_parametrized(layer):
        raise UserError(f"layer {name!r} ({type(layer).__name__}) must stay: it is a subclass with its own {', '.join(own)}")
    torch_class, rule = known
    plain = make(torch_class, rule, layer, one_group=True)
    with torch.no_grad():
        weights = real_weights(layer)
    plain.load_state_dict(state_of(layer, set(plain.state_dict()) - set(weights)) | weights)
    return plain


def check_module(argument: str, value: object) -> None:
    """Raise unless a value is a module."""
    if not isinstance(value, nn.Module):
        raise UserError(f"`{argument}` (={value!r}) must be a torch.nn.Module")


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _drawing(model: nn.Module, seed: int | None) -> AbstractContextManager[None]:
    """Draw from a seed and leave torch's global state alone; or draw from that state."""
    return nullcontext() if seed is None else _seeded(seed, {p.device for p in model.parameters() if p.is_cuda})


@contextmanager
def _seeded(seed: int, devices: Iterable[torch.device]) -> Iterator[None]:
    with torch.random.fork_rng(list(devices)):
        torch.manual_seed(seed)
        yield


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    """Return a row of the table, numbers to the right."""
    cells = [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=False))
    ]
    return "  ".join([*cells, row[-1]]).rstrip()
