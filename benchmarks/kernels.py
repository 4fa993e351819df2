"""Convolutions of int8 by each kernel of AVX-512 with VNNI: how long they take, and what the model that chooses says.

    python benchmarks/kernels.py [--layers 40] [--fit]

Layers of random sizes, algebras and densities, one image, one thread. Prints for each the microseconds of every kernel,
measured (the fastest of many runs) and as the model says, and at the end the time that its choices lose. `--fit` fits the model
anew and prints its constants, for src/fourfold/deploy/backends/c/int8/kernel_choice.py.
"""

import argparse
import ctypes
import time

import numpy as np
import torch

from fourfold.algebra import ALGEBRAS
from fourfold.deploy import quantize
from fourfold.deploy.backends.c.emit import generate
from fourfold.deploy.backends.c.int8.kernel_choice import COSTS, Choice
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.ops import Convolution
from fourfold.deploy.ir.product import Product
from fourfold.deploy.ir.program import Program
from fourfold.native import compiled, compiler
from fourfold.train import describe_device, single_thread, versions

ALGEBRA_OF = {1: "real", 2: "complex", 4: "quaternion", 8: "octonion"}

SHORT = 3e-5
"""Seconds: so short a measurement is seldom interrupted."""

KERNELS = ("lists", "elements", "dense")


def layer(random: np.random.Generator) -> tuple[str, Program]:
    """Return a random convolution, and words for it."""
    n = int(random.choice([1, 1, 2, 4, 4, 4, 4, 8]))
    inputs, outputs = (max(8, int(random.choice([8, 16, 32, 64, 96, 128]))) for _ in range(2))
    size, kernel = int(random.choice([8, 12, 16, 24, 32])), int(random.choice([1, 3, 3, 3, 5]))
    density, elements = float(random.choice([0.03, 0.06, 0.12, 0.2, 0.33, 0.5, 1.0])), bool(random.integers(2))
    weight = random.standard_normal((n, outputs // n, inputs // n, kernel, kernel)).astype(np.float32)
    weight *= random.random(weight.shape[1:] if elements else weight.shape) < density
    product = Product(weight=weight, bias=None, table=ALGEBRAS[ALGEBRA_OF[n]].left_table)
    pad = kernel // 2
    about = {"name": "convolution", "inputs": (0,), "output": 1, "relu": True, "padding": (pad, pad, pad, pad)}
    program = assemble((inputs, size, size), [Convolution(product=product, **about)])
    kept = "elements" if elements else "components"
    words = f"{ALGEBRA_OF[n]:10} {inputs:3} to {outputs:3}, {size:2} x {size:2}, {kernel} x {kernel}, {density:4.2f} of {kept}"
    image = random.standard_normal((2, inputs, size, size)).astype(np.float32)
    return words, quantize.calibrate(program, image)


def microseconds(program: Program, kernels: str) -> float:
    """Return how long the convolution takes, by the fastest of many runs."""
    generated = generate(program, "network", kernels=kernels)
    function = compiled(generated.with_harness().encode(), "network").network_step
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int, *[ctypes.c_void_p] * 4)
    memory = np.zeros(generated.arena + 64, np.uint8)
    start = -memory.ctypes.data % 64 + memory.ctypes.data
    image, logits = (np.zeros(int(np.prod(shape)), np.float32) for shape in (program.shapes[0], program.shapes[-1]))
    arguments = [0, 1, start, image.ctypes.data, None, logits.ctypes.data]
    step = 1 if len(generated.words["ALONE"].split(",")) == 3 else 2  # behind one that sorts by a stride's phases
    best = np.inf
    for _ in range(100):
        repeats = max(1, int(SHORT / best))
        begin = time.perf_counter()
        for _ in range(repeats):
            function(step, *arguments)
        best = min(best, (time.perf_counter() - begin) / repeats)
    return 1e6 * float(best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fit", action="store_true")
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    found: list[tuple[Choice, dict[str, float]]] = []
    with single_thread():
        print(f"{describe_device(torch.device('cpu'))}, {versions()}, {compiler()}")
        for _ in range(arguments.layers):
            words, program = layer(random)
            (choice,) = generate(program, "network").choices
            times = {kernel: microseconds(program, kernel) for kernel in KERNELS}
            found.append((choice, times))
            cells = "  ".join(f"{kernel} {times[kernel]:7.1f} ({choice.estimates[kernel]:7.1f})" for kernel in KERNELS)
            print(f"{words:58} {cells}  {choice.kernel}", flush=True)
    chosen, best = (sum(values) for values in zip(*((times[c.kernel], min(times.values())) for c, times in found), strict=True))
    slower = max(times[c.kernel] / min(times.values()) for c, times in found)
    print(f"chosen {chosen:.0f} us in all, the fastest kernel of each layer {best:.0f}; at worst {slower:.2f} times as long")
    if arguments.fit:
        for kernel, costs in COSTS.items():
            work = [(choice.work[kernel], times[kernel]) for choice, times in found]
            matrix = np.array([[each[name] for name in costs] for each, _ in work]) / np.array([[t] for _, t in work])
            fitted = 1000 * np.linalg.lstsq(matrix, np.ones(len(work)), rcond=None)[0]
            print(kernel, {name: round(float(value), 3) for name, value in zip(costs, fitted, strict=True)})


if __name__ == "__main__":
    main()
