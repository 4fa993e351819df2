"""What a disk does to a run: rows are synced before `append` returns, and a full disk loses nothing that was written."""

import errno
import os
import resource
import signal
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from record_samples import make_row, make_spec

from fourfold import deploy
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.ops import Relu
from fourfold.record import Row, RunStore, UserError
from fourfold.record.checkpoints import Training
from fourfold.record.files import make_folder, write_atomically
from fourfold.record.folders import move_aside
from fourfold.record.journal import sealed
from fourfold.record.packed_runs import pack_run


@pytest.fixture
def store(tmp_path):
    return RunStore.create(tmp_path, make_spec())


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextmanager
def largest_file(size):
    """Let no file of this process grow beyond `size` bytes: writes are cut off there, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_row_is_synced_whole_before_append_returns(store, monkeypatch):
    file, synced = store.path / "rows-0.jsonl", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((os.fstat(descriptor).st_ino, file.read_bytes())))
    store.append(make_row())
    line = file.read_bytes()
    assert Row.from_line(line.decode().rstrip("\n")) == make_row()
    assert synced == [(file.stat().st_ino, line), (store.path.stat().st_ino, line)]  # its name too, as it is new
    store.append(make_row(level=1))
    assert [inode for inode, _ in synced[2:]] == [file.stat().st_ino]


def test_the_name_of_every_folder_that_is_made_is_synced(tmp_path, monkeypatch):
    unsynced, mkdir, fsync = set(), os.mkdir, os.fsync

    def made(path, *given, **named):
        mkdir(path, *given, **named)
        unsynced.add(os.stat(os.path.dirname(path)).st_ino)  # noqa: PTH116, PTH120

    def synced(descriptor):
        fsync(descriptor)
        unsynced.discard(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "mkdir", made)
    monkeypatch.setattr(os, "fsync", synced)
    store = RunStore.create(tmp_path / "deep" / "runs", make_spec())
    assert unsynced == set()
    arrays = {"a": np.zeros(4, np.uint8)}
    for save in (store.save_mask, store.save_state, store.save_weights):
        save(0, 1, arrays)
        assert unsynced == set()
    store.checkpoints.save(Training(0, 1), {}, {}, {})
    move_aside(store.path, "masks/0-1.safetensors")
    assert unsynced == set()
    assert len([folder for folder in store.path.rglob("*") if folder.is_dir()]) == 6


def test_a_folder_of_any_depth_is_made_or_refused_by_the_system(tmp_path):
    deep = tmp_path / Path(*["y"] * 1500)
    with pytest.raises(FileNotFoundError):
        make_folder(deep)
    make_folder(deep, parents=True)
    assert deep.is_dir()
    make_folder(deep)
    while deep != tmp_path:  # which `shutil.rmtree` cannot
        deep.rmdir()
        deep = deep.parent
    with pytest.raises(OSError, match="File name too long"):
        make_folder(tmp_path / Path(*["y"] * 3000), parents=True)


def test_a_mask_is_synced_whole_before_it_has_its_name(store, monkeypatch):
    seen, folder = [], store.path / "masks"

    def fsync(descriptor):
        seen.append((os.fstat(descriptor).st_ino, [file.name for file in folder.iterdir()]))

    monkeypatch.setattr(os, "fsync", fsync)
    store.save_mask(0, 1, {"a": np.zeros(4, np.uint8)})
    (above, _), (file, unnamed), (of_folder, named) = seen
    assert above == store.path.stat().st_ino  # the folder's name
    assert all(name.startswith(".") for name in unnamed)
    assert file == (folder / "0-1.safetensors").stat().st_ino
    assert (of_folder, named) == (folder.stat().st_ino, ["0-1.safetensors"])


def test_a_row_that_could_not_be_synced_is_not_there(store, monkeypatch):
    store.append(make_row())
    before = (store.path / "rows-0.jsonl").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            store.append(make_row(level=1))
    assert (store.path / "rows-0.jsonl").read_bytes() == before
    store.append(make_row(level=1))
    assert store.rows(0) == [make_row(), make_row(level=1)]


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_row_cut_off_by_a_full_disk_is_dropped_and_written_again(store, part):
    store.append(make_row())
    size = (store.path / "rows-0.jsonl").stat().st_size
    line = sealed(make_row(level=1).to_line(), (store.path / "rows-0.jsonl").read_text().rstrip("\n")) + "\n"
    with largest_file(size + int(part * len(line))), pytest.raises(OSError, match="File too large"):
        store.append(make_row(level=1))
    assert store.rows(0) == [make_row()]
    store.append(make_row(level=1))
    assert store.rows(0) == [make_row(), make_row(level=1)]


def test_a_mask_that_did_not_fit_leaves_the_old_one_and_no_rubbish(store):
    old, new = {"a": np.zeros(4, np.uint8)}, {"a": np.ones(5000, np.uint8)}
    store.save_mask(0, 1, old)
    with largest_file(1000), pytest.raises(OSError, match="File too large"):
        store.save_mask(0, 1, new)
    assert np.array_equal(store.mask(0, 1)["a"], old["a"])
    assert [file.name for file in (store.path / "masks").iterdir()] == ["0-1.safetensors"]


def test_a_run_that_cannot_be_made_on_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(UserError, match=r"^cannot write the run to .* \(No space left on device\); choose another --out$"):
        RunStore.create(tmp_path, make_spec())
    assert list((tmp_path / make_spec().id).iterdir()) == []


@pytest.mark.parametrize("write", ["a file", "a packed file", "an artifact"])
def test_what_is_read_back_otherwise_leaves_the_old_file_and_no_rubbish(write, store, tmp_path, monkeypatch):
    """A disk that does not keep what it was given."""
    for level in range(2):
        store.append(make_row(level=level))
    file, artifact = tmp_path / "a", tmp_path / "a.safetensors"
    file.write_bytes(b"old")
    program = assemble((2,), [Relu(name="", inputs=(0,), output=1)])
    deploy.pack(program, artifact)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path)[:-1] if path.suffix == ".part" else read(path))
    writes = {
        "a file": lambda: write_atomically(file, b"new", read_back=True),
        "a packed file": lambda: pack_run(store),
        "an artifact": lambda: deploy.pack(replace(program, class_names=("a", "b")), artifact),
    }
    with pytest.raises((OSError, UserError), match="another content was read back"):
        writes[write]()
    assert {path: read(path) for path in tmp_path.rglob("*") if path.is_file()} == before
