"""The file of a checkpoint: what was written is read, and nothing else ever is."""

import random

import numpy as np
import pytest
import safetensors.numpy

from fourfold.record.arrays import LARGEST_HEADER
from fourfold.record.checkpoints import (
    FORMAT,
    CheckpointFolder,
    Part,
    Training,
    UnusableCheckpointError,
    read,
    read_position,
    where,
    write,
)

ARRAYS = {
    "flags": np.array([True, False, True]),
    "network/1.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "masks/1.weight": np.array([129, 7], dtype=np.uint8),
    "moments/steps": np.array(17),
    "loss": np.array(0.1 + 0.2),
    "nothing": np.zeros((0, 3), dtype=np.float32),
}
IDENTITY = {"version": "1", "spec": "tiny-real-0", "trial": 0, "level": 2}
POSITION = {"epoch": 3, "step": 7, "steps": 24, "epochs": 40, "best_loss": float("inf"), "curve": [{"top1": 0.1 + 0.2}]}


def parts(arrays=ARRAYS):
    return {
        name: Part(dtype=str(array.dtype), shape=array.shape, fetch=lambda array=array: array) for name, array in arrays.items()
    }


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "0-2.safetensors"
    size = write(path, IDENTITY, POSITION, parts())
    assert size == path.stat().st_size
    return path


def test_what_was_written_is_read_to_the_last_bit(file):
    stored = read(file.read_bytes(), "it", IDENTITY)
    assert stored.position == POSITION
    assert stored.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert (stored.arrays[name].dtype, stored.arrays[name].shape) == (array.dtype, array.shape)
        assert stored.arrays[name].tobytes() == array.tobytes()
        assert stored.arrays[name].flags.aligned
        assert stored.arrays[name].flags.writeable
    assert [*file.parent.iterdir()] == [file]


def test_other_tools_read_it_as_safetensors(file):
    theirs = safetensors.numpy.load_file(file)
    assert {name: array.tobytes() for name, array in theirs.items()} == {
        name: array.tobytes() for name, array in ARRAYS.items()
    }


def test_arrays_in_another_order_in_memory_are_written_in_row_major_order(tmp_path):
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    write(tmp_path / "it", IDENTITY, POSITION, parts({"turned": array}))
    assert np.array_equal(read((tmp_path / "it").read_bytes(), "it", IDENTITY).arrays["turned"], array)


def test_one_flipped_bit_anywhere_is_seen(file):
    content, draw = file.read_bytes(), random.Random(0)
    for place in {*range(8), *draw.sample(range(len(content)), 300)}:
        damaged = bytearray(content)
        damaged[place] ^= 1 << draw.randrange(8)
        with pytest.raises(UnusableCheckpointError, match=r"^it: expected "):
            read(bytes(damaged), "it", IDENTITY)


def test_a_file_that_was_cut_off_or_has_grown_is_seen(file):
    content = file.read_bytes()
    for size in range(0, len(content), 7):
        with pytest.raises(UnusableCheckpointError, match=r"^it: expected "):
            read(content[:size], "it", IDENTITY)
    with pytest.raises(UnusableCheckpointError, match=r"^it: expected "):
        read(content + b"\0", "it", IDENTITY)


def test_a_header_has_at_most_so_many_bytes(tmp_path):
    path = tmp_path / "it"
    sizes = {}
    for more in (0, 1):
        write(path, IDENTITY, {"text": "x" * (LARGEST_HEADER - 4096 + 8192 * more)}, {})
        content = path.read_bytes()
        sizes[more] = int.from_bytes(content[:8], "little")
        if more:
            with pytest.raises(UnusableCheckpointError, match=r"^it: expected a header of \d+ bytes, found "):
                read(content, "it", IDENTITY)
        else:
            assert len(read(content, "it", IDENTITY).position["text"]) == LARGEST_HEADER - 4096
    assert sizes[0] <= LARGEST_HEADER < sizes[1]


@pytest.mark.parametrize(
    ("name", "value"), [("version", "2"), ("spec", "tiny-real-1"), ("trial", 1), ("level", 3), ("data", "other")]
)
def test_what_belongs_to_something_else_is_named(name, value, file):
    with pytest.raises(UnusableCheckpointError, match=f"^it: expected {name} {value}, found "):
        read(file.read_bytes(), "it", IDENTITY | {name: value})


def test_another_format_is_named(file, monkeypatch):
    monkeypatch.setattr("fourfold.record.checkpoints.FORMAT", FORMAT + 1)
    with pytest.raises(UnusableCheckpointError, match=r"^it: expected format 2 of checkpoints, found 1$"):
        read(file.read_bytes(), "it", IDENTITY)


def test_a_position_is_read_without_the_rest(file):
    assert read_position(file) == POSITION
    assert where(POSITION) == "epoch 4 of 40, step 7 of 24"
    assert where(POSITION | {"epoch": 40}) == "its end"
    file.write_bytes(file.read_bytes()[:100])
    assert read_position(file) is None
    assert read_position(file.parent / "absent") is None


def test_every_training_has_a_file_of_its_own(tmp_path):
    folder = CheckpointFolder(tmp_path / "checkpoints", lambda file, most_bytes: file.read_bytes())
    trainings = [
        Training(t, level, c, s) for t in (0, 11) for level in (0, 1) for c in ("ticket", "equal-macs") for s in ("", "search")
    ]
    assert folder.positions() == {}
    for number, training in enumerate(trainings):
        folder.save(training, {"version": "1"}, {"epoch": number}, parts())
    assert folder.positions() == {training: {"epoch": number} for number, training in enumerate(trainings)}
    for number, training in enumerate(trainings):
        assert folder.load(training, {"version": "1"}).position == {"epoch": number}
    folder.drop(11, 1, "equal-macs")
    assert set(trainings) - set(folder.positions()) == {Training(11, 1, "equal-macs", s) for s in ("", "search")}
    assert folder.load(Training(11, 1, "equal-macs"), {}) is None
