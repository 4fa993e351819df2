"""A run whose process dies at any operation on a file, or whose disk fails there, ends with the rows of an undisturbed one.

Sixty operations of every kind of run (ten minutes), or all of them (hours):

    FOURFOLD_SWEEP=60 pytest tests/execution/test_execution_faulty_disk.py
"""

import os
import random

import pytest

from faulty_disk import ERRORS, DeathError, FaultyDisk
from fourfold.record import RunStore, UserError
from fourfold.record.inspection import inspect
from recovery_samples import SPECS, all_results, run

SWEEP = int(os.environ.get("FOURFOLD_SWEEP", "4"))
KINDS = SPECS if SWEEP > 4 else ["step"]
KEEP = [1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """For each kind of run, what comes of it, and how many operations it takes."""
    made = {}

    def get(name: str):
        if name not in made:
            out, notices = tmp_path_factory.mktemp("whole"), []
            with FaultyDisk(out).working() as disk:
                store = run(name, out, keep=KEEP, told=notices)
            assert notices == []
            made[name] = all_results(store), disk.count
        return made[name]

    return get


def some_of(count: int) -> list[int]:
    return sorted(random.Random(count).sample(range(count), min(SWEEP, count)))


def check_ends_well(name, out, expected, told):
    """What a row promises was on disk before it, so that nothing is trained again."""
    store, notices = RunStore(out / SPECS[name].id), []
    run(name, out, keep=KEEP, told=notices)
    assert notices == [], told
    assert all_results(store) == expected, told
    store.sweep()
    assert [finding for finding in inspect(store) if finding.wrong] == [], told


@pytest.mark.parametrize("name", KINDS)
def test_a_process_that_dies_at_any_operation(name, whole, tmp_path):
    expected, count = whole(name)
    assert count > 100
    for at in some_of(count):
        out = tmp_path / str(at)
        with FaultyDisk(out, at).working(), pytest.raises(DeathError) as death:
            run(name, out, keep=KEEP)
        check_ends_well(name, out, expected, str(death.value))


@pytest.mark.parametrize("name", KINDS)
def test_a_disk_that_fails_at_any_operation(name, whole, tmp_path):
    expected, count = whole(name)
    for number, at in enumerate(some_of(count)):
        for error in ERRORS if count <= SWEEP else [ERRORS[number % len(ERRORS)]]:
            out, told = tmp_path / f"{at}-{error}", f"operation {at}, {os.strerror(error)}"
            with FaultyDisk(out, at, error).working():
                try:
                    run(name, out, keep=KEEP)
                except (OSError, UserError) as failure:
                    told += f": {failure}"
            check_ends_well(name, out, expected, told)


def test_a_process_that_dies_again_and_again(whole, tmp_path):
    expected, count = whole("step")
    draw, deaths = random.Random(7), 0
    while deaths < SWEEP:
        with FaultyDisk(tmp_path, draw.randrange(count // 3)).working():
            try:
                run("step", tmp_path, keep=KEEP)
                break
            except DeathError:
                deaths += 1
    check_ends_well("step", tmp_path, expected, f"{deaths} deaths")
