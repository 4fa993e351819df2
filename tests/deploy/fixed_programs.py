"""Programs whose numbers are exact in binary and drawn as integers, so that each processor makes the same files of them."""

from dataclasses import replace

import numpy as np

from fourfold.algebra import ALGEBRAS
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.encoding import encoded_shape
from fourfold.deploy.ir.operation import Operation
from fourfold.deploy.ir.ops import Add, Affine, AveragePool, Convolution, Flatten, Linear, MaxPool, Relu
from fourfold.deploy.ir.product import Product
from fourfold.deploy.ir.program import Encoding, Program

NAMES = {1: "real", 2: "complex", 4: "quaternion", 8: "octonion"}


def numbers(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Return multiples of 1/64 between -2 and 2."""
    return (random.integers(-128, 129, shape) / 64).astype(np.float32)


def fixed_product(
    random: np.random.Generator, n: int, outputs: int, inputs: int, kernel: tuple[int, ...], keep: str
) -> Product:
    """Return weights of an algebra: all, single components, elements, or none."""
    weight = numbers(random, n, outputs, inputs, *kernel)
    weight[weight == 0] = 0.5
    if keep == "components":
        weight *= random.integers(0, 8, weight.shape) == 0
    elif keep == "elements":
        weight *= random.integers(0, 5, weight.shape[1:]) == 0
    elif keep == "none":
        weight[:] = 0
    return Product(weight=weight, bias=numbers(random, n * outputs), table=ALGEBRAS[NAMES[n]].left_table)


def products(n: int) -> Program:
    """Return convolutions and linear layers of one algebra, each kept as components, as elements and as a whole."""
    random = np.random.default_rng(n)
    operations: list[Operation] = []
    inputs = 2
    for keep in ("components", "elements", "all"):
        about = {"name": keep, "inputs": (len(operations),), "output": len(operations) + 1, "relu": keep != "all"}
        product = fixed_product(random, n, 3, inputs, (3, 2), keep)
        operations.append(Convolution(**about, product=product, padding=(1, 1, 1, 0)))
        inputs = 3
    operations.append(Flatten(name="flatten", inputs=(3,), output=4))
    inputs = 3 * 7 * 9
    for keep in ("components", "elements", "all"):
        about = {"name": keep, "inputs": (len(operations),), "output": len(operations) + 1, "relu": keep != "all"}
        operations.append(Linear(**about, product=fixed_product(random, n, 5, inputs, (), keep)))
        inputs = 5
    return assemble((2 * n, 7, 9), operations)


def maps(kind: str) -> Program:
    """Return every operation, with strides, gaps, groups and windows that hang over, behind one kind of encoding."""
    random = np.random.default_rng(7)
    channels, width = (1, 56) if kind == "pixels" else (3, 14)
    encoding = Encoding(kind=kind, n=4, shape=(channels, 15, width), mean=(0.5,) * channels, std=(0.25,) * channels)
    shape = encoded_shape(encoding)
    strided = fixed_product(random, 1, 8, shape[0], (3, 3), "components")
    grouped = fixed_product(random, 1, 8, 4, (2, 1), "all")
    algebra = fixed_product(random, 4, 2, 2, (2, 2), "elements")
    nothing = fixed_product(random, 1, 8, 8, (1, 1), "none")
    window = {"kernel": (3, 2), "stride": (1, 2), "padding": (1, 1), "ceil": True}
    operations: list[Operation] = [
        Convolution(name="strided", inputs=(0,), output=1, product=strided, stride=(2, 1), padding=(1, 2, 1, 0)),
        Affine(name="norm", inputs=(1,), output=2, scale=numbers(random, 8), shift=numbers(random, 8), relu=True),
        Convolution(name="grouped", inputs=(2,), output=3, product=grouped, groups=2, dilation=(2, 1), padding=(1, 1, 0, 0)),
        Add(name="sum", inputs=(2, 3), output=4, relu=True),
        MaxPool(name="largest", inputs=(4,), output=5, dilation=(1, 2), **window),
        Convolution(name="algebra", inputs=(5,), output=6, product=algebra, padding=(1, 0, 0, 1)),
        Relu(name="relu", inputs=(6,), output=7),
        AveragePool(name="mean", inputs=(7,), output=8, count_padding=False, **window),
        Convolution(name="nothing", inputs=(8,), output=9, product=nothing),
        AveragePool(name="inside", inputs=(9,), output=10, kernel=(2, 1), stride=(2, 1)),
        MaxPool(name="inner", inputs=(10,), output=11, kernel=(2, 2), stride=(1, 1)),
    ]
    program = assemble(shape, operations)
    height, last_width = program.shapes[-1][1:]
    whole = (max(height // 2, 1), max(last_width // 2, 1))
    operations += [AveragePool(name="end", inputs=(11,), output=12, kernel=whole, stride=whole)]
    operations += [Flatten(name="flatten", inputs=(12,), output=13)]
    features = int(np.prod(assemble(shape, operations).shapes[-1]))
    last = fixed_product(random, 1, 3, features, (), "components")
    operations += [Linear(name="last", inputs=(13,), output=14, product=last)]
    return assemble(shape, operations, encoding=encoding, class_names=("a", "b", "c"), provenance={"run": "x"})


def calibrated(program: Program) -> Program:
    """Return a program in int8, of ranges that nobody measured."""
    return replace(program, ranges={value: 2.0 ** (1 + value % 5) for value in range(len(program.shapes))})


def fixed_programs() -> dict[str, Program]:
    """Return all programs by name."""
    plain = {f"products-{name}": products(n) for n, name in NAMES.items()}
    plain |= {f"maps-{kind}": maps(kind) for kind in ("none", "grey", "zero", "pixels")}
    return plain | {f"{name}-int8": calibrated(program) for name, program in plain.items()}
