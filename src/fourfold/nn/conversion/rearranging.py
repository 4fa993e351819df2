"""Functions of torch that join and part features, in the forwards of converted models: rewritten where a trace shows them.

Between layers of an algebra, `torch.cat` of features must join components with components: see `fourfold.nn.features`.
"""

import copy
import inspect
import operator
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from fourfold.algebra import Algebra
from fourfold.nn.base import AlgebraLayer
from fourfold.nn.blocks import BlockedLayer
from fourfold.nn.conv import ConvLayer
from fourfold.nn.copying import deepcopied
from fourfold.nn.features import (
    cat_features,
    chunk_features,
    hstack_features,
    index_features,
    narrow_features,
    split_features,
)
from fourfold.nn.tracing import own_graph

JOINS = {torch.cat, torch.concat, torch.concatenate}
PARTS: dict[Any, Any] = {
    torch.chunk: chunk_features,
    torch.split: split_features,
    "chunk": chunk_features,
    "split": split_features,
}
"""Functions and methods that part features, and what keeps numbers whole in their place."""
SLICES: dict[Any, Any] = {torch.narrow: narrow_features, "narrow": narrow_features, operator.getitem: index_features}
"""Those that take a part of one tensor."""
UNKNOWN = {torch.tensor_split, F.glu, F.channel_shuffle, torch.channel_shuffle, torch.hsplit, "tensor_split", "hsplit"}
"""Those that nothing here replaces."""
ALONG_AXES = {"index_select": 1, "unbind": 1, "flip": 1, "roll": 2}
"""Nor these, which may work on another axis: their names, and the position of the argument that says on which."""
NAMES = {"cat", "concat", "concatenate", "hstack", "chunk", "split", "narrow", "index_select", "tensor_split", "hsplit", "glu"}
NAMES |= {"channel_shuffle"}
MODULES = {nn.GLU: "glu", nn.ChannelShuffle: "channel_shuffle"}
"""Modules that part features as such functions do."""


def rearrange_(model: nn.Module, algebra: Algebra, untouched: Iterable[nn.Module], keep_function: bool) -> list[str]:
    """Rewrite what joins and parts features in the forwards of a converted model; return the places that stay as they are.

    A forward is rewritten if one trace shows all that it does: it does not branch on what it is given or on the mode, and
    changes nothing. Its module stays what it is otherwise, also for `isinstance`.

    Args:
        model: The model, changed in place.
        algebra: What its layers are in.
        untouched: Modules that stay as they are, with all inside them.
        keep_function: Whether to rewrite nothing, and return all places.
    """
    places = []
    spared = {id(part) for module in untouched for part in module.modules()}
    for name, module in model.named_modules():
        if id(module) in spared:
            continue
        if type(module) in MODULES:
            places.append(_place(name, module, MODULES[type(module)]))
        if type(module).__module__.startswith(("torch.", "fourfold.")):
            continue
        nodes, graph = _followed(module, model, algebra)
        if graph is not None and not keep_function:
            replace_forward_(module, graph)
        elif nodes:
            places.append(_place(name, module, ", ".join(sorted(nodes))))
    return places


def _followed(module: nn.Module, model: nn.Module, algebra: Algebra) -> tuple[set[str], fx.Graph | None]:
    """Return which functions a module's own forward joins and parts features by, and the forward without them."""
    graphs = []
    for training in (True, False):
        twin = copy.copy(module)
        twin.training = training
        graphs.append(own_graph(twin))
    first, second = graphs
    if first is None or second is None or first.python_code("self").src != second.python_code("self").src:
        return set(_mentioned(module)), None
    nodes, is_whole = set(), True
    for node in list(first.nodes):
        if node.op not in ("call_function", "call_method"):
            continue
        if node.target in UNKNOWN:
            nodes.add(_name(node))
            is_whole = False
        elif node.target in JOINS or node.target in PARTS or node.target in SLICES or node.target is torch.hstack:
            replace = _replace_slice if node.target in SLICES else _replace
            replaced = replace(node, module, model, algebra)
            if replaced is not None:
                nodes.add(_name(node))
                is_whole &= replaced
        elif _leaves_the_algebra(node, _maps(node, module, model)):
            nodes.add(_name(node))
            is_whole = False
    return nodes, first if nodes and is_whole else None


def _replace(node: fx.Node, module: nn.Module, model: nn.Module, algebra: Algebra) -> bool | None:
    """Let a node call what keeps numbers whole. False if it cannot, None if it does not touch features."""
    joins = node.target in JOINS or node.target is torch.hstack
    names = ("tensors", "dim") if joins else ("input", "chunks" if "chunk" in _name(node) else "split_size_or_sections", "dim")
    arguments = dict(zip(names, node.args, strict=False)) | {names[0] if k == "self" else k: v for k, v in node.kwargs.items()}
    dim = arguments.get("dim", 0)
    maps = _maps(node, module, model)
    if node.target is torch.hstack:
        node.target, node.kwargs = hstack_features, {"maps": maps, "algebra": algebra.name}
        node.args = (arguments["tensors"],)
        return True
    if isinstance(dim, int) and dim not in (1, -1, -maps - 1):
        return None
    if not isinstance(dim, int) or not set(arguments) <= set(names):
        return False
    node.target = cat_features if joins else PARTS[node.target]
    node.op = "call_function"
    node.args = tuple(arguments[name] for name in names if name in arguments and name != "dim")
    node.kwargs = {"dim": dim, "maps": maps, "algebra": algebra.name}
    return True


def _replace_slice(node: fx.Node, module: nn.Module, model: nn.Module, algebra: Algebra) -> bool | None:
    """Let a node take whole elements. False if it takes others, None if it does not touch features."""
    maps = _maps(node, module, model)
    options: dict[str, Any] = {"maps": maps, "algebra": algebra.name}
    if node.target is operator.getitem:
        index: Any = node.args[1]
        touched = _on_features(index, maps) if isinstance(index, tuple) else []
        if not touched:
            return None
        if not all(_takes_whole_numbers(part, algebra.n) for part in touched):
            return False
    else:
        names = ("input", "dim", "start", "length")
        arguments: dict[str, Any] = dict(zip(names, node.args, strict=False)) | {
            "input" if k == "self" else k: v for k, v in node.kwargs.items()
        }
        if not _is_feature_axis(arguments["dim"], maps):
            return None
        if any(isinstance(arguments[name], int) and arguments[name] % algebra.n for name in ("start", "length")):
            return False
        node.args = tuple(arguments[name] for name in names)
    replacement: Any = SLICES[node.target]
    node.op, node.target, node.kwargs = "call_function", replacement, options
    return True


def _on_features(index: tuple[Any, ...], maps: int) -> list[Any]:
    """Return the parts of an index that select along what may be the axis of the features; which it is shows when it runs."""
    at = next((i for i, part in enumerate(index) if part is Ellipsis), len(index))
    axes = [i if i < at else i - len(index) for i in range(len(index))]
    return [
        part
        for axis, part in zip(axes, index, strict=True)
        if (_is_feature_axis(axis, maps) or (not maps and axis > 1)) and not isinstance(part, int | fx.Node | None)
        if part not in (slice(None), Ellipsis)
    ]


def _takes_whole_numbers(part: Any, n: int) -> bool:
    """Whether a part of an index is a slice that begins and ends between numbers, as far as a trace shows."""
    if not isinstance(part, slice) or part.step not in (None, 1):
        return False
    return not any(isinstance(end, int) and end % n for end in (part.start, part.stop))


def _leaves_the_algebra(node: fx.Node, maps: int) -> bool:
    """Whether a node arranges features component by component, so that nothing takes its place."""
    name = _name(node)
    if name in ("repeat", "tile"):
        sizes = list(_flat(node.args[1:]))
        axis = len(sizes) - maps - 1 if maps else len(sizes) - 1
        return 0 < axis < len(sizes) and sizes[axis] != 1
    if name not in ALONG_AXES:
        return False
    axes: Any = node.kwargs.get("dim", node.kwargs.get("dims"))
    if axes is None:
        axes = node.args[ALONG_AXES[name] :] if name == "flip" else node.args[ALONG_AXES[name] :][:1]
    return any(_is_feature_axis(axis, maps) for axis in _flat(axes))


def _flat(value: Any) -> Iterator[Any]:
    for item in value if isinstance(value, tuple | list) else (value,):
        yield from _flat(item) if isinstance(item, tuple | list) else (item,)


def _is_feature_axis(axis: Any, maps: int) -> bool:
    return axis in ((1, -maps - 1) if maps else (1, -1))


def _maps(node: fx.Node, module: nn.Module, model: nn.Module) -> int:
    """Return the number of axes of positions of the maps that the nearest layers work on, or 0."""
    ranks: list[int] = []
    pending, visited = [node], {node}
    while pending:
        for other in (one for current in [pending.pop()] for one in (*current.all_input_nodes, *current.users)):
            if other in visited:
                continue
            visited.add(other)
            if other.op == "call_module":
                ranks += _ranks(module.get_submodule(str(other.target)))
            else:
                pending.append(other)
    return max(ranks or _ranks(model), default=0)


def _ranks(module: nn.Module) -> list[int]:
    """Return the number of axes of positions that the layers of an algebra in a module work on."""
    layers = [part for part in module.modules() if isinstance(part, AlgebraLayer | BlockedLayer) and part.algebra.n > 1]
    return [layer.weight.dim() - 2 if isinstance(layer, ConvLayer) else 0 for layer in layers]


def _mentioned(module: nn.Module) -> Iterator[str]:
    """Return the functions of `NAMES` that the code of a module's forward speaks of."""
    code = getattr(inspect.unwrap(module.forward), "__code__", None)
    return (name for name in getattr(code, "co_names", ()) if name in NAMES)


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else str(getattr(node.target, "__name__", node.target))


def _place(name: str, module: nn.Module, what: str) -> str:
    forward = inspect.unwrap(module.forward)
    code = getattr(forward, "__code__", None)
    line = f", {code.co_filename}:{code.co_firstlineno}" if code is not None and type(module) not in MODULES else ""
    return f"{name or 'the model'} ({type(module).__name__}{line}: {what})"


class Rearranged(nn.Module):
    """What takes the place of a module's class, before that class: its forward is that of a graph."""

    graph: fx.Graph

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Return a copy of the same class."""
        return deepcopied(self, memo)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Say how a copy is made, as this class is found nowhere: from the module's own class and the graph."""
        return _new, (type(self).__bases__[1], type(self).graph), dict(vars(self))


def replace_forward_(module: nn.Module, graph: fx.Graph) -> None:
    """Let a module compute what a graph says, and stay what it is otherwise."""
    module.__class__ = _class(type(module), graph)


def _class(kind: type[nn.Module], graph: fx.Graph) -> type[nn.Module]:
    code = graph.python_code("self")
    names = dict(code.globals)
    exec(compile(code.src, f"<forward of {kind.__qualname__}, rewritten by fourfold.convert>", "exec"), names)
    attributes = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (Rearranged, kind), {"forward": names["forward"], "graph": graph, **attributes})


def _new(kind: type[nn.Module], graph: fx.Graph) -> nn.Module:
    cls = _class(kind, graph)
    return cls.__new__(cls)
