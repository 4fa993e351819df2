"""ONNX's own tests of single operations, as programs: what each gives for its inputs is ONNX's word, not ours."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, helper
from onnx.backend.test.case.node import collect_testcases

from fourfold.algebra import REAL
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.operation import Operation
from fourfold.deploy.ir.ops import Affine, AveragePool, Convolution, Flatten, Linear, MaxPool, Relu
from fourfold.deploy.ir.product import Product
from fourfold.deploy.ir.program import Program

Arrays = list[np.ndarray]
Settings = Mapping[str, Any]

CONVOLUTION_AND_POOLING = ("Conv", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool")

KINDS = (*CONVOLUTION_AND_POOLING, "Gemm", "Flatten", "Relu", "Add", "Mul", "BatchNormalization")
"""Operations that programs are made of."""


class NotOursError(Exception):
    """What programs do not have; the message says what."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One operation, what goes in and what must come out."""

    name: str
    model: ModelProto
    inputs: Arrays
    outputs: Arrays
    bounds: dict[str, float]
    """By how much outputs may differ: relative and absolute, as ONNX has it."""

    def program(self) -> tuple[Program, np.ndarray, np.ndarray]:
        """Return the operation as a program, with its images and the values that it must make of them.

        Raises:
            NotOursError: programs have no such operation.
        """
        (node,) = self.model.graph.node
        settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        images, *others = self.inputs
        _must(images.dtype == np.float32, "numbers are float32")
        _must(len(self.outputs) == 1, "an operation has one output")
        if node.op_type in ("Relu", "Add", "Mul"):  # of any shape
            images = images.reshape(1, -1)
        shape = images.shape[1:]
        _must(len(shape) in (1, 3), "values are vectors, or maps with two sides")
        operation = _MAKE[node.op_type](settings, self.inputs, others)
        return assemble(shape, [operation]), images, self.outputs[0].reshape(len(images), -1)


def nodes() -> list[Node]:
    """Return the tests of all operations that programs are made of."""
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of operations that are not ours
        cases = collect_testcases()
    for case in cases:
        operations = [node.op_type for node in case.model.graph.node]
        if len(operations) == 1 and operations[0] in KINDS:
            ((inputs, outputs),) = case.data_sets
            bounds = {"rtol": case.rtol, "atol": max(case.atol, 1e-6)}
            found[case.name] = Node(name=case.name, model=case.model, inputs=list(inputs), outputs=list(outputs), bounds=bounds)
    return [found[name] for name in sorted(found)]


def _must(holds: bool, what: str) -> None:
    if not holds:
        raise NotOursError(what)


ENDS: Settings = {"name": "node", "inputs": (0,), "output": 1}


def _pads(settings: Settings, size: tuple[int, ...], kernel: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the padding at the top, the bottom, the left and the right."""
    auto, strides = settings.get("auto_pad", b"NOTSET"), settings.get("strides", (1, 1))
    gaps = settings.get("dilations", (1, 1))
    if auto in (b"NOTSET", b"VALID"):
        top, left, bottom, right = settings.get("pads", (0, 0, 0, 0))
        return top, bottom, left, right
    found: list[int] = []
    for side, window, stride, gap in zip(size, kernel, strides, gaps, strict=True):
        whole = max(0, (-(-side // stride) - 1) * stride + (window - 1) * gap + 1 - side)
        less, more = whole // 2, whole - whole // 2
        found += [less, more] if auto == b"SAME_UPPER" else [more, less]
    return found[0], found[1], found[2], found[3]


def _convolution(settings: Settings, inputs: Arrays, others: Arrays) -> Operation:
    weight, bias = others[0], others[1] if len(others) > 1 else None
    return Convolution(
        **ENDS,
        product=Product(weight=weight[None], bias=bias, table=REAL.left_table),
        stride=tuple(settings.get("strides", (1, 1))),
        padding=_pads(settings, inputs[0].shape[2:], weight.shape[2:]),
        dilation=tuple(settings.get("dilations", (1, 1))),
        groups=settings.get("group", 1),
    )


def _pool(settings: Settings, inputs: Arrays) -> dict[str, Any]:
    kernel = tuple(settings["kernel_shape"])
    top, bottom, left, right = _pads(settings, inputs[0].shape[2:], kernel)
    _must((top, left) == (bottom, right), "pooling has the same padding on both sides")
    _must(2 * top <= kernel[0] and 2 * left <= kernel[1], "padding is at most half of a window")
    about = {"kernel": kernel, "stride": tuple(settings.get("strides", (1, 1))), "padding": (top, left)}
    return about | {"ceil": bool(settings.get("ceil_mode", 0))}


def _max_pool(settings: Settings, inputs: Arrays, others: Arrays) -> Operation:
    return MaxPool(**ENDS, **_pool(settings, inputs), dilation=tuple(settings.get("dilations", (1, 1))))


def _average_pool(settings: Settings, inputs: Arrays, others: Arrays) -> Operation:
    _must(tuple(settings.get("dilations", (1, 1))) == (1, 1), "means of windows have no gaps")
    return AveragePool(**ENDS, **_pool(settings, inputs), count_padding=bool(settings.get("count_include_pad", 0)))


def _whole_map(inputs: Arrays) -> dict[str, Any]:
    height, width = inputs[0].shape[2:]
    return {"kernel": (height, width), "stride": (height, width)}


def _linear(settings: Settings, inputs: Arrays, others: Arrays) -> Operation:
    _must(not settings.get("transA", 0), "images are rows")
    matrix = others[0] if settings.get("transB", 0) else others[0].T
    bias = None
    if len(others) > 1:
        constant = settings.get("beta", 1.0) * others[1]
        _must(constant.ndim < 2 or len(constant) == 1, "all images have the same bias")
        bias = np.broadcast_to(constant.ravel(), (len(matrix),)).astype(np.float32)
    weight = np.ascontiguousarray(settings.get("alpha", 1.0) * matrix, dtype=np.float32)
    return Linear(**ENDS, product=Product(weight=weight[None], bias=bias, table=REAL.left_table))


def _flatten(settings: Settings, inputs: Arrays, others: Arrays) -> Operation:
    _must(settings.get("axis", 1) in (1, 1 - inputs[0].ndim), "images stay apart")
    return Flatten(**ENDS)


def _by(scale: np.ndarray, shift: np.ndarray) -> Operation:
    return Affine(**ENDS, scale=scale.astype(np.float32), shift=shift.astype(np.float32))


def _batch_norm(settings: Settings, inputs: Arrays, others: Arrays) -> Operation:
    _must(not settings.get("training_mode", 0), "statistics are those of training")
    scale, shift, mean, variance = others
    factor = scale / np.sqrt(variance + settings.get("epsilon", 1e-5))
    return _by(factor, shift - factor * mean)


def _like(inputs: Arrays) -> np.ndarray:
    return np.broadcast_to(inputs[1], inputs[0].shape).ravel()


_MAKE = {
    "Conv": _convolution,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalMaxPool": lambda settings, inputs, others: MaxPool(**ENDS, **_whole_map(inputs)),
    "GlobalAveragePool": lambda settings, inputs, others: AveragePool(**ENDS, **_whole_map(inputs)),
    "Gemm": _linear,
    "Flatten": _flatten,
    "Relu": lambda settings, inputs, others: Relu(**ENDS),
    "Add": lambda settings, inputs, others: _by(np.ones(inputs[0].size), _like(inputs)),
    "Mul": lambda settings, inputs, others: _by(_like(inputs), np.zeros(inputs[0].size)),
    "BatchNormalization": _batch_norm,
}
