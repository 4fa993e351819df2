"""Files of arrays: what is in them, and that nothing in them is trusted."""

import io
import zipfile

import numpy as np
import pytest
from own import check_same

from fourfold import data
from fourfold.record import UserError

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (30, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3


def written(path, **arrays):
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_round_trip_through_a_file_is_the_same_data(tmp_path, save):
    parts = {
        "train": (PIXELS, LABELS),
        "validation": (PIXELS[:9], LABELS[:9]),
        "test": (PIXELS[5:20], LABELS[5:20]),
    }
    named = {f"x_{part}": inputs for part, (inputs, _) in parts.items()} | {f"y_{part}": y for part, (_, y) in parts.items()}
    save(tmp_path / "a.npz", **named)
    save(
        tmp_path / "b.npz",
        train_images=PIXELS,
        train_labels=LABELS[:, None],
        val_images=PIXELS[:9],
        val_labels=LABELS[:9, None],
        test_images=PIXELS[5:20],
        test_labels=LABELS[5:20, None],
    )
    direct = data.from_arrays(parts["train"], parts["test"], parts["validation"])
    for name in ("a", "b"):
        read = data.from_arrays(tmp_path / f"{name}.npz")
        assert (read.name, read.digest, read.mean) == (name, direct.digest, direct.mean)
        check_same(read.train.epoch(7, 1), direct.train.epoch(7, 1))
        check_same(read.validation.batches(7), direct.validation.batches(7))
        check_same(read.test.batches(7), direct.test.batches(7))


def test_x_and_y_alone_are_split(tmp_path):
    path = written(tmp_path / "a.npz", x=PIXELS, y=np.array(["b", "a", "c"] * 10), other=np.ones(3))
    splits = data.from_arrays(str(path), 0.3, 0.2)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (17, 4, 9)
    assert splits.classes == ("a", "b", "c")


def test_fortran_order_and_empty_and_text_arrays(tmp_path):
    path = written(tmp_path / "a.npz", x=np.asfortranarray(PIXELS), y=LABELS, nothing=np.empty((0, 3)), name=np.array("me"))
    check_same(data.from_arrays(path).test.batches(9), data.from_arrays((PIXELS, LABELS)).test.batches(9))


def member(shape, dtype="|u1", content=b""):
    stream = io.BytesIO()
    np.lib.format.write_array_header_2_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(f"{name}.npy", content)
    return path


TYPES = ("uint16", "uint32", "int8", "int64", ">i4", "float16", "float64", ">f8", "bool")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_type_and_order_are_those_values(tmp_path, dtype, order):
    values = np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 100, (20, 5))
    np.savez(tmp_path / "a.npz", x=np.array(values, dtype, order=order), y=np.arange(20) % 2)
    splits = data.from_arrays(tmp_path / "a.npz", normalization="none")
    batches = [batch for batch, _ in splits.train.batches(7)] + [batch for batch, _ in splits.test.batches(7)]
    rows = sorted(map(tuple, np.concatenate([batch.numpy() for batch in batches]).astype(int).tolist()))
    assert rows == sorted(map(tuple, values.tolist()))


@pytest.mark.parametrize("kind", ["U", "S"])
def test_labels_may_be_text_or_bytes(tmp_path, kind):
    np.savez(tmp_path / "a.npz", x=np.zeros((20, 3), "float32"), y=np.array(["zebra", "ant"] * 10).astype(kind))
    assert data.from_arrays(tmp_path / "a.npz").classes == ("ant", "zebra")


@pytest.mark.parametrize("dtype", ["uint16", "int32"])
def test_images_of_16_bits_are_not_taken_for_tokens(tmp_path, dtype):
    np.savez(tmp_path / "a.npz", x=np.zeros((20, 8, 8, 3), dtype), y=np.arange(20) % 2)
    with pytest.raises(UserError, match=r"`train\[0\]` \(integers of shape \(20, 8, 8, 3\)\) must be uint8 or floats"):
        data.from_arrays(tmp_path / "a.npz")


BAD = {
    "a text": lambda path: path.write_bytes(b"x,y\n1,2\n"),
    "nothing": lambda path: path.write_bytes(b""),
    "an array alone": lambda path: path.write_bytes(member((3,), content=b"123")),
    "a folder": lambda path: path.mkdir(),
    "no file": lambda path: None,
    "no arrays": lambda path: archive(path),
    "other names": lambda path: written(path, a=PIXELS),
    "no targets": lambda path: written(path, x_train=PIXELS),
    "no test targets": lambda path: written(path, x_train=PIXELS, y_train=LABELS, x_test=PIXELS),
    "objects": lambda path: written(path, x=np.array([object], dtype=object), y=LABELS),
    "a huge shape": lambda path: archive(path, x=member((10**12, 64, 64, 3)), y=member((1,), content=b"0")),
    "an overflowing shape": lambda path: archive(path, x=member((2**40, 2**40)), y=member((1,), content=b"0")),
    "a negative shape": lambda path: archive(path, x=member((-1, -1), content=b"0"), y=member((1,), content=b"0")),
    "fewer bytes": lambda path: archive(path, x=member((7,), content=b"123"), y=member((1,), content=b"0")),
    "a header that is no dict": lambda path: archive(path, x=member((1,)).replace(b"{", b"("), y=b""),
    "a member that is no array": lambda path: archive(path, x=b"hello", y=b""),
}


REASONS = {
    "objects": "holds Python objects",
    "fewer bytes": "has 3 bytes, and its header needs 7",
    "no targets": "'x_train' alone",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_sentence_that_names_it(tmp_path, name):
    path = tmp_path / "bad.npz"
    BAD[name](path)
    with pytest.raises(UserError) as error:
        data.from_arrays(path)
    assert str(path) in str(error.value)
    assert REASONS.get(name, "") in str(error.value)


def test_an_archive_that_claims_more_than_it_can_hold_takes_no_memory(tmp_path):
    """The directory of a zip file may say any size; deflate makes 1,032 bytes of one at most."""
    path = archive(tmp_path / "a.npz", x=member((10**13,), content=b"0" * 1000), y=member((1,), content=b"0"))
    raw = bytearray(path.read_bytes())
    place = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"PK\x01\x02"))
    claimed = (2**32 - 2).to_bytes(4, "little")
    raw[place + 24 : place + 28] = claimed
    path.write_bytes(raw)
    with pytest.raises(UserError, match="claims more bytes than it has"):
        data.from_arrays(path)


def test_mutated_and_truncated_files_never_end_in_a_traceback(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x_train=PIXELS, y_train=LABELS, x_test=PIXELS[:6], y_test=LABELS[:6])
    whole = path.read_bytes()
    sentences = []
    for trial in range(150):
        random = np.random.default_rng(trial)
        raw = bytearray(whole[: random.integers(1, len(whole))] if trial % 3 == 0 else whole)
        for place in random.integers(0, len(raw), random.integers(1, 6)):
            raw[place] = random.integers(0, 256)
        path.write_bytes(raw)
        try:
            data.from_arrays(path)
        except UserError as error:
            sentences.append(str(error))
    assert len(sentences) > 100
    assert all(str(path) in sentence and "\n" not in sentence for sentence in sentences)
