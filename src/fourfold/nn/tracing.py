"""How `torch.fx` follows networks that have our layers, and one module's own `forward`."""

import copy
import inspect
from typing import Any

from torch import fx, nn


class LayerTracer(fx.Tracer):
    """Sees layers as wholes, torch's and ours."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether the tracer looks at a module from outside."""
        return type(m).__module__.startswith("fourfold.nn.") or super().is_leaf_module(m, module_qualified_name)


class WholeLayer(nn.Module):
    """Mixed into all our layers: every tracer of `torch.fx` sees them as wholes, as it does torch's own.

    It knows those by the name of their module. So the layers say it themselves, when one is called with what a tracer hands
    round. Subclasses that users write, and layers that were given a `forward` of their own, are followed.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer, or note the call for a tracer."""
        for value in args or kwargs.values():
            if type(value) is fx.Proxy and type(self).__module__.startswith("fourfold.nn.") and "forward" not in vars(self):
                tracer = value.tracer
                if isinstance(tracer, fx.Tracer):
                    return tracer.create_proxy("call_module", tracer.path_of_module(self), args, kwargs)
        return super().__call__(*args, **kwargs)


class _OwnForward(fx.Tracer):
    """Sees everything that a module calls as a whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def own_graph(module: nn.Module) -> fx.Graph | None:
    """Return what a module's own `forward` does, in the mode that the module is in, with the modules in it as wholes.

    None if that cannot be determined: a trace fails, depends on which optional arguments are given, or the call changes the
    module. Nothing of the module is changed.
    """
    if "forward" in vars(module):  # a trace begins with the class's
        return None
    try:
        parameters = inspect.signature(module.forward).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}
        graphs = [_trace(module, arguments) for arguments in ([{}, defaults] if defaults else [{}])]
    except Exception:  # the code is the user's: whatever it raises, it cannot be followed
        return None
    calls = [[(node.op, str(node.target)) for node in graph.nodes if _is_of_user(node)] for graph in graphs]
    return graphs[0] if all(other == calls[0] for other in calls) else None


def _is_of_user(node: fx.Node) -> bool:
    """Whether a node is a call in the traced code: the tracer itself asserts that arguments left out are None."""
    return node.op.startswith("call") and getattr(node.target, "__name__", "") != "_assert_is_none"


def _trace(module: nn.Module, concrete_args: dict[str, Any]) -> fx.Graph:
    twin = copy.copy(module)
    twin.__dict__ = {name: copy.copy(value) if isinstance(value, dict) else value for name, value in vars(module).items()}
    before = {name: copy.copy(value) if isinstance(value, dict) else value for name, value in vars(twin).items()}
    graph = _OwnForward().trace(twin, concrete_args)
    after = vars(twin)
    if before.keys() != after.keys() or any(not _is_same(before[name], after[name]) for name in before):
        raise ValueError("the call changes the module")
    return graph


def _is_same(before: Any, after: Any) -> bool:
    if isinstance(before, dict) and isinstance(after, dict):
        return before.keys() == after.keys() and all(before[key] is after[key] for key in before)
    return before is after
