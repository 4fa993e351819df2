"""Products of linear layers, each way in turn, on one thread: forward and both gradients.

    python benchmarks/linear.py [--rounds 9] [--shapes 60x784x300 …]

Ways, in float32 unless said otherwise:
  F.linear               torch's own, its products through `torch.mm`: what everything is divided by
  oneDNN                 torch's internal operator `mkldnn._linear_pointwise`, forward alone
  native                 the tiles of `native/linear.c` with a real matrix
  native, quaternion     the same with an expanded matrix, whose gradient is gathered
  bf16                   F.linear with both factors in bfloat16

Prints GFLOP/s of F.linear, and for each way the median over the rounds of its time / F.linear's, with quartiles.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fourfold.algebra import QUATERNION, REAL, Algebra
from fourfold.native import compiler
from fourfold.nn.native_linear import multiply, multiply_backward
from fourfold.train import describe_device, single_thread, versions

SHAPES = ("60x784x300", "60x300x100", "60x3072x300", "60x8192x256", "60x256x256", "256x1024x1024", "64x512x512", "24x512x512")

Run = Callable[[], object]


def ways(rows: int, inputs: int, outputs: int) -> dict[str, dict[str, Run]]:
    """Return for each pass the ways to compute it, the first one torch's own."""
    x, weight, bias, gradient = (
        torch.randn(*size) for size in ((rows, inputs), (outputs, inputs), (outputs,), (rows, outputs))
    )
    stored = torch.randn(outputs, inputs // 4)
    low = [tensor.bfloat16() for tensor in (x, weight, bias, gradient)]

    def native(algebra: Algebra, factor: Tensor, wanted: tuple[bool, bool]) -> Run:
        return lambda: multiply_backward(algebra, x, factor, gradient, (*wanted, False))

    return {
        "forward": {
            "F.linear": lambda: nn.functional.linear(x, weight, bias),
            "oneDNN": lambda: torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""),
            "native": lambda: multiply(REAL, x, weight, bias),
            "native, quaternion": lambda: multiply(QUATERNION, x, stored, bias),
            "bf16": lambda: nn.functional.linear(*low[:3]),
        },
        "of weight": {
            "F.linear": lambda: gradient.t() @ x,
            "native": native(REAL, weight, (False, True)),
            "native, quaternion": native(QUATERNION, stored, (False, True)),
            "bf16": lambda: low[3].t() @ low[0],
        },
        "of input": {
            "F.linear": lambda: gradient @ weight,
            "native": native(REAL, weight, (True, False)),
            "native, quaternion": native(QUATERNION, stored, (True, False)),
            "bf16": lambda: low[3] @ low[1],
        },
    }


def seconds(run: Run, times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="rows x inputs x outputs, multiples of four")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with single_thread(), torch.no_grad():
        print(f"{describe_device(torch.device('cpu'))}, {versions()}, {compiler()}")
        for shape in arguments.shapes:
            sizes = tuple(map(int, shape.split("x")))
            for name, runs in ways(*sizes).items():
                operations = 2 * sizes[0] * sizes[1] * sizes[2]
                times = max(1, round(5e8 / operations))
                for run in runs.values():
                    seconds(run, times)
                taken = [[seconds(run, times) for run in runs.values()] for _ in range(arguments.rounds)]
                speed = statistics.median(operations / first / 1e9 for first, *_ in taken)
                print(f"{shape:14} {name:10} F.linear {speed:.0f} GFLOP/s", end="")
                for number, way in enumerate(list(runs)[1:], 1):
                    low, median, high = statistics.quantiles([row[number] / row[0] for row in taken], n=4)
                    print(f"; {way} {median:.2f} ({low:.2f}-{high:.2f})", end="")
                print(flush=True)


if __name__ == "__main__":
    main()
