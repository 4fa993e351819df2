"""LSTM, GRU and simple recurrent layers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fourfold.deploy.ir.levels import Sums, cut
from fourfold.deploy.ir.operation import Shape, Values, named
from fourfold.deploy.ir.ops._gates import (
    GATE_ZERO,
    GATES,
    LARGEST_GATE,
    int8_next_state,
    next_state,
    state_factor,
)
from fourfold.deploy.ir.product import ProductOperation, checked_outputs, real_matrix, with_bias
from fourfold.record.errors import UserError, unknown

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized


@dataclass(frozen=True, kw_only=True, eq=False)
class Recurrent(ProductOperation):
    """(steps, features) → (steps, hidden): the states of one layer and direction, from zeros or from where the last run ended.

    The product is of all gates at once, (n, gates · hidden / n, (features + hidden) / n), and takes the numbers of a step and
    behind them, component by component, those of the state; a gate's rows follow those of the gate before in each component.
    """

    cell: str
    reverse: bool = False
    """Whether the last step comes first."""
    streaming: bool = False
    """Whether a run continues from the state in which the last one ended."""

    kind: ClassVar[str] = "recurrent"

    @property
    def hidden(self) -> int:
        """Numbers of the state."""
        return self.product.n * int(self.product.weight.shape[1]) // GATES[self.cell]

    @property
    def features(self) -> int:
        """Numbers of a step."""
        return self.product.n * int(self.product.weight.shape[2]) - self.hidden

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return steps and the size of the state."""
        (shape,) = inputs
        if self.cell not in GATES:
            raise unknown("cell", self.cell, GATES)
        if len(shape) != 2:
            raise UserError(f"{named(self)} must be given steps and features, not {shape}")
        if self.reverse and self.streaming:
            raise UserError(f"{named(self)} must not have `reverse` with `streaming`: it begins with the last step")
        weight = self.product.weight
        if weight.ndim != 3 or not weight.shape[1] or weight.shape[1] % GATES[self.cell]:
            raise UserError(f"{named(self)} has weights of shape {weight.shape}, which are not {GATES[self.cell]} gates")
        checked_outputs(self, 3, shape[1] + self.hidden, 1)
        if self.cell == "gru":
            new, of_state = np.split(weight, GATES["gru"], axis=1)[2:]
            features = shape[1] // self.product.n
            if new[:, :, features:].any() or of_state[:, :, :features].any():
                raise UserError(f"{named(self)} must have candidates of features alone and of the state alone, in this order")
        return shape[0], self.hidden

    def work(self, output: Shape, *inputs: Shape) -> int:
        """Return the multiply-adds of all steps."""
        return output[0] * self.product.n * self.product.weight.size

    def compute(self, *inputs: Values) -> Values:
        """Return the states of all steps."""
        series = self._as_series(inputs[0])
        matrix = real_matrix(self.product).astype(np.float64).T
        states = np.empty((*series.shape[:2], self.hidden))
        state, memory = np.zeros((2, len(series), self.hidden))
        for step in self._steps(series.shape[1]):
            sums = with_bias(self._joined(series[:, step], state) @ matrix, self.product)
            state, memory = next_state(self.cell, self._gates(sums), state, memory)
            states[:, step] = state
        return states.reshape(*inputs[0].shape[:2], self.hidden)

    def check_int8(self, quantized: "Quantized") -> None:
        """Raise unless codes, bias, sums and factors fit."""
        quantized.codes(self)
        state_factor(quantized.levels[self.output])

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the levels of states; between steps they are the levels, and the memory is of fixed point."""
        series, codes, levels = self._as_series(inputs[0]), quantized.codes(self), quantized.levels[self.output]
        factor, shift, bits = state_factor(levels)
        matrix = real_matrix(codes.product).astype(np.float64).T
        states = np.empty((*series.shape[:2], self.hidden), np.int64)
        state = np.full((len(series), self.hidden), levels.zero, np.int64)
        memory = np.zeros_like(state)
        for step in self._steps(series.shape[1]):
            # Sums of integers below 2^53 are exact in float64, in whatever order.
            sums = (self._joined(series[:, step], state).astype(np.float64) @ matrix).astype(np.int64) + codes.bias
            gates = cut(sums.astype(np.int32).astype(np.float32) * codes.factor, LARGEST_GATE) - GATE_ZERO
            exact, memory = int8_next_state(self.cell, self._gates(gates), memory)
            state = cut((exact * factor + shift) >> bits, levels.largest)
            states[:, step] = state
        return states.reshape(*inputs[0].shape[:2], self.hidden)

    def _as_series(self, x: Any) -> Any:
        """Return the series (N, steps, features): of a stream there is one, of which the images are pieces in order."""
        return x.reshape(1, -1, x.shape[2]) if self.streaming else x

    def _steps(self, steps: int) -> Iterator[int]:
        return reversed(range(steps)) if self.reverse else iter(range(steps))

    def _joined(self, step: Any, state: Any) -> Any:
        """Return what the product takes: in each component the numbers of the step, then those of the state."""
        n = self.product.n
        parts = [numbers.reshape(len(state), n, -1) for numbers in (step, state)]
        return np.concatenate(parts, axis=2).reshape(len(state), -1)

    def _gates(self, sums: Any) -> list[Any]:
        """Return the sums of each gate, their numbers in the order of the state's."""
        by_gate = sums.reshape(len(sums), self.product.n, GATES[self.cell], -1)
        return [by_gate[:, :, gate].reshape(len(sums), -1) for gate in range(GATES[self.cell])]
