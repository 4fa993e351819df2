"""Files of arrays are read as they were written, or not at all, and take no more memory than they have bytes."""

import os
import random
import tracemalloc

import numpy as np
import pytest
from record_samples import make_row, make_spec

from fourfold.record import RunStore, UserError
from fourfold.record.arrays import LARGEST_HEADER, ArraysError, digest_of, mask_digest, pack, unpack
from fourfold.record.checkpoints import Training, UnusableCheckpointError

STATE = {
    "network/fc1.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "moments/steps": np.array(17),
    "point/flags": np.array([True, False, True]),
    "nothing": np.zeros((0, 3), dtype=np.float32),
}
MASK = {"fc1.weight": np.array([129, 7], np.uint8), "fc2.weight": np.array([1], np.uint8)}
SWEEP = "FOURFOLD_SWEEP" in os.environ


def read_or_none(content: bytes):
    try:
        return unpack(content, place="level 1")
    except ArraysError:
        return None


@pytest.mark.parametrize("place", [None, "level 1"])
def test_what_was_written_is_read_to_the_last_bit(place):
    back = unpack(pack(STATE, place=place), place=place)
    assert digest_of(back) == digest_of(STATE)
    assert {name: (a.dtype, a.shape, a.tobytes()) for name, a in back.items()} == {
        name: (a.dtype, a.shape, a.tobytes()) for name, a in STATE.items()
    }


def test_the_digest_tells_names_types_shapes_and_bytes_apart():
    others = [
        STATE,
        {**STATE, "moments/steps": np.array(18)},
        {**STATE, "moments/steps": np.array(17, np.int32)},
        {**STATE, "network/fc1.weight": STATE["network/fc1.weight"].reshape(4, 3)},
        {**{name: a for name, a in STATE.items() if name != "nothing"}},
        {"other": STATE["nothing"], **{name: a for name, a in STATE.items() if name != "nothing"}},
    ]
    assert len({digest_of(arrays) for arrays in others}) == len(others)
    assert digest_of(dict(reversed(STATE.items()))) == digest_of(STATE)


@pytest.mark.parametrize("kind", ["a mask", "a state", "kept weights"])
def test_a_file_that_was_cut_or_flipped_anywhere_is_never_another(kind):
    """Masks and states are compared with the digests of rows, and kept weights with their own."""
    arrays, digest = (MASK, mask_digest) if kind == "a mask" else (STATE, digest_of)
    content, expected = pack(arrays, place="level 1" if kind == "kept weights" else None), digest(arrays)
    assert all(read_or_none(content[:length]) is None for length in range(len(content)))
    for place in range(len(content)):
        for bit in range(8) if SWEEP else [place % 8]:
            back = read_or_none(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            if kind == "kept weights":
                assert back is None or digest(back) == expected, (place, bit)
            elif back is not None and digest(back) == expected:
                assert {name: a.tobytes() for name, a in back.items()} == {name: a.tobytes() for name, a in arrays.items()}


def test_random_bytes_and_headers_take_no_memory():
    draw, content = random.Random(0), pack(STATE)
    tracemalloc.start()
    for _ in range(300):
        size = draw.choice([2**63, 2**40, 2**31, len(content), len(content) - 8, 0, 3])
        read_or_none(size.to_bytes(8, "little") + content[8:])
        read_or_none(draw.randbytes(draw.randrange(40)))
    deep = b'{"a":' + b"[" * 100_000
    assert read_or_none(len(deep).to_bytes(8, "little") + deep) is None
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.parametrize("more", [-8, 0, 8])
def test_a_header_has_at_most_so_many_bytes(more):
    content = pack(STATE)
    size = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + size].ljust(LARGEST_HEADER + more)
    padded = len(header).to_bytes(8, "little") + header + content[8 + size :]
    if more > 0:
        with pytest.raises(ArraysError, match=rf"^its header of {len(header)} bytes does not fit"):
            unpack(padded)
    else:
        assert digest_of(unpack(padded)) == digest_of(STATE)


def sparse(file, size: int) -> None:
    """Make a file that has a length, and no content."""
    file.parent.mkdir(exist_ok=True)
    with file.open("wb") as stream:
        stream.truncate(size)


def test_files_of_terabytes_are_refused_before_they_are_read(tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    store.append(make_row())
    for name in ("rows-1.jsonl", "weights/0-0.safetensors", "masks/0-1.safetensors", "checkpoints/0-1.safetensors"):
        sparse(store.path / name, 2**39)
    tracemalloc.start()
    with pytest.raises(UserError, match=r"rows-1\.jsonl cannot be read \(it has 549755813888 bytes, and at most 268435456"):
        store.rows(1)
    with pytest.raises(UserError, match=r"weights/0-0\.safetensors cannot be read \(it has 549755813888 bytes"):
        store.weights(0, 0)
    with pytest.raises(UserError, match=r"masks/0-1\.safetensors cannot be read \(it has 549755813888 bytes, and at most 1000"):
        store.mask(0, 1, most_bytes=1000)
    with pytest.raises(UnusableCheckpointError, match=r"cannot be read \(it has 549755813888 bytes, and at most 1000"):
        store.checkpoints.load(Training(0, 1), {}, most_bytes=1000)
    assert store.checkpoints.positions() == {Training(0, 1): {}}
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
