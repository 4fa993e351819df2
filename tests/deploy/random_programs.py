"""Small programs of every operation and option, made from a seed."""

from dataclasses import replace

import numpy as np

from fourfold.algebra import ALGEBRAS
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.encoding import encoded_shape
from fourfold.deploy.ir.operation import Operation, output_shape
from fourfold.deploy.ir.ops import Add, Affine, AveragePool, Convolution, Flatten, Linear, MaxPool, Relu
from fourfold.deploy.ir.product import Product
from fourfold.deploy.ir.program import Encoding, Program
from fourfold.record import UserError

LARGEST = 2000
"""Numbers of a value, so that a program is compiled and run in a blink."""


def make_product(random: np.random.Generator, n: int, outputs: int, inputs: int, kernel: tuple[int, ...], keep: str) -> Product:
    """Return weights of an algebra, a part of them kept: single ones, elements, all, or none."""
    table = next(algebra for algebra in ALGEBRAS.values() if algebra.n == n).left_table
    weight = random.standard_normal((n, outputs, inputs, *kernel)).astype(np.float32)
    density = float(random.choice([0.05, 0.2, 0.5, 0.9]))
    if keep == "weights":
        weight *= random.random(weight.shape) < density
    elif keep == "numbers":
        weight *= random.random(weight.shape[1:]) < density
    elif keep == "none":
        weight[:] = 0
    if random.random() < 0.3:
        weight[:, random.integers(outputs)] = 0  # a row without weights
    bias = random.standard_normal(n * outputs).astype(np.float32) if random.random() < 0.7 else None
    return Product(weight=weight, bias=bias, table=table)


def random_encoding(random: np.random.Generator) -> Encoding:
    kind = str(random.choice(["none", "grey", "zero", "pixels"]))
    channels = int(random.integers(1, 4)) if kind in ("none", "pixels") else 3
    n = int(random.choice([1, 2, 4]))
    width = int(random.integers(2, 8)) * (n if kind == "pixels" else 1)
    mean, std = random.uniform(0.2, 0.8, channels), random.uniform(0.1, 0.5, channels)
    shape = (channels, int(random.integers(2, 8)), width)
    return Encoding(kind=kind, n=n, shape=shape, mean=tuple(mean.tolist()), std=tuple(std.tolist()))


def random_program(seed: int) -> Program:
    """Return a program; equal seeds give equal programs."""
    random = np.random.default_rng(seed)
    n = int(random.choice([1, 1, 2, 4, 4, 8]))
    encoding = random_encoding(random) if seed % 3 == 0 else None
    if encoding is None:
        shape: tuple[int, ...] = (n * int(random.integers(1, 4)), int(random.integers(1, 13)), int(random.integers(1, 13)))
    else:
        shape = encoded_shape(encoding)
        n = n if shape[0] % n == 0 else 1
    shapes, operations = [shape], []
    for _ in range(int(random.integers(1, 6))):
        _try(random, n, shapes, operations)
    if random.random() < 0.6 and len(shapes[-1]) == 3:
        _append(Flatten(name="flatten", inputs=(len(shapes) - 1,), output=len(shapes)), shapes, operations)
    if len(shapes[-1]) == 1:
        for _ in range(int(random.integers(0, 3))):
            inputs, numbers = shapes[-1][0], n if shapes[-1][0] % n == 0 else 1
            rows = int(random.integers(1, 9))
            product = make_product(random, numbers, rows, inputs // numbers, (), _keep(random))
            relu = bool(random.random() < 0.5)
            value = len(shapes)
            _append(
                Linear(name=f"linear{value}", inputs=(value - 1,), output=value, product=product, relu=relu), shapes, operations
            )
    if not operations:
        _append(Relu(name="relu", inputs=(0,), output=1), shapes, operations)
    return assemble(shape, operations, encoding=encoding)


def program_of_all_kinds(n: int) -> Program:
    """Return convolutions and linear layers of one algebra, each walked as single weights, elements and densely."""
    random = np.random.default_rng(n)
    shape, operations = (2 * n, 7, 9), []
    shapes: list[tuple[int, ...]] = [shape]
    for keep in ("weights", "numbers", "all"):
        about = {"name": keep, "inputs": (len(operations),), "output": len(operations) + 1, "relu": keep != "all"}
        product = make_product(random, n, 3, shapes[-1][0] // n, (3, 2), keep)
        _append(Convolution(**about, product=product, padding=(1, 1, 1, 0)), shapes, operations)
    _append(Flatten(name="flatten", inputs=(3,), output=4), shapes, operations)
    for keep in ("weights", "numbers", "all"):
        about = {"name": keep, "inputs": (len(operations),), "output": len(operations) + 1, "relu": keep != "all"}
        product = make_product(random, n, 5, shapes[-1][0] // n, (), keep)
        _append(Linear(**about, product=product), shapes, operations)
    return assemble(shape, operations)


def images_for(program: Program, seed: int, count: int = 2) -> np.ndarray:
    """Return images as the program's value 0."""
    return np.random.default_rng(seed).standard_normal((count, *program.shapes[0])).astype(np.float32)


def bytes_for(program: Program, seed: int, count: int = 2) -> np.ndarray:
    """Return images for the program's encoding."""
    assert program.encoding is not None
    channels, height, width = program.encoding.shape
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def magnitude(program: Program, images: np.ndarray) -> float:
    """Return the largest sum of absolute terms of any output: what rounding errors of its float32 sums are small against."""

    def positive(operation: Operation) -> Operation:
        if isinstance(operation, Convolution | Linear):
            product = operation.product
            bias = None if product.bias is None else np.abs(product.bias)
            table = tuple(tuple((component, 1) for component, _ in row) for row in product.table)
            return replace(operation, product=replace(product, weight=np.abs(product.weight), bias=bias, table=table))
        if isinstance(operation, Affine):
            return replace(operation, scale=np.abs(operation.scale), shift=np.abs(operation.shift))
        return operation

    absolute = replace(program, operations=tuple(positive(operation) for operation in program.operations))
    return float(reference.run(absolute, np.abs(images)).max(initial=1e-3))


def _keep(random: np.random.Generator) -> str:
    return str(random.choice(["weights"] * 5 + ["numbers"] * 4 + ["all"] * 3 + ["none"]))


def _try(random: np.random.Generator, n: int, shapes: list[tuple[int, ...]], operations: list[Operation]) -> None:
    """Append an operation, if the one drawn fits the last value."""
    value, shape = len(shapes), shapes[-1]

    def pair(low: int, high: int) -> tuple[int, int]:
        return int(random.integers(low, high)), int(random.integers(low, high))

    about = {"name": f"layer{value}", "inputs": (value - 1,), "output": value}
    relu = bool(random.random() < 0.5)
    kind = str(random.choice(["convolution"] * 5 + ["largest", "mean", "affine", "add", "relu"]))
    if len(shape) != 3:
        return
    if kind == "convolution":
        numbers = n if shape[0] % n == 0 else 1
        groups = int(random.choice([g for g in range(1, shape[0] + 1) if shape[0] % g == 0])) if numbers == 1 else 1
        rows = groups * int(random.integers(1, 5))
        product = make_product(random, numbers, rows, shape[0] // numbers // groups, pair(1, 5), _keep(random))
        padding = (*pair(0, 4), *pair(0, 4))
        stride = pair(1, 4) if random.random() < 0.4 else (1, 1)
        made: Operation = Convolution(
            **about, product=product, stride=stride, padding=padding, dilation=pair(1, 3), groups=groups, relu=relu
        )
    elif kind == "largest":
        kernel = pair(1, 4)
        padding = (int(random.integers(0, kernel[0] // 2 + 1)), int(random.integers(0, kernel[1] // 2 + 1)))
        ceil = bool(random.random() < 0.5)
        made = MaxPool(**about, kernel=kernel, stride=pair(1, 4), padding=padding, dilation=pair(1, 3), ceil=ceil)
    elif kind == "mean":
        kernel = pair(1, 4)
        padding = (int(random.integers(0, kernel[0] // 2 + 1)), int(random.integers(0, kernel[1] // 2 + 1)))
        ceil, counted = random.random(2) < 0.5
        made = AveragePool(
            **about, kernel=kernel, stride=pair(1, 4), padding=padding, count_padding=bool(counted), ceil=bool(ceil)
        )
    elif kind == "affine":
        scale, shift = random.standard_normal((2, shape[0])).astype(np.float32)
        made = Affine(**about, scale=scale, shift=shift, relu=relu)
    elif kind == "add":
        same = [other for other in range(value) if shapes[other] == shape]
        made = Add(name=f"layer{value}", inputs=(value - 1, int(random.choice(same))), output=value, relu=relu)
    else:
        made = Relu(**about)
    try:
        fits = np.prod(output_shape(made, [shapes[value] for value in made.inputs])) <= LARGEST
    except UserError:  # too small a map for it
        return
    if fits:
        _append(made, shapes, operations)


def _append(operation: Operation, shapes: list[tuple[int, ...]], operations: list[Operation]) -> None:
    shape = output_shape(operation, [shapes[value] for value in operation.inputs])
    shapes.append(shape)
    operations.append(operation)
