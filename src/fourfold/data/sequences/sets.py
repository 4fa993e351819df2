"""The built-in sets of series: where their files lie below the data directory, and how their features become numbers."""

import re
from pathlib import Path

import numpy as np

from fourfold.data.sequences.padding import Grouping, from_sequences
from fourfold.data.sequences.speech import read_wav, speech_features
from fourfold.data.sequences.ts import Series, read_ts
from fourfold.data.splits import Splits
from fourfold.record.errors import UserError

_TEST_RECORDINGS = 5
"""Of each digit and speaker the recordings 0 to 4 are the official test set."""

_RECORDING = re.compile(r"(\d)_([a-z]+)_(\d+)\.wav")


def basic_motions(directory: Path) -> Splits:
    """BasicMotions: acceleration and rotation rate of a watch, each a pure quaternion; 4 activities, 100 steps."""
    return _archived(directory, "basic-motions", "BasicMotions", "pure")


def japanese_vowels(directory: Path) -> Splits:
    """JapaneseVowels: 12 coefficients of speech, four neighbours a quaternion; 9 speakers, 7 to 29 steps."""
    return _archived(directory, "japanese-vowels", "JapaneseVowels", "neighbours")


def spoken_digits(directory: Path) -> Splits:
    """Free Spoken Digit Dataset: log-mel energies, first and second differences the components of pure quaternions."""
    folder = next((directory / part for part in ("fsdd/recordings", "recordings") if (directory / part).is_dir()), None)
    if folder is None:
        raise UserError(
            f"spoken-digits is not in {directory} (fsdd/recordings is missing); put the repository "
            "Jakobovski/free-spoken-digit-dataset there as fsdd, or name the folder that holds it with --data-dir"
        )
    recordings = sorted((match, path) for path in folder.iterdir() if (match := _recording(path.name)))
    parts: dict[bool, tuple[list[np.ndarray], list[int]]] = {True: ([], []), False: ([], [])}
    for (digit, _, index), path in recordings:
        samples, rate = read_wav(path)
        series, labels = parts[index < _TEST_RECORDINGS]
        series.append(speech_features(samples, rate))
        labels.append(digit)
    if not parts[False][0] or not parts[True][0]:
        raise UserError(f"{folder}: expected recordings such as 7_jackson_32.wav of both parts, found {len(recordings)}")
    return from_sequences(parts[False], parts[True], name="spoken-digits", classes=list("0123456789"), features="pure")


def from_ts(
    train: Path | str, test: Path | str | None = None, *, name: str | None = None, features: Grouping = "neighbours"
) -> Splits:
    """Return two `.ts` files as data.

    Args:
        train: The training part.
        test: The test part; None means the file beside it whose name has `_TEST` for `_TRAIN`.
        name: What to call the data; None means the file's name without `_TRAIN`.
        features: As in `from_sequences`.

    Raises:
        UserError: as `read_ts`, or a missing value, by file and line.
    """
    train = Path(train).expanduser()
    if test is None:
        if not train.stem.endswith("_TRAIN"):
            raise UserError(f"{train}: expected a name that ends in _TRAIN.ts, beside which lies that of the test part")
        test = train.with_name(f"{train.stem.removesuffix('_TRAIN')}_TEST.ts")
    test = Path(test).expanduser()
    parts = [_complete(path) for path in (train, test)]
    pairs = [(part.values, list(part.labels)) for part in parts]
    name = name or train.stem.removesuffix("_TRAIN")
    return from_sequences(pairs[0], pairs[1], name=name, classes=parts[0].classes, features=features)


def _archived(directory: Path, name: str, title: str, features: Grouping) -> Splits:
    for folder in (directory / "timeseries" / title, directory / title):
        if folder.is_dir():
            files = [folder / f"{title}_{part}.ts" for part in ("TRAIN", "TEST")]
            return from_ts(files[0], files[1], name=name, features=features)
    raise UserError(
        f"{name} is not in {directory} (timeseries/{title} is missing); put {title}_TRAIN.ts and {title}_TEST.ts of "
        "timeseriesclassification.com there, or name the folder that holds it with --data-dir"
    )


def _complete(path: Path) -> Series:
    """Return the series of a file without missing values."""
    series = read_ts(path)
    for values, line in zip(series.values, series.lines, strict=True):
        if np.isnan(values).any():
            step, dimension = np.argwhere(np.isnan(values))[0]
            raise UserError(
                f"{path}, line {line}: expected a number at step {step + 1} of dimension {dimension + 1}, found a missing "
                "value; fill it in, or leave the series out"
            )
    return series


def _recording(name: str) -> tuple[int, str, int] | None:
    match = _RECORDING.fullmatch(name)
    return (int(match[1]), match[2], int(match[3])) if match else None
