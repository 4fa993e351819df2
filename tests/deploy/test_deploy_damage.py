"""A file that is not what `pack` wrote is refused in a sentence, whatever was done to it."""

import json

import numpy as np
import pytest
import safetensors.numpy
from deploy_samples import every_operation, same
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fourfold import deploy
from fourfold.deploy.artifact.bits import DamageError
from fourfold.deploy.artifact.container import digest, seal, unseal
from fourfold.deploy.artifact.reading import Reader
from fourfold.deploy.artifact.writing import write
from fourfold.deploy.ir._assemble import assemble
from fourfold.record import UserError


def content_of(values, entropy):
    return seal(*write(every_operation(), values, entropy))


KINDS = [(values, entropy) for values in ("fp32", "int8", "codebook") for entropy in (False, True)]
CONTENTS = {kind: content_of(*kind) for kind in KINDS}
kinds = st.sampled_from(KINDS)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(kind=kinds, place=st.integers(0, 10**6), change=st.integers(1, 255))
def test_a_flipped_byte_is_refused(tmp_path_factory, kind, place, change):
    content = bytearray(CONTENTS[kind])
    content[place % len(content)] ^= change
    assert_refused(tmp_path_factory, bytes(content))


@settings(derandomize=True, deadline=None, max_examples=150)
@given(kind=kinds, length=st.integers(0, 10**6))
@example(kind=("fp32", False), length=0)
@example(kind=("fp32", False), length=8)
def test_a_truncated_file_is_refused(tmp_path_factory, kind, length):
    content = CONTENTS[kind]
    assert_refused(tmp_path_factory, content[: length % len(content)])


def assert_refused(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged.safetensors is no artifact that this fourfold can read: .*") as raised:
        deploy.read(path)
    assert "\n" not in str(raised.value)


junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 40),
    st.sampled_from([2**28, 2**31, 2**63, 10**30, 0.5, -1.0, "", "gaps", "bitmap", "all", "number", "weight", "add", "linear"]),
    st.sampled_from([[], [0], [1, 1], [2**27, 2**27], [[0]], {}, {"kept": 1}]),
)


def spots(value, path=()):
    """Every place in a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*path, key)
        yield from spots(item, (*path, key))


@settings(derandomize=True, deadline=None, max_examples=300)
@given(kind=kinds, spot=st.integers(0, 10**6), value=junk, drop=st.booleans())
def test_an_edited_description_is_read_whole_or_refused(kind, spot, value, drop):
    """The digest is made anew here, as whoever edits on purpose would: what is left are the checks of every field."""
    described, tensors = unseal(CONTENTS[kind])
    places = list(spots(described))
    *way, last = places[spot % len(places)]
    parent = described
    for key in way:
        parent = parent[key]
    if drop:
        del parent[last]
    else:
        parent[last] = value
    read_or_refuse(described, tensors)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    kind=kinds,
    which=st.integers(0, 100),
    place=st.integers(0, 10**6),
    change=st.sampled_from(["flip", "cut", "drop", "grow", "retype"]),
)
def test_edited_tensors_are_read_whole_or_refused(kind, which, place, change):
    described, tensors = unseal(CONTENTS[kind])
    name = sorted(tensors)[which % len(tensors)]
    raw = tensors[name].copy()
    if change == "flip":
        raw.view(np.uint8)[place % raw.nbytes] ^= 1 + place % 255
    tensors[name] = {
        "flip": raw,
        "cut": raw[: place % len(raw)],
        "drop": raw,
        "grow": np.concatenate([raw, raw[:1]]),
        "retype": raw.view(np.int8) if raw.dtype == np.uint8 else raw.view(np.uint8),
    }[change]
    if change == "drop":
        del tensors[name]
    unused = change == "grow" and name.endswith("codebook")  # one more entry, which no value asks for
    read_or_refuse(described, tensors, whole=change == "flip" or unused)


def read_or_refuse(described, tensors, whole=True):
    content = seal(described, tensors)
    try:
        program = Reader(*unseal(content)).program()
    except (DamageError, UserError):
        return
    assert whole
    assert same(program, assemble(program.shapes[0], program.operations, **rest_of(program)))
    assert all(np.isfinite(o.product.weight).all() for o in program.operations if hasattr(o, "product"))


def rest_of(program):
    return {name: getattr(program, name) for name in ("encoding", "class_names", "provenance", "ranges")}


def sealed_about(**change):
    described, tensors = unseal(CONTENTS["fp32", False])
    text = json.dumps(described)
    about = {"format": "fourfold artifact", "version": "1", "program": text, "digest": digest(text, tensors)} | change
    return safetensors.numpy.save(tensors, {name: value for name, value in about.items() if value is not None})


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "no whole safetensors file"),
        (safetensors.numpy.save({"a": np.zeros(3)}), "of type F64"),
        (safetensors.numpy.save({"a": np.zeros(3, np.float32)}), "another safetensors file"),
        (sealed_about(version="2"), "it has version '2', and this fourfold reads version '1'"),
        (sealed_about(program=None), "`program` is no text"),
        (sealed_about(digest="0" * 64), "digest differs"),
        (sealed_about(program="[" * 100_000, digest=digest("[" * 100_000, unseal(CONTENTS["fp32", False])[1])), "no JSON"),
    ],
    ids=range(7),
)
def test_other_files_are_refused(tmp_path, content, sentence):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        deploy.read(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "shape", [[1] * 5000, [0, 2**63 - 1], [0, 2**40, 2**40], [2**64]], ids=["axes", "long", "large", "beyond"]
)
def test_tensors_that_are_no_arrays_are_refused(tmp_path, shape):
    header = json.dumps({"a": {"dtype": "U8", "shape": shape, "data_offsets": [0, int(0 not in shape)]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"a" * (0 not in shape))
    with pytest.raises(UserError, match=r"a.safetensors is no artifact that this fourfold can read: it"):
        deploy.read(tmp_path / "a.safetensors")


def test_a_tensor_that_nothing_uses_is_refused():
    described, tensors = unseal(CONTENTS["fp32", False])
    with pytest.raises(DamageError, match="nothing uses its tensor 'more'"):
        Reader(described, tensors | {"more": np.zeros(3, np.float32)}).program()


def test_a_file_that_asks_for_much_memory_is_refused():
    described, tensors = unseal(CONTENTS["fp32", False])
    described["operations"][0]["product"] |= {"shape": [1, 2**14, 2**14, 1, 1], "weights": 0}
    with pytest.raises(UserError, match=r"`weights` \(=268435456\) must be at most 134217728 weights"):
        Reader(described, tensors).program()


def test_layers_that_ask_for_much_memory_together_are_refused():
    described, tensors = unseal(CONTENTS["fp32", False])
    first = described["operations"][0]
    first["product"] |= {"shape": [1, 2**13, 2**13, 1, 1], "weights": 0}  # 2 ** 26 weights: two layers have as many as may be
    described["operations"] = [first] * 3
    with pytest.raises(UserError, match=r"`weights` \(=201326592\) must be at most 134217728 weights"):
        Reader(described, tensors).program()
