"""onnxruntime computes from the exported model what the program does, operation by operation and as a whole."""

import os
import sys

import numpy as np
import pytest
import torch
from deploy_samples import assert_near, every_operation, images_of, lively, thinned
from hypothesis import given, settings
from hypothesis import strategies as st
from random_programs import images_for, magnitude, random_program
from torch import nn
from torch.nn import functional

from fourfold import deploy, models
from fourfold import nn as fnn
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.ir.ops import Add, Affine, AveragePool, Convolution, Flatten, Linear, MaxPool, Relu
from fourfold.deploy.ir.product import real_matrix
from fourfold.deploy.ir.program import Program
from fourfold.record import UserError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


SWEEP = int(os.environ.get("FOURFOLD_SWEEP", "60"))
"""Random programs that are tried; the generated C tries those of the same seeds."""


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def assert_same_in_onnxruntime(program, path, count=2):
    assert_no_idle_node(deploy.to_onnx(program, path))
    images = images_of(program.shapes[0], count).numpy()
    (found,) = session_of(path).run(["logits"], {"image": images})
    assert_near(found, reference.run(program, images))


def assert_no_idle_node(model):
    """No node that gives what it gets, and no infinite constant, which not every compiler can write."""
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert all(np.isfinite(array).all() for array in constants.values())
    for node in model.graph.node:
        given = [constants[name] for name in node.input if name in constants]
        assert node.op_type != "Identity"
        assert node.op_type != "Pad" or not given or given[0].any()
        assert node.op_type != "Mul" or not given or (given[0] != 1).any()
        for attribute in node.attribute:  # padding is told where there is some
            assert attribute.name != "pads" or node.op_type == "Conv" or any(attribute.ints)


@pytest.mark.parametrize(
    ("layer", "kinds"),
    [
        (nn.MaxPool2d(2), ["MaxPool"]),
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), ["MaxPool"]),
        (nn.AvgPool2d(2), ["AveragePool"]),
        (nn.AvgPool2d(3, 2, 1), ["AveragePool"]),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), ["AveragePool"]),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True), ["Pad", "AveragePool", "Mul"]),
        (nn.AdaptiveAvgPool2d(1), ["AveragePool"]),
    ],
)
def test_pooling_is_one_node_where_onnx_has_one(layer, kinds, tmp_path):
    model = deploy.to_onnx(deploy.lower(layer, (2, 8, 8)), tmp_path / "a.onnx")
    assert [node.op_type for node in model.graph.node] == kinds


LAYERS = {
    "convolution": (fnn.Conv2d(4, 8, (3, 2), (2, 1), (1, 0), (1, 2), algebra="quaternion"), (4, 7, 6)),
    "uneven padding": (nn.Conv2d(2, 3, 2, padding="same"), (2, 5, 5)),
    "groups": (nn.Conv2d(4, 6, 3, groups=2, bias=False), (4, 5, 5)),
    "linear": (fnn.Linear(8, 16, algebra="octonion"), (8,)),
    "linear without bias": (nn.Linear(3, 5, bias=False), (3,)),
    "norm": (lively(nn.BatchNorm2d(3)), (3, 4, 5)),
    "norm of a vector": (lively(nn.Sequential(nn.BatchNorm1d(6), nn.ReLU())), (6,)),
    "relu": (nn.ReLU(), (2, 3, 3)),
    "flatten": (nn.Flatten(), (2, 3, 3)),
    "learned channel": (models.LearnedChannel(3, 4), (3, 5, 5)),
    "mean": (nn.AdaptiveAvgPool2d(1), (3, 4, 6)),
    "pruned away": (thinned(nn.Conv2d(2, 4, 3), 0), (2, 5, 5)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", LAYERS)
def test_every_operation(tmp_path, name):
    layer, shape = LAYERS[name]
    assert_same_in_onnxruntime(deploy.lower(layer, shape), tmp_path / "a.onnx")


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    kind=st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.integers(0, 1),
    ceil=st.booleans(),
    count=st.booleans(),
)
def test_every_pooling(tmp_path_factory, kind, size, kernel, stride, padding, ceil, count):
    padding = tuple(min(padding, k // 2) for k in kernel)
    own = {"dilation": 1 + count} if kind is nn.MaxPool2d else {"count_include_pad": count}
    if kind is nn.MaxPool2d and any(
        own["dilation"] * (k - 1) + 1 > n + 2 * p for k, n, p in zip(kernel, size, padding, strict=True)
    ):
        return
    layer = kind(kernel, stride, padding, ceil_mode=ceil, **own)
    assert_same_in_onnxruntime(deploy.lower(layer, (2, *size)), tmp_path_factory.getbasetemp() / "pool.onnx")


@pytest.mark.parametrize("name", ["conv-2", "resnet-18", "lenet-12"])
def test_whole_networks(tmp_path, name):
    model = models.build(name, algebra="quaternion", shape=(4, 8, 8), seed=0)
    program = deploy.lower(thinned(lively(model), 0.3), (4, 8, 8))
    assert_same_in_onnxruntime(program, tmp_path / "a.onnx", count=3)


def test_a_network_of_every_kind_of_operation(tmp_path):
    assert_same_in_onnxruntime(every_operation(), tmp_path / "a.onnx", count=1)


def in_torch(program: Program, images: np.ndarray) -> np.ndarray:
    """Return what torch makes of images, operation by operation."""
    values = {0: torch.from_numpy(images)}
    for operation in program.operations:
        x = values[operation.inputs[0]]
        if isinstance(operation, Convolution | Linear):
            bias = None if operation.product.bias is None else torch.from_numpy(operation.product.bias)
            weight = torch.from_numpy(real_matrix(operation.product))
        match operation:
            case Convolution(padding=(top, bottom, left, right)):
                x = functional.pad(x, (left, right, top, bottom))
                x = functional.conv2d(x, weight, bias, operation.stride, 0, operation.dilation, operation.groups)
            case Linear():
                x = functional.linear(x, weight, bias)
            case MaxPool():
                window = (operation.kernel, operation.stride, operation.padding, operation.dilation)
                x = functional.max_pool2d(x, *window, ceil_mode=operation.ceil)
            case AveragePool():
                window = (operation.kernel, operation.stride, operation.padding)
                x = functional.avg_pool2d(x, *window, ceil_mode=operation.ceil, count_include_pad=operation.count_padding)
            case Affine():
                scale, shift = (
                    torch.from_numpy(numbers).view(-1, *[1] * (x.ndim - 2)) for numbers in (operation.scale, operation.shift)
                )
                x = x * scale + shift
            case Add():
                x = x + values[operation.inputs[1]]
            case Relu():
                x = x.relu()
            case Flatten():
                x = x.flatten(1)
        values[operation.output] = x.relu() if getattr(operation, "relu", False) else x
    return values[program.operations[-1].output].numpy()


def test_random_programs_in_torch_and_onnxruntime(tmp_path):
    for seed in range(SWEEP):
        program = random_program(seed)
        images = images_for(program, seed)
        wanted, tolerance = reference.run(program, images), 2e-6 * magnitude(program, images)
        assert_no_idle_node(deploy.to_onnx(program, tmp_path / "a.onnx"))
        (by_onnxruntime,) = session_of(tmp_path / "a.onnx").run(["logits"], {"image": images})
        for found in (by_onnxruntime, in_torch(program, images)):
            assert found.shape == wanted.shape, seed
            assert np.abs(found - wanted).max(initial=0) <= tolerance, seed


def test_a_batch_of_any_size_and_named_ends(tmp_path):
    model = deploy.to_onnx(deploy.lower(nn.Linear(3, 2), (3,)), tmp_path / "a.onnx")
    assert onnx.load(tmp_path / "a.onnx") == model
    assert [entry.name for entry in (*model.graph.input, *model.graph.output)] == ["image", "logits"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        (found,) = session.run(None, {"image": np.zeros((count, 3), np.float32)})
        assert found.shape == (count, 2)


def test_mistakes_are_said_in_one_sentence(tmp_path, monkeypatch):
    program = deploy.lower(nn.Linear(3, 2), (3,))
    with pytest.raises(UserError, match=r"cannot write .*a.onnx"):
        deploy.to_onnx(program, tmp_path / "none" / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"needs the package onnx; `pip install 'fourfold\[onnx\]'`"):
        deploy.to_onnx(program, tmp_path / "a.onnx")
