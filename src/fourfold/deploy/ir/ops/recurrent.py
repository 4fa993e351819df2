"""LSTM, GRU and simple recurrent layers."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fourfold.deploy.ir.operation import Array, Operation, Shape, Values, named
from fourfold.record.errors import UserError, unknown

GATES = {"lstm": 4, "gru": 3, "tanh": 1}
"""Rows of weights for each number of the state, by cell."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Recurrent(Operation):
    """(steps, features) → (steps, hidden): the states of one layer and direction, from zeros; gates in torch's order."""

    cell: str
    hidden: int
    input_weights: Array
    """(gates · hidden · features,)."""
    hidden_weights: Array
    """(gates · hidden · hidden,)."""
    input_bias: Array
    """(gates · hidden,)."""
    hidden_bias: Array
    """(gates · hidden,)."""
    reverse: bool = False
    """Whether the last step comes first."""

    kind: ClassVar[str] = "recurrent"
    arrays: ClassVar[tuple[str, ...]] = ("input_weights", "hidden_weights", "input_bias", "hidden_bias")

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return steps and the size of the state."""
        (shape,) = inputs
        if self.cell not in GATES:
            raise unknown("cell", self.cell, GATES)
        if len(shape) != 2:
            raise UserError(f"{named(self)} must be given steps and features, not {shape}")
        rows = GATES[self.cell] * self.hidden
        sizes = (rows * shape[1], rows * self.hidden, rows, rows)
        if self.hidden < 1 or sizes != tuple(getattr(self, name).size for name in self.arrays):
            raise UserError(f"{named(self)} has weights that do not fit {self.hidden} numbers of state and inputs {shape}")
        return shape[0], self.hidden

    def work(self, output: Shape, *inputs: Shape) -> int:
        """Return the multiply-adds of all steps."""
        return output[0] * (self.input_weights.size + self.hidden_weights.size)

    def compute(self, *inputs: Values) -> Values:
        """Return the states of all steps."""
        (x,) = inputs
        images, steps, features = x.shape
        ours, theirs = (
            weights.astype(np.float64).reshape(-1, size).T
            for weights, size in ((self.input_weights, features), (self.hidden_weights, self.hidden))
        )
        state, memory = (np.zeros((images, self.hidden)) for _ in range(2))
        states = np.empty((images, steps, self.hidden))
        for step in reversed(range(steps)) if self.reverse else range(steps):
            from_input, from_state = x[:, step] @ ours + self.input_bias, state @ theirs + self.hidden_bias
            if self.cell == "lstm":
                inward, forget, new, out = np.split(from_input + from_state, 4, axis=1)
                memory = _sigmoid(forget) * memory + _sigmoid(inward) * np.tanh(new)
                state = _sigmoid(out) * np.tanh(memory)
            elif self.cell == "gru":
                reset, update, new = np.split(from_input, 3, axis=1)
                reset_state, update_state, new_state = np.split(from_state, 3, axis=1)
                candidate = np.tanh(new + _sigmoid(reset + reset_state) * new_state)
                keep = _sigmoid(update + update_state)
                state = (1 - keep) * candidate + keep * state
            else:
                state = np.tanh(from_input + from_state)
            states[:, step] = state
        return states


def _sigmoid(x: Values) -> Values:
    half: Values = 0.5 * (1 + np.tanh(0.5 * x))
    return half
