"""The cells of recurrent layers, in floats and in integers of fixed point.

In integers a gate is in units of 1/128, or of 1/256 where tanh(x) = 2 σ(2x) − 1 is taken of it, so that one table of σ serves
both. What gates become is in units of 2⁻¹⁵; the memory of an LSTM is in units of 2⁻²⁰, as it grows over many steps.
"""

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.ir.levels import Levels, Sums, fixed_point
from fourfold.deploy.ir.operation import Values

GATES = {"lstm": 4, "gru": 4, "tanh": 1}
"""Sums for each number of the state, by cell: torch's gates in torch's order, but that the new gate of a GRU has two.

That is one of the input and one of the state, which the reset gate multiplies.
"""

WITH_TANH = {"lstm": (2,), "gru": (2, 3), "tanh": (0,)}
"""Of the gates, those that tanh is taken of."""

GATE_ZERO, LARGEST_GATE = 2**13, 2**14 - 1
"""A gate is cut to integers from 0, which stand for themselves minus the zero."""

SIGMOID_UNITS, TANH_UNITS = 128, 256
"""Of a gate, in 1."""

ENDS = 1024
"""Where σ is as good as 0 or 1, in units of a gate."""

ONE_BITS, MEMORY_BITS = 15, 20
ONE = 2**ONE_BITS
LARGEST_MEMORY = 2**30

SIGMOIDS: NDArray[np.int64] = np.rint(ONE / (1 + np.exp(-np.arange(ENDS + 1) / SIGMOID_UNITS))).astype(np.int64)
"""σ of gates from 0 to `ENDS`."""


def sigmoid(x: Values) -> Values:
    """Return σ, without exponentials that overflow."""
    half: Values = 0.5 * (1 + np.tanh(0.5 * x))
    return half


def next_state(cell: str, gates: list[Values], state: Values, memory: Values) -> tuple[Values, Values]:
    """Return the state and the memory after a step, from its gates and from both before it."""
    if cell == "lstm":
        inward, forget, new, out = gates
        memory = sigmoid(forget) * memory + sigmoid(inward) * np.tanh(new)
        return sigmoid(out) * np.tanh(memory), memory
    if cell == "gru":
        reset, update, new, new_state = gates
        candidate, keep = np.tanh(new + sigmoid(reset) * new_state), sigmoid(update)
        return candidate + keep * (state - candidate), memory
    return np.tanh(gates[0]), memory


def int8_next_state(cell: str, gates: list[Sums], memory: Sums) -> tuple[Sums, Sums]:
    """Return the same in integers: the state in units of 2⁻¹⁵, and the memory, which for a GRU is its state."""
    if cell == "lstm":
        inward, forget, new, out = gates
        gained = int8_sigmoid(inward) * int8_tanh(new) >> 2 * ONE_BITS - MEMORY_BITS
        memory = np.clip((int8_sigmoid(forget) * memory >> ONE_BITS) + gained, -LARGEST_MEMORY, LARGEST_MEMORY)
        state = int8_sigmoid(out) * int8_tanh(memory >> MEMORY_BITS - 8) >> ONE_BITS
        return state, memory
    if cell == "gru":
        reset, update, new, new_state = gates
        candidate = int8_tanh(new + (int8_sigmoid(reset) * new_state >> ONE_BITS))
        state = candidate + (int8_sigmoid(update) * (memory - candidate) >> ONE_BITS)
        return state, state
    return int8_tanh(gates[0]), memory


def int8_sigmoid(gate: Sums) -> Sums:
    """Return σ of gates in units of 1/128, in units of 2⁻¹⁵."""
    within = np.clip(gate, -ENDS, ENDS)
    values: Sums = np.where(within < 0, ONE - SIGMOIDS[np.abs(within)], SIGMOIDS[np.abs(within)])
    return values


def int8_tanh(gate: Sums) -> Sums:
    """Return tanh of gates in units of 1/256, in units of 2⁻¹⁵."""
    values: Sums = 2 * int8_sigmoid(gate) - ONE
    return values


def state_factor(levels: Levels) -> tuple[int, int, int]:
    """Return factor, shift and bits that make a level of a state: (state · factor + shift) >> bits."""
    factors, shifts, bits = fixed_point([1 / (ONE * levels.scale)], [levels.zero], ONE)
    return int(factors[0]), int(shifts[0]), bits
