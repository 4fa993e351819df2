"""Power loss: the image of a file system, copied in the middle of a run and mounted again, has every row that was reported.

The writer is stopped while its image is copied, so that the copy is what the disk has then: what was synced, and of the rest
what the kernel happened to write. Sixty copies of each file system (minutes):

    FOURFOLD_SWEEP=60 pytest -s tests/execution/test_execution_power_loss.py
"""

import mmap
import os
import random
import shutil
import signal
import subprocess
import time
import traceback
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from fourfold.record import PruneSpec, RunStore
from fourfold.record.inspection import inspect
from lottery_samples import prepared, results, run_alone, serve, tiny_spec

SWEEP = int(os.environ.get("FOURFOLD_SWEEP", "3"))
LEVELS = 4
KEEP = (1, 2)
IMAGE_BYTES = 16 * 2**20
FILE_SYSTEMS = {"ext2": ["-t", "ext2"], "ext4 without a journal": ["-t", "ext4", "-O", "^has_journal"], "ext4": ["-t", "ext4"]}
SPEC = replace(
    tiny_spec("quaternion", levels=LEVELS, epochs=6, batch_size=240),
    prune=PruneSpec(fraction=0.5, rewind="step", rewind_to=9),
)


def system(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60, check=False)


def formatted(image: Path, kind: str) -> Path:
    with image.open("wb") as stream:
        stream.truncate(IMAGE_BYTES)
    made = system("mke2fs", "-q", "-F", "-b", 1024, *FILE_SYSTEMS[kind], image)
    assert made.returncode == 0, made.stderr
    return image


@contextmanager
def mounted(image: Path, folder: Path):
    folder.mkdir(exist_ok=True)
    done = system("mount", "-o", "loop", image, folder)
    assert done.returncode == 0, done.stderr
    try:
        yield folder
    finally:
        assert system("umount", folder).returncode == 0


@pytest.fixture(scope="module")
def _may_mount(tmp_path_factory):
    """Skip where no image can be mounted, and say why."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("mounting an image needs root")
    if missing := [name for name in ("mke2fs", "e2fsck", "mount", "umount") if shutil.which(name) is None]:
        pytest.skip(f"{', '.join(missing)} is not installed")
    folder = tmp_path_factory.mktemp("probe")
    image = formatted(folder / "image", "ext2")
    (folder / "mounted").mkdir()
    done = system("mount", "-o", "loop", image, folder / "mounted")
    if done.returncode:
        pytest.skip(f"an image cannot be mounted here: {done.stderr.strip().splitlines()[0]}")
    system("umount", folder / "mounted")


def start(out: Path) -> tuple[int, mmap.mmap]:
    """Run trial 0 in a process of its own; return it, and a byte of memory that counts the rows that it has reported."""
    shared = mmap.mmap(-1, 1)

    def note(kind, **content) -> None:
        if kind == "row":
            shared[0] = shared[0] + 1

    pid = os.fork()
    if pid == 0:
        try:
            serve(SPEC, out, send=note, keep=KEEP)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return pid, shared


def copies_of(image: Path, out: Path, draw: random.Random, seconds: float) -> list[tuple[Path, int]]:
    """Copy an image at random moments of a run on it; return the copies, each with the rows that were reported before."""
    pid, shared = start(out)
    copies: list[tuple[Path, int]] = []
    while not os.waitpid(pid, os.WNOHANG)[0]:
        time.sleep(draw.uniform(0, seconds / LEVELS))
        os.kill(pid, signal.SIGSTOP)
        copy = image.with_name(f"{image.name}-{len(copies)}")
        reported = shared[0]
        shutil.copyfile(image, copy)
        copies.append((copy, reported))
        os.kill(pid, signal.SIGCONT)
    return copies


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.usefixtures("_may_mount")
@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_what_was_reported_is_there_after_a_power_loss(kind, tmp_path):
    prepared(SPEC)
    start_seconds = time.monotonic()
    expected = results(run_alone(SPEC, tmp_path / "whole").rows(0))
    seconds, draw, moments = time.monotonic() - start_seconds, random.Random(kind), list[int]()
    while len(moments) < SWEEP or max(moments) < LEVELS - 1:
        image = formatted(tmp_path / "image", kind)
        with mounted(image, tmp_path / "mounted") as folder:
            copies = copies_of(image, folder / "deep" / "runs", draw, seconds)
        for copy, reported in copies:
            assert system("e2fsck", "-fy", copy).returncode in (0, 1)
            told: list[str] = []
            with mounted(copy, tmp_path / "copy") as folder:
                out = folder / "deep" / "runs"
                store = RunStore(out / SPEC.id)
                rows = store.rows(0)
                assert len(rows) >= reported, f"{reported} rows were reported, and {len(rows)} are there"
                if rows:
                    kept = [level for level in KEEP if level < len(rows)]
                    assert store.kept_levels(0)[: len(kept)] == kept
                assert not rows or [finding for finding in inspect(store) if finding.wrong] == []
                serve(SPEC, out, send=lambda kind, **about: told.append(f"{kind} {about}"), keep=KEEP)  # noqa: B023
                assert results(store.rows(0)) == expected
            assert not any("trained again" in event for event in told), told
            moments.append(reported)
            copy.unlink()
        image.unlink()
    print(f"\n{kind}: {len(moments)} copies after {moments} rows, none of them lost, and all resumed with equal rows")
