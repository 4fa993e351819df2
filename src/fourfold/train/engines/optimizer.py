"""PyTorch's optimisers under masks, and their state by the names of parameters."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fourfold.record import TrainSpec, UserError
from fourfold.train.engines.engine import Setup

STATE: dict[type[torch.optim.Optimizer], dict[str, str]] = {
    torch.optim.Adam: {"mean": "exp_avg", "square": "exp_avg_sq"},
    torch.optim.SGD: {"mean": "momentum_buffer"},
}
"""Our names of the optimisers' averages, and torch's; of other optimisers, the names are torch's."""

AVERAGE = "ema"
"""Our name of the moving average of a parameter, where there is one."""


class MaskedOptimizer:
    """The optimiser of a training: after each of its steps the pruned weights are exactly zero."""

    def __init__(self, setup: Setup) -> None:
        self.steps = 0
        """Optimiser steps so far, with those of the state that it started from. Engines count them: a recorded step cannot."""
        self.optimizer = _optimizer(setup.network, setup.spec)
        self._network, self._weights = setup.network, setup.weights
        self._clip_norm, self._has_arguments = setup.spec.clip_norm, bool(setup.spec.arguments)
        self._decay = setup.spec.ema
        self._average: dict[str, Tensor] = {}
        if self._decay is not None:
            self._average = {name: p.detach().clone() for name, p in self._network.named_parameters() if p.requires_grad}
        if setup.optimizer_state is not None:
            self._load(setup.optimizer_state)
        self.set_masks(setup.masks)

    def set_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Prune by other masks from now on.

        Raises:
            ValueError: they name something else than weights.
        """
        if set(masks) - set(self._weights):
            raise ValueError(f"`masks` name {sorted(set(masks) - set(self._weights))}, which `weights` do not have")
        names = [name for name in masks if not bool(masks[name].all())]
        self._pruned = [self._weights[name].detach() for name in names]
        self._masks = {name: masks[name] for name in names}
        self._keep = [torch.empty_like(weight).copy_(masks[name]) for name, weight in zip(names, self._pruned, strict=True)]
        self._mask()

    def set_rate(self, rate: float | Tensor) -> None:
        """Set the learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Take a step by the gradients."""
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(self._network.parameters(), self._clip_norm)
        self.optimizer.step()
        self._mask()
        if self._decay is not None:
            parameters = dict(self._network.named_parameters())
            for name, average in self._average.items():
                average.lerp_(parameters[name].detach(), 1 - self._decay)

    def swap_average(self) -> None:
        """Exchange the parameters and their moving averages, where there are any; called again, it undoes that."""
        with torch.no_grad():
            for name, parameter in self._network.named_parameters():
                if name in self._average:
                    own = parameter.detach().clone()
                    parameter.copy_(self._average[name])
                    self._average[name].copy_(own)

    def finish(self) -> None:
        """Leave the moving averages in the parameters, where there are any, and end them."""
        self.swap_average()
        self._average, self._decay = {}, None

    def state(self, *, copy: bool = True) -> dict[str, Tensor]:
        """Return what `Engine.optimizer_state` does."""
        state = {"steps": torch.tensor(self.steps)}
        for name, parameter in self._network.named_parameters():
            tensors = self.optimizer.state.get(parameter, {})
            for ours, theirs in self._names(tensors).items():
                if tensors.get(theirs) is not None:
                    tensor = torch.as_tensor(tensors[theirs]).detach()
                    state[f"{name}.{ours}"] = tensor.clone() if copy else tensor
        for name, average in self._average.items():
            state[f"{name}.{AVERAGE}"] = average.clone() if copy else average
        return state

    def _names(self, tensors: Mapping[str, Any]) -> dict[str, str]:
        """Return our names and torch's of an optimiser's state for a parameter."""
        return {key: key for key in tensors} if self._keeps_all else STATE[type(self.optimizer)]

    @property
    def _keeps_all(self) -> bool:
        """Whether the state has torch's names: that of Adam and SGD has ours, if they have no further arguments."""
        return type(self.optimizer) not in STATE or self._has_arguments

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state in place: a recorded step knows the optimiser's tensors by address."""
        names = {theirs: ours for ours, theirs in STATE[type(self.optimizer)].items()}
        for name, parameter in self._network.named_parameters():
            for key, tensor in self.optimizer.state.get(parameter, {}).items():
                if not torch.is_tensor(tensor):
                    continue
                if key == "step":
                    tensor.fill_(float(self.steps))
                else:
                    value = state.get(f"{name}.{names[key]}")
                    tensor.zero_() if value is None else tensor.copy_(value)

    def _load(self, state: Mapping[str, Tensor]) -> None:
        self.steps = int(state["steps"])
        for name, average in self._average.items():
            if f"{name}.{AVERAGE}" in state:
                average.copy_(state[f"{name}.{AVERAGE}"])
        if self._keeps_all:
            self._load_all(state)
            return
        for name, parameter in self._network.named_parameters():
            keys = STATE[type(self.optimizer)]
            tensors = {theirs: state[f"{name}.{ours}"] for ours, theirs in keys.items() if f"{name}.{ours}" in state}
            if tensors:
                # In the parameter's own layout in memory, which fused optimisers take for granted.
                self.optimizer.state[parameter] = {k: torch.empty_like(parameter).copy_(v) for k, v in tensors.items()}
                self.optimizer.state[parameter]["step"] = torch.tensor(float(self.steps), device=parameter.device)

    def _load_all(self, state: Mapping[str, Tensor]) -> None:
        """Restore the state of an optimiser that `STATE` does not name."""
        for name, parameter in self._network.named_parameters():
            start = f"{name}."
            own = {key.removeprefix(start): tensor for key, tensor in state.items() if key.startswith(start)}
            own = {key: tensor for key, tensor in own.items() if "." not in key and key != AVERAGE}
            if own:
                self.optimizer.state[parameter] = {
                    key: torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor.clone()
                    for key, tensor in own.items()
                }

    def _mask(self) -> None:
        if self._pruned:
            torch._foreach_mul_(self._pruned, self._keep)
        for name, mask in self._masks.items():
            if name in self._average:
                self._average[name].mul_(mask)


def optimizer_class(spec: TrainSpec) -> type[torch.optim.Optimizer]:
    """Return torch's optimiser of a spec, whose further arguments fit it.

    Raises:
        UserError: this torch has none of that name, or it takes other arguments.
    """
    classes = {name.lower(): value for name, value in vars(torch.optim).items() if isinstance(value, type)}
    if spec.optimizer not in classes:
        raise UserError(f"`train.optimizer` (={spec.optimizer!r}) must be one that torch {torch.__version__} has")
    optimizer: type[torch.optim.Optimizer] = classes[spec.optimizer]
    known = inspect.signature(optimizer).parameters
    for name in spec.arguments:
        if name not in known or name in ("params", "foreach", "fused", "capturable", "differentiable", "maximize"):
            raise UserError(
                f"`train.optimizer_arguments` (={name!r}) must be arguments of torch.optim.{optimizer.__name__}: "
                f"{', '.join(sorted(set(known) - {'params', 'lr'}))}"
            )
    for name, off in (("momentum", 0.0), ("nesterov", False), ("weight_decay", 0.0)):
        if getattr(spec, name) != off and name not in known and spec.optimizer != "adam":
            raise UserError(
                f"`train.{name}` (={getattr(spec, name)!r}) cannot be combined with `train.optimizer` (={spec.optimizer!r}): "
                "it has none"
            )
    return optimizer


def check_optimizer(spec: TrainSpec) -> None:
    """Raise `UserError` for arguments that the optimiser does not take."""
    if _is_plain(spec):
        return  # nothing can be wrong, and making one imports torch's compiler, which takes as long as importing torch
    _optimizer(nn.Linear(1, 1), spec)


def _is_plain(spec: TrainSpec) -> bool:
    """Return whether the optimiser is one that `STATE` names, with no further arguments."""
    return spec.optimizer in ("adam", "sgd") and not spec.arguments


def _optimizer(network: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    parameters = [p for p in network.parameters() if p.requires_grad]
    if spec.optimizer == "adam" and not spec.arguments:
        return torch.optim.Adam(parameters, lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True)
    if spec.optimizer == "sgd" and not spec.arguments:
        return torch.optim.SGD(
            parameters,
            lr=spec.learning_rate,
            momentum=spec.momentum,
            nesterov=spec.nesterov,
            weight_decay=spec.weight_decay,
            fused=True,
        )
    optimizer = optimizer_class(spec)
    known = inspect.signature(optimizer).parameters
    own = {name: getattr(spec, name) for name in ("momentum", "nesterov", "weight_decay") if name in known}
    own = {name: value for name, value in own.items() if value or name == "weight_decay"}  # what the spec says of decay, always
    try:
        return optimizer(parameters, lr=spec.learning_rate, **own, **spec.arguments)  # type: ignore[call-arg]
    except (TypeError, ValueError) as error:
        arguments = ", ".join(spec.optimizer_arguments or ())
        raise UserError(
            f"`train.optimizer_arguments` (={arguments}) must fit torch.optim.{optimizer.__name__}: {error}"
        ) from error
