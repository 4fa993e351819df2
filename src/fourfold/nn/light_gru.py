"""`LiGRU`, the light GRU, in every algebra."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from fourfold.algebra import Algebra
from fourfold.nn.base import check_divisible, fixed
from fourfold.nn.blocks import BlockedLayer, draw_
from fourfold.nn.conv import regroup
from fourfold.record import UserError
from fourfold.record.errors import unknown

NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "leaky_relu": F.leaky_relu, "tanh": torch.tanh}
"""What `LiGRU` may apply to its candidates."""

NORMALIZATIONS: dict[str, Callable[..., nn.Module]] = {"batch": partial(nn.BatchNorm1d, momentum=0.05), "layer": nn.LayerNorm}
"""What `LiGRU` may apply to its projected inputs; the momentum is that of SpeechBrain."""

_DEFAULTS = {
    "num_layers": 1,
    "nonlinearity": "relu",
    "normalization": "batch",
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
    "orthogonal": False,
}


class LiGRU(BlockedLayer):
    """The light GRU of Ravanelli et al. 2018, "Light Gated Recurrent Units for Speech Recognition", in every algebra.

    z = σ(N(W_z·x) + U_z·h), c = ReLU(N(W_c·x) + U_c·h), h' = z ⊙ h + (1 − z) ⊙ c, where N is a batch or layer norm
    of the real features, over true steps only; without N there is a bias. `dropout` is within a layer, on c, with one mask
    for all steps of a sequence; `orthogonal` starts each U as an orthogonal real matrix. Each direction has its own weights,
    as in `GRU`; in SpeechBrain's LiGRU they share them.

    Shapes: as `GRU`; weight_ih_l0 (2 · hidden_size, input_size / n), weight_hh_l0 (2 · hidden_size, hidden_size / n), rows in
    the order z, c, each blocked by component.

    Raises:
        ValueError: a size is not divisible by the algebra's dimension n, `nonlinearity` or `normalization` is unknown, or an
            input or a state has another shape.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "relu",
        normalization: str | None = "batch",
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        orthogonal: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        super().__init__()
        if fixed(algebra).n > 1:
            self.algebra = fixed(algebra)
        for name, size in {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}.items():
            if size <= 0:
                raise UserError(f"`{name}` (={size}) must be greater than 0")
        check_divisible("input_size", input_size, self.algebra)
        check_divisible("hidden_size", hidden_size, self.algebra)
        if nonlinearity not in NONLINEARITIES:
            raise unknown("nonlinearity", nonlinearity, NONLINEARITIES)
        if normalization not in {None, *NORMALIZATIONS}:
            raise unknown("normalization", normalization, [*NORMALIZATIONS, "None"])
        if not 0 <= dropout < 1:
            raise UserError(f"`dropout` (={dropout}) must be in [0, 1)")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.nonlinearity, self.normalization = nonlinearity, normalization
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        self.orthogonal = orthogonal
        self.suffixes = [f"l{k}{way}" for k in range(num_layers) for way in ("", "_reverse")[: 1 + bidirectional]]
        rows, n = 2 * hidden_size, self.algebra.n
        for suffix in self.suffixes:
            features = input_size if suffix.startswith("l0") else hidden_size * (1 + bidirectional)
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, features // n), "weight_hh": (rows, hidden_size // n)}
            if normalization is None:
                shapes["bias_ih"] = (rows,)
            else:
                self.add_module(f"norm_{suffix}", NORMALIZATIONS[normalization](rows, device=device, dtype=dtype))
            for name, shape in shapes.items():
                stored = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                self.register_parameter(f"{name}_{suffix}", stored)
        self.reset_parameters()

    def _weight_names(self) -> list[str]:
        return [f"weight_{name}_{suffix}" for suffix in self.suffixes for name in ("ih", "hh")]

    def _blocks(self, name: str) -> tuple[int, int]:
        return 2, 1

    def reset_parameters(self) -> None:
        """Draw weights and biases as `GRU` does, or recurrent weights `orthogonal`; the norms start as torch's."""
        self._draw(1 / math.sqrt(self.hidden_size))
        for name, weight in self.stored_weights().items():
            if self.orthogonal and name.startswith("weight_hh"):
                for gate in weight.detach().chunk(2):
                    draw_(gate, self.algebra, 1 / self.hidden_size, "orthogonal")
        for norm in self.children():
            norm.reset_parameters()  # type: ignore[operator]

    def extra_repr(self) -> str:
        """Return the settings, those that differ from the defaults by name."""
        settings = {name: getattr(self, name) for name in _DEFAULTS}
        named = [f"{name}={value!r}" for name, value in settings.items() if value != _DEFAULTS[name]]
        return ", ".join(filter(None, [f"{self.input_size}, {self.hidden_size}", *named, super().extra_repr()]))

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        """Return the outputs of all steps and the last states, in the shapes of torch.nn.GRU, packed if the input is."""
        if isinstance(input, PackedSequence):
            data, sizes, order, back = input
            output, states = self._run(data, sizes.tolist(), hx if hx is None or order is None else hx[:, order])
            return input._replace(data=output), states if back is None else states[:, back]
        if input.dim() not in (2, 3):
            raise UserError(f"`input` (of shape {tuple(input.shape)}) must have 2 axes, or 3 with a batch")
        batched = input.dim() == 3
        steps = input.unsqueeze(1) if not batched else input.transpose(0, 1) if self.batch_first else input
        length, batch, _ = steps.shape
        output, states = self._run(steps.flatten(0, 1), [batch] * length, hx if hx is None or batched else hx.unsqueeze(1))
        output = output.view(length, batch, output.shape[-1])
        if not batched:
            return output.squeeze(1), states.squeeze(1)
        return output.transpose(0, 1) if self.batch_first else output, states

    def _run(self, data: Tensor, sizes: list[int], states: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return outputs and last states from inputs whose rows are, step after step, those sequences not yet at an end."""
        if not sizes or data.shape[-1] != self.input_size:
            raise UserError(f"`input` must have at least one step of `input_size` (={self.input_size}) features")
        expected = (len(self.suffixes), sizes[0], self.hidden_size)
        if states is None:
            states = data.new_zeros(expected)
        elif states.shape != expected:
            raise UserError(f"`hx` (of shape {tuple(states.shape)}) must have shape {expected}")
        directions, last = 1 + self.bidirectional, []
        weights = self.expanded_weights()
        for layer in range(self.num_layers):
            outputs = []
            for index in range(directions * layer, directions * (layer + 1)):
                suffix = self.suffixes[index]
                projected = F.linear(data, weights[f"weight_ih_{suffix}"], getattr(self, f"bias_ih_{suffix}", None))
                if self.normalization is not None:
                    projected = getattr(self, f"norm_{suffix}")(projected)
                steps = torch.split(projected, sizes)
                backward = suffix.endswith("_reverse")
                output, state = self._sweep(steps[::-1] if backward else steps, states[index], weights[f"weight_hh_{suffix}"])
                outputs.append(torch.cat(output[::-1] if backward else output))
                last.append(state)
            data = regroup(torch.cat(outputs, -1), -1, directions, self.algebra.n)
        return data, torch.stack(last)

    def _sweep(self, steps: Sequence[Tensor], state: Tensor, weight: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the output of each step and the last state, in one direction.

        Steps may have fewer rows than the state: forward, their sequences have ended and keep their state; backward, they
        have not begun, and wait with their first.
        """
        outputs = []
        drop = self.training and self.dropout > 0
        mask = F.dropout(torch.ones_like(state), self.dropout) if drop else None
        for step in steps:
            rows = step.shape[0]
            before = state[:rows]
            update, candidate = (step + F.linear(before, weight)).chunk(2, -1)
            update, candidate = update.sigmoid(), NONLINEARITIES[self.nonlinearity](candidate)
            if mask is not None:
                candidate = candidate * mask[:rows]
            outputs.append(candidate + update * (before - candidate))
            state = torch.cat([outputs[-1], state[rows:]]) if rows < state.shape[0] else outputs[-1]
        return outputs, state
