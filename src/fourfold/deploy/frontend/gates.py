"""The weights of a recurrent layer as one product: all gates at once, of a step's features and of the state."""

from typing import Any

import numpy as np
import torch

from fourfold.algebra import REAL
from fourfold.deploy.frontend.lowering import numpy_of
from fourfold.deploy.ir.operation import Array
from fourfold.deploy.ir.product import LeftTable, Product


def cell_of(layer: Any) -> str:
    """Return what a `Recurrent` calls the cell of an LSTM, GRU or RNN."""
    return {"LSTM": "lstm", "GRU": "gru"}.get(layer.mode, "tanh")


def gates_product(layer: Any, suffix: str, name: str) -> Product:
    """Return the product of one layer and direction, as `Recurrent` takes it.

    Args:
        layer: An LSTM, GRU or RNN of torch's, or ours.
        suffix: Of the names of its parameters, such as `l0_reverse`.
        name: What errors call it.
    """
    algebra = getattr(layer, "algebra", REAL)
    table: LeftTable = algebra.left_table
    n, hidden = len(table), layer.hidden_size
    weights = [_by_gate(numpy_of(getattr(layer, f"weight_{part}_{suffix}"), name), n, hidden) for part in ("ih", "hh")]
    rows = len(weights[0]) * hidden
    biases = [
        _by_gate(numpy_of(getattr(layer, f"bias_{part}_{suffix}") if layer.bias else torch.zeros(rows), name), n, hidden)
        for part in ("ih", "hh")
    ]
    inputs, state = weights
    if cell_of(layer) == "gru":  # the candidate's sum over the state stands by itself, as the reset gate multiplies it
        inputs = np.concatenate([inputs, np.zeros_like(inputs[:1])])
        state = np.concatenate([state[:2], np.zeros_like(state[:1]), state[2:]])
        bias = np.concatenate([biases[0][:2] + biases[1][:2], biases[0][2:], biases[1][2:]])
    else:
        bias = biases[0] + biases[1]
    weight = np.concatenate([inputs, state], axis=3).swapaxes(0, 1)
    return Product(weight=weight.reshape(n, -1, weight.shape[3]), bias=bias.swapaxes(0, 1).reshape(-1).copy(), table=table)


def _by_gate(numbers: Array, n: int, hidden: int) -> Array:
    """Return rows of gates, each blocked by component, as (gates, n, hidden / n, …)."""
    split: Array = numbers.reshape(-1, n, hidden // n, *numbers.shape[1:])
    return split
