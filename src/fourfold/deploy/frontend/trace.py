"""`lower`: from a trained network, ours or torch's, to a `Program`."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import fx, nn

from fourfold.deploy.backends.numpy import run
from fourfold.deploy.frontend.calls import IN_PLACE, SUMS, called, caller, is_size, lower_call
from fourfold.deploy.frontend.fuse import fuse, needed
from fourfold.deploy.frontend.hooks import refuse_hooks
from fourfold.deploy.frontend.layers import Lowering, kind_of, lower_layer, refusal
from fourfold.deploy.ir.assemble import assemble
from fourfold.deploy.ir.operation import Array, Shape
from fourfold.deploy.ir.program import Encoding, Program
from fourfold.nn import LayerTracer
from fourfold.nn.weights import check_there
from fourfold.record import UserError

_TOLERANCE = 0.02
"""Of the largest output: what half precision may lose; a wrong program loses more."""

_SCALES = (1 / 64, 1.0, 64.0)
"""Of the drawn images that a program is compared on: what limits large values, or passes over small ones, shows on one."""


def lower(
    model: nn.Module,
    shape: Sequence[int],
    *,
    encoding: Encoding | None = None,
    class_names: Sequence[str] = (),
    provenance: Mapping[str, str] | None = None,
) -> Program:
    """Return the program that computes what a network does in evaluation.

    Batch norm is folded into the real product before it, and ReLU into the operation before it, where nothing else uses the
    value between them. Products of a fixed algebra with one group stay products of that algebra; others (groups of numbers,
    learned algebras, rotations) become their real matrices.

    Args:
        model: Any network of layers that can be deployed, ours or torch's own; it is not changed.
        shape: Channels, height and width of an image as the network sees it, or the number of features.
        encoding: How an image's bytes become that; None where the caller will give it.
        class_names: One for each output, or none.
        provenance: What is known of the network's making, as text.

    Raises:
        UserError: weights that are not there yet or not finite, a layer or function that cannot be deployed, a forward that
            depends on the numbers it is given, or shapes that do not fit.
    """
    check_there(model)
    if _Tracer().is_leaf_module(model, "") or "forward" in vars(model):  # a trace begins with the class's forward
        model = nn.Sequential(OrderedDict(layer=model))
    start: Shape = tuple(int(size) for size in shape)
    lowering = Lowering(shapes=[start])
    with _evaluating(model), torch.no_grad():
        refuse_hooks(model)
        output = _walk(_traced(model), model, lowering)
        program = assemble(
            start,
            fuse(needed(lowering.operations, output)),
            encoding=encoding,
            class_names=tuple(class_names),
            provenance=dict(provenance or {}),
        )
        _check(program, model)
    return program


class _Tracer(LayerTracer):
    """Sees those layers as wholes, too, that have a lowering of their own, but none that someone gave another forward."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if "forward" in vars(m):
            return False
        return kind_of(m) is not None or super().is_leaf_module(m, module_qualified_name)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and afterwards every layer back into its own."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _traced(model: nn.Module) -> fx.Graph:
    try:
        return _Tracer().trace(model)
    except Exception as error:  # whatever a user's forward raises when it is given a symbol
        reason = str(error).partition("\n")[0]
        raise refusal(f"{type(model).__name__}, whose forward cannot be followed ({reason}),") from error


def _walk(graph: fx.Graph, model: nn.Module, lowering: Lowering) -> int:
    """Lower all nodes in order, and return the value that the network returns."""
    values: dict[fx.Node, int] = {}
    for node in graph.nodes:
        if node.op == "placeholder":
            if values:
                raise UserError(f"the network must have one input to be deployed, and has {node.name!r} as another")
            values[node] = 0
        elif node.op == "call_module":
            layer = model.get_submodule(str(node.target))
            (given,) = _values(node, values, 1)
            values[node] = lower_layer(lowering, layer, str(node.target), given)
            if getattr(layer, "inplace", False):
                _replace(values, given, values[node])
        elif node.op == "get_attr":
            raise refusal(f"{node.target!r}, a tensor used outside of a layer,")
        elif node.op == "output":
            result = node.args[0]
            if not isinstance(result, fx.Node) or result not in values:
                raise UserError("the network must return one tensor to be deployed")
            return values[result]
        elif not is_size(node):
            inputs = _values(node, values, 2 if node.target in SUMS else 1)
            where = caller(node)
            values[node] = lower_call(lowering, node, f"{where}.{node.name}" if where else node.name, *inputs)
            if node.target in IN_PLACE or node.kwargs.get("inplace", False):
                _replace(values, inputs[0], values[node])
    raise AssertionError("a graph ends with its output")


def _check(program: Program, model: nn.Module) -> None:
    """Compare both on drawn images: a trace does not see every change in place, nor what depends on the numbers."""
    weight = next(model.parameters(), torch.empty(0))
    drawn = torch.randn((len(_SCALES), *program.shapes[0]), generator=torch.Generator().manual_seed(0))
    images = drawn * torch.tensor(_SCALES).reshape(-1, *[1] * (drawn.ndim - 1))
    outputs = [model(image[None].to(weight.device, weight.dtype)).float().cpu().numpy() for image in images]
    finite = [number for number, output in enumerate(outputs) if np.isfinite(output).all()]
    if not finite:  # as half precision may on large images, but not on small ones
        raise UserError(f"{type(model).__name__} cannot be deployed: it makes NaN or infinity of every drawn image")
    found = run(program, images[finite].numpy())
    for output, expected in zip(found, (outputs[number] for number in finite), strict=True):
        if output.shape != expected.shape[1:] or not _near(output, expected[0]):
            raise refusal(f"{type(model).__name__}, which computes something else than its trace (as after `x += y`),")


def _near(found: Array, expected: Array) -> bool:
    return bool(np.abs(found - expected).max() <= _TOLERANCE * np.abs(expected).max() + 1e-6)


def _values(node: fx.Node, values: Mapping[fx.Node, int], count: int) -> list[int]:
    """Return the numbers of the first arguments of a call, which must be values that the network has computed."""
    given = [argument for argument in node.args[:count] if isinstance(argument, fx.Node) and argument in values]
    if len(given) != count:
        raise refusal(f"{called(node)}, given other things than {count} value{'s' * (count > 1)} of the network,")
    return [values[argument] for argument in given]


def _replace(values: dict[fx.Node, int], old: int, new: int) -> None:
    """Let all nodes of a value that was changed in place stand for what it is now."""
    for node, value in values.items():
        if value == old:
            values[node] = new
