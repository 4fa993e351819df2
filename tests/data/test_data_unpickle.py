"""Our reader of pickles against Python's own, and against files that mean harm."""

import contextlib
import io
import os
import pickle
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fourfold.data.damage import BadFileError
from fourfold.data.unpickle import read_pickle
from fourfold.record import UserError

PROTOCOLS = [2, 3, 4, 5]

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def read(tmp_path, content):
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    return read_pickle(path)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(derandomize=True, deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.dictionaries(st.text(max_size=5), plain, max_size=5))
def test_plain_values_are_read_as_python_reads_them(tmp_path, protocol, value):
    assert read(tmp_path, pickle.dumps(value, protocol=protocol)) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["?", "u1", "<i2", ">i4", "i8", "<u8", "f2", ">f4", "f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_as_numpy_wrote_them(tmp_path, protocol, dtype, order):
    array = np.asarray(
        np.arange(24).reshape(2, 3, 4) % 2 if dtype == "?" else np.arange(24).reshape(2, 3, 4), dtype=dtype, order=order
    )
    found = read(tmp_path, pickle.dumps({"data": array, "again": array}, protocol=protocol))
    assert found["data"].dtype == array.dtype
    assert np.array_equal(found["data"], array)
    assert np.array_equal(found["again"], array)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_numbers_become_python_numbers(tmp_path, protocol):
    found = read(tmp_path, pickle.dumps({"labels": [np.int64(7), np.uint8(200), np.float32(0.5)]}, protocol=protocol))
    assert found == {"labels": [7, 200, 0.5]}
    assert [type(value) for value in found["labels"]] == [int, int, float]


def python2_batch(pixels: bytes, module: bytes = b"numpy.core.multiarray") -> bytes:
    """A protocol-2 pickle as Python 2 wrote it: strings and pixels are `str`, that is BINSTRING."""
    array = (
        b"c"
        + module
        + b"\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02K"
        + bytes([len(pixels) // 2])
        + b"\x86"
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + struct.pack("<i", len(pixels)) + pixels + b"tb"
    )
    return b"\x80\x02}q\x01(U\x04data" + array + b"U\x06labels](K\x03K\x09eU\x09filenames](U\x05a.pngU\x05\xe9.pngeI12\nI01\nu."


def test_python_2_is_read_as_latin1_reads_it(tmp_path):
    content = python2_batch(bytes(range(200)))
    expected = pickle.loads(content, encoding="latin1")
    found = read(tmp_path, content)
    assert np.array_equal(found["data"], expected["data"])
    assert found["labels"] == expected["labels"] == [3, 9]
    assert [name.decode("latin1") for name in found["filenames"]] == expected["filenames"]
    assert found["12"] is True


def test_both_names_of_numpys_core_are_read(tmp_path):
    for module in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        assert read(tmp_path, python2_batch(bytes(20), module))["data"].shape == (2, 10)


class Call:
    """Pickles as a call of `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Call(os.system, "touch owned"), r"posix\.system"),
        (Call(eval, "1 + 1"), r"(builtins|__builtin__)\.eval"),
        (Call(exec, "open('owned', 'w')"), r"(builtins|__builtin__)\.exec"),
        (Call(getattr, "text", "upper"), r"(builtins|__builtin__)\.getattr"),
        (Call(open, "owned", "w"), r"(io|_io)\.open"),
        (Call(np.load, "owned"), r"numpy.*\.load"),
        (Call(np.fromfile, "owned"), r"numpy.*\.fromfile"),
        (Call(pickle.loads, b"N."), r"_?pickle\.loads"),
        (Call(io.BytesIO, b""), r"_io\.BytesIO"),
        (Call(os.getcwd), r"posix\.getcwd"),
        ({1, 2}, r"(builtins|__builtin__)\.set|instruction b'\\x8f'"),
        (1j, r"(builtins|__builtin__)\.complex"),
    ],
)
def test_a_call_of_anything_is_refused_by_name(tmp_path, monkeypatch, protocol, call, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=rf"data_batch_1 asks for .*({name}).*; fourfold reads plain data only and runs nothing"
    ):
        read(tmp_path, pickle.dumps({"data": call}, protocol=protocol))
    assert not (tmp_path / "owned").exists()


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
U1 = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (pickle.dumps({"data": np.array([None, "x"])}), r"an array of type 'O8'"),
        (pickle.dumps({"data": np.array(["text"])}), r"an array of type 'U4'"),
        (pickle.dumps({"data": np.array([(1, 2.0)], dtype="i4,f8")}), r"an array of type 'V12'"),
        (pickle.dumps({"data": np.array(["2020-01-01"], dtype="M8[D]")}), r"an array of type 'M8'"),
        (b"\x80\x02}U\x04data" + U1 + b"(K\x03U\x01|NU\x01aNK\x00K\x00K\x00tbs.", "an array of records"),
        (b"\x80\x02cnumpy\nndarray\nK\x01\x85R.", "a call of ndarray"),
        (b"\x80\x02cposix\nsystem\n.", r"posix\.system"),
        (b"\x80\x02U\x04textK\x01\x85R.", "a call of a value of type bytes"),
        (b"\x80\x02](K\x01tb.", "the state of a value of type list"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00utf-7\x86R.", "the encoding 'utf-7'"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x06\x00\x00\x00rot_13\x86R.", "the encoding 'rot_13'"),
        (b"(S'touch owned'\nios\nsystem\n.", r"the pickle instruction b'S'"),
        (b"(X\x01\x00\x00\x00aios\nsystem\n.", r"the pickle instruction b'i'"),
        (b"\x80\x02Pname\n.", r"the pickle instruction b'P'"),
        (b"\x80\x02U\x01aQ.", r"the pickle instruction b'Q'"),
        (b"\x80\x02\x82\x01.", r"the pickle instruction b'\\x82'"),
        (b"\x80\x02cnumpy\nndarray\n)\x81.", r"the pickle instruction b'\\x81'"),
        (b"\x80\x02cnumpy\nndarray\n)}\x92.", r"the pickle instruction b'\\x92'"),
        (b"\x80\x05\x97.", r"the pickle instruction b'\\x97'"),
        (b"\x80\x09}.", "a pickle protocol above 5"),
    ],
)
def test_tricks_are_refused(tmp_path, content, sentence):
    with pytest.raises(UserError, match=rf"data_batch_1 asks for {sentence}"):
        read(tmp_path, content)


def test_small_files_cannot_ask_for_much_memory(tmp_path):
    text = b"X\x00\x10\x00\x00" + b"a" * 4096 + b"q\x01"
    encode = b"c_codecs\nencode\nh\x01X\x06\x00\x00\x00latin1\x86R0"
    with pytest.raises(UserError, match="more memory than the file has bytes"):
        read(tmp_path, b"\x80\x02" + text + encode * 10 + b"}.")
    # Lengths and memo places far beyond the file, which Python's own reader would reserve.
    for content in (
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f",
        b"\x80\x04\x8d" + b"\x00" * 6 + b"\x10\x00",
        b"\x80\x02B\xff\xff\xff\xff",
    ):
        with pytest.raises(UserError, match="is cut off or damaged"):
            read(tmp_path, content)
    assert read(tmp_path, b"\x80\x02}r\xff\xff\xff\xff.") == {}


@pytest.mark.parametrize(
    "state",
    [
        b"(K\x01K\x05\x85" + U1 + b"\x89U\x04abcdtb",  # shape (5,) over 4 bytes
        b"(K\x01J\xff\xff\xff\xff\x85" + U1 + b"\x89U\x04abcdtb",  # a negative size
        b"(K\x01J\xff\xff\xff\xffJ\xfc\xff\xff\xff\x86" + U1 + b"\x89U\x04abcdtb",  # two of them, whose product is right
        b"(K\x01K\x04\x85N\x89U\x04abcdtb",  # no type
        b"(K\x01K\x04\x85" + U1 + b"\x89](K\x01K\x02K\x03K\x04etb",  # a list instead of bytes
        b"(K\x01K\x04\x85tb",  # too short
        b"Nb",  # not a tuple
    ],
)
def test_arrays_that_do_not_fit_their_bytes_are_damaged(tmp_path, state):
    with pytest.raises(UserError, match="is cut off or damaged; a whole pickled dictionary is right"):
        read(tmp_path, b"\x80\x02}U\x04data" + ARRAY + state + b"s.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x80\x02}G" + bytes(8) + b"K\x01s.", "is cut off or damaged"),  # a number as key
        (
            b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00a" + b"]" * 10**5 + b"a" * (10**5 - 1) + b"\x86R.",
            "is cut off or damaged",
        ),
        (b"\x80\x02" + b"]" * 10**6 + b"a" * (10**6 - 1) + b".", "holds a value of type list"),
        (b"\x80\x02)" + b"\x85" * 10**6 + b".", "holds a value of type tuple"),
        (b"", "is empty; a pickled dictionary is right"),
        (pickle.dumps([1, 2]), "holds a value of type list; a pickled dictionary is right"),
        (pickle.dumps(np.zeros(3)), "holds an array; a pickled dictionary is right"),
        (b"\x80\x02](K\x01ue.", "is cut off or damaged"),
        (b"\x80\x02}(K\x01u.", "is cut off or damaged"),
        (b"\x80\x02}K\x01a.", "is cut off or damaged"),
        (b"\x80\x02}]K\x01s.", "is cut off or damaged"),
        (b"\x80\x02\x85.", "is cut off or damaged"),
        (b"\x80\x02h\x05.", "is cut off or damaged"),
        (b"\x80\x02c" + b"a" * 300, "is cut off or damaged"),
    ],
)
def test_damaged_files(tmp_path, content, sentence):
    with pytest.raises(BadFileError, match=sentence):
        read(tmp_path, content)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"nothing cannot be read \(No such file"):
        read_pickle(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"cannot be read \(it is not a file"):
        read_pickle(tmp_path)
    large = tmp_path / "large"
    large.touch()
    os.truncate(large, 4 * 2**30 + 1)  # sparse: takes no space
    with pytest.raises(UserError, match=r"large has 4,294,967,297 bytes; at most 4,294,967,296 is right"):
        read_pickle(large)


SEEDS = [python2_batch(bytes(range(200)))] + [
    pickle.dumps(
        {"data": np.arange(40, dtype=np.uint8).reshape(4, 10), "labels": [1, 2, 3, np.int64(300)], "names": ["a", "b"]},
        protocol,
    )
    for protocol in PROTOCOLS
]


@pytest.mark.parametrize("content", SEEDS)
def test_every_cut_is_noticed(tmp_path, content):
    for end in range(len(content)):
        with pytest.raises(UserError):
            read(tmp_path, content[:end])


@settings(derandomize=True, deadline=None, max_examples=700, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(SEEDS),
    st.lists(
        st.tuples(st.integers(0, 2**16), st.sampled_from("scid"), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4
    ),
)
def test_a_mutated_file_is_read_or_refused_and_nothing_else(tmp_path, content, mutations):
    for place, kind, new in mutations:
        place %= len(content) + 1
        if kind == "s":  # replace
            content = content[:place] + new + content[place + len(new) :]
        elif kind == "i":  # insert
            content = content[:place] + new + content[place:]
        elif kind == "c":  # copy a part elsewhere
            content = content[:place] + content[: len(new) * 8] + content[place:]
        else:  # delete
            content = content[:place] + content[place + len(new) :]
    with contextlib.suppress(BadFileError):
        assert isinstance(read(tmp_path, content), dict)
