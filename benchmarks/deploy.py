"""Conv-4 and Lenet-300-100 with masks of several kinds, in C, beside onnxruntime and OpenVINO, in turn, at batch 1.

    python benchmarks/deploy.py [--rounds 9] [--fastest SECONDS] [--case NAME…] [--kernels lists…] [--peer "onnxruntime int8"]

Weights are as they are initialised, and int8 is calibrated on noise: neither changes the speed. Masks are random within each
layer (`-third`: of which convolutions keep 33 %, as after global magnitude pruning of a trained network to 12 %), or those of
global magnitude pruning of the untrained one. Prints for each network and runtime the median time, and the peer's (by default
onnxruntime's float32) over it with quartiles. On a machine that others use, `--fastest 3` prints instead the fastest call of
each runtime, called in turn for so many seconds: of three such runs the median, with the least and the largest ratio.
"""

import argparse
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from fourfold import models, pruning
from fourfold.deploy.backends.c.int8.kernel_choice import KERNELS
from fourfold.deploy.bench import benchmark
from fourfold.deploy.frontend.trace import lower
from fourfold.deploy.ir.operation import Array
from fourfold.deploy.ir.program import Program
from fourfold.native import compiler
from fourfold.train import describe_device, single_thread, versions


@dataclass(frozen=True, kw_only=True)
class Case:
    model: str
    algebra: str
    density: float
    """Kept weights over the weights of the same network; 12 % of a quaternion network's are 3 % of its real twin's."""
    score: str = "random"
    scope: str = "layer"
    unit: str = "weight"
    """element: whole quaternions."""
    convolutions: float | None = None
    """Kept weights of each convolution, where linear layers keep less than they."""


CASES = {
    "real": Case(model="conv-4", algebra="real", density=0.03),
    "components": Case(model="conv-4", algebra="quaternion", density=0.12),
    "whole": Case(model="conv-4", algebra="quaternion", density=0.12, unit="element"),
    "components-global": Case(model="conv-4", algebra="quaternion", density=0.12, score="magnitude", scope="global"),
    "whole-global": Case(model="conv-4", algebra="quaternion", density=0.12, score="magnitude", scope="global", unit="element"),
    "components-third": Case(model="conv-4", algebra="quaternion", density=0.12, convolutions=0.33),
    "whole-third": Case(model="conv-4", algebra="quaternion", density=0.12, unit="element", convolutions=0.33),
    "lenet-components": Case(model="lenet-300-100", algebra="quaternion", density=0.12),
}


def network(case: Case) -> Program:
    torch.manual_seed(0)
    model = models.build(case.model, algebra=case.algebra, num_classes=10)
    generator = torch.Generator().manual_seed(0)
    for part, density in parts(model, case):
        about = {"score": case.score, "scope": case.scope, "unit": case.unit}
        pruning.prune(part, density=density, generator=generator if case.score == "random" else None, **about)
    return lower(model, models.input_shape(case.model, case.algebra))


def parts(model: nn.Module, case: Case) -> list[tuple[nn.Module, float]]:
    """Return what is pruned together, and to which density."""
    if case.convolutions is None:
        return [(model, case.density)]
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    total, inside = (sum(layer.weight.numel() for layer in some) for some in (layers, convolutions))
    elsewhere = (case.density * total - case.convolutions * inside) / (total - inside)
    return [(layer, case.convolutions if layer in convolutions else elsewhere) for layer in layers]


def fastest(runtimes: Mapping[str, benchmark.Contender], images: Array, seconds: float) -> dict[str, float]:
    """Return the fastest call of each runtime in seconds, called one after the other for so long."""
    best = dict.fromkeys(runtimes, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, runtime in runtimes.items():
            for _ in range(4):
                start = time.perf_counter()
                runtime.run(images)
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def print_fastest(case: str, runtimes: Mapping[str, benchmark.Contender], images: Array, seconds: float, peer: str) -> None:
    runs = [fastest(runtimes, images, seconds) for _ in range(3)]
    for name in runtimes:
        low, middle, high = sorted(run[peer] / run[name] for run in runs)
        microseconds = 1e6 * statistics.median(run[name] for run in runs)
        print(f"{case:18} {name:22} {microseconds:8.1f} us {middle:6.2f} x {peer} ({low:.2f}-{high:.2f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument(
        "--kernels", nargs="+", choices=KERNELS[1:], default=[], help="int8 by these alone, beside the chosen ones"
    )
    parser.add_argument("--peer", default=benchmark.PEER)
    parser.add_argument("--fastest", type=float, metavar="SECONDS")
    arguments = parser.parse_args()
    with single_thread():
        print(f"{describe_device(torch.device('cpu'))}, {versions()}, {compiler()}, {arguments.threads} threads")
        for name in arguments.case:
            program = network(CASES[name])
            runtimes, missing = benchmark.contenders(program, threads=arguments.threads, kernels=arguments.kernels)
            print(*missing, sep="\n", end="\n" if missing else "")
            images = benchmark.noise(program, arguments.batch)
            if arguments.fastest:
                print_fastest(name, runtimes, images, arguments.fastest, arguments.peer)
                continue
            measurements = benchmark.measure(runtimes, images, rounds=arguments.rounds, peer=arguments.peer)
            for runtime, measured in measurements.items():
                low, middle, high = measured.ratios
                ratio = f"{middle:6.2f} x {arguments.peer} ({low:.2f}-{high:.2f})"
                size = measured.contender.model_bytes / 1e3
                print(f"{name:18} {runtime:22} {measured.seconds * 1e6:8.1f} us {ratio} {size:8.0f} kB")


if __name__ == "__main__":
    main()
