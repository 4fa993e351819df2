"""The tables of data sets, the public face of the room, and what a network will see."""

import hashlib
import subprocess
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold import data
from fourfold.data.encoding import encoded_channels, normalization
from fourfold.data.official import SOURCES
from fourfold.data.split import stratified
from fourfold.record import DataSpec, UserError


@pytest.mark.parametrize("name", data.DATASETS)
def test_the_table_agrees_with_itself(name):
    about = data.info(name)
    assert about.name == name
    assert len(about.mean) == len(about.std) == about.channels
    assert len(about.class_names) in (0, about.num_classes)
    assert len(set(about.class_names)) == len(about.class_names)
    assert all(0 < mean < 1 and 0 < std < 1 for mean, std in zip(about.mean, about.std, strict=True))
    assert "cite" in about.source


def test_every_data_set_but_digits_has_files():
    assert set(SOURCES) == set(data.DATASETS) - {"digits"}
    for source in SOURCES.values():
        assert {file.role for file in source.files} >= {"train", "test"}
        assert all(file.md5 is None or len(file.md5) == 32 for file in source.files)
        assert (source.url is None) == bool(source.elsewhere)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        UserError, match=r"unknown data set 'cifar'; did you mean cifar-10 or cifar-100\? .*`fourfold data list`"
    ):
        data.info("cifar")
    with pytest.raises(UserError, match="unknown data set"):
        data.load("cifar")
    with pytest.raises(UserError, match="unknown data set"):
        data.check("cifar")
    with pytest.raises(UserError, match="unknown data set"):
        data.download("cifar")


def test_importing_the_room_imports_neither_torch_nor_sklearn_nor_requests():
    code = "import sys, fourfold.data; print([m for m in ('torch', 'sklearn', 'requests', 'pooch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_public_names_are_there_whatever_was_imported_first():
    # A submodule of the same name would hide a function as soon as the submodule is imported.
    for name in data.__all__:
        assert not isinstance(getattr(data, name), types.ModuleType), name
    assert dir(data) == sorted(data.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = data.nothing


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=80), st.data())
def test_a_stratified_choice_is_exact_in_number_and_within_one_of_every_share(labels, draw):
    labels = np.array(labels)
    count = draw.draw(st.integers(0, len(labels)))
    chosen = stratified(labels, count, seed=3)
    assert len(chosen) == count == len(set(chosen.tolist()))
    assert (np.diff(chosen) > 0).all()
    for label in np.unique(labels):
        share = (labels == label).sum() * count / len(labels)
        assert abs((labels[chosen] == label).sum() - share) < 1
    assert np.array_equal(chosen, stratified(labels, count, seed=3))


def test_a_stratified_choice_depends_on_the_seed_and_never_changes():
    labels = np.arange(1000) % 10
    chosen = stratified(labels, 100, seed=0)
    assert not np.array_equal(chosen, stratified(labels, 100, seed=1))
    # Frozen: results with a validation set would change with it.
    assert hashlib.sha256(chosen.astype("<i8").tobytes()).hexdigest()[:16] == "55479a2a2d999980"


@pytest.mark.parametrize(
    ("name", "encoding", "n", "expected", "before_front_end"),
    [
        ("mnist", "none", 1, (1, 28, 28), 1),
        ("mnist", "none", 4, (1, 28, 28), 1),
        ("mnist", "pixels", 1, (1, 28, 28), 1),
        ("mnist", "pixels", 2, (2, 28, 14), 2),
        ("mnist", "pixels", 4, (4, 28, 7), 4),
        ("digits", "pixels", 8, (8, 8, 1), 8),
        ("cifar-10", "none", 4, (3, 32, 32), 3),
        ("cifar-10", "pixels", 4, (12, 32, 8), 12),
        ("cifar-10", "grey", 1, (4, 32, 32), 4),
        ("cifar-10", "grey", 2, (4, 32, 32), 4),
        ("cifar-10", "grey", 4, (4, 32, 32), 4),
        ("cifar-10", "grey", 8, (8, 32, 32), 8),
        ("imagenet64", "zero", 4, (4, 64, 64), 4),
        ("cifar-100", "zero", 8, (8, 32, 32), 8),
        ("cifar-100", "learned", 1, (4, 32, 32), 3),
        ("cifar-100", "learned", 4, (4, 32, 32), 3),
        ("cifar-100", "learned", 8, (8, 32, 32), 3),
    ],
)
def test_input_channels(name, encoding, n, expected, before_front_end):
    spec = DataSpec(name=name, encoding=encoding)
    assert data.input_channels(spec, data.info(name), n) == expected
    assert encoded_channels(spec, data.info(name), n) == before_front_end


@pytest.mark.parametrize("encoding", ["grey", "zero", "learned"])
def test_colour_encodings_need_colours(encoding):
    with pytest.raises(UserError, match=rf"`data.encoding` \(='{encoding}'\) adds to 3 colour channels, but mnist has 1; use"):
        data.input_channels(DataSpec(name="mnist", encoding=encoding), data.info("mnist"), 4)


def test_pixels_need_a_width_that_divides():
    with pytest.raises(
        UserError, match=r"`data.encoding` \(='pixels'\) needs a width that is a multiple of 8, but mnist is 28 wide"
    ):
        data.input_channels(DataSpec(name="mnist", encoding="pixels"), data.info("mnist"), 8)


def test_imagenet_constants_need_colours():
    with pytest.raises(UserError, match=r"`data.normalization` \(='imagenet'\) has constants for 3 channels, but mnist has 1"):
        data.input_channels(DataSpec(name="mnist", normalization="imagenet"), data.info("mnist"), 1)


def test_normalization_constants():
    about = data.info("cifar-10")
    assert normalization(DataSpec(name="cifar-10"), about) == (about.mean, about.std)
    mean, std = normalization(DataSpec(name="cifar-10", normalization="imagenet"), about)
    assert mean == (0.485, 0.456, 0.406)
    assert std == (0.229, 0.224, 0.225)
