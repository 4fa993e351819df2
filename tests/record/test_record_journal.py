"""A file of rows is read as it was written, as its beginning, or not at all: whatever became of a bit, a byte or a line.

A longer sweep of single bits (all of them, half a minute a thousand bytes):

    FOURFOLD_SWEEP=100000 pytest tests/record/test_record_journal.py
"""

import itertools
import os
import random

import pytest
from record_samples import make_row, make_spec

from fourfold.record import Connectivity, ConnectivityRow, Promised, RunStore, UserError
from fourfold.record.journal import BadLineError, read_entries, sealed, sealed_lines
from fourfold.record.rows import Row

SWEEP = int(os.environ.get("FOURFOLD_SWEEP", "300"))

ROWS = [
    make_row(level=level, mask=f"{level}" * 64, promised=Promised(mask=f"{level + 1}" * 64), data="d" * 64)
    for level in range(4)
]
LINE = Connectivity(step=0, positions=(0.0, 1.0), errors=(10.0, 11.0), losses=(0.1, 0.2))


@pytest.fixture
def store(tmp_path):
    return RunStore.create(tmp_path, make_spec())


@pytest.fixture
def file(store):
    for row in ROWS:
        store.append(row)
    return store.path / "rows-0.jsonl"


def rows_or_none(store) -> list[Row] | None:
    """The rows, or None where they are refused, in one sentence with a place and what to do."""
    try:
        return store.rows(0)
    except BadLineError as error:
        refused = error
    assert str(refused).startswith(f"{refused.file}:{refused.number}")
    assert str(refused).endswith("; remove that line and those after it, and run the same command again")
    assert "\n" not in str(refused)
    return None


def test_what_is_read_is_what_was_written(store, file):
    assert store.rows(0) == ROWS
    assert all(line.count(b'"previous":') == line.count(b'"sha256":') == 1 for line in file.read_bytes().splitlines())


def test_a_flipped_bit_never_gives_another_row(store, file):
    content = file.read_bytes()
    draw = random.Random(0)
    ends = [place for place, byte in enumerate(content) if byte == ord("\n")]
    bits = range(8 * len(content)) if 8 * len(content) < SWEEP else draw.sample(range(8 * len(content)), SWEEP)
    for bit in [*bits, *(8 * end + low for end in ends for low in range(8))]:
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        rows = rows_or_none(store)
        torn = bit // 8 == len(content) - 1  # the last row, without its end
        assert rows == (ROWS[:-1] if torn else None), f"bit {bit}"


def test_a_flipped_bit_in_the_only_row_never_gives_another_row(store):
    store.append(ROWS[0])
    file = store.path / "rows-0.jsonl"
    content = file.read_bytes()
    tail = 8 * (len(content) - 170)  # its digests
    for bit in range(tail, 8 * len(content) - 8, 11):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        assert rows_or_none(store) is None, f"bit {bit}"


def test_a_file_cut_anywhere_is_its_beginning(store, file):
    content = file.read_bytes()
    for length in range(0, len(content), 1 if len(content) < SWEEP else 37):
        file.write_bytes(content[:length])
        assert store.rows(0) == ROWS[: content[:length].count(b"\n")]


def test_lines_in_any_other_order_or_number_are_refused(store, file):
    lines = file.read_bytes().splitlines(keepends=True)
    for length in range(5):
        for chosen in itertools.product(range(4), repeat=length) if length < 4 else itertools.permutations(range(4)):
            file.write_bytes(b"".join(lines[number] for number in chosen))
            expected = ROWS[:length] if chosen == tuple(range(length)) else None
            assert rows_or_none(store) == expected, chosen


def test_lines_of_controls_are_chained_in_the_order_in_which_they_were_run(store):
    levels = (2, 0, 1)
    for level in levels:
        store.append(make_row(level=level, control="inverted"))
    assert [row.level for row in store.control_rows(0, "inverted")] == [0, 1, 2]
    file = store.path / "rows-0-inverted.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    for chosen in itertools.permutations(range(3)):
        file.write_bytes(b"".join(lines[number] for number in chosen))
        if chosen == (0, 1, 2):
            assert len(store.control_rows(0, "inverted")) == 3
        else:
            with pytest.raises(BadLineError, match="lines are missing, doubled or in another order"):
                store.control_rows(0, "inverted")


def test_rows_without_digests_are_read_and_continued(store):
    file = store.path / "rows-0.jsonl"
    old = "".join(row.to_line() + "\n" for row in ROWS[:2])
    file.write_text(old)
    assert store.rows(0) == ROWS[:2]
    for row in ROWS[2:]:
        store.append(row)
    assert store.rows(0) == ROWS
    assert file.read_text().startswith(old)
    lines = file.read_text().splitlines(keepends=True)
    for changed in ([lines[0], *lines[2:]], [lines[0], lines[1].replace("81.25", "81.26"), *lines[2:]]):
        file.write_text("".join(changed))
        assert rows_or_none(store) is None
    file.write_text("".join([*lines[:3], ROWS[3].to_line() + "\n"]))  # a line without digests after one that has them
    assert rows_or_none(store) is None


def test_a_row_of_another_mask_than_the_one_before_promised_is_refused(store):
    lines = sealed_lines([ROWS[0].to_line(), make_row(level=1, mask="f" * 64).to_line()])
    (store.path / "rows-0.jsonl").write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(
        BadLineError, match=r":2: expected the row of the mask 11111111 that the row before promised, found that of"
    ):
        store.rows(0)


def test_a_row_that_is_there_or_is_not_the_next_one_is_not_written(store, file):
    before = file.read_bytes()
    with pytest.raises(UserError, match=r"rows-0\.jsonl: expected no row of level 2 yet, found one: another process"):
        store.append(ROWS[2])
    with pytest.raises(UserError, match=r"rows-0\.jsonl: expected the row of level 4 to follow, found that of level 6"):
        store.append(make_row(level=6))
    store.append(make_row(level=3, control="inverted"))
    with pytest.raises(UserError, match=r"expected no row of level 3 yet"):
        store.append(make_row(level=3, control="inverted"))
    assert file.read_bytes() == before


def test_measurements_are_chained_and_there_once(store):
    made = [
        ConnectivityRow(
            run=make_spec().id,
            trial=0,
            level=level,
            fraction_of_real=0.1,
            mask="0" * 64,
            connectivity=LINE,
            provenance=ROWS[0].provenance,
        )
        for level in (1, 0)
    ]
    for row in made:
        store.append_connectivity(row)
    assert store.connectivity(0) == made[::-1]
    with pytest.raises(UserError, match="expected no row of level 1 yet"):
        store.append_connectivity(made[0])
    file = store.path / "connectivity-0.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    for changed in (lines[::-1], lines[1:], lines + lines[1:], [lines[0].replace("0.1", "0.2", 1), lines[1]]):
        file.write_text("".join(changed))
        with pytest.raises(BadLineError):
            store.connectivity(0)


def test_the_digests_are_those_of_any_sha256(store, file):
    import hashlib

    first, second, *_ = file.read_text().splitlines()
    begin, _, own = second.rpartition(',"sha256":"')
    assert own == hashlib.sha256(begin.encode()).hexdigest() + '"}'
    assert f',"previous":"{hashlib.sha256(first.encode()).hexdigest()}"' in begin
    assert first == sealed(ROWS[0].to_line(), None)
    assert read_entries(file, file.read_bytes(), Row) == ROWS
