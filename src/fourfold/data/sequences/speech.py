"""Log-mel energies of recordings with their first and second differences, as Parcollet et al. 2018 and 2019 feed them."""

import io
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.record.errors import UserError
from fourfold.record.files import read_file
from fourfold.record.text import shortened

WINDOW, HOP, BANDS = 256, 128, 24
"""Samples of a frame and between frames, 32 and 16 ms at 8 kHz, and mel bands."""

_LARGEST_FILE = 2**28
"""Bytes; four hours of speech have less."""

_FLOOR = 1e-10
"""Added to energies before the logarithm: silence has one, too."""

_REACH = 2
"""Frames to either side that a difference looks at, the regression of HTK."""


def read_wav(path: Path) -> tuple[NDArray[np.float64], int]:
    """Return the samples of a mono file of 16 bits, between -1 and 1, and how many there are in a second.

    Raises:
        UserError: another kind of file, or an empty recording.
    """
    try:
        content = read_file(path, _LARGEST_FILE)
        with wave.open(io.BytesIO(content), "rb") as file:  # in memory no header makes it take more than there is
            kind = file.getnchannels(), file.getsampwidth()
            rate, frames = file.getframerate(), file.readframes(file.getnframes())
    except Exception as error:  # `wave` raises whatever a damaged header leads to
        reason = shortened(getattr(error, "strerror", None) or str(error) or "a damaged one", 200)
        raise UserError(f"{path}: expected a WAV file that can be read, found {reason}") from error
    if kind != (1, 2):
        raise UserError(f"{path}: expected one channel of 16 bits, found {kind[0]} of {8 * kind[1]} bits")
    if len(frames) < 2:
        raise UserError(f"{path}: expected samples, found an empty recording")
    return np.frombuffer(frames[: len(frames) // 2 * 2], dtype="<i2") / 32768, rate


def mel_bands(rate: int, bands: int = BANDS, window: int = WINDOW) -> NDArray[np.float64]:
    """Return triangular filters (bands, window / 2 + 1), evenly spaced in mel = 2595 log10(1 + f / 700), each with peak 1."""
    mels = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    frequencies = np.arange(window // 2 + 1) * rate / window
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    triangles: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return triangles


def log_mel(samples: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """Return the logarithms of mel energies (frames, `BANDS`) under a Hann window; the last frame is filled up with silence."""
    frames = 1 + max(0, -(-(len(samples) - WINDOW) // HOP))
    filled = np.zeros((frames - 1) * HOP + WINDOW)
    filled[: len(samples)] = samples
    windows = np.lib.stride_tricks.sliding_window_view(filled, WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(windows * hann, axis=1)) ** 2
    logarithms: NDArray[np.float64] = np.log(power @ mel_bands(rate).T + _FLOOR)
    return logarithms


def differences(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the slope of features (frames, …) over two frames to either side; the ends are repeated (HTK's regression)."""
    padded = np.concatenate([features[:1]] * _REACH + [features] + [features[-1:]] * _REACH)
    count = len(features)
    slope = np.zeros_like(features)
    for step in range(1, _REACH + 1):
        slope += step * (padded[_REACH + step : _REACH + step + count] - padded[_REACH - step : _REACH - step + count])
    return slope / (2 * sum(step**2 for step in range(1, _REACH + 1)))


def speech_features(samples: NDArray[np.float64], rate: int) -> NDArray[np.float32]:
    """Return (frames, 3 · `BANDS`): of each band its energy, first and second difference side by side."""
    energies = log_mel(samples, rate)
    first = differences(energies)
    stacked = np.stack([energies, first, differences(first)], axis=2)
    return stacked.reshape(len(energies), -1).astype(np.float32)
