"""Conv-4 in C for 128 and 256 bits, beside the dense real network in oneDNN and MKL, held to the same instructions.

    python benchmarks/instruction_sets.py [--rounds 9]

One image, one thread. Each width is measured in a process of its own: `ONEDNN_MAX_CPU_ISA`, `MKL_ENABLE_INSTRUCTIONS` and
`ATEN_CPU_CAPABILITY` hold torch to it, `-march` the C. The dense network runs in eager mode and with weights that oneDNN has
packed (`torch.utils.mkldnn`); the faster of the two is what ours is compared with, round by round. Prints median times, and
the dense network's over ours with quartiles.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from deploy import CASES, network  # the script beside this one
from fourfold import deploy, models
from fourfold.deploy import quantize
from fourfold.deploy.bench import benchmark
from fourfold.native import compiler, compiling
from fourfold.train import describe_device, single_thread, versions


@dataclass(frozen=True, kw_only=True)
class Width:
    march: str
    environment: dict[str, str]


WIDTHS = {
    "128": Width(
        march="x86-64-v2",
        environment={"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ATEN_CPU_CAPABILITY": "default"},
    ),
    "256": Width(
        march="x86-64-v3",
        environment={"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    ),
}
"""By bits of a vector."""

NETWORKS = ("real", "components", "whole")

SECONDS = 0.1
"""A network is run for about so long at a time."""


def dense() -> dict[str, Callable[[], object]]:
    from torch.utils import mkldnn  # here alone, for it warns of what torch will drop

    torch.manual_seed(0)
    model = models.build("conv-4", num_classes=10).eval()
    packed, image = mkldnn.to_mkldnn(model), torch.randn(1, *models.input_shape("conv-4"))
    return {"dense, eager": lambda: model(image), "dense, packed": lambda: packed(image.to_mkldnn()).to_dense()}


def ours() -> dict[str, Callable[[], object]]:
    found: dict[str, Callable[[], object]] = {}
    for name in NETWORKS:
        program = network(CASES[name])
        noise = benchmark.noise(program, 64)
        for values, made in (("float32", program), ("int8", quantize.calibrate(program, noise))):
            loaded = deploy.load(made)
            assert not loaded.notice, loaded.notice
            found[f"{name}, {values}"] = lambda loaded=loaded, image=noise[:1]: loaded(image)  # type: ignore[misc]
    return found


def measure(rounds: int) -> None:
    with single_thread(), torch.inference_mode():
        runs = dense() | ours()
        repeats = {name: max(1, round(SECONDS / seconds(run, 3))) for name, run in runs.items()}
        times = [{name: seconds(run, repeats[name]) for name, run in runs.items()} for _ in range(rounds)]
    peers = [min(taken["dense, eager"], taken["dense, packed"]) for taken in times]
    for name in runs:
        ratios = [peer / taken[name] for peer, taken in zip(peers, times, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        microseconds = 1e6 * statistics.median(taken[name] for taken in times)
        print(f"  {name:20} {microseconds:9.1f} us {middle:6.2f} x ({low:.2f}-{high:.2f})")


def seconds(run: Callable[[], object], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - start) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--width", choices=WIDTHS, help="measure in this process, whose environment says the same")
    arguments = parser.parse_args()
    if arguments.width:
        compiling.FLAGS = tuple(flag.replace("native", WIDTHS[arguments.width].march) for flag in compiling.FLAGS)
        measure(arguments.rounds)
        return
    with single_thread():
        print(f"{describe_device(torch.device('cpu'))}, {versions()}, {compiler()}")
    for bits, width in WIDTHS.items():
        print(f"{bits} bits, {width.march}", flush=True)
        command = [sys.executable, __file__, "--rounds", str(arguments.rounds), "--width", bits]
        subprocess.run(command, env=os.environ | width.environment, check=True)


if __name__ == "__main__":
    main()
