"""`measure`: a network run once to see how often each of its weights works."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from fourfold.algebra import LearnedAlgebra
from fourfold.models.positions import arguments_by_name, first_tensor, rule_of
from fourfold.models.sizes import LayerSize, Sizes
from fourfold.nn import stored_weights, weights_with_layers
from fourfold.nn.base import own_algebra
from fourfold.nn.inputs import Inputs, call_with, entry, map_tensors, tensors_in
from fourfold.nn.weights import check_not_lazy
from fourfold.record import UserError
from fourfold.record.text import first_line

SMALL_MACS = 2**29
"""Weights times input values, which no forward's multiplications exceed by much: below this it takes milliseconds."""


def measure(model: nn.Module, shape: Inputs) -> Sizes:
    """Run the model once and return the sizes of its layers.

    It runs on the meta device, without values. Small networks, and those whose forward needs values (for its own constants or
    branches), run on zeros. A layer that runs several times does the MACs of all its runs, and one that does not run none.

    Args:
        model: Any network of linear, convolution, recurrent, attention and normalisation layers; it is not changed.
        shape: Shape of an image as the network sees it, such as (channels, height, width); for several inputs a tuple of
            shapes; or a batch, a tensor or a tuple or dict of them, whose first entry is taken, such as tokens.

    Raises:
        UserError: a layer with weights of another kind, or one that computes them; a forward that fails.
    """
    if not isinstance(model, nn.Module):
        raise UserError(f"`model` (={type(model).__name__}) must be a torch.nn.Module")
    check_not_lazy(model)
    inputs = _inputs(model, shape)
    for name, module in model.named_modules():
        if stored_weights(module, name) and rule_of(module) is None:
            kinds = "linear, convolution, recurrent and attention layers alone"
            raise UserError(f"cannot count the MACs of {name!r} ({type(module).__name__}): {kinds}")
    reason: str = ""
    cause: Exception | None = None
    for on_meta in (False, True) if _is_small(model, inputs) else (True, False):
        try:
            return run_once(model, inputs, on_meta=on_meta)
        except UserError:
            raise
        except Exception as error:  # the forward mixes in tensors of its own, or asks for a value
            reason, cause = (reason, cause) if on_meta else (first_line(error), error)
    shapes = map_tensors(lambda tensor: tensor[0], shape) if shape is inputs else shape
    raise UserError(f"`model` (={type(model).__name__}) does not run on `shape` (={shapes}): {reason}") from cause


def _is_small(model: nn.Module, inputs: Inputs) -> bool:
    """Return whether a forward on zeros takes less time than the meta device, whose first use imports torch's compiler."""
    positions = sum(tensor.numel() for tensor in tensors_in(inputs))
    return positions * sum(parameter.numel() for parameter in model.parameters()) <= SMALL_MACS


def _inputs(model: nn.Module, shape: Any) -> Inputs:
    """Return a batch of one."""
    if any(True for _ in tensors_in(shape)):
        return entry(shape, 0)
    sides = tuple(shape) if isinstance(shape, tuple | list) else ()
    several = any(isinstance(side, tuple | list) for side in sides)
    shapes = sides if several else (sides,)
    if not all(_is_shape(one) for one in shapes):
        raise UserError(f"`shape` (={shape!r}) must be that of an image, such as (3, 32, 32), a tuple of shapes, or a batch")
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    images = tuple(torch.zeros(1, *one, dtype=dtype) for one in shapes)
    return images if several else images[0]


def _is_shape(sides: Any) -> bool:
    return (
        isinstance(sides, tuple | list) and all(isinstance(side, Integral) and int(side) > 0 for side in sides) and bool(sides)
    )


def run_once(model: nn.Module, inputs: Inputs, *, on_meta: bool) -> Sizes:
    """Run the network on a batch of one and return what its layers did."""
    tensors = [*model.parameters(), *model.buffers()]
    buffers = {id(buffer) for buffer in model.buffers()}
    own = tensors[0].device if tensors and not tensors[0].is_meta else torch.device("cpu")
    place = torch.device("meta") if on_meta else own

    def state(value: Tensor) -> Tensor:
        """Without values, or with its own, zeros if it has none; what the forward may write to is a copy."""
        if on_meta:
            return value.detach().to(place)
        moved = torch.zeros(value.shape, dtype=value.dtype, device=place) if value.is_meta else value.detach()
        return moved.clone() if id(value) in buffers else moved

    counting = _Counting(model)
    with ExitStack() as stack:
        stack.enter_context(_evaluating(model))
        stack.enter_context(torch.random.fork_rng([]))
        if "torch._dynamo" in sys.modules:  # otherwise nothing is compiled, and importing it takes as long as importing torch
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(torch.no_grad())
        if on_meta:
            stack.enter_context(place)
        for name, module in counting.modules.items():
            stack.callback(module.register_forward_hook(counting.hook(name), with_kwargs=True).remove)
        call_with(model, state, map_tensors(lambda tensor: tensor.to(place), inputs))
    return counting.sizes()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode, off torch's fused encoders, which run no hooks."""
    training = [module for module in model.modules() if module.training]
    fused = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module in training:
            module.training = True


class _Counting:
    """Notes, while a network runs, in which order its layers do and how often each weight works."""

    def __init__(self, model: nn.Module) -> None:
        self._weights = {name: weight.numel() for name, (_, _, weight) in weights_with_layers(model).items()}
        names = {id(weight): name for name, (_, _, weight) in weights_with_layers(model).items()}
        self.modules = {name: module for name, module in model.named_modules() if _has_parameters(module)}
        """Modules with parameters of their own, by name."""
        self._names = {
            (id(module), local): names[id(weight)]
            for module in self.modules.values()
            for local, weight in stored_weights(module).items()
        }
        self._order: dict[str, tuple[int, ...]] = {}
        self._macs: Counter[str] = Counter()

    def hook(self, name: str) -> Callable[..., None]:
        """Return what a module of a name shall do after its forward."""

        def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            first, rule = first_tensor(output), rule_of(module)
            self._order.setdefault(name, tuple(first.shape[1:]) if first is not None else ())
            if rule is not None:
                for holder, local, macs in rule(module, arguments_by_name(module, args, kwargs), output):
                    self._macs[self._names[id(holder), local]] += macs

        return note

    def sizes(self) -> Sizes:
        """Return the sizes of all layers, those that ran first."""
        counted: set[int] = set()
        layers: list[LayerSize] = []
        for name in [*self._order, *(name for name in self.modules if name not in self._order)]:
            layers += self._of(name, counted)
        return Sizes(layers=tuple(layers))

    def _of(self, name: str, counted: set[int]) -> Iterator[LayerSize]:
        """Yield the entries of a module: one for each weight, and one for what else it has."""
        module, output = self.modules[name], self._order.get(name, ())
        algebra = own_algebra(module)
        own = {id(p): p for p in _own_parameters(module) if id(p) not in counted}
        counted.update(own)
        stored = stored_weights(module)
        alone = {local: weight for local, weight in stored.items() if local != "weight"}
        trainable = {key: p.numel() for key, p in own.items() if p.requires_grad}
        rest = sum(trainable.values()) - sum(trainable.get(id(weight), 0) for weight in alone.values())
        for local, entry_name in [("weight", name), *((local, f"{name}.{local}".removeprefix(".")) for local in alone)]:
            full = self._names.get((id(module), local), "")
            is_owner = full == f"{name}.{local}".removeprefix(".")
            parameters = rest if local == "weight" else trainable.get(id(alone[local]), 0)
            weights = self._weights[full] if is_owner else 0
            if local == "weight" and local not in stored and not parameters and name not in self._order:
                continue  # such as the algebra that layers share, which counts as theirs
            yield LayerSize(
                name=entry_name,
                kind=type(module).__name__,
                algebra=algebra.name,
                weights=weights,
                parameters=parameters,
                macs_per_weight=self._macs[full] if weights else 0,
                output=output,
                weight_name="" if local == "weight" or not weights else full,
            )


def _has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters(recurse=False)) or bool(stored_weights(module))


def _own_parameters(layer: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters of a layer without those of layers inside it; the algebra that it learns is its own."""
    yield from layer.parameters(recurse=False)
    learned = getattr(layer, "algebra", None)
    if isinstance(learned, LearnedAlgebra):
        yield from learned.parameters()
