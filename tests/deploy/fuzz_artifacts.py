"""Mutated artifacts by the thousand: each is read or refused in a sentence, in bounded time and memory, without a warning;
and what is read becomes C that compiles without a warning, stays in its memory, and computes what numpy does.

    python tests/deploy/fuzz_artifacts.py --count 100000 --seed 1

ends with exit code 0, and one line of counts. A failure is printed with the seed and the number of the mutation, which make it
again: `--seed S --first N --count 1`.
"""

import argparse
import collections
import faulthandler
import math
import resource
import shutil
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from artifact_mutations import corpus, mutated
from compiled_programs import expected, run_all

from fourfold.deploy import artifact
from fourfold.deploy.artifact.bits import DamageError
from fourfold.deploy.artifact.container import seal
from fourfold.deploy.artifact.writing import write
from fourfold.deploy.backends.c.emit import generate
from fourfold.deploy.ir.program import Program
from fourfold.deploy.quantize import check_quantized
from fourfold.record import UserError

SECONDS = 20.0
"""Of processor time that one artifact may take, to be read and to become C; the clock's depends on what else runs."""

MEMORY = 2**31
"""Bytes that the process may take beyond what it has taken before the first artifact."""

LONGEST_SENTENCE = 1000

SMALL = 2**14
"""Numbers of a value, and a 2^8th of the multiply-adds, up to which a program is compiled and run."""

TOGETHER = 20
"""Programs that are compiled into one."""

MOST_FAILURES = 20

MACHINES = (("-march=native",), ("-DPORTABLE",), ())


class FailureError(Exception):
    """Something that an artifact must not do."""


def read(content: bytes) -> Program | None:
    """Return the program of an artifact, or None where it is refused in a sentence."""
    try:
        return artifact.parse(content)
    except (DamageError, UserError) as error:
        sentence = str(error)
    if not sentence or "\n" in sentence or len(sentence) > LONGEST_SENTENCE or not sentence.isprintable():
        raise FailureError(f"no sentence: {sentence!r:.200}")
    return None


def becomes_c(program: Program) -> bool:
    """Generate C, which may be refused in a sentence; return whether it is."""
    try:
        if program.ranges:
            check_quantized(program)
        source = generate(program, "network").source
    except UserError as error:
        if "\n" in str(error):
            raise FailureError(f"no sentence: {error}") from error
        return False
    if not all(letter.isprintable() for letter in set(source) - {"\n"}):
        raise FailureError("control characters in C")
    return True


def packs_again(program: Program) -> None:
    """Raise unless a program that was read is packed and read as the same, but for its arrays."""
    again = artifact.parse(seal(*write(program, "fp32", False)))
    if structure(again) != structure(program):
        raise FailureError("packed again, it is another")


def is_small(program: Program) -> bool:
    """Whether a program is compiled and run in a blink."""
    weights = sum(operation.product.weight.size for operation in program.operations if hasattr(operation, "product"))
    if len(program.operations) > 50 or weights > SMALL or max(math.prod(shape) for shape in program.shapes) > SMALL:
        return False
    works = (
        operation.work(program.shapes[operation.output], *(program.shapes[value] for value in operation.inputs))
        for operation in program.operations
    )
    if sum(works) > 2**8 * SMALL:
        return False
    try:
        return generate(program, "network").arena <= 2**8 * SMALL
    except UserError:
        return False


def structure(program: Program) -> str:
    """Return what tells programs apart, but for their numbers."""
    arrays = ("product", "scale", "shift")
    operations = [{k: v for k, v in vars(o).items() if k not in arrays} for o in program.operations]
    return f"{program.shapes} {operations} {program.ranges} {program.encoding}"


def compile_and_compare(programs: list[Program], machine: tuple[str, ...]) -> None:
    """Compile programs under sanitizers, without a warning, run them, and compare them with numpy."""
    programs = [replace(program, provenance={}) for program in programs]
    folder = Path(tempfile.mkdtemp())
    try:
        with np.errstate(all="ignore"):
            found, wanted = run_all(programs, folder, "gcc", ("-O1", *machine)), expected(programs)
            for outputs, (right, tolerance) in zip(found, wanted, strict=True):
                far = np.abs(outputs - right) > max(tolerance, 0)
                if (far & np.isfinite(right) & np.isfinite(outputs) & (np.abs(right) < 1e30)).any():
                    raise FailureError(f"C computes {outputs[far][:3]} for {right[far][:3]} (±{tolerance})")
    finally:
        shutil.rmtree(folder)


def fuzz(seed: int, first: int, count: int, compiled: int) -> tuple[dict[str, int], list[str]]:
    """Try mutations, and return what became of them, and what went wrong; `compiled` accepted ones at most are run as C."""
    contents = corpus()
    counts: dict[str, int] = collections.Counter()
    failures: list[str] = []
    seen: set[int] = set()
    waiting: list[tuple[int, Program]] = []
    memory_before = peak_memory()
    for number in range(first, first + count):
        if (number - first) % 200 == 0:
            faulthandler.dump_traceback_later(200 * SECONDS, exit=True)
        content = mutated(np.random.default_rng([seed, number]), contents)
        start, program = time.process_time(), None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                program = read(content)
                counts["refused" if program is None else "read"] += 1
                if program is not None and (key := hash(structure(program))) in seen:
                    program = None
                if program is not None:
                    seen.add(key)
                    counts["different"] += 1
                    counts["as C"] += becomes_c(program)
                    packs_again(program)
            if time.process_time() - start > SECONDS:
                raise FailureError(f"took {time.process_time() - start:.0f} s")
            if peak_memory() - memory_before > MEMORY:
                memory_before = peak_memory()
                raise FailureError("took too much memory")
        except Exception as error:
            failures.append(f"seed {seed}, number {number}: {type(error).__name__}: {error!s:.300}")
            program = None
        if program is not None and counts["compiled"] < compiled and is_small(program):
            waiting.append((number, program))
            if len(waiting) == TOGETHER:
                failures += compare(seed, waiting, MACHINES[counts["compiled"] // TOGETHER % len(MACHINES)])
                counts["compiled"] += TOGETHER
                waiting = []
        if len(failures) > MOST_FAILURES:
            break
    faulthandler.cancel_dump_traceback_later()
    return counts, failures


def compare(seed: int, waiting: list[tuple[int, Program]], machine: tuple[str, ...]) -> list[str]:
    """Compile and run programs together, and where that fails, one by one: return what went wrong."""
    try:
        compile_and_compare([program for _, program in waiting], machine)
    except (AssertionError, FailureError) as error:
        if len(waiting) == 1:
            said = str(error).partition("assert ")[0]
            return [f"seed {seed}, number {waiting[0][0]}, {' '.join(machine)}: {type(error).__name__}: {said:.600}"]
        return [failure for one in waiting for failure in compare(seed, [one], machine)]
    return []


def peak_memory() -> int:
    """Return the most bytes that this process has taken; `ru_maxrss` would know those of the process that started it, too."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--compiled", type=int, default=0, help="accepted artifacts that are compiled and run at most")
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    counts, failures = fuzz(given.seed, given.first, given.count, given.compiled)
    for failure in failures:
        print(failure)
    became = ", ".join(f"{value} {name}" for name, value in sorted(counts.items()))
    print(f"{given.count} mutations: {became}, {len(failures)} failures")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
