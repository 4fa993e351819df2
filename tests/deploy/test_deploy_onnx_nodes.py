"""ONNX's own tests of single operations, on the generated C."""

import numpy as np
import pytest

from fourfold import deploy
from fourfold.native import NoCompilerError, compiler

onnx_nodes = pytest.importorskip("onnx_nodes", reason="onnx is not here", exc_type=ImportError)

NOT_OURS = {
    "all images have the same bias",
    "an operation has one output",
    "images are rows",
    "images stay apart",
    "means of windows have no gaps",
    "numbers are float32",
    "padding is at most half of a window",
    "pooling has the same padding on both sides",
    "values are vectors, or maps with two sides",
}


@pytest.mark.slow
def test_the_generated_c_gives_what_onnx_says_of_every_operation_that_programs_have():
    try:
        compiler()
    except NoCompilerError as missing:
        pytest.skip(str(missing))
    kinds, left_out = [], set()
    for node in onnx_nodes.nodes():
        try:
            program, images, wanted = node.program()
        except onnx_nodes.NotOursError as why:
            left_out.add(str(why))
            continue
        network = deploy.load(program)
        assert network.notice is None
        found = network(images).reshape(len(images), -1)
        np.testing.assert_allclose(found, wanted, **node.bounds, err_msg=node.name)
        kinds.append(node.model.graph.node[0].op_type)
    assert len(kinds) >= 45
    assert set(kinds) == set(onnx_nodes.KINDS)
    assert left_out == NOT_OURS
