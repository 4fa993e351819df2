"""int8: what a level stands for, runs that fit into 16 bits, and accuracy on a trained network."""

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_programs import bytes_for, images_for, magnitude, make_product, random_program
from sklearn.datasets import load_digits

from fourfold import algebra as algebras
from fourfold import nn as fnn
from fourfold.deploy import quantize
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.backends.c.int8.runs import CARRIED, FLUSH, make_runs, own_entries
from fourfold.deploy.backends.c.int8.swar_convolution import WordRuns, word_tables
from fourfold.deploy.backends.c.int8.swar_linear import has_halves, run_tables
from fourfold.deploy.backends.c.sparse_lists import Lists, component_lists, make_lists
from fourfold.deploy.frontend.trace import lower
from fourfold.deploy.ir import levels
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.ops import Convolution, Linear
from fourfold.deploy.ir.product import Product
from fourfold.deploy.runtime import load
from fourfold.record import UserError

seeds = st.integers(0, 10**6)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(seeds)
def test_codes_are_the_nearest_to_the_weights(seed):
    random = np.random.default_rng(seed)
    product = make_product(random, int(random.choice([1, 2, 4, 8])), 3, 5, (2, 2), "weights")
    codes, scale = quantize.quantized_weights(product, np.full(3, 1e-9))
    assert np.abs(codes.weight).max() <= quantize.WEIGHT_LEVELS
    assert np.array_equal(codes.weight, np.rint(codes.weight))
    by_row = scale[:, None, None, None]  # the components of an output number share it
    assert (np.abs(codes.weight * by_row - product.weight) <= by_row * 0.5001).all()
    assert np.array_equal(codes.weight == 0, np.abs(product.weight) <= by_row * 0.5)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seeds, st.sampled_from([levels.IMAGE_LEVELS, levels.VALUE_LEVELS]))
def test_runs_hold_every_weight_once_and_never_more_than_16_bits(seed, largest_level):
    random = np.random.default_rng(seed)
    n = int(random.choice([1, 2, 4, 8]))
    product = make_product(random, n, 4, 9, (3, 3), str(random.choice(["weights", "numbers", "all", "none"])))
    codes, _ = quantize.quantized_weights(product, np.full(4, 1e-9))
    where = np.arange(81).reshape(9, 3, 3) * int(random.choice([1, 900]))
    lists = own_entries(make_lists(codes, where))
    runs = make_runs(lists, largest_level)
    counts, steps, weights = iter(runs.counts), iter(runs.steps), iter(runs.weights)
    found: dict[tuple[int, int, int], np.ndarray] = {}
    for group in range(lists.groups):
        most = np.zeros((lists.outputs, 2))  # of what the sums may hold: gained, and lost
        for number, pattern in enumerate(lists.patterns):
            place = 0
            while count := next(counts):
                for _ in range(count % FLUSH):
                    places = [place := place + next(steps) for _ in range(2)]
                    pair = np.array([next(weights) for _ in range(2 * pattern.weights)]).reshape(-1, 2)
                    for term in pattern.terms:
                        gains = term.sign * pair[term.weight]
                        most[term.output] += np.maximum(gains, 0).sum(), np.maximum(-gains, 0).sum()
                    for at, column in zip(places, pair.T, strict=True):
                        key = (group, number, at)
                        found[key] = found.get(key, 0) + column
                assert most.max() * largest_level + 2**CARRIED <= 2**15
                if count >= FLUSH:
                    most[:] = 0
    wanted: dict[tuple[int, int, int], np.ndarray] = {}
    start = 0
    for group, row in enumerate(lists.counts.tolist()):
        for number, count in enumerate(row):
            for at, entry in zip(
                np.cumsum(lists.steps[start : start + count]), lists.weights[start : start + count], strict=True
            ):
                wanted[group, number, int(at)] = entry
            start += count
    assert not list(weights)
    for key in found.keys() | wanted.keys():
        assert np.array_equal(found.get(key, 0) + np.zeros(1), wanted.get(key, 0) + np.zeros(1)), key


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seeds, st.sampled_from([levels.IMAGE_LEVELS, levels.VALUE_LEVELS]), st.sampled_from([1, 5, 63]))
def test_halves_hold_every_weight_once_and_never_more_than_16_bits(seed, largest_level, largest_weight):
    random = np.random.default_rng(seed)
    n, inputs = int(random.choice([4, 8])), int(random.choice([3, 8000]))
    weight = random.integers(-largest_weight, largest_weight + 1, (n, 2, inputs)).astype(np.float32)
    weight[:, 1] = np.sort(weight[:, 1], axis=-1)  # losses first
    product = Product(
        weight=weight * (random.random(weight.shape) < 0.4), bias=None, table=algebras.get(OF_DIMENSION[n]).left_table
    )
    lists = single_components(product)
    lengths, places, weights = (integers_of(table) for table in run_tables(lists, n, largest_level))
    entries, found = zip(places, weights, strict=True), []
    for _ in range(lists.counts.size):
        found.append([])
        while length := next(lengths):
            run = [next(entries) for _ in range(length)]
            assert length <= 127
            for sign in (1, -1):
                assert sum(max(sign * code, 0) for _, code in run) * largest_level < 2**15
            found[-1] += run
    ends = np.cumsum(lists.counts.ravel())[:-1]
    wanted = zip(np.split(lists.steps, ends), np.split(lists.weights[:, 0], ends), strict=True)
    assert [sorted(each) for each in found] == [
        list(zip((n * np.cumsum(steps)).tolist(), codes.astype(int).tolist(), strict=True)) for steps, codes in wanted
    ]


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seeds, st.sampled_from([levels.IMAGE_LEVELS, levels.VALUE_LEVELS]))
def test_runs_of_words_keep_every_entry_and_end_before_16_bits_are_full(seed, largest_level):
    random = np.random.default_rng(seed)
    n = int(random.choice([1, 2, 4, 8]))
    product = make_product(random, n, 4, 9, (3, 3), str(random.choice(["weights", "numbers", "all", "none"])))
    codes, _ = quantize.quantized_weights(product, np.full(4, 1e-9))
    where = np.arange(81).reshape(9, 3, 3) * int(random.choice([1, 900]))
    lists = own_entries(make_lists(codes, where))
    if not WordRuns.fits(lists, largest_level):
        assert lists.patterns[0].weights > 1
        lists = component_lists(codes, where, 1)
        assert WordRuns.fits(lists, largest_level)
    runs = WordRuns(lists, largest_level)
    counts, entries, flushes = iter(runs.counts), iter(lists.weights), False
    for group in range(lists.groups):
        most = np.zeros((lists.outputs, 2))  # of what the sums may hold: gained, and lost
        for number, pattern in enumerate(lists.patterns):
            seen = 0
            while count := next(counts):
                seen += count % FLUSH
                for _ in range(count % FLUSH):
                    entry = next(entries)
                    for term in pattern.terms:
                        gain = term.sign * entry[term.weight]
                        most[term.output] += max(gain, 0), max(-gain, 0)
                assert most.max() * largest_level < 2**15
                if count >= FLUSH:
                    most[:], flushes = 0, True
            assert seen == lists.counts[group, number]
    assert (next(counts, None), next(entries, None)) == (None, None)
    assert runs.flushes == flushes
    tables = word_tables(lists, runs)
    if lists.patterns[0].weights == 1:
        words = np.array(list(integers_of(tables[tables.index("@entries") :])), np.int64)[: len(lists.steps)]
        assert np.array_equal(words & 0xFFFF, lists.steps)
        assert np.array_equal((words >> 16).astype(np.uint16).astype(np.int16), lists.weights[:, 0])


OF_DIMENSION = {4: "quaternion", 8: "octonion"}


def single_components(product: Product) -> Lists:
    """Return the lists of single components, whatever would be faster."""
    weight = product.weight
    for row in range(weight.shape[1]):  # one component of a number alone makes single ones cheaper
        weight[:, row] *= np.arange(weight.shape[2]) % product.n == np.arange(product.n)[:, None]
    lists = make_lists(product, np.arange(weight.shape[2]))
    assert has_halves(product, lists)
    return lists


def integers_of(table: str) -> Iterator[int]:
    numbers = re.findall(r"-?\d+", table.split("{")[1])
    return iter([int(number) for number in numbers][: int(re.findall(r"\[(\d+)\]", table)[0])])


def test_numbers_too_far_for_places_of_16_bits_are_not_walked_by_halves():
    for inputs, near in ((2**14 - 1, True), (2**14, False)):
        weight = np.zeros((4, 1, inputs), np.float32)
        weight[0, 0, -1] = 1
        product = Product(weight=weight, bias=None, table=algebras.get("quaternion").left_table)
        assert has_halves(product, make_lists(product, np.arange(inputs))) == near


@pytest.mark.slow
@pytest.mark.parametrize(("inputs", "carries"), [(28, True), (30, False)])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_are_right_whether_they_are_carried_or_widened(inputs, carries, sign):
    weight = np.full((1, 2, inputs, 3, 3), sign, np.float32)
    weight[0, 1] *= -1
    product = Product(weight=weight, bias=None, table=(((0, 1),),))
    layer = Convolution(name="layer", inputs=(0,), output=1, product=product, padding=(1, 1, 1, 1))
    program = assemble((inputs, 8, 9), [layer])
    images = np.ones((1, *program.shapes[0]), np.float32)
    program = quantize.calibrate(program, images)
    codes, _ = quantize.quantized_weights(product, np.full(2, 1e-9))
    lists = own_entries(make_lists(codes, np.arange(9 * inputs).reshape(inputs, 3, 3)))
    assert make_runs(lists, levels.IMAGE_LEVELS).carries == carries
    found = load(program)(images)
    assert np.array_equal(found, reference.run_int8(program, images))
    assert np.abs(found).max() > 0


@pytest.mark.parametrize("machine", ["", "-DPORTABLE"])
@pytest.mark.parametrize("algebra", ["quaternion", "octonion"])
@pytest.mark.parametrize("signs", ["gains", "losses", "both", "small"])
def test_the_largest_sums_of_a_linear_layer_are_right(algebra, signs, machine, monkeypatch):
    multiplication = algebras.get(algebra)
    n, rows, inputs = multiplication.n, 3, 5000
    place = np.arange(rows)[:, None] + np.arange(inputs)
    values = {
        "gains": 1,
        "losses": -1,
        "both": np.where(place % 3, 1, -1),
        "small": np.where(place < n, 1, (place % 3 - 1) / 63),
    }
    weight = np.float32(values[signs] * (place % n == np.arange(n)[:, None, None]))  # one component of a number each
    product = Product(weight=weight, bias=None, table=multiplication.left_table)
    program = assemble((n * inputs,), [Linear(name="layer", inputs=(0,), output=1, product=product)])
    assert all(pattern.weights == 1 for pattern in make_lists(product, np.arange(inputs)).patterns)
    images = np.ones((1, n * inputs), np.float32)
    program = quantize.calibrate(program, images)
    monkeypatch.setenv("CC", f"gcc {machine}")
    loaded = load(program)
    assert not loaded.notice
    found = loaded(images)
    assert np.array_equal(found, reference.run_int8(program, images))
    assert np.abs(found).max() > 0


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_int8_is_near_float32(seed):
    program = random_program(seed)
    images = bytes_for(program, seed, 4)
    encoded = reference.encode(program.encoding, images)
    wanted = reference.run(program, encoded)
    found = reference.run_int8(quantize.calibrate(program, images), images)
    assert np.abs(found - wanted).max() <= 0.02 * magnitude(program, encoded)


def digits(algebra: str) -> tuple[torch.nn.Module, np.ndarray, np.ndarray, np.ndarray]:
    """Train a small network on most of the digits with three quarters of its weights gone; return it and the others."""
    images, labels = load_digits(return_X_y=True)
    pixels = torch.tensor(images.reshape(-1, 1, 8, 8) / 16, dtype=torch.float32)
    inputs = pixels.repeat(1, 4, 1, 1) if algebra == "quaternion" else pixels
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        fnn.Conv2d(inputs.shape[1], 16, 3, padding=1, algebra=algebra),
        torch.nn.ReLU(),
        fnn.Conv2d(16, 32, 3, stride=2, padding=1, algebra=algebra),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        fnn.Linear(128, 64, algebra=algebra),
        torch.nn.ReLU(),
        torch.nn.Linear(64, 10),
    )
    masks = [(module.weight, torch.rand(module.weight.shape) < 0.25) for module in model if hasattr(module, "weight")]
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(400):
        chosen = torch.arange(step * 100, step * 100 + 100) % 1200
        loss = torch.nn.functional.cross_entropy(model(inputs[chosen]), torch.tensor(labels)[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for weight, mask in masks:
                weight.mul_(mask)
    return model, inputs[:100].numpy(), inputs[1200:].numpy(), labels[1200:]


@pytest.mark.slow
@pytest.mark.parametrize("algebra", ["real", "quaternion"])
def test_accuracy_on_digits_stays(algebra):
    model, seen, unseen, labels = digits(algebra)
    program = lower(model, seen.shape[1:])
    with_ranges = quantize.calibrate(program, seen)
    accuracy = (reference.run(program, unseen).argmax(1) == labels).mean()
    whole = (load(with_ranges)(unseen).argmax(1) == labels).mean()
    assert accuracy > 0.85
    assert abs(whole - accuracy) <= 0.01  # six of 597 images


@pytest.mark.filterwarnings("ignore:running in numpy")
def test_no_compiler_gives_the_same_levels(monkeypatch):
    program = random_program(0)
    program = quantize.calibrate(program, bytes_for(program, 0))
    compiled = load(program)
    monkeypatch.setenv("FOURFOLD_NATIVE", "0")
    plain = load(program)
    assert plain.notice
    for images in (bytes_for(program, 1, 5), images_for(program, 1, 5)):
        assert np.array_equal(plain(images), compiled(images))


def test_a_row_without_weights_keeps_its_bias():
    program = random_program(3)
    index, operation = next((i, o) for i, o in enumerate(program.operations) if isinstance(o, Convolution | Linear))
    bias = np.linspace(0.001, 1, operation.product.weight.shape[1] * operation.product.n).astype(np.float32)
    product = replace(operation.product, weight=np.zeros_like(operation.product.weight), bias=bias)
    operations = list(program.operations)
    operations[index] = replace(operation, product=product)
    program = replace(program, operations=tuple(operations))
    images = images_for(program, 0)
    quantized = quantize.Quantized(quantize.calibrate(program, images))
    codes = quantized.codes(operations[index])
    after = quantized.levels[operation.output]
    rounding = after.zero + 0.5 if index < len(operations) - 1 or isinstance(operation, Convolution) else 0
    assert np.allclose(codes.bias * codes.factor - rounding, bias / (after.scale if rounding else 1), atol=1e-3)


def test_mistakes_are_one_sentence():
    program = random_program(1)
    with pytest.raises(UserError, match=r"`images` \(=0 of them\) must be at least one"):
        quantize.calibrate(program, images_for(program, 0, 0))
    with pytest.raises(UserError, match="bytes, but this network does not know how to encode them"):
        quantize.calibrate(program, np.zeros((1, 2, 2, 3), np.uint8))
    with pytest.raises(UserError, match=r"`images` of type float32 and shape \(1, 3\) must be"):
        quantize.calibrate(program, np.zeros((1, 3), np.float32))
    with pytest.raises(UserError, match=r"`program.ranges` must have a number for each value, but has none for 1"):
        quantize.Quantized(replace(program, ranges={0: 1.0}))
