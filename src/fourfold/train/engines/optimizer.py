"""PyTorch's optimisers under masks, and their state by the names of parameters."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fourfold.record import TrainSpec
from fourfold.train.engines.engine import Setup

STATE: dict[type[torch.optim.Optimizer], dict[str, str]] = {
    torch.optim.Adam: {"mean": "exp_avg", "square": "exp_avg_sq"},
    torch.optim.SGD: {"mean": "momentum_buffer"},
}
"""Our names of the optimisers' averages, and torch's."""


class MaskedOptimizer:
    """The optimiser of a training: after each of its steps the pruned weights are exactly zero."""

    def __init__(self, setup: Setup) -> None:
        self.steps = 0
        """That its averages have seen. Whoever takes steps counts them here, as a recorded step cannot."""
        self.optimizer = _optimizer(setup.network, setup.spec)
        self._network, self._weights = setup.network, setup.weights
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
        self.optimizer.step()
        self._mask()

    def state(self, *, copy: bool = True) -> dict[str, Tensor]:
        """Return what `Engine.optimizer_state` does."""
        state = {"steps": torch.tensor(self.steps)}
        for name, parameter in self._network.named_parameters():
            tensors = self.optimizer.state.get(parameter, {})
            for ours, theirs in STATE[type(self.optimizer)].items():
                if tensors.get(theirs) is not None:
                    state[f"{name}.{ours}"] = tensors[theirs].detach().clone() if copy else tensors[theirs].detach()
        return state

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back a state into the tensors that the optimiser has already: a recorded step knows them by address."""
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
        for name, parameter in self._network.named_parameters():
            keys = STATE[type(self.optimizer)]
            tensors = {theirs: state[f"{name}.{ours}"] for ours, theirs in keys.items() if f"{name}.{ours}" in state}
            if tensors:
                # In the parameter's own layout in memory, which fused optimisers take for granted.
                self.optimizer.state[parameter] = {k: torch.empty_like(parameter).copy_(v) for k, v in tensors.items()}
                self.optimizer.state[parameter]["step"] = torch.tensor(float(self.steps), device=parameter.device)

    def _mask(self) -> None:
        if self._pruned:
            torch._foreach_mul_(self._pruned, self._keep)


def _optimizer(network: nn.Module, spec: TrainSpec) -> torch.optim.Optimizer:
    parameters = [p for p in network.parameters() if p.requires_grad]
    if spec.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True)
    return torch.optim.SGD(
        parameters,
        lr=spec.learning_rate,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        weight_decay=spec.weight_decay,
        fused=True,
    )
