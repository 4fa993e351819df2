"""ONNX nodes of operations along any axes; what no node computes exactly as torch does is a product with a matrix."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.backends.onnx_graph import Chain, Graph, emit, inputs_of
from fourfold.deploy.backends.onnx_windows import adaptive_pool, insert_zeros, norm_pool, resize
from fourfold.deploy.ir.operation import Operation, Shape
from fourfold.deploy.ir.ops import (
    Activation,
    AdaptivePool,
    Binary,
    Concat,
    Constant,
    Embedding,
    InsertZeros,
    MatMul,
    Normalize,
    NormPool,
    Pad,
    Permute,
    PRelu,
    Recurrent,
    Reduce,
    Reshape,
    Resize,
    Slice,
    Softmax,
)
from fourfold.deploy.ir.product import real_matrix

Node = Callable[[Graph, Any, Shape], None]

_PLAIN = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "hardswish": "HardSwish",
    "mish": "Mish",
    "softsign": "Softsign",
    "abs": "Abs",
    "sqrt": "Sqrt",
    "exp": "Exp",
    "log": "Log",
    "reciprocal": "Reciprocal",
}
"""Functions that are a node without settings."""


def _activation(graph: Graph, operation: Activation, shape: Shape) -> None:
    chain, (x,) = Chain(graph, operation), inputs_of(graph, operation)
    alpha, beta = operation.alpha, operation.beta
    match operation.function:
        case "gelu" | "gelu_tanh" as function:
            chain.last("Gelu", x, approximate="tanh" if function == "gelu_tanh" else "none")
        case "silu":
            chain.last("Mul", x, chain.add("Sigmoid", x))
        case "hardsigmoid":
            chain.last("HardSigmoid", x, alpha=1 / 6, beta=0.5)
        case "clip":
            chain.last("Clip", x, chain.constant(alpha), chain.constant(beta))
        case "leaky_relu":
            chain.last("LeakyRelu", x, alpha=alpha)
        case "elu" if beta == 1:
            chain.last("Elu", x, alpha=alpha)
        case "elu":
            chain.last("Mul", chain.add("Elu", x, alpha=alpha), chain.constant(beta))
        case "softplus" if alpha == 1:
            chain.last("Softplus", x)
        case "softplus":
            chain.last("Div", chain.add("Softplus", chain.add("Mul", x, chain.constant(alpha))), chain.constant(alpha))
        case "square":
            chain.last("Mul", x, x)
        case "power":
            chain.last("Pow", x, chain.constant(alpha))
        case function:
            chain.last(_PLAIN[function], x)


def _prelu(graph: Graph, operation: PRelu, shape: Shape) -> None:
    chain = Chain(graph, operation)
    chain.last("PRelu", *inputs_of(graph, operation), chain.constant(operation.slope.reshape(-1, *[1] * (len(shape) - 1))))


_BINARY = {"add": "Add", "subtract": "Sub", "multiply": "Mul", "divide": "Div", "maximum": "Max", "minimum": "Min"}


def _binary(graph: Graph, operation: Binary, shape: Shape) -> None:
    emit(graph, operation, _BINARY[operation.function], inputs_of(graph, operation))


def _concat(graph: Graph, operation: Concat, shape: Shape) -> None:
    emit(graph, operation, "Concat", inputs_of(graph, operation), axis=operation.axis + 1)


def _constant(graph: Graph, operation: Constant, shape: Shape) -> None:
    """As many times as there are images."""
    chain = Chain(graph, operation)
    images = chain.add("Shape", graph.value(0), start=0, end=1)
    sizes = chain.add("Concat", images, chain.constant(operation.shape, np.int64), axis=0)
    chain.last("Expand", chain.constant(operation.numbers.reshape(1, *operation.shape)), sizes)


def _reshape(graph: Graph, operation: Reshape, shape: Shape) -> None:
    chain = Chain(graph, operation)
    chain.last("Reshape", *inputs_of(graph, operation), chain.constant([0, *operation.shape], np.int64))


def _permute(graph: Graph, operation: Permute, shape: Shape) -> None:
    emit(graph, operation, "Transpose", inputs_of(graph, operation), perm=[0, *(axis + 1 for axis in operation.order)])


def _slice(graph: Graph, operation: Slice, shape: Shape) -> None:
    chain, step = Chain(graph, operation), -operation.step if operation.reverse else operation.step
    end = operation.start + (operation.size - 1) * step + (-1 if operation.reverse else 1)
    ends = [-(2**63) if end < 0 else end]
    settings = ([operation.start], ends, [operation.axis + 1], [step])
    chain.last("Slice", *inputs_of(graph, operation), *(chain.constant(each, np.int64) for each in settings))


def _pad(graph: Graph, operation: Pad, shape: Shape) -> None:
    chain = Chain(graph, operation)
    pads = chain.constant([0, *operation.before, 0, *operation.after], np.int64)
    mode = {"replicate": "edge", "circular": "wrap"}.get(operation.mode, operation.mode)
    value = [chain.constant(operation.value)] if mode == "constant" else []
    chain.last("Pad", *inputs_of(graph, operation), pads, *value, mode=mode)


def _reduce(graph: Graph, operation: Reduce, shape: Shape) -> None:
    chain = Chain(graph, operation)
    axes = chain.constant([axis + 1 for axis in operation.axes], np.int64)
    chain.last(f"Reduce{operation.function.capitalize()}", *inputs_of(graph, operation), axes, keepdims=1)


def _normalize(graph: Graph, operation: Normalize, shape: Shape) -> None:
    chain, (x,) = Chain(graph, operation), inputs_of(graph, operation)
    axes = chain.constant([2], np.int64)
    rows = chain.add("Reshape", x, chain.constant([0, operation.blocks, -1], np.int64))
    if operation.center:
        rows = chain.add("Sub", rows, chain.add("ReduceMean", rows, axes, keepdims=1))
    variance = chain.add("ReduceMean", chain.add("Mul", rows, rows), axes, keepdims=1)
    root = chain.add("Sqrt", chain.add("Add", variance, chain.constant(operation.eps)))
    chain.last("Reshape", chain.add("Div", rows, root), chain.constant([0, *shape], np.int64))


def _softmax(graph: Graph, operation: Softmax, shape: Shape) -> None:
    emit(graph, operation, "LogSoftmax" if operation.log else "Softmax", inputs_of(graph, operation), axis=operation.axis + 1)


def _matmul(graph: Graph, operation: MatMul, shape: Shape) -> None:
    emit(graph, operation, "MatMul", inputs_of(graph, operation))


_GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "tanh": (0,)}
"""Torch's gates in ONNX's order."""


def _recurrent(graph: Graph, operation: Recurrent, shape: Shape) -> None:
    chain, (x,) = Chain(graph, operation), inputs_of(graph, operation)
    order, hidden = list(_GATES[operation.cell]), operation.hidden
    from_features, from_state, feature_bias, state_bias = _gates_apart(operation)
    weights = [chain.constant(numbers[order].reshape(1, len(order) * hidden, -1)) for numbers in (from_features, from_state)]
    biases = np.concatenate([bias[order].reshape(-1) for bias in (feature_bias, state_bias)])
    more = {"linear_before_reset": 1} if operation.cell == "gru" else {}
    kind = {"lstm": "LSTM", "gru": "GRU"}.get(operation.cell, "RNN")
    outputs = chain.add(
        kind,
        chain.add("Transpose", x, perm=[1, 0, 2]),
        *weights,
        chain.constant(biases[None]),
        hidden_size=hidden,
        direction="reverse" if operation.reverse else "forward",
        **more,
    )
    chain.last("Transpose", chain.add("Squeeze", outputs, chain.constant([1], np.int64)), perm=[1, 0, 2])


def _gates_apart(operation: Recurrent) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return torch's weights of the features and of the state, and its biases of both, (gates, hidden, …)."""
    n, hidden, product = operation.product.n, operation.hidden, operation.product
    matrix = real_matrix(product)
    by_gate = matrix.reshape(n, -1, hidden // n, n, matrix.shape[1] // n).swapaxes(0, 1)
    gates = by_gate.shape[0]
    parts = np.split(by_gate, [operation.features // n], axis=4)
    from_features, from_state = (part.reshape(gates, hidden, -1) for part in parts)
    bias = np.zeros(gates * hidden, np.float32) if product.bias is None else product.bias
    feature_bias = bias.reshape(n, gates, -1).swapaxes(0, 1).reshape(gates, hidden)
    state_bias = np.zeros_like(feature_bias)
    if operation.cell == "gru":  # the candidate's sums of the features and of the state are two gates of ours
        state_bias[2] = feature_bias[3]
        from_state = from_state[[0, 1, 3]]
        return from_features[:3], from_state, feature_bias[:3], state_bias[:3]
    return from_features, from_state, feature_bias, state_bias


def _embedding(graph: Graph, operation: Embedding, shape: Shape) -> None:
    chain, (x,) = Chain(graph, operation), inputs_of(graph, operation)
    within = chain.add("Clip", x, chain.constant(0), chain.constant(operation.rows - 1))
    table = chain.constant(operation.numbers.reshape(operation.rows, -1))
    chain.last("Gather", table, chain.add("Cast", within, to=7), axis=0)  # 7: int64


NODES: dict[type[Operation], Node] = {
    Activation: _activation,
    PRelu: _prelu,
    Binary: _binary,
    Concat: _concat,
    Constant: _constant,
    Reshape: _reshape,
    Permute: _permute,
    Slice: _slice,
    Pad: _pad,
    InsertZeros: insert_zeros,
    Resize: resize,
    AdaptivePool: adaptive_pool,
    Reduce: _reduce,
    Normalize: _normalize,
    Softmax: _softmax,
    MatMul: _matmul,
    Recurrent: _recurrent,
    Embedding: _embedding,
    NormPool: norm_pool,
}
"""By the class of the operation."""
