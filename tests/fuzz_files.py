"""Mutated files of every parser by the million: each is read or refused in a sentence, in bounded time and memory.

    python tests/fuzz_files.py --count 40000 --seed 1 [--only rows]

tries so many of each parser, in one process, and ends with exit code 0 and a line for each. A failure is printed with the seed
and the number that make it again (`--only P --seed S --first N --count 1`), and `--keep FOLDER` puts its file there.

No parser may take more than its `most_bytes`: 64 MiB, and of pictures 512 MiB or, where they are cut to a size, 1 GiB.
"""

import argparse
import contextlib
import faulthandler
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from file_parsers import PARSERS, REFUSALS, Parser, mutated, prepare
from fourfold.data.own.image_files import quiet
from peak_memory import peak, start_anew

SECONDS = 10
"""Of the processor that one file may take."""

HANG_SECONDS = 120
"""Of the clock, on a machine that is busy with something else."""

LIMIT = 2**32
"""Bytes of addresses that the process may take beyond those that it has at its start."""

LONGEST_SENTENCE = 21_000
"""Characters of an error's sentence; the command line shows 500 of them."""

MOST_FAILURES = 20


class FailureError(Exception):
    """Something that a file must not do."""


class TimeError(BaseException):
    """A file takes too long."""


def try_one(parser: Parser, path: Path) -> bool:
    """Read a file; return whether it was read, and raise what is neither that nor a refusal in a sentence."""
    try:
        with deadline():
            parser.parse(path)
    except REFUSALS as error:
        sentence = str(error)
        if not sentence or "\n" in sentence or len(sentence) > LONGEST_SENTENCE or "\x1b" in sentence:
            raise FailureError(f"no sentence: {sentence!r:.200}") from error
        return False
    return True


def fuzz(name: str, parser: Parser, folder: Path, seed: int, numbers: range) -> tuple[Counter[str], list[str]]:
    """Try mutations; return what became of them, and what went wrong with which."""
    path, counts, failures = folder / parser.name, Counter[str](), list[str]()
    prepare(path)
    with quiet():
        before = start_anew()
        for number in numbers:
            path.write_bytes(mutated(parser, random.Random(f"{name} {seed} {number}")))
            try:
                counts["read" if try_one(parser, path) else "refused"] += 1
            except (Exception, TimeError) as error:
                failures.append(f"{name}, seed {seed}, number {number}: {type(error).__name__}: {error!s:.200}")
            if peak() - before > parser.most_bytes:
                failures.append(f"{name}, seed {seed}, number {number}: took {(peak() - before) >> 20} MiB")
                before = start_anew()
            if len(failures) >= MOST_FAILURES:
                break
    counts["MiB"] = (peak() - before) >> 20
    return counts, failures


@contextlib.contextmanager
def deadline() -> Iterator[None]:
    """Raise `TimeError` when it has taken too long."""

    def late(*_: object) -> None:
        raise TimeError("took too long")

    before = [(number, signal.signal(number, late)) for number in (signal.SIGALRM, signal.SIGPROF)]
    signal.setitimer(signal.ITIMER_REAL, HANG_SECONDS)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in before:
            signal.signal(number, handler)


def limit_memory() -> None:
    """Let the process take so many addresses more than it has now, so that no file takes the machine's memory."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + LIMIT, now + LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100, help="of each parser")
    parser.add_argument("--only", default=None)
    parser.add_argument("--keep", type=Path, default=None)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    faulthandler.enable()
    shared = Path("/dev/shm")
    scratch = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
    numbers, total, failed = range(given.first, given.first + given.count), 0, 0
    try:
        limit_memory()
        for name, one in PARSERS.items():
            if given.only not in (None, name):
                continue
            start = time.monotonic()
            counts, failures = fuzz(name, one, scratch / name.replace(" ", "-"), given.seed, numbers)
            for failure in failures:
                print(failure)
            total += counts["read"] + counts["refused"]
            failed += len(failures)
            rate = len(numbers) / (time.monotonic() - start)
            print(
                f"{name}: {counts['read']} read, {counts['refused']} refused, {len(failures)} failures, {rate:.0f} a second",
                flush=True,
            )
            if given.keep and failures:
                for failure in failures:
                    number = int(failure.split("number ")[1].split(":")[0])
                    target = given.keep / f"{name.replace(' ', '-')}-{given.seed}-{number}"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(mutated(one, random.Random(f"{name} {given.seed} {number}")))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{total} files, {failed} failures; at most {peak() >> 20} MiB in all")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
