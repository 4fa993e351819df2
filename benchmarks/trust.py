"""What it costs that runs can be trusted: whole trials by two versions of the package in turn, and the time in syncs.

    python benchmarks/trust.py --before FOLDER/src [--rounds 15] [--preset digits lenet-12-mnist]

`FOLDER` is a checkout of the version to compare with, such as one of 4fe1931, before rows were chained, masks verified and
folders synced. Each version runs in a process of its own, and both wait while the other one is at work. MNIST is trained for
one epoch a level.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

LEVELS = 4

CHILD = """
import json, os, stat, sys, tempfile, time
from dataclasses import replace
from pathlib import Path
import torch
from fourfold import lottery, presets
from fourfold.record import RunStore, StopSpec
from fourfold.train import describe_device, single_thread, versions

syncs, fsync = [], os.fsync

def timed(descriptor):
    start = time.perf_counter()
    fsync(descriptor)
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        syncs.append(time.perf_counter() - start)

os.fsync = timed
spec = presets.get(sys.argv[1], algebra="quaternion")
if "mnist" in sys.argv[1]:
    spec = replace(spec, train=replace(spec.train, epochs=1))
spec = replace(spec, preset="trust", stop=StopSpec(accuracy=0, max_level=int(sys.argv[2]) - 1))
cpu = torch.device("cpu")
experiment = lottery.Experiment.prepare(spec, None, cpu)
print(json.dumps([versions(), describe_device(cpu)]), flush=True)
for line in sys.stdin:
    syncs.clear()
    with tempfile.TemporaryDirectory(dir=".") as out, single_thread():
        store = RunStore.create(Path(out), spec)
        start = time.perf_counter()
        lottery.run_trial(experiment, store, 0)
        seconds = time.perf_counter() - start
        print(json.dumps([seconds, len(syncs), sum(syncs), [row.mask for row in store.rows(0)]]), flush=True)
"""


class Version:
    """A version of the package, in a process that runs a trial when it is asked to."""

    def __init__(self, source: Path, preset: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD, preset, str(LEVELS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(source.absolute()), "OMP_NUM_THREADS": "1"},
        )
        self.about = self._answer()

    def run(self) -> list:
        """Run a trial; return its seconds, its syncs of folders and their seconds, and the SHA-256 of its masks."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _answer(self) -> list:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def compare(preset: str, before: Path, after: Path, rounds: int) -> None:
    """Print what a preset costs in two versions."""
    old, new = Version(before, preset), Version(after, preset)
    print(f"{preset}: {LEVELS} levels, {rounds} rounds in turn; {new.about}")
    for version in (old, new):
        version.run()  # compiles, and fills caches
    pairs = [(old.run(), new.run()) if turn % 2 else (new.run(), old.run())[::-1] for turn in range(rounds)]
    same = all(first[3] == second[3] for first, second in pairs)
    ratios = sorted(second[0] / first[0] for first, second in pairs)
    low, middle, high = statistics.quantiles(ratios, n=4)
    seconds = [statistics.median(pair[side][0] for pair in pairs) for side in (0, 1)]
    syncs = statistics.median(second[1] for _, second in pairs)
    per_level = statistics.median(second[2] for _, second in pairs) / LEVELS
    print(f"  {seconds[0]:.3f} s before, {seconds[1]:.3f} s after: {middle:.3f} times (quartiles {low:.3f} to {high:.3f})")
    print(f"  {syncs:g} syncs of folders, {1000 * per_level:.2f} ms a level: {100 * per_level:.2f} % of a level of a second")
    print(f"  masks {'equal' if same else 'DIFFERENT'}")
    for version in (old, new):
        version.close()


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--after", type=Path, default=Path(__file__).parent.parent / "src")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--preset", nargs="+", default=["digits", "lenet-12-mnist"])
    given = parser.parse_args()
    for preset in given.preset:
        compare(preset, given.before, given.after, given.rounds)


if __name__ == "__main__":
    main()
