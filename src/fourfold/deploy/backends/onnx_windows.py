"""ONNX nodes of pooling, resizing and spreading, which look at windows or places of a map."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.backends.onnx_graph import Chain, Graph, inputs_of
from fourfold.deploy.ir.operation import Shape
from fourfold.deploy.ir.ops import AdaptivePool, InsertZeros, NormPool, Resize
from fourfold.deploy.ir.ops._windows import window_margins


def insert_zeros(graph: Graph, operation: InsertZeros, shape: Shape) -> None:
    """A transposed convolution of each channel with a kernel of a single one."""
    chain = Chain(graph, operation)
    ones = chain.constant(np.ones((shape[0], 1, 1, 1)))
    chain.last(
        "ConvTranspose", *inputs_of(graph, operation), ones, group=shape[0], strides=operation.factors, kernel_shape=[1, 1]
    )


def _sandwiched(chain: Chain, x: str, rows: NDArray[Any], columns: NDArray[Any]) -> None:
    """Add rows · x · columns, of matrices (rows made, rows) and (columns, columns made)."""
    chain.last("MatMul", chain.constant(rows), chain.add("MatMul", x, chain.constant(columns)))


def resize(graph: Graph, operation: Resize, shape: Shape) -> None:
    """Interpolate along both axes: gather the nearest, or multiply by matrices of shares."""
    chain, (x,) = Chain(graph, operation), inputs_of(graph, operation)
    if operation.mode == "nearest":
        rows, columns = (operation.neighbours(axis, shape[axis + 1])[0] for axis in (0, 1))
        chain.last(
            "Gather", chain.add("Gather", x, chain.constant(rows, np.int64), axis=2), chain.constant(columns, np.int64), axis=3
        )
        return
    matrices = []
    for axis in (0, 1):
        first, second, share = operation.neighbours(axis, shape[axis + 1])
        matrix, places = np.zeros((operation.size[axis], shape[axis + 1])), np.arange(operation.size[axis])
        np.add.at(matrix, (places, first), 1 - share)
        np.add.at(matrix, (places, second), share)
        matrices.append(matrix)
    _sandwiched(chain, x, matrices[0], matrices[1].T)


def adaptive_pool(graph: Graph, operation: AdaptivePool, shape: Shape) -> None:
    """Pool windows of several lengths: means by matrices, maxima of gathered places."""
    chain, (x,) = Chain(graph, operation), inputs_of(graph, operation)
    spans = [list(zip(*operation.windows(axis, shape[axis + 1]), strict=True)) for axis in (0, 1)]
    if operation.function == "mean":
        matrices = []
        for axis in (0, 1):
            matrix = np.zeros((operation.size[axis], shape[axis + 1]))
            for row, (start, end) in enumerate(spans[axis]):
                matrix[row, start:end] = 1 / (end - start)
            matrices.append(matrix)
        _sandwiched(chain, x, matrices[0], matrices[1].T)
        return
    for axis in (0, 1):  # windows of one length, the shorter ones with their last place twice
        longest = max(end - start for start, end in spans[axis])
        places = [[min(start + k, end - 1) for k in range(longest)] for start, end in spans[axis]]
        windows = chain.add("Gather", x, chain.constant(places, np.int64), axis=axis + 2)
        reduced = ("ReduceMax", windows, chain.constant([axis + 3], np.int64))
        if axis == 0:
            x = chain.add(*reduced, keepdims=0)
        else:
            chain.last(*reduced, keepdims=0)


def norm_pool(graph: Graph, operation: NormPool, shape: Shape) -> None:
    """Pool the squared norms with their places, and gather all components there."""
    chain, (x,) = Chain(graph, operation), inputs_of(graph, operation)
    channels, height, width = shape
    n, numbers = operation.n, channels // operation.n
    pooled = operation.output_shape(shape)
    (top, bottom), (left, right) = window_margins(operation, shape)
    split = chain.add("Reshape", chain.add("Mul", x, x), chain.constant([0, n, numbers, height, width], np.int64))
    norms = chain.add("ReduceSum", split, chain.constant([1], np.int64), keepdims=0)
    around = x
    if top or bottom or left or right:
        padding = chain.constant([0, 0, top, left, 0, 0, bottom, right], np.int64)
        norms = chain.add("Pad", norms, padding, chain.constant(-1.0), mode="constant")
        around = chain.add("Pad", x, padding, chain.constant(0.0), mode="constant")
    places = _largest_places(chain, norms, operation)
    flat = chain.add("Mod", places, chain.constant((height + top + bottom) * (width + left + right), np.int64))
    everywhere = chain.add("Unsqueeze", flat, chain.constant([1], np.int64))
    everywhere = chain.add("Expand", everywhere, chain.constant([1, n, 1, 1, 1], np.int64))
    everywhere = chain.add("Reshape", everywhere, chain.constant([0, channels, pooled[1] * pooled[2]], np.int64))
    rows = chain.add("Reshape", around, chain.constant([0, channels, -1], np.int64))
    components = chain.add("GatherElements", rows, everywhere, axis=2)
    chain.last("Reshape", components, chain.constant([0, *pooled], np.int64))


def _largest_places(chain: Chain, source: str, operation: NormPool) -> str:
    """Add a max pooling, and return the name of the places of its maxima in all numbers of the map, one after the other."""
    from onnx import helper

    chain.count += 1
    outputs = [f"{chain.output}/largest{chain.count}", f"{chain.output}/places{chain.count}"]
    settings: dict[str, Any] = {"kernel_shape": operation.kernel, "strides": operation.stride}
    settings["dilations"] = operation.dilation
    node = helper.make_node("MaxPool", [source], outputs, name=f"{chain.name}/{chain.count}/MaxPool", **settings)
    chain.graph.nodes.append(node)
    return outputs[1]
