"""`to_onnx`: a program as an ONNX file, dense and expanded to real numbers, for runtimes that know nothing of algebras."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fourfold.deploy.artifact.file import opened
from fourfold.deploy.backends.onnx_graph import INPUT, OUTPUT, Graph, add_inputs, add_outputs, emit, inputs_of
from fourfold.deploy.backends.onnx_nodes import NODES
from fourfold.deploy.ir.operation import Array, Operation, Shape
from fourfold.deploy.ir.ops import Add, Affine, AveragePool, Convolution, Flatten, Linear, MaxPool, Relu
from fourfold.deploy.ir.ops._windows import window_margins
from fourfold.deploy.ir.product import real_matrix
from fourfold.deploy.ir.program import Encoding, Port, Program
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    import onnx
    from torch import nn

OPSET = 22
"""Of March 2025: what onnxruntime reads from 1.22 on."""
IR_VERSION = 10


def to_onnx(
    program: "Program | nn.Module | str | Path", path: Path | str, *, shape: Any = None, encoding: Encoding | None = None
) -> "onnx.ModelProto":
    """Write a network as an ONNX model from `image` (N, *shapes[0]) to `logits` (N, *shapes[-1]), float32, and return it.

    Several inputs and outputs have their own names.

    Pruned weights are stored as zeros and algebras as their real matrices: this is for comparison and for other runtimes, not
    for small files. The encoding of bytes is not part of it.

    Args:
        program: An artifact's path, a program or a network of torch.
        path: The file to write.
        shape: Of an image that a network of torch takes: channels, height and width; see `lower`, as the encoding.
        encoding: How an image's bytes become that.

    Raises:
        UserError: the package onnx is not installed, `program` is none of these or cannot be deployed, or the file cannot be
            written.
    """
    program = opened(program, "program", shape=shape, encoding=encoding)
    try:
        import onnx
        from onnx import TensorProto, helper
    except ImportError as error:
        raise UserError("ONNX export needs the package onnx; `pip install 'fourfold[onnx]'` brings it") from error

    graph = Graph(last=program.operations[-1].output)
    add_inputs(graph, program)
    graph.final = "joined/outputs" if program.outputs else OUTPUT
    for operation in program.operations:
        shapes = [program.shapes[value] for value in operation.inputs]
        EMIT[type(operation)](graph, operation, shapes[0] if shapes else ())
    add_outputs(graph, program)

    def value_info(port: Port) -> Any:
        return helper.make_tensor_value_info(port.name, TensorProto.FLOAT, ["N", *port.shape])

    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "fourfold",
            [value_info(port) for port in program.inputs or (Port(name=INPUT, shape=program.shapes[0]),)],
            [value_info(port) for port in program.outputs or (Port(name=OUTPUT, shape=program.shapes[-1]),)],
            graph.initializers,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fourfold",
    )
    onnx.checker.check_model(model, full_check=True)
    try:
        onnx.save(model, path)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror})") from error
    return model


def _weights(graph: Graph, operation: Convolution | Linear) -> list[str]:
    arrays: dict[str, Array | None] = {"weight": real_matrix(operation.product), "bias": operation.product.bias}
    return [graph.constant(a, f"{graph.value(operation.output)}/{name}") for name, a in arrays.items() if a is not None]


def _convolution(graph: Graph, operation: Convolution, shape: Shape) -> None:
    top, bottom, left, right = operation.padding
    settings = {"pads": [top, left, bottom, right], "dilations": operation.dilation, "group": operation.groups}
    inputs = inputs_of(graph, operation) + _weights(graph, operation)
    emit(
        graph, operation, "Conv", inputs, strides=operation.stride, kernel_shape=operation.product.weight.shape[3:], **settings
    )


def _linear(graph: Graph, operation: Linear, shape: Shape) -> None:
    emit(graph, operation, "Gemm", inputs_of(graph, operation) + _weights(graph, operation), transB=1)


def _pads(operation: MaxPool | AveragePool, shape: Shape) -> list[int]:
    """Return how far windows reach beyond the map; told explicitly, for runtimes differ in what they make of `ceil_mode`."""
    (top, bottom), (left, right) = window_margins(operation, shape)
    return [top, left, bottom, right]


def _padded(graph: Graph, operation: MaxPool | AveragePool, pads: list[int], outside: float) -> str:
    """Add a node that puts numbers around the map."""
    (source,) = inputs_of(graph, operation)
    output = graph.value(operation.output)
    top, left, bottom, right = pads
    places = graph.constant(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64), f"{output}/pads")
    fill = graph.constant(np.array(outside, np.float32), f"{output}/outside")
    graph.add("Pad", [source, places, fill], f"{output}/padded", f"{operation.output}/{operation.name}", mode="constant")
    return f"{output}/padded"


def _max_pool(graph: Graph, operation: MaxPool, shape: Shape) -> None:
    settings = {"kernel_shape": operation.kernel, "strides": operation.stride, "dilations": operation.dilation}
    pads = _pads(operation, shape)
    if all(pad < size for pad, size in zip(pads, operation.kernel * 2, strict=True)):
        emit(graph, operation, "MaxPool", inputs_of(graph, operation), **settings, **({"pads": pads} if any(pads) else {}))
    else:  # a dilated window of `ceil`: runtimes refuse padding as large as the kernel
        lowest = float(np.finfo(np.float32).min)
        emit(graph, operation, "MaxPool", [_padded(graph, operation, pads, lowest)], **settings)


def _average_pool(graph: Graph, operation: AveragePool, shape: Shape) -> None:
    """Divide by the places of the whole window, or by those on the map, as runtimes can; by others in a node of its own."""
    settings = {"kernel_shape": operation.kernel, "strides": operation.stride}
    pads, counts = _pads(operation, shape), operation.window_counts(shape)
    area = operation.kernel[0] * operation.kernel[1]
    if (counts == area).all() or not operation.count_padding:
        padding = {"pads": pads, "count_include_pad": int(operation.count_padding)} if any(pads) else {}
        emit(graph, operation, "AveragePool", inputs_of(graph, operation), **settings, **padding)
        return
    output, name = graph.value(operation.output), f"{operation.output}/{operation.name}"
    graph.add("AveragePool", [_padded(graph, operation, pads, 0)], f"{output}/means", name, **settings)
    factors = graph.constant((area / counts).astype(np.float32), f"{output}/factors")
    emit(graph, operation, "Mul", [f"{output}/means", factors])


def _affine(graph: Graph, operation: Affine, shape: Shape) -> None:
    output, name = graph.value(operation.output), f"{operation.output}/{operation.name}"
    scale, shift = (
        graph.constant(numbers.reshape(-1, *[1] * (len(shape) - 1)), f"{output}/{kind}")
        for kind, numbers in (("scale", operation.scale), ("shift", operation.shift))
    )
    graph.add("Mul", [*inputs_of(graph, operation), scale], f"{output}/scaled", name)
    emit(graph, operation, "Add", [f"{output}/scaled", shift])


def _plain(kind: str, **attributes: Any) -> Callable[[Graph, Operation, Shape], None]:
    return lambda graph, operation, shape: emit(graph, operation, kind, inputs_of(graph, operation), **attributes)


EMIT: dict[type[Operation], Callable[[Graph, Any, Shape], None]] = {
    Convolution: _convolution,
    Linear: _linear,
    MaxPool: _max_pool,
    AveragePool: _average_pool,
    Affine: _affine,
    Add: _plain("Add"),
    Relu: _plain("Relu"),
    Flatten: _plain("Flatten", axis=1),
    **NODES,
}

UNSUPPORTED: dict[type[Operation], str] = {}
"""Operations that become no node, and why."""
