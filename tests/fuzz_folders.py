"""Damaged run folders by the thousand: every command that reads one ends in sentences, in bounded time and memory.

    python tests/fuzz_folders.py --count 10000 --seed 1

damages a run with a file of every kind in one to five ways, and calls `status`, `check`, the readers of `report` and, for some,
`check --repair`, twice: it mends at once what it can mend. It ends with exit code 0 and a line of counts. A failure is printed
with the seed and the number that make it again (`--seed S --first N --count 1`). No command may take more than 64 MiB.
"""

import argparse
import contextlib
import io
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

from folder_damage import damage, make_run
from fourfold import cli
from fourfold.record import RunStore, UserError
from fourfold.report import read_runs
from fuzz_files import TimeError, deadline, limit_memory
from lottery_samples import tiny_spec
from peak_memory import peak, start_anew

MOST_BYTES = 2**26
LONGEST_ERRORS = 20_000
MOST_FAILURES = 20
ENDINGS = (0, 1, 2)
REPAIRED = 0.25
"""Of the folders; it trains, and takes as long as all other commands ten times."""


class FailureError(Exception):
    """Something that a command must not do."""


def call(*words: object) -> int:
    """Run a command in this process; return its exit code, and raise what is no sentence."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), deadline():
        try:
            cli.main([str(word) for word in words])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else -1
    said = err.getvalue()
    if code not in ENDINGS:
        raise FailureError(f"{words[0]} ended with {code}")
    told_beside = "--repair" in words  # what it has done
    if not all(told_beside or line.startswith("fourfold: ") for line in said.splitlines()) or len(said) > LONGEST_ERRORS:
        raise FailureError(f"{words[0]}: no sentence: {said!r:.300}")
    if "Traceback" in said or "\x1b" in out.getvalue() + said:
        raise FailureError(f"{words[0]} wrote an escape or a traceback: {said!r:.300}")
    return code


def try_one(run: Path, repairs: bool) -> str:
    """Call every command on a damaged run; return how `check` ended, and its repair."""
    call("status", run.parent)
    found = call("check", run.parent)
    with contextlib.suppress(UserError), deadline():
        read_runs([run.parent])
    if not repairs:
        return f"check {found}"
    repaired = call("check", "--repair", run.parent)
    again = call("check", "--repair", run.parent)
    if again != repaired or found == 0 != repaired:
        raise FailureError(f"check ended with {found}, its repair with {repaired}, and then with {again}")
    return f"check {found}, repaired {repaired}"


def fuzz(store: RunStore, scratch: Path, seed: int, numbers: range) -> tuple[Counter[str], list[str]]:
    """Try damaged folders; return how often commands ended how, and what went wrong with which."""
    counts, failures = Counter[str](), list[str]()
    before = start_anew()
    for number in numbers:
        draw = random.Random(f"{seed} {number}")
        run = Path(shutil.copytree(store.path, scratch / str(number) / store.path.name))
        told = [damage(run, draw) for _ in range(draw.choice([1, 1, 2, 5]))]
        try:
            counts[try_one(run, draw.random() < REPAIRED)] += 1
        except (Exception, TimeError) as error:
            failures.append(f"seed {seed}, number {number}: {told}: {type(error).__name__}: {error!s:.300}")
        if peak() - before > MOST_BYTES:
            failures.append(f"seed {seed}, number {number}: {told}: took {(peak() - before) >> 20} MiB")
            before = start_anew()
        shutil.rmtree(run.parent)
        if len(failures) >= MOST_FAILURES:
            break
    counts["MiB"] = (peak() - before) >> 20
    return counts, failures


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    shared = Path("/dev/shm")
    scratch = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
    try:
        spec = replace(tiny_spec(levels=3), preset="tiny")
        store = make_run(scratch / "whole", spec)
        assert call("check", store.path) == 0
        limit_memory()
        start = time.monotonic()
        counts, failures = fuzz(store, scratch, given.seed, range(given.first, given.first + given.count))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    for failure in failures:
        print(failure)
    ended = ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))
    print(f"{given.count} folders, {len(failures)} failures; {ended}; {time.monotonic() - start:.0f} s")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
