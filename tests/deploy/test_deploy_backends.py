"""Every backend emits every operation, or names it as unsupported and says why."""

import pytest

from fourfold.deploy.backends import numpy, onnx, onnx_nodes
from fourfold.deploy.backends.c import emit
from fourfold.deploy.backends.c.float32 import general
from fourfold.deploy.backends.onnx_graph import Graph
from fourfold.deploy.ir.operation import Operation
from fourfold.deploy.ir.ops import KINDS, OPS, Activation, activation, binary

BACKENDS = {
    "numpy": (numpy.EMIT, numpy.UNSUPPORTED),
    "numpy, int8": (numpy.EMIT_INT8, numpy.UNSUPPORTED_INT8),
    "ONNX": (onnx.EMIT, onnx.UNSUPPORTED),
    "C": (emit.EMIT_FLOAT32, emit.UNSUPPORTED_FLOAT32),
    "C, int8": (emit.EMIT_INT8, emit.UNSUPPORTED_INT8),
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_operation_is_emitted_or_unsupported_with_a_reason(backend):
    emitted, unsupported = BACKENDS[backend]
    assert set(emitted) | set(unsupported) == set(OPS)
    assert not set(emitted) & set(unsupported)
    assert all(len(reason) > 10 for reason in unsupported.values())


def test_operations_say_of_themselves_what_backends_need():
    assert len(KINDS) == len(OPS)
    for operation in OPS:
        for method in ("output_shape", "compute", "compute_int8"):
            own = getattr(operation, method) is not getattr(Operation, method)
            assert own or (method == "compute_int8" and operation in numpy.UNSUPPORTED_INT8), (operation, method)


def test_every_function_of_an_operation_is_in_every_backend():
    """Those that are chosen by name, which the tables of operations do not show."""
    assert set(activation.FUNCTIONS) == set(general.FUNCTIONS)
    assert set(binary.FUNCTIONS) == set(general.BINARY) == set(onnx_nodes._BINARY)
    for function in activation.FUNCTIONS:
        operation = Activation(name="a", inputs=(0,), output=1, function=function, alpha=1.0, beta=2.0)
        graph = Graph(last=1)
        onnx_nodes.NODES[Activation](graph, operation, (3,))
        assert graph.nodes
