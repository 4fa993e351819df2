"""Ranges for int8: exact for bytes, by choice for other values; what rounding does to the logits is told."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from deploy_samples import lively
from hypothesis import given, settings
from hypothesis import strategies as st
from random_programs import bytes_for, images_for, random_encoding, random_program
from torch import nn

from fourfold import deploy
from fourfold import nn as fnn
from fourfold.deploy import quantize, ranges
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.ir.encoding import encoded_shape
from fourfold.deploy.movement import moved
from fourfold.record import UserError

law = settings(derandomize=True, deadline=None, max_examples=40)
seeds = st.integers(0, 10**6)


@law
@given(seeds)
def test_the_range_of_an_encoding_is_reached_and_never_left(seed):
    random = np.random.default_rng(seed)
    encoding = random_encoding(random)
    channels, height, width = encoding.shape
    corners = np.array(np.meshgrid(*[[0, 255]] * channels)).reshape(channels, -1).T.astype(np.uint8)
    images = np.broadcast_to(corners[:, None, None, :], (len(corners), height, width, channels))
    largest = np.abs(reference.encode(encoding, np.ascontiguousarray(images))).max()
    assert ranges.encoded_range(encoding, encoded_shape(encoding)) == pytest.approx(largest, rel=1e-6)


@pytest.mark.parametrize("choice", ranges.RANGES)
def test_dark_images_in_bytes_calibrate_the_input_as_bright_ones_do(choice):
    program = random_program(3)
    wanted = ranges.encoded_range(program.encoding, program.shapes[0])
    for images in (bytes_for(program, 0), bytes_for(program, 0) // 64):
        assert quantize.calibrate(program, images, ranges=choice).ranges[0] == wanted


def drawn(seed: int) -> np.ndarray:
    """Numbers of any spread, some of them zero, some far out."""
    random = np.random.default_rng(seed)
    values = random.standard_t(random.integers(2, 9), 20000) * 10.0 ** random.integers(-6, 6)
    values[: random.integers(0, 10000)] = 0
    return random.permutation(values).astype(np.float32)


@law
@given(seeds)
def test_a_percentile_holds_what_it_says(seed):
    values = drawn(seed)
    found = ranges._percentile(ranges._histogram(values), 127)
    assert (np.abs(values) <= found * (1 + 1e-6)).mean() >= ranges.KEPT_FRACTION
    exact = np.quantile(np.abs(values), ranges.KEPT_FRACTION, method="inverted_cdf")
    assert found <= exact * 2 ** (1.01 / ranges.BINS_PER_OCTAVE)


@law
@given(seeds, st.sampled_from([63, 127]))
def test_least_squares_are_nearly_the_least_that_any_range_gives(seed, steps):
    values = np.abs(drawn(seed)).astype(np.float64)

    def error(largest: float) -> float:
        step = largest / steps
        return float(np.square(values - step * np.minimum(np.rint(values / step), steps)).sum())

    found = ranges._least_squares(ranges._histogram(values.astype(np.float32)), steps)
    assert error(found) <= 1.1 * min(error(values.max() * share) for share in np.geomspace(1 / 200, 1, 60))


@pytest.mark.parametrize("choice", ranges.RANGES)
@pytest.mark.parametrize("seed", range(0, 40, 4))
def test_int8_is_near_float32_with_every_choice(choice, seed):
    program = random_program(seed)
    images = images_for(program, seed, 32)
    calibrated = quantize.calibrate(program, images, ranges=choice)
    assert set(calibrated.ranges) == set(range(len(program.shapes)))
    largest = quantize.calibrate(program, images).ranges
    for value, chosen in calibrated.ranges.items():
        assert 0 <= chosen <= largest[value] * (1 + 1e-6) or choice != "max"
    assert (
        moved(program, calibrated, images).relative <= 3 * moved(program, quantize.calibrate(program, images), images).relative
    )


def small_network() -> nn.Module:
    torch.manual_seed(0)
    layers = (fnn.Conv2d(4, 8, 3, padding=1, algebra="quaternion"), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    return lively(nn.Sequential(*layers, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 5)))


def test_one_outlier_among_the_images_spoils_the_largest_number_but_no_percentile():
    program = deploy.lower(small_network(), (4, 8, 8))
    images = np.random.default_rng(0).standard_normal((64, 4, 8, 8)).astype(np.float32)
    spoilt = images.copy()
    spoilt[7, 2, 3, 3] = 1000
    by_largest, by_percentile = (
        moved(program, quantize.calibrate(program, spoilt, ranges=choice), images) for choice in ("max", "percentile")
    )
    assert by_largest.relative > 0.3
    assert by_percentile.relative < 0.1
    assert by_percentile.same_class > by_largest.same_class


def test_what_one_outlier_makes_of_later_values_is_cut_with_it():
    program = deploy.lower(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False), nn.ReLU()), (1, 16, 16))
    images = np.random.default_rng(0).standard_normal((128, 1, 16, 16)).astype(np.float32)
    images[0, 0, 5, 5] = 1e6
    found = quantize.calibrate(program, images, ranges="percentile").ranges
    assert found[0] < 10
    assert found[1] < 30


@pytest.mark.parametrize("values", ["fp32", "int8", "codebook"])
def test_pack_tells_how_far_the_logits_moved(tmp_path, values):
    program = deploy.lower(small_network(), (4, 8, 8), provenance={"run": "x"})
    images = np.random.default_rng(0).standard_normal((140, 4, 8, 8)).astype(np.float32)
    packed = deploy.pack(program, tmp_path / "a.safetensors", values=values, calibrate=images)
    movement = moved(program, packed, images)
    assert movement.images == 128
    exact, found = reference.run(program, images[:128]), reference.run_int8(packed, images[:128])
    sizes = [np.linalg.norm(after - before) / np.linalg.norm(before) for after, before in zip(found, exact, strict=True)]
    assert movement.relative == pytest.approx(np.mean(sizes), rel=1e-4)
    assert movement.same_class == (exact.argmax(1) == found.argmax(1)).sum()
    assert packed.provenance == {"run": "x", "logits moved": str(movement)}
    assert deploy.read(tmp_path / "a.safetensors").provenance == packed.provenance
    assert "logits moved" not in deploy.pack(program, tmp_path / "a.safetensors", values=values).provenance


def test_a_network_that_rounding_changes_much_is_warned_of(tmp_path):
    program = deploy.lower(small_network(), (4, 8, 8))
    images = np.random.default_rng(0).standard_normal((16, 4, 8, 8)).astype(np.float32)
    images[0, 0, 0, 0] = 1e4
    with pytest.warns(UserWarning, match="rounding moved the logits by"):
        deploy.pack(program, tmp_path / "a.safetensors", values="int8", calibrate=images)


def test_nothing_moves_where_nothing_is_rounded():
    program = replace(random_program(1), ranges={})
    movement = moved(program, program, images_for(program, 0, 5))
    assert (movement.relative, movement.same_class, movement.images) == (0, 5, 5)


def test_unknown_ranges_are_refused():
    program = random_program(1)
    with pytest.raises(UserError, match="unknown ranges 'median'"):
        quantize.calibrate(program, images_for(program, 0), ranges="median")
