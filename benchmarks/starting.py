"""How long the smallest run takes, from the command to its page, in several checkouts in turn.

    python benchmarks/starting.py src /path/to/another/checkout/src --runs 10

Prints for each checkout the median and the quartiles of the time on the clock, and the median of processor time, of
`fourfold run digits --trials 1 --epochs 1 --max-level 0`.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = ["-m", "fourfold", "run", "digits", "--trials", "1", "--epochs", "1", "--max-level", "0", "--device", "cpu"]


def run(source: Path) -> tuple[float, float]:
    """Return the seconds on the clock and on processors of one run."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPATH": str(source.absolute())}
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(
            [sys.executable, *COMMAND, "--out", folder], cwd=folder, env=environment, check=True, capture_output=True
        )
        seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sources", nargs="+", type=Path, help="folders `src` of checkouts")
    parser.add_argument("--runs", type=int, default=10)
    arguments = parser.parse_args()
    for source in arguments.sources:
        run(source)  # so that its modules are compiled
    results: dict[Path, list[tuple[float, float]]] = {source: [] for source in arguments.sources}
    for _ in range(arguments.runs):
        for source in arguments.sources:
            results[source].append(run(source))
    for source, pairs in results.items():
        clock, processor = zip(*pairs, strict=True)
        low, middle, high = statistics.quantiles(clock, n=4) if len(clock) > 1 else (clock[0],) * 3
        used = statistics.median(processor)
        print(f"{source}: {middle:.2f} s ({low:.2f} to {high:.2f}), {used:.2f} s of processor, {len(pairs)} runs")


if __name__ == "__main__":
    main()
