"""How fast packed images are read when they do not fit into memory, against the disk's own rate, in one run.

    python benchmarks/shards.py FOLDER [--gigabytes 15.74] [--read 5] [--batch-size 256] [--rounds 3] [--keep]

Writes a file of random images as `fourfold data pack imagenet64` would (15.74 GB is all of it), and reads a part in order,
and as many images drawn from all of it, through `fourfold.data.streamed`; each in a process of its own whose peak memory is
told. Before each reading the file is put out of the system's cache. In the same round the disk is read past the cache, in order
(`dd` with direct I/O) and image by image (16 threads). The file is deleted afterwards unless `--keep` is given.
"""

import argparse
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from mmap import mmap
from pathlib import Path

import numpy as np
import torch

from fourfold.data.streamed import Prefetch, Rows

SHAPE = (3, 64, 64)
BYTES = 3 * 64 * 64
BLOCK = 4096
"""Images written at a time."""
THREADS = 16


def write(path: Path, count: int) -> None:
    block = np.random.default_rng(0).integers(0, 256, (BLOCK, BYTES), dtype=np.uint8)
    with path.open("wb") as stream:
        for start in range(0, count, BLOCK):
            part = block[: count - start]
            part[:, 0] += 1  # no two blocks are the same
            stream.write(part.data)
        stream.flush()
        os.fsync(stream.fileno())


def forget(path: Path) -> None:
    """Put a file out of the system's cache."""
    with path.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def members(count: int, number: int, shuffled: bool) -> np.ndarray:
    return np.random.default_rng(1).permutation(count)[:number] if shuffled else np.arange(number)


def disk_in_order(path: Path, number: int) -> float:
    """The disk's own rate in GB/s, in order, 16 MB at a time."""
    command = ["dd", f"if={path}", "of=/dev/null", "bs=16M", f"count={number * BYTES // 2**24}", "iflag=direct"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    read, seconds = re.search(r"(\d+) bytes.*, ([\d.]+) s", done.stderr).groups()
    return int(read) / float(seconds) / 1e9


def disk_by_image(path: Path, count: int, number: int) -> float:
    """The disk's own rate in GB/s, an image at a time, from all over the file."""
    file = os.open(path, os.O_RDONLY | os.O_DIRECT)

    def read(part: np.ndarray) -> None:
        target = mmap(-1, BYTES)
        for image in part.tolist():
            os.preadv(file, [target], image * BYTES)

    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(read, np.array_split(members(count, number, shuffled=True), THREADS)))
    os.close(file)
    return number * BYTES / (time.perf_counter() - start) / 1e9


def ours(path: Path, count: int, number: int, batch_size: int, shuffled: bool) -> None:
    """Read images and print the rate, the peak memory, and what the process had before."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows, seen = Rows(path, (count, *SHAPE)), 0
    chosen = members(count, number, shuffled)
    from_disk, start = bytes_from_disk(), time.perf_counter()
    for _, batch in Prefetch(rows, chosen, batch_size, torch.device("cpu")).batches():
        seen += len(batch)
    seconds = time.perf_counter() - start
    assert seen == number
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    part = (bytes_from_disk() - from_disk) / (number * BYTES)
    print(json.dumps({"rate": number * BYTES / seconds / 1e9, "peak": peak / 1e6, "before": before / 1e6, "part": part}))


def bytes_from_disk() -> int:
    """What this process has made the disk read: none of it was in the system's cache."""
    return int(re.search(r"read_bytes: (\d+)", Path("/proc/self/io").read_text()).group(1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gigabytes", type=float, default=15.74, help="size of the file")
    parser.add_argument("--read", type=float, default=5, help="gigabytes that each reading takes")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="leave the file there, and use one that is there")
    parser.add_argument("--kind", choices=("sequential", "shuffled"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    path, count = given.folder / "synthetic.images", round(given.gigabytes * 1e9 / BYTES)
    number = min(count, round(given.read * 1e9 / BYTES))
    if given.kind:
        ours(path, count, number, given.batch_size, given.kind == "shuffled")
        return
    if not (path.exists() and path.stat().st_size == count * BYTES):
        write(path, count)
    try:
        print(f"{count:,} images, {count * BYTES / 1e9:.1f} GB; {number:,} read, batches of {given.batch_size}")
        print(f"torch {torch.__version__}, {platform.platform()}, load {os.getloadavg()[0]:.1f}", flush=True)
        ratios: dict[str, list[float]] = {"sequential": [], "shuffled": []}
        for _ in range(given.rounds):
            for kind in ratios:
                forget(path)
                disk = disk_in_order(path, number) if kind == "sequential" else disk_by_image(path, count, number)
                forget(path)
                command = [sys.executable, __file__, *sys.argv[1:], "--kind", kind]
                found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
                ratios[kind].append(found["rate"] / disk)
                print(
                    f"{kind:10} {found['rate']:.2f} GB/s, the disk alone {disk:.2f}: {found['rate'] / disk:.2f}; "
                    f"peak memory {found['peak']:.3f} GB, {found['before']:.3f} before; {100 * found['part']:.0f} % from disk",
                    flush=True,
                )
        for kind, found in ratios.items():
            print(f"{kind}: {statistics.median(found):.2f} of the disk's rate ({min(found):.2f} to {max(found):.2f})")
    finally:
        if not given.keep:
            path.unlink()


if __name__ == "__main__":
    main()
