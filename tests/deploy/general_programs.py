"""Small programs of operations along any axes, made from a seed."""

import math
from dataclasses import replace

import numpy as np
from random_programs import images_for, make_product

from fourfold.deploy import quantize
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.operation import Operation, Shape, output_shape
from fourfold.deploy.ir.ops import (
    Activation,
    AdaptivePool,
    Binary,
    Concat,
    Constant,
    Convolution,
    Embedding,
    InsertZeros,
    MatMul,
    MaxPool,
    Normalize,
    NormPool,
    Pad,
    Permute,
    PRelu,
    Recurrent,
    Reduce,
    Relu,
    Reshape,
    Resize,
    Slice,
    Softmax,
)
from fourfold.deploy.ir.ops._gates import GATES
from fourfold.deploy.ir.program import Program
from fourfold.record import UserError

LARGEST = 600

SMOOTH = ("sigmoid", "tanh", "gelu", "gelu_tanh", "silu", "hardswish", "hardsigmoid", "mish", "softsign", "abs", "square")
SETTINGS = {"clip": (-0.5, 0.75), "leaky_relu": (0.1, 0.0), "elu": (1.5, 1.25), "softplus": (2.0, 20.0)}
POSITIVE = ("sqrt", "log", "reciprocal", "power")
"""Functions that are asked of sigmoids alone, which stay away from zero."""

Random = np.random.Generator


class Maker:
    """A program that is being made."""

    def __init__(self, seed: int, int8: bool) -> None:
        self.random, self.int8 = np.random.default_rng(seed), int8
        shape = tuple(int(size) for size in self.random.integers(1, 8, self.random.integers(1, 5)))
        while math.prod(shape) > LARGEST:
            shape = shape[1:]
        self.shapes: list[Shape] = [shape]
        self.operations: list[Operation] = []
        for _ in range(int(self.random.integers(2, 7))):
            value = int(self.random.integers(len(self.shapes)) if self.random.random() < 0.3 else len(self.shapes) - 1)
            try:
                getattr(self, str(self.random.choice(KINDS)))(value)
            except UserError:  # it does not fit
                continue
        if not self.operations:
            self.add(Relu, 0)

    def add(self, kind: type[Operation], *inputs: int, **settings: object) -> int:
        operation = kind(name=f"{kind.kind}{len(self.shapes)}", inputs=inputs, output=len(self.shapes), **settings)
        shape = output_shape(operation, [self.shapes[value] for value in inputs])
        if math.prod(shape) > LARGEST:
            raise UserError("too large")
        self.shapes.append(shape)
        self.operations.append(operation)
        return operation.output

    def numbers(self, *size: int) -> np.ndarray:
        return self.random.standard_normal(size).astype(np.float32)

    def pick(self, choices):
        return choices[int(self.random.integers(len(choices)))]

    def activation(self, value: int) -> None:
        function = str(self.pick((*SMOOTH, *SETTINGS, *POSITIVE, "exp")))
        alpha, beta = SETTINGS.get(function, (0.0, 0.0))
        if function in POSITIVE or function == "exp":
            value = self.add(Activation, value, function="sigmoid")
            alpha = float(self.pick((-0.75, 1 / 3, 3.0))) if function == "power" else 0.0
        self.add(Activation, value, function=function, alpha=alpha, beta=beta)

    def prelu(self, value: int) -> None:
        self.add(PRelu, value, slope=self.numbers(self.shapes[value][0]))

    def binary(self, value: int) -> None:
        shape = self.shapes[value]
        function = str(self.pick(("add", "subtract", "multiply", "maximum", "minimum", *(() if self.int8 else ("divide",)))))
        same = [other for other, theirs in enumerate(self.shapes) if theirs == shape]
        if self.random.random() < 0.5:
            partial = tuple(1 if self.random.random() < 0.5 else size for size in shape)
            other = self.add(Constant, shape=partial, numbers=self.numbers(math.prod(partial)))
        else:
            other = int(self.pick(same))
        if function == "divide":
            other = self.add(Activation, self.add(Activation, other, function="abs"), function="softplus", alpha=1.0, beta=20.0)
        pair = (value, other) if self.random.random() < 0.5 else (other, value)
        self.add(Binary, *pair, function=function)

    def concat(self, value: int) -> None:
        axis = int(self.random.integers(len(self.shapes[value])))
        others = [other for other, theirs in enumerate(self.shapes) if theirs == self.shapes[value]]
        self.add(Concat, value, *(int(self.pick(others)) for _ in range(int(self.random.integers(1, 3)))), axis=axis)

    def reshape(self, value: int) -> None:
        size, shape = math.prod(self.shapes[value]), []
        for _ in range(int(self.random.integers(0, 4))):
            side = int(self.pick([side for side in range(1, size + 1) if size % side == 0][:6]))
            shape.append(side)
            size //= side
        shape.insert(int(self.random.integers(len(shape) + 1)), size)
        self.add(Reshape, value, shape=tuple(shape))

    def permute(self, value: int) -> None:
        order = self.random.permutation(len(self.shapes[value]))
        self.add(Permute, value, order=tuple(int(axis) for axis in order))

    def slice(self, value: int) -> None:
        axis = int(self.random.integers(len(self.shapes[value])))
        size = self.shapes[value][axis]
        start, step, reverse = (
            int(self.random.integers(size)),
            int(self.random.integers(1, 3)),
            bool(self.random.random() < 0.3),
        )
        left = (start if reverse else size - 1 - start) // step + 1
        self.add(Slice, value, axis=axis, start=start, size=int(self.random.integers(1, left + 1)), step=step, reverse=reverse)

    def pad(self, value: int) -> None:
        mode = str(self.pick(("constant", "reflect", "replicate", "circular")))
        before, after = (tuple(int(n) for n in self.random.integers(0, 3, len(self.shapes[value]))) for _ in range(2))
        self.add(Pad, value, before=before, after=after, mode=mode, value=float(self.pick((0.0, 0.25))))

    def insert_zeros(self, value: int) -> None:
        self.add(InsertZeros, value, factors=tuple(int(n) for n in self.random.integers(1, 4, 2)))

    def resize(self, value: int) -> None:
        shape, aligned = self.shapes[value], bool(self.random.random() < 0.5)
        size = tuple(int(n) for n in self.random.integers(1, 10, 2))
        mode = str(self.pick(("nearest", "bilinear")))
        aligned &= mode == "bilinear"
        steps = tuple(
            float(np.float32((old - 1) / max(new - 1, 1) if aligned else old / new))
            for old, new in zip((*shape, 1, 1)[1:3], size, strict=True)
        )
        self.add(Resize, value, size=size, mode=mode, steps=steps, align_corners=aligned)

    def adaptive_pool(self, value: int) -> None:
        size = tuple(int(n) for n in self.random.integers(1, 6, 2))
        self.add(AdaptivePool, value, function=str(self.pick(("mean", "max"))), size=size)

    def reduce(self, value: int) -> None:
        rank = len(self.shapes[value])
        axes = self.random.choice(rank, int(self.random.integers(1, rank + 1)), replace=False)
        function = str(self.pick(("mean", "sum", "max", "min")))
        self.add(Reduce, value, function=function, axes=tuple(sorted(int(axis) for axis in axes)))

    def normalize(self, value: int) -> None:
        size = math.prod(self.shapes[value])
        blocks = int(self.pick([side for side in range(1, size + 1) if size % side == 0]))
        self.add(Normalize, value, blocks=blocks, eps=float(self.pick((1e-2, 1e-3))), center=bool(self.random.random() < 0.7))

    def softmax(self, value: int) -> None:
        axis = int(self.random.integers(len(self.shapes[value])))
        self.add(Softmax, value, axis=axis, log=bool(self.random.random() < 0.5))

    def matmul(self, value: int) -> None:
        rank = len(self.shapes[value])
        turned = self.add(Permute, value, order=(*range(rank - 2), rank - 1, rank - 2)) if rank > 1 else value
        self.add(MatMul, *((value, turned) if self.random.random() < 0.5 else (turned, value)))

    def recurrent(self, value: int) -> None:
        if len(self.shapes[value]) != 2:
            return
        features, cell = self.shapes[value][1], str(self.pick(("lstm", "gru", "tanh")))
        n = int(self.pick([n for n in (1, 2, 4, 8) if features % n == 0]))
        hidden = n * int(self.random.integers(1, 6))
        kept = str(self.pick(("weights", "numbers", "all", "none")))
        product = make_product(self.random, n, GATES[cell] * hidden // n, (features + hidden) // n, (), kept)
        weight = (0.5 * product.weight).reshape(n, GATES[cell], hidden // n, -1)
        if cell == "gru":  # whose candidate has a sum over the features, and one over the state
            weight[:, 2, :, features // n :] = 0
            weight[:, 3, :, : features // n] = 0
        product = replace(product, weight=weight.reshape(product.weight.shape))
        self.add(Recurrent, value, product=product, cell=cell, reverse=bool(self.random.random() < 0.5))

    def embedding(self, value: int) -> None:
        if value != 0:
            return
        rows, width = int(self.random.integers(1, 5)), int(self.random.integers(1, 5))
        self.add(Embedding, value, rows=rows, numbers=self.numbers(rows * width))

    def convolution(self, value: int) -> None:
        """What has a gap between its rows."""
        shape = self.shapes[value]
        if len(shape) != 3:
            return
        product = make_product(self.random, 1, 3, shape[0], (2, 3), "weights")
        self.add(Convolution, value, product=product, padding=(1, 0, 1, 1))

    def norm_pool(self, value: int) -> None:
        shape = self.shapes[value]
        sizes = [n for n in (1, 2, 4) if len(shape) == 3 and shape[0] % n == 0]
        if sizes:
            windows = {
                "kernel": (3, 2),
                "stride": self.pick([(1, 1), (2, 3)]),
                "padding": (1, 0),
                "dilation": self.pick([(1, 1), (1, 2)]),
            }
            self.add(NormPool, value, n=self.pick(sizes), ceil=bool(self.pick([0, 1])), **windows)

    def max_pool(self, value: int) -> None:
        self.add(MaxPool, value, kernel=(2, 2), stride=(1, 1), padding=(1, 0))


KINDS = [name for name in vars(Maker) if not name.startswith("_") and name not in ("add", "numbers", "pick")]
KINDS += ["convolution", "convolution", "activation", "pad", "concat"]


def general_program(seed: int, int8: bool = False) -> Program:
    """Return a program; equal seeds give equal programs."""
    maker = Maker(seed, int8)
    return assemble(maker.shapes[0], maker.operations)


def general_int8_program(seed: int) -> Program | None:
    """Return a program that is calibrated, or None where int8 has no factors for its ranges."""
    program = general_program(seed, int8=True)
    try:
        with np.errstate(all="ignore"):
            calibrated = quantize.calibrate(program, np.concatenate([images_for(program, seed), images_for(program, 0)]))
        quantize.check_quantized(calibrated)
    except UserError:
        return None
    return calibrated


def tolerance(program: Program, images: np.ndarray) -> float:
    """Return by how much rounding in float32 may move outputs: some times what the last bits of images and arrays do.

    Infinite where that is much: nobody knows what such a program's outputs are in float32.
    """
    random = np.random.default_rng(0)

    def nudged(numbers: np.ndarray) -> np.ndarray:
        return (numbers * (1 + 2e-7 * random.standard_normal(numbers.shape))).astype(np.float64)

    def moved(operation: Operation) -> Operation:
        arrays = {name: nudged(getattr(operation, name)) for name in operation.arrays}
        return replace(operation, **arrays) if arrays else operation

    with np.errstate(all="ignore"):
        exact, most = reference.run(program, images), 0.0
        for _ in range(3):
            other = replace(program, operations=tuple(map(moved, program.operations)))
            most = np.maximum(most, np.abs(reference.run(other, nudged(images)) - exact).max(initial=0))
        size = np.abs(exact).max(initial=0)
        near = float(50 * most + 4e-6 * size + 2e-6)
    return near if near <= 0.01 * size + 1e-3 else math.inf
