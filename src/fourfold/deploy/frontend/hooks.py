"""Hooks of a network: what they change, no trace of single layers shows."""

from torch import nn
from torch.nn.modules import module as modules
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from fourfold.record.errors import UserError

_WEIGHT_HOOKS = (BasePruningMethod, SpectralNorm, WeightNorm)
"""Torch's own hooks that compute a layer's weight before each call."""


def refuse_hooks(model: nn.Module) -> None:
    """Refuse a network with forward hooks, after letting those of torch that compute weights compute them.

    Raises:
        UserError: a module has a forward hook or a forward pre-hook, or all modules have.
    """
    if modules._global_forward_hooks or modules._global_forward_pre_hooks:
        raise UserError("the network cannot be deployed while hooks are registered for all modules; remove them")
    for name, module in model.named_modules():
        for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):
            if not isinstance(hook, _WEIGHT_HOOKS):
                where = f"layer {name!r} ({type(module).__name__})" if name else f"the network ({type(module).__name__})"
                raise UserError(f"{where} cannot be deployed with a forward hook, which may change its values; remove the hook")
            hook(module, None)
