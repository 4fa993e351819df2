"""Series: `.ts` files against a reader written by hand, speech features against loops, padding and encoding by their laws."""

import math
import os
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold import data
from fourfold.data.named import read_named
from fourfold.data.sequences.padding import pure_quaternions
from fourfold.data.sequences.speech import BANDS, HOP, WINDOW, differences, log_mel, mel_bands, read_wav, speech_features
from fourfold.data.sequences.ts import read_ts
from fourfold.record import UserError

HEAD = "#about\n@problemName Toy\n@timeStamps false\n@missing false\n@classLabel true up down\n@data\n"
TRAIN = "1,2,3:4,5,6:up\n7:8:down\n-1,1e1:0.5,2:up\n"
TEST = "3,3:4,4:down\n1,2,3,4:1,2,3,4:up\n"


SETS = {
    "basic-motions": (((100, 6), ()), 40, 40, 4),
    "japanese-vowels": (((29, 12), ()), 270, 370, 9),
    "spoken-digits": (((142, 72), ()), 2700, 300, 10),
}
"""Shapes, training and test items, and classes."""


def written(folder: Path, train: str = TRAIN, test: str = TEST, head: str = HEAD) -> Path:
    (folder / "Toy_TEST.ts").write_text(head + test)
    (folder / "Toy_TRAIN.ts").write_text(head + train)
    return folder / "Toy_TRAIN.ts"


def test_a_file_holds_series_of_unequal_length(tmp_path):
    series = read_ts(written(tmp_path, "\n" + TRAIN + "#end\n?,2:3,NaN:down\n"))
    assert series.classes == ("up", "down")
    assert series.labels == ("up", "down", "up", "down")
    assert series.lines == (8, 9, 10, 12)
    assert [values.tolist() for values in series.values[:3]] == [[[1, 4], [2, 5], [3, 6]], [[7, 8]], [[-1, 0.5], [10, 2]]]
    assert np.isnan(series.values[3]).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize(
    ("train", "line", "says"),
    [
        ("1,2:3:up\n", 7, "equal length, found 2, 1"),
        ("1:2:up\n1:up\n", 8, "expected 2 dimensions"),
        ("1:2:left\n", 7, "one of the classes"),
        ("1,x:2,3:up\n", 7, "numbers between commas in dimension 1"),
        ("1,:2,3:up\n", 7, "numbers between commas in dimension 1"),
        ("1:inf:up\n", 7, "finite"),
        ("up\n", 7, "no colon"),
        ("1,2:3,?:up\n", 7, "at step 2 of dimension 2, found a missing value"),
    ],
)
def test_what_is_wrong_is_said_with_file_and_line(tmp_path, train, line, says):
    with pytest.raises(UserError, match=rf"Toy_TRAIN\.ts, line {line}: .*{says}"):
        data.from_ts(written(tmp_path, train))


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (HEAD.replace("@timeStamps false", "@timeStamps true"), "line 3: .*time stamps"),
        (HEAD.replace("@classLabel true up down", "@targetLabel true"), "line 5: .*value to predict"),
        (HEAD.replace("@classLabel true up down", "@classLabel false"), "line 6: .*classes"),
        ("hello\n", "line 1: "),
        ("@problemName Toy\n", "a line @data, found none"),
        (HEAD + "#nothing\n", "at least one series"),
    ],
)
def test_a_head_that_cannot_be_read_is_refused(tmp_path, head, says):
    with pytest.raises(UserError, match=rf"Toy_TRAIN\.ts.*{says}"):
        read_ts(written(tmp_path, "", head=head))
    with pytest.raises(UserError, match=r"none\.ts: .*No such file"):
        read_ts(tmp_path / "none.ts")


def test_padded_series_are_normalised_over_the_steps_of_the_training_part(tmp_path):
    splits = data.from_ts(written(tmp_path))
    (series, lengths), targets = splits.train.batch(splits.train.in_order(), slice(0, 3))
    assert (lengths.tolist(), targets.tolist(), splits.classes) == ([3, 1, 2], [0, 1, 0], ("up", "down"))
    assert series.shape == (3, 4, 2)  # the longest of both parts
    steps = torch.cat([series[k, :n] for k, n in enumerate(lengths)])
    assert torch.allclose(steps.mean(0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(steps.std(0, correction=0), torch.ones(2), atol=1e-6)
    assert all(not series[k, n:].any() for k, n in enumerate(lengths))
    (test, test_lengths), _ = splits.test.batch(splits.test.in_order(), slice(0, 2))
    raw = np.array([[1, 4], [2, 5], [3, 6], [7, 8], [-1, 0.5], [10, 2]])
    assert np.allclose(test[0, :2], (np.array([[3, 4], [3, 4]]) - raw.mean(0)) / raw.std(0), atol=1e-6)
    assert test_lengths.tolist() == [2, 4]


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_features_become_numbers_and_padding_stays_zero(n):
    random = np.random.default_rng(0)
    items = [random.normal(size=(length, 6)) for length in (5, 1, 3, 2)]
    for features in ("neighbours", "pure"):
        splits = data.from_sequences((items, [0, 1, 0, 1]), (items[:2], [0, 1]), features=features)
        (real, _), _ = splits.train.batch(splits.train.in_order(), slice(0, 4))
        encoded = splits.prepare(n)
        (series, lengths), _ = encoded.train.batch(encoded.train.in_order(), slice(0, 4))
        assert series.shape[2] % n == 0
        assert lengths.tolist() == [5, 1, 3, 2]
        assert all(not series[k, length:].any() for k, length in enumerate(lengths))
        if features == "pure" and n == 4:
            r, x, y, z = series.unflatten(2, (4, 2)).unbind(2)
            assert not r.any()
            assert torch.equal(torch.stack([x, y, z], 3).flatten(2), real)  # of each vector x, y, z
        else:
            assert torch.equal(series.unflatten(2, (n, -1)).transpose(2, 3).flatten(2)[:, :, :6], real)


def test_pure_quaternions_keep_the_lengths_of_vectors():
    vectors = torch.randn(7, 12, generator=torch.Generator().manual_seed(0))
    numbers = pure_quaternions(vectors, 4)
    assert torch.allclose(numbers.unflatten(1, (4, 4)).norm(dim=1), vectors.unflatten(1, (4, 3)).norm(dim=2))


@pytest.mark.parametrize(
    ("series", "says"),
    [
        ([np.zeros((0, 2)), np.zeros((1, 2))], "item 0 .* at least one step"),
        ([np.zeros((1, 2)), np.zeros((1, 3))], "item 1 with 3 features"),
        ([np.zeros((1, 2)), np.full((2, 2), np.nan)], "item 1 has NaN"),
        ([], "0 items"),
    ],
)
def test_series_that_cannot_be_are_refused(series, says):
    with pytest.raises(UserError, match=says):
        data.from_sequences((series, [0, 1]), ([np.zeros((1, 2))], [0]))
    with pytest.raises(UserError, match="threes of features"):
        data.from_sequences(([np.zeros((1, 2))], [0]), ([np.zeros((1, 2))], [0]), features="pure")


def test_log_mel_energies_are_those_of_a_sum_over_samples():
    samples, rate = np.random.default_rng(0).normal(size=WINDOW + HOP + 30), 8000
    found = log_mel(samples, rate)
    assert found.shape == (3, BANDS)
    filled = np.concatenate([samples, np.zeros(HOP - 30)])
    mel = [2595 * math.log10(1 + f / 700) for f in (0, rate / 2)]
    edges = [700 * (10 ** ((mel[0] + k * (mel[1] - mel[0]) / (BANDS + 1)) / 2595) - 1) for k in range(BANDS + 2)]
    for frame in range(3):
        energies = np.zeros(BANDS)
        for line in range(WINDOW // 2 + 1):
            number = sum(
                filled[frame * HOP + t]
                * math.sin(math.pi * t / WINDOW) ** 2
                * complex(math.cos(2 * math.pi * line * t / WINDOW), -math.sin(2 * math.pi * line * t / WINDOW))
                for t in range(WINDOW)
            )
            frequency = line * rate / WINDOW
            for band in range(BANDS):
                low, middle, high = edges[band : band + 3]
                if low < frequency <= middle:
                    energies[band] += abs(number) ** 2 * (frequency - low) / (middle - low)
                elif middle < frequency < high:
                    energies[band] += abs(number) ** 2 * (high - frequency) / (high - middle)
        assert np.allclose(found[frame], np.log(energies + 1e-10), atol=1e-9)


def test_every_band_hears_something_and_a_tone_is_loudest_in_its_own():
    filters = mel_bands(8000)
    assert filters.shape == (BANDS, WINDOW // 2 + 1)
    assert (filters.sum(1) > 0).all()
    tone = np.sin(2 * np.pi * 1000 * np.arange(4000) / 8000)
    middle = log_mel(tone, 8000)[5]
    assert middle.argmax() == filters[:, round(1000 * WINDOW / 8000)].argmax()


def test_differences_are_slopes():
    steps = np.arange(10.0)[:, None]
    assert np.allclose(differences(3 * steps + 1)[2:-2], 3)
    assert np.allclose(differences(steps**2)[2:-2], 2 * steps[2:-2])
    ends = [0, 1, 2, 4, 7]
    by_hand = [
        ((ends[min(t + 1, 4)] - ends[max(t - 1, 0)]) + 2 * (ends[min(t + 2, 4)] - ends[max(t - 2, 0)])) / 10 for t in range(5)
    ]
    assert np.allclose(differences(np.array(ends, dtype=float)[:, None])[:, 0], by_hand)
    assert not differences(np.ones((1, 3))).any()  # a single frame


def record(path: Path, samples, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(np.asarray(samples, dtype="<i2").tobytes())


def test_spoken_digits_are_split_as_their_authors_say(tmp_path):
    random = np.random.default_rng(0)
    for digit in range(10):
        for index in (0, 4, 5):
            record(tmp_path / f"fsdd/recordings/{digit}_me_{index}.wav", random.integers(-999, 999, 300 + 200 * index))
    splits = read_named("spoken-digits", tmp_path)
    assert (len(splits.train), len(splits.test), splits.classes) == (10, 20, tuple("0123456789"))
    assert splits.prepare(4).shape == ((10, 4 * BANDS), ())
    samples, rate = read_wav(tmp_path / "fsdd/recordings/3_me_4.wav")
    features = speech_features(samples, rate).reshape(-1, BANDS, 3)
    assert np.allclose(features[..., 0], log_mel(samples, rate), atol=1e-4)
    assert np.allclose(features[..., 2], differences(differences(log_mel(samples, rate))), atol=1e-4)


@pytest.mark.parametrize(("samples", "channels", "says"), [([], 1, "an empty recording"), ([1, 2], 2, "found 2 of 16 bits")])
def test_a_recording_that_cannot_be_is_named(tmp_path, samples, channels, says):
    record(tmp_path / "fsdd/recordings/3_me_4.wav", samples, channels)
    with pytest.raises(UserError, match=rf"3_me_4\.wav: .*{says}"):
        read_named("spoken-digits", tmp_path)
    (tmp_path / "fsdd/recordings/3_me_4.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"3_me_4\.wav: expected a WAV file"):
        read_named("spoken-digits", tmp_path)


@pytest.mark.parametrize("name", SETS)
def test_a_set_that_is_not_there_says_where_it_belongs(tmp_path, name):
    with pytest.raises(UserError, match=f"{name} is not in .*--data-dir"):
        read_named(name, tmp_path)


@pytest.mark.parametrize("name", SETS)
def test_real_sets_hold_what_their_authors_say(name):
    folder = os.environ.get("FOURFOLD_DATA")
    if not folder:
        pytest.skip("$FOURFOLD_DATA does not name a folder with the real files")
    try:
        splits = read_named(name)
    except UserError as error:
        pytest.skip(str(error))
    assert (splits.shape, len(splits.train), len(splits.test), splits.outputs) == SETS[name]
