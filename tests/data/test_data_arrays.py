"""Data of one's own from arrays: what may be given, what comes out, and the laws of its batches."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from own import check_same, equal, shares

from fourfold import data
from fourfold.data.items import Items
from fourfold.record import DataSpec, UserError

RANDOM = np.random.default_rng(0)


def images(count=40, size=8, channels=3, classes=4):
    """Bytes (N, H, W, C) and labels; the first pixel is the number of the image."""
    pixels = np.random.default_rng(count).integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    pixels[:, 0, 0, 0] = np.arange(count)
    return pixels, np.arange(count) % classes


def rows(count=30, features=6):
    return RANDOM.normal(size=(count, features)).astype(np.float32), np.arange(count) % 3


def flip(batch, generator):
    inputs, targets = batch
    chosen = torch.rand(len(inputs), generator=generator, device=inputs.device) < 0.5
    return torch.where(chosen.view(-1, *[1] * (inputs.dim() - 1)), inputs.flip(-1), inputs), targets


def test_built_in_images_given_as_arrays_are_the_built_in_data_set_bit_for_bit():
    digits = data.load("digits")
    about = digits.info
    pairs = (digits.train_images, digits.train_labels), (digits.test_images, digits.test_labels)
    own = data.from_arrays(*pairs, normalization=(about.mean, about.std), classes=about.class_names)
    for n, spec in itertools.product(
        (1, 4),
        (
            DataSpec(name="digits"),
            DataSpec(name="digits", encoding="pixels", validation=100),
            DataSpec(name="digits", crop=1, flip=True, encoding="pixels"),
        ),
    ):
        if n == 1 and spec.encoding != "none":
            continue
        theirs = data.prepare(digits, spec, n, "cpu")
        mine = data.prepare(own if spec.encoding != "none" else no_encoding(own), spec, n, "cpu")
        assert (mine.channels, mine.image_size, mine.shape) == (theirs.channels, theirs.image_size, theirs.shape)
        assert (mine.classes, mine.outputs) == (theirs.classes, theirs.outputs)
        assert mine.train.in_memory
        assert (mine.train.pixels() is None) == (theirs.train.pixels() is None)
        check_same(mine.train.epoch(64, 5), theirs.train.epoch(64, 5))
        check_same(mine.test.batches(100), theirs.test.batches(100))
        if spec.validation:
            check_same(mine.validation.batches(100), theirs.validation.batches(100))


def no_encoding(splits):
    """The same data with components "none"."""
    pair = [(part.store.inputs, part.store.targets) for part in (splits.source.train, splits.source.test)]
    return data.from_arrays(*pair, normalization=splits.source.normalization, components="none", classes=splits.classes)


@pytest.mark.parametrize("components", ["none", "zero", "grey"])
@pytest.mark.parametrize("crop", [None, 2])
def test_items_of_any_kind_make_the_batches_of_resident_images(components, crop):
    """The general path, forced by a function that changes nothing, gives the bits of the fast one."""
    pairs = images(), images(9)
    spec = DataSpec(name="arrays", crop=crop, flip=crop is not None)
    fast, general = (
        data.from_arrays(*pairs, components=components, augment=augment).prepare(4, spec=spec)
        for augment in (None, lambda batch, generator: batch)
    )
    assert isinstance(general.train, Items)
    assert not isinstance(fast.train, Items)
    check_same(fast.train.epoch(7, 3), general.train.epoch(7, 3))
    check_same(fast.test.batches(4, 1, 2), general.test.batches(4, 1, 2))
    layout = torch.channels_last
    check_same(fast.train.laid_out(layout).epoch(7, 3), general.train.laid_out(layout).epoch(7, 3))
    assert next(general.train.laid_out(layout).epoch(7, 3))[0].is_contiguous(memory_format=layout)
    assert (general.train.laid_out(layout).memory_format, general.train.memory_format) == ("channels_last", "contiguous")


SEQUENCES = RANDOM.normal(size=(25, 5, 3)).astype(np.float32)
SETS = {
    "images": lambda **options: data.from_arrays(images(25), images(5), **options),
    "floats": lambda **options: data.from_arrays((SEQUENCES, np.arange(25) % 2), 0.2, **options),
    "augmented": lambda **options: data.from_arrays(images(25), images(5), augment=flip, **options),
    "trees": lambda **options: data.from_arrays(
        ({"a": SEQUENCES, "b": (np.arange(25), np.arange(25.0))}, {"c": np.arange(25)}), 0.2, **options
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_an_epoch_has_every_item_once_in_an_order_of_the_seed_alone(name):
    train = SETS[name]().train
    sizes = [len(list(train.epoch(batch_size, 1))) for batch_size in (1, 7, len(train), 100)]
    assert sizes == [len(train), -(-len(train) // 7), 1, 1]
    check_same(train.epoch(7, 1), train.epoch(7, 1))
    assert not equal(next(train.epoch(25, 1)), next(train.epoch(25, 2)))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    order = train.order(3)
    assert sorted(order.members.tolist()) == sorted(train.in_order().members.tolist())
    assert order.members.tolist() != train.in_order().members.tolist()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", SETS)
def test_batches_left_out_shares_and_single_batches_are_those_of_whole_epochs(name):
    for n in (1, 4):
        train = SETS[name]().prepare(n).train
        whole = list(train.epoch(6, 4))
        check_same(train.epoch(6, 4, first=2), whole[2:])
        order = train.order(4)
        check_same([train.batch(order, slice(6, 12))], whole[1:2])
        check_same([train.batch(order, torch.arange(6, 12))], whole[1:2])
        for rank, share in enumerate(shares(4)):
            expected = [(cut(inputs, rank), targets) for inputs, targets in whole]
            check_same(train.epoch(6, 4, share=share), expected)


def cut(tree, rank):
    from fourfold.data.trees import mapped

    return mapped(lambda leaf: leaf.tensor_split(4)[rank], tree)


def test_augmentation_sees_what_was_given_and_the_same_for_every_algebra():
    seen = []

    def look(batch, generator):
        inputs, targets = batch
        seen.append((inputs.clone(), targets.clone(), torch.rand(3, generator=generator)))
        return inputs, targets

    splits = data.from_arrays(images(20), images(5), augment=look, components="repeat")
    for n in (1, 4):
        list(splits.prepare(n).train.epoch(7, 2))
        list(splits.prepare(n).test.batches(7))
        list(splits.prepare(n).train.epoch(7, 2, augment=False))
    assert len(seen) == 6
    for one, other in zip(seen[:3], seen[3:], strict=True):
        assert equal(one, other)
    assert seen[0][0].dtype == torch.uint8
    assert not torch.equal(seen[0][2], seen[1][2])
    assert (seen[0][1] == seen[0][0][:, 0, 0, 0].long() % 4).all()


def test_numpy_torch_channels_first_and_last_are_the_same_data():
    pixels, labels = images()
    first = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    made = [
        data.from_arrays((inputs, targets), (inputs[:5], targets[:5]), **options)
        for inputs, targets, options in (
            (pixels, labels, {}),
            (first, labels, {}),
            (torch.from_numpy(first), torch.from_numpy(labels), {}),
            (pixels[::-1][::-1], labels.astype(np.int16), {"channels": "last"}),
            (np.asfortranarray(first), labels.tolist(), {"channels": "first"}),
            (first, labels[:, None].astype(">u2"), {}),
        )
    ]
    assert {splits.shape for splits in made} == {(3, 8, 8)}
    assert len({splits.digest for splits in made}) == 1
    for splits in made[1:]:
        check_same(splits.train.epoch(7, 0), made[0].train.epoch(7, 0))


@pytest.mark.parametrize("dtype", ["float16", "float64", "longdouble", ">f4"])
def test_floats_of_any_size_become_float32(dtype):
    inputs = np.arange(24).reshape(12, 2).astype(dtype)
    splits = data.from_arrays((inputs, np.arange(12.0)), 0.25, normalization="none")
    assert next(splits.train.batches(9))[0].dtype == torch.float32
    exact = data.from_arrays((inputs.astype(np.float32), np.arange(12.0)), 0.25, normalization="none")
    check_same(splits.train.batches(9), exact.train.batches(9))


def test_read_only_arrays_are_taken_without_a_warning_and_without_a_copy():
    inputs = np.arange(24, dtype=np.float32).reshape(12, 2)
    inputs.setflags(write=False)
    splits = data.from_arrays((inputs, np.arange(12)), 0.25, classes=12)
    assert splits.source.train.store.inputs.data_ptr() == inputs.ctypes.data


TARGETS = {
    "classes": (np.arange(12) % 3, (12,), torch.int64, ("0", "1", "2"), 3),
    "booleans": (np.arange(12) % 2 == 0, (12,), torch.int64, ("0", "1"), 2),
    "columns of classes": ((np.arange(12) % 3)[:, None], (12,), torch.int64, ("0", "1", "2"), 3),
    "text": (np.array(["b", "a", "c"] * 4), (12,), torch.int64, ("a", "b", "c"), 3),
    "values": (np.arange(12.0), (12, 1), torch.float32, (), 1),
    "several values": (np.ones((12, 5)), (12, 5), torch.float32, (), 5),
    "multi-hot": (np.eye(12, 4, dtype=bool), (12, 4), torch.float32, tuple("0123"), 4),
    "integer multi-hot": (np.eye(12, 4, dtype=np.int8), (12, 4), torch.float32, tuple("0123"), 4),
    "label maps": (np.arange(48).reshape(12, 2, 2).astype(np.uint8) % 5, (12, 2, 2), torch.int64, tuple("01234"), 5),
    "ignored": (np.full((12, 2), -100) + 100 * np.eye(12, 2, dtype=int), (12, 2), torch.int64, ("0",), 1),
    "trees": ({"a": np.arange(12)}, None, None, (), None),
}


@pytest.mark.parametrize("name", TARGETS)
def test_targets(name):
    targets, shape, dtype, classes, outputs = TARGETS[name]
    splits = data.from_arrays((np.ones((12, 3)), targets), (np.ones((12, 3)), targets))
    assert (splits.classes, splits.outputs) == (classes, outputs)
    _, batch = next(splits.test.batches(20))
    if shape is not None:
        assert (tuple(batch.shape), batch.dtype) == (shape, dtype)
    if name == "text":
        assert batch.tolist() == [1, 0, 2] * 4


def test_a_label_that_is_ignored_is_no_class():
    maps = np.array([[0, 1, 255]] * 10, dtype=np.uint8)
    splits = data.from_arrays((np.ones((10, 3)), maps), 0.2, ignore=255)
    assert splits.classes == ("0", "1")
    assert next(splits.test.batches(1))[1].tolist() == [[0, 1, 255]]


def test_normalisation_is_of_the_training_part_alone_and_recorded():
    inputs, targets = rows(200)
    splits = data.from_arrays((inputs, targets), 0.2, validation=0.25)
    kept = splits.source.train.members
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (120, 40, 40)
    assert np.allclose(splits.mean, inputs[kept].mean(0, dtype=np.float64), atol=1e-12)
    assert np.allclose(splits.std, inputs[kept].std(0, dtype=np.float64), atol=1e-12)
    batch, _ = next(splits.train.batches(200))
    assert np.allclose(batch, (inputs[kept] - inputs[kept].mean(0)) / inputs[kept].std(0), atol=1e-5)
    assert data.from_arrays((inputs, targets), 0.2, normalization="none").mean == (0.0,) * 6


def test_the_validation_part_of_a_spec_is_left_out_of_the_normalisation_too():
    pixels, labels = images(100)
    splits = data.from_arrays((pixels, labels), 0.2)
    held = splits.prepare(4, spec=DataSpec(name="arrays", validation=30))
    assert (len(held.train), len(held.validation)) == (50, 30)
    assert held.mean != splits.mean
    numbers = [part.in_order().members.tolist() for part in (held.train, held.validation, held.test)]
    assert sorted(number for part in numbers for number in part) == list(range(100))
    assert held.mean == pytest.approx(pixels[numbers[0]].mean((0, 1, 2)) / 255, abs=1e-12)
    assert np.bincount(next(held.validation.batches(30))[1]).max() <= 9


def test_a_feature_that_never_changes_and_one_with_a_large_mean():
    inputs = np.stack([np.ones(50), np.arange(50) + 2_000_000.0], axis=1)
    batch, _ = next(data.from_arrays((inputs, np.arange(50.0)), (inputs, np.arange(50.0))).test.batches(50))
    assert (batch[:, 0] == 0).all()
    assert np.allclose(batch[:, 1], (np.arange(50) - 24.5) / np.arange(50).std(), atol=1e-6)


def test_tokens_are_neither_normalised_nor_encoded():
    tokens = RANDOM.integers(0, 1000, (20, 7))
    splits = data.from_arrays((tokens, np.arange(20) % 2), 0.2)
    for n in (1, 4):
        prepared = splits.prepare(n)
        assert (prepared.shape, prepared.channels, prepared.mean) == ((7,), 0, ())
        batch, _ = next(prepared.test.batches(10))
        assert batch.dtype == torch.int64
        assert np.array_equal(batch, tokens[prepared.test.in_order().members])


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.integers(4, 60), st.integers(1, 4), st.floats(0.05, 0.6))
def test_parts_that_are_held_out_share_no_item_and_keep_the_classes_in_proportion(count, classes, share):
    labels = np.arange(count) % (classes + 1)
    inputs = np.arange(count, dtype=np.float32)[:, None]
    held = round(share * count)
    rest = count - held
    if not 0 < held < count or not 0 < round(share * rest) < rest:
        return
    splits = data.from_arrays((inputs, labels), share, validation=share, classes=classes + 1, normalization="none")
    parts = [next(part.batches(count)) for part in (splits.train, splits.validation, splits.test)]
    assert sorted(torch.cat([inputs for inputs, _ in parts]).flatten().tolist()) == list(range(count))
    for _, targets in parts:
        counts = np.bincount(targets, minlength=classes + 1)
        wanted = np.bincount(labels, minlength=classes + 1) * len(targets) / count
        assert np.abs(counts - wanted).max() < 2
    again = data.from_arrays((inputs, labels), share, validation=share, classes=classes + 1, normalization="none")
    check_same(again.train.batches(count), splits.train.batches(count))


def test_the_digest_is_of_every_value_type_and_part():
    pixels, labels = images(12)
    base = data.from_arrays((pixels, labels), 0.25, validation=3).digest
    assert base == data.from_arrays((pixels.copy(), labels), 0.25, validation=3).digest
    changed = []
    for number in range(12):
        other = pixels.copy()
        other[number, 7, 7, 2] ^= 1
        changed.append(data.from_arrays((other, labels), 0.25, validation=3).digest)
    changed.append(data.from_arrays((pixels, labels[::-1].copy()), 0.25, validation=3).digest)
    changed.append(data.from_arrays((pixels, labels), 0.25, validation=4).digest)
    changed.append(data.from_arrays((pixels.astype(np.float32), labels), 0.25, validation=3).digest)
    assert len({base, *changed}) == 16


ONES = np.ones((6, 3))
CASES = {
    "no pair": (lambda: data.from_arrays(ONES), "`train`"),
    "a number": (lambda: data.from_arrays(3), "`train`"),
    "lengths": (lambda: data.from_arrays((ONES, np.arange(5))), "`train[1]`"),
    "leaves of two lengths": (lambda: data.from_arrays(({"a": ONES, "b": ONES[:4]}, np.arange(6))), "`train[0]`"),
    "NaN": (lambda: data.from_arrays((np.where(np.eye(6, 3), np.nan, 1), np.arange(6))), "item 0"),
    "infinity": (lambda: data.from_arrays((np.full((6, 1), 1e300), np.arange(6))), "item 0"),
    "NaN in targets": (lambda: data.from_arrays((ONES, np.full(6, np.nan))), "`train[1]`"),
    "objects": (lambda: data.from_arrays((np.array([object()] * 6), np.arange(6))), "`train[0]`"),
    "complex": (lambda: data.from_arrays((ONES + 1j, np.arange(6))), "real numbers"),
    "text": (lambda: data.from_arrays((np.array(["a"] * 6), np.arange(6))), "holds text"),
    "dates": (lambda: data.from_arrays((np.zeros(6, "M8[s]"), np.arange(6))), "`train[0]`"),
    "ragged": (lambda: data.from_arrays(([[1, 2], [3]], np.arange(2))), "`train[0]`"),
    "masked": (lambda: data.from_arrays((np.ma.masked_array(ONES), np.arange(6))), "masked"),
    "sparse": (lambda: data.from_arrays((torch.eye(6).to_sparse(), np.arange(6))), "dense"),
    "meta": (lambda: data.from_arrays((torch.ones(6, 2, device="meta"), np.arange(6))), "dense"),
    "scalar": (lambda: data.from_arrays((np.float32(1), np.arange(6))), "`train[0]`"),
    "empty": (lambda: data.from_arrays((ONES[:0], np.arange(0))), "`train[0]`"),
    "empty tree": (lambda: data.from_arrays(({}, np.arange(6))), "`train[0]`"),
    "no axis": (lambda: data.from_arrays((np.ones((6, 3, 5, 3)), np.arange(6))), "`channels`"),
    "unclear axis": (lambda: data.from_arrays((np.ones((6, 7, 5, 9)), np.arange(6))), "`channels`"),
    "wrong axis": (lambda: data.from_arrays((ONES, np.arange(6)), channels="middle"), "`channels`"),
    "uint64": (lambda: data.from_arrays((ONES, np.full(6, 2**63, np.uint64))), "2**63"),
    "negative label": (lambda: data.from_arrays((ONES, np.arange(6) - 1)), "item 0"),
    "label without a name": (lambda: data.from_arrays((ONES, np.arange(6)), classes=["a", "b"]), "item 2"),
    "test label": (lambda: data.from_arrays((ONES, np.arange(6) % 2), (ONES, np.arange(6))), "`test[1]`"),
    "test text": (lambda: data.from_arrays((ONES, ["a", "b"] * 3), (ONES, ["c"] * 6)), "'c'"),
    "test without text": (lambda: data.from_arrays((ONES, ["a", "b"] * 3), (ONES, np.arange(6))), "`test[1]`"),
    "huge label": (lambda: data.from_arrays((ONES, np.arange(6) + 10**9)), "number them anew"),
    "one class": (lambda: data.from_arrays((ONES, np.zeros(6, int))), "`classes`"),
    "names twice": (lambda: data.from_arrays((ONES, np.arange(6) % 2), classes=["a", "a"]), "'a' twice"),
    "test shape": (lambda: data.from_arrays((ONES, np.arange(6)), (np.ones((6, 4)), np.arange(6))), "`test[0]`"),
    "test axes": (lambda: data.from_arrays((ONES, np.arange(6)), (np.ones((6, 3, 1)), np.arange(6))), "`test[0]`"),
    "test type": (lambda: data.from_arrays((ONES, np.arange(6)), (np.ones((6, 3), np.uint8), np.arange(6))), "`test[0]`"),
    "test targets": (lambda: data.from_arrays((ONES, ONES), (ONES, ONES[:, :2])), "`test[1]`"),
    "no test part": (lambda: data.from_arrays((ONES, np.arange(6)), None), "`test`"),
    "all held out": (lambda: data.from_arrays((ONES, np.arange(6)), 6), "`test`"),
    "none held out": (lambda: data.from_arrays((ONES, np.arange(6)), 0.01), "`test`"),
    "half an item": (lambda: data.from_arrays((ONES, np.arange(6)), 1.5), "`test`"),
    "negative part": (lambda: data.from_arrays((ONES, np.arange(6)), -0.5), "`test`"),
    "validation": (lambda: data.from_arrays((ONES, np.arange(6)), validation="a"), "`validation`"),
    "kind": (lambda: data.from_arrays((ONES, np.arange(6)), targets="class"), "`targets`"),
    "multi-hot of twos": (lambda: data.from_arrays((ONES, 2 * ONES), targets="multi-hot"), "zeros and ones"),
    "classes of floats": (lambda: data.from_arrays((ONES, ONES[:, 0]), targets="classes"), "integers"),
    "classes of rows": (lambda: data.from_arrays((ONES, ONES.astype(int)), targets="classes"), "one integer"),
    "label map of one": (lambda: data.from_arrays((ONES, np.arange(6)), targets="label map"), "several integers"),
    "names of columns": (lambda: data.from_arrays((ONES, np.eye(6, 3, dtype=bool)), classes=["a", "b"]), "`classes`"),
    "components": (lambda: data.from_arrays((ONES, np.arange(6)), components="gray"), "`components`"),
    "grey features": (lambda: data.from_arrays((ONES[:, :2], np.arange(6)), components="grey").prepare(4), "grey"),
    "pixels of features": (lambda: data.from_arrays((ONES, np.arange(6)), components="pixels").prepare(4), "pixels"),
    "learned features": (lambda: data.from_arrays((ONES, np.arange(6)), components="learned").prepare(4), "learned"),
    "normalization": (lambda: data.from_arrays((ONES, np.arange(6)), normalization="batch"), "`normalization`"),
    "constants": (lambda: data.from_arrays((ONES, np.arange(6)), normalization=([0], [1])), "`normalization`"),
    "deviation 0": (lambda: data.from_arrays((ONES, np.arange(6)), normalization=([0] * 3, [0] * 3)), "`normalization`"),
    "imagenet": (lambda: data.from_arrays((ONES[:, :2], np.arange(6)), normalization="imagenet"), "3 channels"),
    "crop of features": (
        lambda: data.from_arrays((ONES, np.arange(6))).prepare(spec=DataSpec(name="arrays", crop=1)),
        "`data.crop`",
    ),
    "flip of maps of another size": (
        lambda: data.from_arrays((images(6)[0], images(6)[0][:, ::2, :, 0] % 3), test=2).prepare(
            spec=DataSpec(name="arrays", flip=True)
        ),
        "`data.flip`",
    ),
    "classes of a spec": (
        lambda: data.from_arrays((ONES, np.arange(6))).prepare(spec=DataSpec(name="arrays", classes=2)),
        "`data.classes`",
    ),
    "two validation parts": (
        lambda: data.from_arrays((ONES, np.arange(6)), validation=1).prepare(spec=DataSpec(name="arrays", validation=1)),
        "`data.validation`",
    ),
    "augment of nothing": (
        lambda: next(data.from_arrays((ONES, np.arange(6)), augment=lambda batch, _: None).train.epoch(2, 0)),
        "`augment`",
    ),
    "augment of fewer": (
        lambda: next(data.from_arrays((ONES, np.arange(6)), augment=lambda b, _: (b[0][:1], b[1])).train.epoch(2, 0)),
        "`augment`",
    ),
    "components of nothing": (
        lambda: data.from_arrays((ONES, np.arange(6)), components=lambda inputs, n: None).prepare(4),
        "`components`",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_does_not_fit_is_one_sentence_that_names_it(name):
    make, named = CASES[name]
    with pytest.raises(UserError) as error:
        make()
    assert named in str(error.value)
    assert "\n" not in str(error.value)
