"""Nodes of an ONNX graph: what operations of all kinds add them with."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.ir.operation import Operation
from fourfold.deploy.ir.program import Program

INPUT, OUTPUT = "image", "logits"


@dataclass(kw_only=True)
class Graph:
    """Nodes and constants of a model, as they are being made."""

    last: int
    """The value that is the model's output."""
    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)

    first: str = INPUT
    """What value 0 is called."""
    final: str = OUTPUT
    """What the last value is called."""

    def add(self, kind: str, inputs: list[str], output: str, name: str, **attributes: Any) -> None:
        """Add a node."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{name}/{kind}", **attributes))

    def constant(self, array: NDArray[Any], name: str) -> str:
        """Add a constant, and return its name."""
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def value(self, number: int) -> str:
        """Return what a value is called."""
        return self.first if number == 0 else self.final if number == self.last else f"value{number}"


def emit(graph: Graph, operation: Operation, kind: str, inputs: list[str], **attributes: Any) -> None:
    """Add the node that makes an operation's value, and the ReLU behind it if it has one."""
    output, name = graph.value(operation.output), f"{operation.output}/{operation.name}"
    if getattr(operation, "relu", False):
        graph.add(kind, inputs, f"{output}/sum", name, **attributes)
        graph.add("Relu", [f"{output}/sum"], output, name)
    else:
        graph.add(kind, inputs, output, name, **attributes)


class Chain:
    """Nodes one after the other, of which the last makes an operation's value."""

    def __init__(self, graph: Graph, operation: Operation) -> None:
        self.graph, self.operation, self.count = graph, operation, 0
        self.output, self.name = graph.value(operation.output), f"{operation.output}/{operation.name}"

    def constant(self, array: Any, kind: Any = np.float32) -> str:
        """Return the name of a new constant."""
        self.count += 1
        return self.graph.constant(np.array(array, kind), f"{self.output}/constant{self.count}")

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node on the way, and return the name of what it makes."""
        self.count += 1
        value = f"{self.output}/{kind}{self.count}"
        self.graph.add(kind, list(inputs), value, f"{self.name}/{self.count}", **attributes)
        return value

    def last(self, kind: str, *inputs: str, **attributes: Any) -> None:
        """Add the node that makes the value."""
        emit(self.graph, self.operation, kind, list(inputs), **attributes)


def inputs_of(graph: Graph, operation: Operation) -> list[str]:
    """Return what an operation's inputs are called."""
    return [graph.value(number) for number in operation.inputs]


def add_inputs(graph: Graph, program: Program) -> None:
    """Add the nodes that join several inputs to value 0."""
    if not program.inputs:
        return
    graph.first = "joined/inputs"
    for port in program.inputs:
        graph.add("Flatten", [port.name], f"joined/{port.name}", port.name, axis=1)
    graph.add("Concat", [f"joined/{port.name}" for port in program.inputs], graph.first, "joined", axis=1)


def add_outputs(graph: Graph, program: Program) -> None:
    """Add the nodes that cut the last value into several outputs."""
    start = 0
    for port in program.outputs:
        end = start + math.prod(port.shape)
        bounds = (("start", [start]), ("end", [end]), ("axis", [1]))
        places = [graph.constant(np.array(each, np.int64), f"parted/{port.name}/{name}") for name, each in bounds]
        graph.add("Slice", [graph.final, *places], f"parted/{port.name}", port.name)
        shape = graph.constant(np.array([0, *port.shape], np.int64), f"parted/{port.name}/shape")
        graph.add("Reshape", [f"parted/{port.name}", shape], port.name, port.name)
        start = end
