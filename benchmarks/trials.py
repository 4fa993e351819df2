"""Two trials side by side on two cores against one after the other: how much throughput the second core adds.

    python benchmarks/trials.py [PRESET] [--epochs 5] [--rounds 5] [--data-dir DIR]

A round trains level 0 of two trials with one worker, then with two; the ratio compares the seconds in the rows, so
process start and data loading do not count.
"""

import argparse
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

import fourfold
from fourfold import presets
from fourfold.train import describe_device, single_thread, versions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("preset", nargs="?", default="lenet-300-100-mnist")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    spec = presets.get(arguments.preset)
    spec = replace(spec, train=replace(spec.train, epochs=arguments.epochs), stop=replace(spec.stop, max_level=0))
    with single_thread():
        print(f"{arguments.preset}, {arguments.epochs} epochs: {describe_device(torch.device('cpu'))}, {versions()}")
    ratios = []
    for _ in range(arguments.rounds):
        taken = {}
        for workers in (1, 2):
            with tempfile.TemporaryDirectory() as out:
                rows = fourfold.run(spec, trials=2, out=out, workers=workers, data_dir=arguments.data_dir)
            taken[workers] = statistics.mean(row.provenance.seconds for row in rows)
        ratios.append(2 * taken[1] / taken[2])
        print(f"  alone {taken[1]:.2f} s, side by side {taken[2]:.2f} s: throughput × {ratios[-1]:.2f}")
    print(f"median throughput of two trials side by side: {statistics.median(ratios):.2f} × one at a time")


if __name__ == "__main__":
    main()
