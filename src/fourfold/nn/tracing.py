"""How `torch.fx` follows networks that have our layers."""

from torch import fx, nn


class LayerTracer(fx.Tracer):
    """Sees layers as wholes, torch's and ours."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether the tracer looks at a module from outside."""
        return type(m).__module__.startswith("fourfold.nn.") or super().is_leaf_module(m, module_qualified_name)
