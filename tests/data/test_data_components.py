"""Inputs as elements of n components, against the definition channel by channel."""

import numpy as np
import pytest
import torch

from fourfold import data
from fourfold.data.components import encode
from fourfold.record import UserError

ALGEBRAS = [1, 2, 4, 8]


def element(encoded, number, component, n, axis):
    """Component k of element j is channel k·M + j of n·M channels."""
    channels = encoded.shape[axis]
    assert channels % n == 0
    return encoded.select(axis, component * (channels // n) + number)


@pytest.mark.parametrize("n", ALGEBRAS)
@pytest.mark.parametrize("shape", [(5, 3, 4, 8), (5, 7), (5, 6, 7), (5, 8)])
def test_repeat_gives_every_component_the_channel(n, shape):
    axis = 1 if len(shape) in (2, 4) else 2
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    encoded = encode(inputs, n, "repeat", axis)
    for channel in range(shape[axis]):
        for component in range(n):
            assert torch.equal(element(encoded, channel, component, n, axis), inputs.select(axis, channel))


@pytest.mark.parametrize("n", ALGEBRAS)
@pytest.mark.parametrize("shape", [(5, 7), (5, 6, 7), (5, 8), (5, 2, 1)])
def test_n_neighbouring_features_are_one_element_and_the_last_is_filled_with_zeros(n, shape):
    axis = len(shape) - 1
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    encoded = encode(inputs, n, "zero", axis)
    assert encoded.shape[axis] == -(-shape[axis] // n) * n
    for place in range(encoded.shape[axis]):
        expected = inputs.select(axis, place) if place < shape[axis] else torch.zeros_like(inputs.select(axis, 0))
        assert torch.equal(element(encoded, place // n, place % n, n, axis) if n > 1 else encoded.select(axis, place), expected)


@pytest.mark.parametrize(
    ("components", "n"), [("zero", 4), ("grey", 4), ("pixels", 4), ("none", 4), ("learned", 4), ("zero", 8)]
)
def test_images_of_either_path_have_the_same_channels(components, n):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    fast, general = (
        data.from_arrays((pixels, np.arange(20) % 2), components=components, augment=augment).prepare(n)
        for augment in (None, lambda batch, generator: batch)
    )
    assert (fast.shape, fast.network_shape, fast.channels) == (general.shape, general.network_shape, general.channels)
    assert tuple(next(general.test.batches(2))[0].shape[1:]) == general.shape
    assert general.network_shape[0] % n == 0 or components == "none"


def test_learned_has_a_channel_more_than_the_images_at_least():
    for channels, n, seen in ((3, 4, 4), (4, 4, 8), (1, 4, 4), (3, 2, 4), (3, 8, 8)):
        pixels = np.zeros((10, channels, 8, 8), np.uint8)
        splits = data.from_arrays((pixels, np.arange(10) % 2), components="learned", channels="first").prepare(n)
        assert (splits.shape[0], splits.network_shape[0]) == (channels, seen)


def test_the_encoding_of_a_spec_goes_before_that_of_the_data():
    from fourfold.record import DataSpec

    pixels = np.zeros((10, 3, 8, 8), np.uint8)
    splits = data.from_arrays((pixels, np.arange(10) % 2), components="repeat")
    assert splits.prepare(4).channels == 12
    assert splits.prepare(4, spec=DataSpec(name="arrays", encoding="grey")).channels == 4
    assert splits.prepare(1).channels == 3


def test_a_function_sees_normalised_inputs_of_any_form_and_the_dimension():
    seen = []

    def spread(inputs, n):
        seen.append(n)
        return {key: torch.cat([value] * n, 1) for key, value in inputs.items()}

    trees = {"a": np.ones((10, 3)), "b": np.ones((10, 2))}
    splits = data.from_arrays((trees, np.arange(10) % 2), components=spread)
    assert splits.shape == {"a": (3,), "b": (2,)}
    assert not seen
    assert splits.prepare(4).shape == {"a": (12,), "b": (8,)}
    assert set(seen) == {4}

    floats = data.from_arrays((np.arange(30.0).reshape(10, 3), np.arange(10) % 2), components=lambda x, n: x.repeat(1, n))
    assert floats.prepare(4).shape == (12,)
    batch, _ = next(floats.prepare(4).train.batches(8))
    assert batch.mean(0).abs().max() < 1e-6


def test_repeat_needs_channels():
    with pytest.raises(UserError, match="`components`"):
        data.from_arrays((np.arange(20).reshape(10, 2), np.arange(10)), components=3)
