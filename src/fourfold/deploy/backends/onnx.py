"""`to_onnx`: a program as an ONNX file, dense and expanded to real numbers, for runtimes that know nothing of algebras."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.artifact.file import opened
from fourfold.deploy.ir.operation import Array, Operation, Shape
from fourfold.deploy.ir.ops import Add, Affine, AveragePool, Convolution, Flatten, Linear, MaxPool, Relu
from fourfold.deploy.ir.ops.windows import window_margins
from fourfold.deploy.ir.product import real_matrix
from fourfold.deploy.ir.program import Program
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    import onnx

OPSET = 22
"""Of March 2025: what onnxruntime reads from 1.22 on."""
IR_VERSION = 10
INPUT, OUTPUT = "image", "logits"


def to_onnx(program: Program | str | Path, path: Path | str) -> "onnx.ModelProto":
    """Write a network as an ONNX model from `image` (N, *shapes[0]) to `logits` (N, *shapes[-1]), float32, and return it.

    Pruned weights are stored as zeros and algebras as their real matrices: this is for comparison and for other runtimes, not
    for small files. The encoding of bytes is not part of it.

    Args:
        program: An artifact's path, or a program.
        path: The file to write.

    Raises:
        UserError: the package onnx is not installed, `program` is neither a file nor a program, or the file cannot be written.
    """
    program = opened(program, "program")
    try:
        import onnx
        from onnx import TensorProto, helper
    except ImportError as error:
        raise UserError("ONNX export needs the package onnx; `pip install 'fourfold[deploy]'` brings it") from error

    graph = _Graph(last=program.operations[-1].output)
    for operation in program.operations:
        shapes = [program.shapes[value] for value in operation.inputs]
        EMIT[type(operation)](graph, operation, shapes[0])
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "fourfold",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", *program.shapes[0]])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", *program.shapes[-1]])],
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


@dataclass(kw_only=True)
class _Graph:
    last: int
    """The value that is the model's output."""
    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)

    def add(self, kind: str, inputs: list[str], output: str, name: str, **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{name}/{kind}", **attributes))

    def constant(self, array: NDArray[Any], name: str) -> str:
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def value(self, number: int) -> str:
        return INPUT if number == 0 else OUTPUT if number == self.last else f"value{number}"


def _emit(graph: _Graph, operation: Operation, kind: str, inputs: list[str], **attributes: Any) -> None:
    """Add the node that makes an operation's value, and the ReLU behind it if it has one."""
    output, name = graph.value(operation.output), f"{operation.output}/{operation.name}"
    if getattr(operation, "relu", False):
        graph.add(kind, inputs, f"{output}/sum", name, **attributes)
        graph.add("Relu", [f"{output}/sum"], output, name)
    else:
        graph.add(kind, inputs, output, name, **attributes)


def _inputs(graph: _Graph, operation: Operation) -> list[str]:
    return [graph.value(number) for number in operation.inputs]


def _weights(graph: _Graph, operation: Convolution | Linear) -> list[str]:
    arrays: dict[str, Array | None] = {"weight": real_matrix(operation.product), "bias": operation.product.bias}
    return [graph.constant(a, f"{graph.value(operation.output)}/{name}") for name, a in arrays.items() if a is not None]


def _convolution(graph: _Graph, operation: Convolution, shape: Shape) -> None:
    top, bottom, left, right = operation.padding
    settings = {"pads": [top, left, bottom, right], "dilations": operation.dilation, "group": operation.groups}
    inputs = _inputs(graph, operation) + _weights(graph, operation)
    _emit(
        graph, operation, "Conv", inputs, strides=operation.stride, kernel_shape=operation.product.weight.shape[3:], **settings
    )


def _linear(graph: _Graph, operation: Linear, shape: Shape) -> None:
    _emit(graph, operation, "Gemm", _inputs(graph, operation) + _weights(graph, operation), transB=1)


def _pads(operation: MaxPool | AveragePool, shape: Shape) -> list[int]:
    """Return how far windows reach beyond the map; told explicitly, for runtimes differ in what they make of `ceil_mode`."""
    (top, bottom), (left, right) = window_margins(operation, shape)
    return [top, left, bottom, right]


def _padded(graph: _Graph, operation: MaxPool | AveragePool, pads: list[int], outside: float) -> str:
    """Add a node that puts numbers around the map."""
    (source,) = _inputs(graph, operation)
    output = graph.value(operation.output)
    top, left, bottom, right = pads
    places = graph.constant(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64), f"{output}/pads")
    fill = graph.constant(np.array(outside, np.float32), f"{output}/outside")
    graph.add("Pad", [source, places, fill], f"{output}/padded", f"{operation.output}/{operation.name}", mode="constant")
    return f"{output}/padded"


def _max_pool(graph: _Graph, operation: MaxPool, shape: Shape) -> None:
    settings = {"kernel_shape": operation.kernel, "strides": operation.stride, "dilations": operation.dilation}
    pads = _pads(operation, shape)
    if all(pad < size for pad, size in zip(pads, operation.kernel * 2, strict=True)):
        _emit(graph, operation, "MaxPool", _inputs(graph, operation), **settings, **({"pads": pads} if any(pads) else {}))
    else:  # a dilated window of `ceil`: runtimes refuse padding as large as the kernel
        lowest = float(np.finfo(np.float32).min)
        _emit(graph, operation, "MaxPool", [_padded(graph, operation, pads, lowest)], **settings)


def _average_pool(graph: _Graph, operation: AveragePool, shape: Shape) -> None:
    """Divide by the places of the whole window, or by those on the map, as runtimes can; by others in a node of its own."""
    settings = {"kernel_shape": operation.kernel, "strides": operation.stride}
    pads, counts = _pads(operation, shape), operation.window_counts(shape)
    area = operation.kernel[0] * operation.kernel[1]
    if (counts == area).all() or not operation.count_padding:
        padding = {"pads": pads, "count_include_pad": int(operation.count_padding)} if any(pads) else {}
        _emit(graph, operation, "AveragePool", _inputs(graph, operation), **settings, **padding)
        return
    output, name = graph.value(operation.output), f"{operation.output}/{operation.name}"
    graph.add("AveragePool", [_padded(graph, operation, pads, 0)], f"{output}/means", name, **settings)
    factors = graph.constant((area / counts).astype(np.float32), f"{output}/factors")
    _emit(graph, operation, "Mul", [f"{output}/means", factors])


def _affine(graph: _Graph, operation: Affine, shape: Shape) -> None:
    output, name = graph.value(operation.output), f"{operation.output}/{operation.name}"
    scale, shift = (
        graph.constant(numbers.reshape(-1, *[1] * (len(shape) - 1)), f"{output}/{kind}")
        for kind, numbers in (("scale", operation.scale), ("shift", operation.shift))
    )
    graph.add("Mul", [*_inputs(graph, operation), scale], f"{output}/scaled", name)
    _emit(graph, operation, "Add", [f"{output}/scaled", shift])


def _plain(kind: str, **attributes: Any) -> Callable[[_Graph, Operation, Shape], None]:
    return lambda graph, operation, shape: _emit(graph, operation, kind, _inputs(graph, operation), **attributes)


EMIT: dict[type[Operation], Callable[[_Graph, Any, Shape], None]] = {
    Convolution: _convolution,
    Linear: _linear,
    MaxPool: _max_pool,
    AveragePool: _average_pool,
    Affine: _affine,
    Add: _plain("Add"),
    Relu: _plain("Relu"),
    Flatten: _plain("Flatten", axis=1),
}

UNSUPPORTED: dict[type[Operation], str] = {}
"""Operations that become no node, and why."""
