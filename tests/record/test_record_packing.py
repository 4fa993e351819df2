"""Packed files of lines hold the same lines: they are read, checked, mended and added to as the plain ones are."""

import lzma
import shutil

import pytest
from record_samples import make_row, make_spec

from fourfold.execution._repair import repair
from fourfold.execution.ray import parcels
from fourfold.record import OverlapRow, RunStore, UserError
from fourfold.record.folders import runs_named
from fourfold.record.inspection import inspect
from fourfold.record.packed_runs import pack_run, unpack_run
from fourfold.record.packing import compressed, decompressed, packed_form

RUN = make_spec().id
OVERLAP = OverlapRow(run=RUN, level=1, trials=(0, 1), fraction_of_real=0.5, both=3, either=5, expected=2.0, deviation=1.0)


@pytest.fixture
def store(tmp_path):
    """Two trials, controls whose levels were run out of order, and overlaps."""
    store = RunStore.create(tmp_path, make_spec())
    for trial in (0, 1):
        for level in range(4):
            store.append(make_row(trial=trial, level=level))
    for level in (2, 0):
        store.append(make_row(level=level, control="inverted"))
    store.save_overlaps([OVERLAP])
    return store


def files_of(store):
    return {file.name: file.read_bytes() for file in store.path.iterdir() if "jsonl" in file.name}


def read(store):
    rows = {trial: store.rows(trial) for trial in store.trials()}
    controls = {of: store.control_rows(*of) for of in store.controls()}
    return rows, controls, store.overlaps(), runs_named(store.path)


def test_a_packed_run_is_read_checked_and_unpacked_as_it_was(store):
    before, content = files_of(store), read(store)
    sizes = pack_run(store)
    packed = files_of(store)
    assert set(packed) == {f"{name}.xz" for name in before}
    assert [size for size, _ in sizes] == [len(before[name]) for name in sorted(before)]
    assert read(RunStore(store.path)) == content
    assert not any(finding.wrong or finding.mendable for finding in inspect(store))
    assert pack_run(store) == []
    unpack_run(store)
    assert files_of(store) == before
    pack_run(store)
    assert files_of(store) == packed


def test_a_trial_that_goes_on_is_unpacked_and_its_chain_continues(store, tmp_path):
    plain = RunStore(shutil.copytree(store.path, tmp_path / "plain" / RUN))
    pack_run(store)
    for one in (store, plain):
        one.append(make_row(level=4))
        one.append(make_row(level=1, control="inverted"))
        one.append(make_row(trial=1, level=1, control="random-init"))
        one.save_overlaps([OVERLAP, OVERLAP])
    there = files_of(store)
    assert {name for name in there if name.endswith(".xz")} == {"rows-1.jsonl.xz"}
    unpack_run(store)
    assert files_of(store) == files_of(plain)
    with pytest.raises(UserError, match="found one: another process"):
        store.append(make_row(level=4))


def test_a_crash_between_packing_and_removing_loses_nothing(store):
    plain, content = files_of(store), read(store)
    pack_run(store)
    for name in ("rows-0.jsonl", "overlaps.jsonl"):
        (store.path / name).write_bytes(plain[name])
    assert read(store) == content
    assert not any(finding.wrong for finding in inspect(store))
    store.append(make_row(level=4))
    assert not packed_form(store.path / "rows-0.jsonl").exists()
    pack_run(store)
    assert len(store.rows(0)) == 5


def test_of_two_forms_that_differ_the_plain_one_counts_and_the_other_is_moved_aside(store):
    lines = (store.path / "rows-1.jsonl").read_bytes()
    pack_run(store)
    unpack_run(store)
    (store.path / "rows-0.jsonl.xz").write_bytes(compressed(lines))
    wrong = [finding for finding in inspect(store) if finding.wrong]
    assert [finding.file for finding in wrong] == ["rows-0.jsonl.xz"]
    assert [row.trial for row in store.rows(0)] == [0] * 4
    repair(store, wrong, lambda: pytest.fail("nothing is trained"))
    assert (store.path / "damaged" / "rows-0.jsonl.xz").exists()


@pytest.mark.parametrize("place", range(0, 200, 3))
def test_no_altered_or_shortened_packed_file_is_read_as_another(store, place):
    pack_run(store)
    file = store.path / "rows-0.jsonl.xz"
    content, rows = file.read_bytes(), RunStore(store.path).rows(0)
    where = place * len(content) // 200
    for changed in (content[:where], content[:where] + bytes([content[where] ^ 4]) + content[where + 1 :], content + b"\0"):
        file.write_bytes(changed)
        try:
            assert store.rows(0) == rows
        except UserError as error:
            assert str(file) in str(error)  # noqa: PT017
            (wrong,) = (finding for finding in inspect(store) if finding.wrong)
            assert wrong.file == file.name


def test_a_bad_line_in_a_packed_file_is_cut_off_with_those_after_it(store):
    lines = (store.path / "rows-0.jsonl").read_bytes().split(b"\n")
    pack_run(store)
    (store.path / "rows-0.jsonl.xz").write_bytes(
        compressed(b"\n".join([*lines[:2], lines[2].replace(b"81.25", b"91.25"), *lines[3:]]))
    )
    with pytest.raises(UserError, match=r"rows-0\.jsonl\.xz:3: expected .*altered; `fourfold check --repair` keeps"):
        store.rows(0)
    wrong = [finding for finding in inspect(store) if finding.wrong]
    repair(store, wrong, lambda: pytest.fail("nothing is trained"))
    assert (store.path / "rows-0.jsonl").read_bytes() == b"\n".join(lines[:2]) + b"\n"
    assert not (store.path / "rows-0.jsonl.xz").exists()
    assert (store.path / "damaged" / "rows-0.jsonl.xz").exists()
    assert not any(finding.wrong for finding in inspect(store))


@pytest.mark.parametrize("end", [b'{"run":', b"rubbish\n"])
def test_a_run_with_a_torn_or_damaged_line_is_not_packed(store, end):
    with (store.path / "rows-1.jsonl").open("ab") as file:
        file.write(end)
    before = files_of(store)
    with pytest.raises(UserError, match=r"rows-1\.jsonl: expected whole lines, found .*check --repair"):
        pack_run(store)
    assert files_of(store) == before


def test_a_file_that_would_fill_the_memory_is_refused():
    bomb = lzma.compress(b"\0" * 10_000_000, preset=6)
    assert len(bomb) < 10_000
    with pytest.raises(OSError, match="more than the 1000 bytes"):
        decompressed(bomb, 1000)
    with pytest.raises(OSError, match="whole packed file"):
        decompressed(lzma.compress(b"x", format=lzma.FORMAT_ALONE), 1000)


def test_a_machine_that_continues_a_trial_gets_plain_rows(store):
    plain = files_of(store)
    expected = parcels.pack(store, 0, every_mask=False)
    pack_run(store)
    assert parcels.pack(store, 0, every_mask=False) == expected
    assert expected["rows-0.jsonl"] == plain["rows-0.jsonl"]


def test_files_of_almost_the_names_are_not_ours(store):
    for name in ("rows-00.jsonl.xz", "rows-0.jsonl.gz", "rows-7.jsonl.xz.xz", "rows-x.jsonl.xz"):
        (store.path / name).write_bytes(b"")
    assert store.trials() == [0, 1]
    foreign = {finding.file for finding in inspect(store) if finding.state == "foreign"}
    assert foreign == {"rows-00.jsonl.xz", "rows-0.jsonl.gz", "rows-7.jsonl.xz.xz", "rows-x.jsonl.xz"}
