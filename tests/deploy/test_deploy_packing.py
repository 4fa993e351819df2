"""Codings give back what they were given, near to the entropy of it, and refuse bytes that they did not write."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fourfold.deploy.artifact.bits import DamageError, pack_bits, packed_size, unpack_bits
from fourfold.deploy.artifact.entropy import TOTAL, coded_size, decode, encode, frequencies, stored_table, table_size
from fourfold.deploy.artifact.masks import GAP_BITS, MaskCoding, _from_gaps, _gaps, decode_mask, encode_mask
from fourfold.deploy.artifact.values import CODEBOOK_SIZE, COSTLY, VALUES, codebook
from fourfold.record import UserError

law = settings(derandomize=True, deadline=None, max_examples=80)


@law
@given(bits=st.integers(1, 8), data=st.data())
def test_bits_are_packed_without_gaps(bits, data):
    symbols = data.draw(arrays.arrays(np.uint8, st.integers(0, 40), elements=st.integers(0, 2**bits - 1)))
    packed = pack_bits(symbols, bits)
    assert packed.size == packed_size(len(symbols), bits) == -(-len(symbols) * bits // 8)
    text = "".join(f"{symbol:0{bits}b}" for symbol in symbols)
    assert "".join(f"{byte:08b}" for byte in packed).startswith(text)
    assert np.array_equal(unpack_bits(packed, len(symbols), bits), symbols)
    with pytest.raises(DamageError, match="do not hold"):
        unpack_bits(np.append(packed, np.uint8(0)), len(symbols), bits)


streams = st.lists(st.tuples(st.sampled_from([2, 8, 16, 64, 256]), st.integers(1, 800), st.integers(0, 2**32 - 1)), max_size=4)


def drawn(alphabet, count, seed):
    """Symbols of which some are much rarer than others."""
    generator = np.random.default_rng(seed)
    shares = generator.gamma(0.3, size=alphabet) + 1e-9
    return generator.choice(alphabet, count, p=shares / shares.sum()).astype(np.uint8)


@settings(law, max_examples=40)
@given(streams)
def test_streams_come_back_from_their_entropy_coding(kinds):
    symbols = [drawn(*kind) for kind in kinds]
    tables = [stored_table(part, kind[0]) for part, kind in zip(symbols, kinds, strict=True)]
    assert [len(table) for table in tables] == [table_size(kind[0]) for kind in kinds]
    coded = encode(list(zip(symbols, tables, strict=True)))
    found = decode(coded, [(len(part), table) for part, table in zip(symbols, tables, strict=True)])
    assert len(found) == len(symbols)
    assert all(np.array_equal(a, b) for a, b in zip(found, symbols, strict=True))


@pytest.mark.parametrize("alphabet", [2, 16, 64])
def test_a_coding_is_as_short_as_its_entropy(alphabet):
    symbols = drawn(alphabet, 200_000, 1)
    counts = np.bincount(symbols, minlength=alphabet)
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * np.log2(shares)).sum() * len(symbols) / 8
    table = stored_table(symbols, alphabet)
    coded = len(encode([(symbols, table)]))
    assert entropy < coded < 1.01 * entropy + 4 * len(symbols) / 2048 + 4
    assert coded_size(symbols, alphabet) == pytest.approx(coded + len(table), rel=0.02, abs=420)


def test_a_stream_of_one_symbol_costs_its_lanes_alone():
    symbols = np.full(4096, 3, np.uint8)
    assert len(encode([(symbols, stored_table(symbols, 16))])) == 8


@law
@given(arrays.arrays(np.uint8, st.sampled_from([1, 2, 16, 64, 65])))
def test_frequencies_add_up_and_leave_no_symbol_out(stored):
    if not stored.any():
        with pytest.raises(DamageError, match="without any frequency"):
            frequencies(stored, 256)
        return
    table = frequencies(stored, 256)
    assert table.sum() == TOTAL
    groups = np.minimum(np.arange(256) // 4, 64) if len(stored) == 65 else np.arange(len(stored))
    groups[-1] = len(stored) - 1
    assert np.array_equal(table[: len(groups)] > 0, stored[groups] > 0)


@settings(law, max_examples=60)
@given(kinds=streams, change=st.integers(0, 2**32 - 1), cut=st.booleans())
def test_damaged_codings_are_refused_or_decoded_to_as_many_symbols(kinds, change, cut):
    symbols = [drawn(*kind) for kind in kinds]
    tables = [stored_table(part, kind[0]) for part, kind in zip(symbols, kinds, strict=True)]
    coded = encode(list(zip(symbols, tables, strict=True))).copy()
    if not len(coded):
        return
    if cut:
        coded = coded[: change % len(coded)]
    else:
        coded[change % len(coded)] ^= 1 + change % 255
    try:
        found = decode(coded, [(len(part), table) for part, table in zip(symbols, tables, strict=True)])
    except DamageError:
        return
    assert not cut
    assert [len(part) for part in found] == [len(part) for part in symbols]


masks = st.tuples(
    st.sampled_from([1, 2, 4, 8]), st.integers(1, 600), st.sampled_from([0, 0.003, 0.1, 0.5, 0.97, 1]), st.booleans()
)


def drawn_mask(n, numbers, density, whole, seed=0):
    generator = np.random.default_rng(seed)
    mask = generator.random((1 if whole else n, numbers)) < density
    return np.repeat(mask, n, axis=0) if whole else mask


@law
@given(masks, st.booleans())
def test_masks_come_back(kind, entropy):
    mask = drawn_mask(*kind)
    coded = encode_mask(mask, entropy)
    assert len(coded.positions) == coded.coding.symbols
    assert len(coded.parts) == (coded.coding.kept if coded.coding.parts else 0)
    assert (coded.positions < 1 << coded.coding.bits).all()
    found = decode_mask(coded.coding, mask.shape, coded.positions, coded.parts)
    assert np.array_equal(found, mask)
    bitmap = -(-mask.size // 8)
    assert coded.size(len(mask), entropy) <= (bitmap if not entropy else 1.2 * bitmap + 20)


def test_a_full_and_an_empty_mask_cost_nothing():
    for mask in (np.ones((4, 100), np.bool_), np.zeros((4, 100), np.bool_)):
        assert encode_mask(mask, entropy=False).size(4, entropy=False) == 0


def test_whole_numbers_store_one_index_for_all_their_components():
    mask = drawn_mask(4, 4000, 0.1, True)
    coded = encode_mask(mask, entropy=False)
    single = encode_mask(mask[:1], entropy=False)
    assert (coded.coding.unit, coded.coding.parts) == ("number", False)
    assert coded.size(4, entropy=False) == single.size(1, entropy=False)


def test_the_cheapest_coding_follows_the_density():
    found = {}
    for density in (0.5, 0.12, 0.03, 0.005):
        coding = encode_mask(drawn_mask(1, 20_000, density, False), entropy=False).coding
        found[density] = (coding.positions, coding.bits if coding.positions == "gaps" else 1)
    assert found == {0.5: ("bitmap", 1), 0.12: ("gaps", 4), 0.03: ("gaps", 6), 0.005: ("gaps", 8)}


@pytest.mark.parametrize(
    ("coding", "positions", "parts", "sentence"),
    [
        (MaskCoding(kept=1, symbols=1), [40], [], "keeps one beyond them"),
        (MaskCoding(kept=2, symbols=1), [4], [], "keeps other than 2"),
        (MaskCoding(positions="bitmap", kept=8, symbols=16, bits=1), [1] * 16, [], "keeps other than 8"),
        (MaskCoding(unit="number", kept=1, symbols=1, parts=True), [1], [0], "none of its components"),
    ],
)
def test_masks_that_do_not_fit_are_refused(coding, positions, parts, sentence):
    with pytest.raises(DamageError, match=sentence):
        decode_mask(coding, (2, 8), np.array(positions, np.uint8), np.array(parts, np.uint8))


def test_gaps_longer_than_the_largest_symbol():
    mask = np.zeros((1, 5000), np.bool_)
    mask[0, [0, 7, 8, 300, 555, 810, 4999]] = True
    for bits in GAP_BITS:
        assert np.array_equal(_from_gaps(_gaps(mask[0], bits), bits, 5000), mask[0])


weights = st.tuples(
    st.sampled_from([(1, 5, 7), (4, 3, 2, 3, 3), (2, 4, 5)]), st.sampled_from([0.0, 0.3, 1.0]), st.integers(0, 2**32 - 1)
)


def drawn_weight(shape, density, seed):
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(shape) * (generator.random(shape) < density)).astype(np.float32)


def through(name, weight):
    mask = weight != 0
    values, side = VALUES[name].encode(weight, mask)
    assert values.shape == (np.count_nonzero(mask),)
    return VALUES[name].decode(values, side, mask)


@law
@given(weights)
def test_values_of_32_bits_are_exact_and_of_16_nearly(kind):
    weight = drawn_weight(*kind)
    assert np.array_equal(through("fp32", weight), weight)
    assert np.array_equal(through("fp16", weight), weight.astype(np.float16).astype(np.float32))


@law
@given(weights)
def test_int8_is_within_half_a_step_of_each_output_and_exact_the_second_time(kind):
    weight = drawn_weight(*kind)
    found = through("int8", weight)
    step = np.abs(weight).max(axis=(0, *range(2, weight.ndim)), keepdims=True) / 63
    assert (np.abs(found - weight) <= 0.5001 * step).all()
    assert np.array_equal(through("int8", found), found)


@law
@given(weights)
def test_a_codebook_is_exact_the_second_time_and_better_than_even_steps(kind):
    weight = drawn_weight(*kind)
    found = through("codebook", weight)
    assert len(np.unique(found[weight != 0])) <= CODEBOOK_SIZE
    assert np.array_equal(through("codebook", found), found)
    values = weight[weight != 0]
    if len(values):
        step = (values.max() - values.min()) / (CODEBOOK_SIZE - 1)
        even = np.rint((values - values.min()) / (step or 1)) * step + values.min()
        assert ((found - weight) ** 2).sum() <= 1.001 * ((even - values) ** 2).sum() + 1e-9


def uneven(weight, seed):
    """Return weights whose outputs have sizes that lie far apart, of either sign."""
    factors = np.exp(1.5 * np.random.default_rng(seed).standard_normal(weight.shape[1]))
    return (weight * factors.reshape(1, -1, *[1] * (weight.ndim - 2))).astype(np.float32)


def output_errors(weight, found):
    axes = (0, *range(2, weight.ndim))
    return np.square(found - weight).sum(axes) / np.maximum(np.square(weight).sum(axes), 1e-30)


@law
@given(st.sampled_from([(1, 24, 1, 3, 3), (4, 12, 6), (2, 16, 3, 3, 3)]), st.sampled_from([0.3, 1.0]), st.integers(0, 999))
def test_a_codebook_has_scales_where_outputs_differ_and_is_exact_the_second_time(shape, density, seed):
    even = drawn_weight(shape, density, seed)
    weight = uneven(even, seed)
    mask = weight != 0
    _, book = VALUES["codebook"].encode(weight, mask)
    assert len(book) in (CODEBOOK_SIZE, CODEBOOK_SIZE + shape[1])
    found = through("codebook", weight)
    assert output_errors(weight, found).mean() <= max(COSTLY, 2.5 * output_errors(even, through("codebook", even)).mean())
    assert np.array_equal(found == 0, ~mask) or len(book) == CODEBOOK_SIZE
    assert np.array_equal(through("codebook", found), found)


def test_even_outputs_need_no_scales_and_cost_no_bytes_for_them():
    for seed in range(5):
        weight = drawn_weight((4, 16, 32), 0.2, seed)
        _, book = VALUES["codebook"].encode(weight, weight != 0)
        assert len(book) <= CODEBOOK_SIZE


@pytest.mark.parametrize("entries", [0, 3, 16])
def test_codebooks_without_scales_are_read_as_ever(entries):
    mask = np.ones((1, 2, 3), np.bool_)
    book = np.arange(1, entries + 1, dtype=np.float32)
    values = np.arange(6, dtype=np.uint8) % max(entries, 1)
    if entries:
        assert np.array_equal(VALUES["codebook"].decode(values, book, mask).ravel(), book[values])
    else:
        with pytest.raises(DamageError):
            VALUES["codebook"].decode(values, book, mask)


@pytest.mark.parametrize("entries", [17, 19, 30])
def test_codebooks_of_another_length_are_refused(entries):
    mask = np.ones((1, 2, 3), np.bool_)
    with pytest.raises(DamageError, match="at most 16 entries, or 16 and 2 scales"):
        VALUES["codebook"].decode(np.zeros(6, np.uint8), np.ones(entries, np.float32), mask)


def test_a_codebook_meets_few_values_exactly():
    assert np.array_equal(codebook(np.array([2, 1, 2, 3], np.float32), 4), [1, 2, 3])


def test_a_codebook_is_a_fixed_point_of_k_means():
    values = drawn_weight((1, 40, 50), 1.0, 3).ravel()
    book = codebook(values, 16).astype(np.float64)
    nearest = np.abs(values[:, None] - book).argmin(axis=1)
    means = [values[nearest == entry].mean() for entry in range(16)]
    assert np.abs(means - book).max() < 0.02


def test_weights_beyond_half_precision_are_refused():
    weight = np.full((1, 1, 1), 1e5, np.float32)
    with pytest.raises(UserError, match=r"`values` \(='fp16'\) must hold weights up to 100000, but ends at 65504"):
        VALUES["fp16"].encode(weight, weight != 0)


def test_values_without_their_second_array_are_refused():
    mask = np.ones((1, 2, 3), np.bool_)
    values = np.arange(6, dtype=np.uint8)
    with pytest.raises(DamageError, match="a scale for each of 2 outputs"):
        VALUES["int8"].decode(values, np.ones(3, np.float32), mask)
    with pytest.raises(DamageError, match="no entry of its codebook"):
        VALUES["codebook"].decode(values, np.ones(5, np.float32), mask)
