"""Experiments on series: movements of a watch, vowels of speakers, spoken digits. No paper has curves of them."""

from collections.abc import Callable
from dataclasses import replace

from fourfold.record import DataSpec, ModelSpec, PruneSpec, Spec, StopSpec, TrainSpec

_CLIP = 1.0
"""The most that the norm of all gradients of a recurrent network may be: over a hundred steps they may explode."""


def _spec(model: str, data: str, *, batch_size: int, epochs: int, accuracy: float) -> Spec:
    return Spec(
        preset=f"{model.removesuffix('-encoder')}-{data}",
        data=DataSpec(name=data),
        model=ModelSpec(name=model),
        train=TrainSpec(optimizer="adam", learning_rate=2e-3, batch_size=batch_size, epochs=epochs, clip_norm=_CLIP),
        prune=PruneSpec(fraction=0.3),
        stop=StopSpec(accuracy=accuracy, levels=2),
    )


def lstm_basic_motions() -> Spec:
    """Return `lstm-basic-motions`."""
    return _spec("lstm", "basic-motions", batch_size=10, epochs=40, accuracy=40)


def gru_japanese_vowels() -> Spec:
    """Return `gru-japanese-vowels`."""
    return _spec("gru", "japanese-vowels", batch_size=30, epochs=30, accuracy=30)


def lstm_spoken_digits() -> Spec:
    """Return `lstm-spoken-digits`."""
    return _spec("lstm", "spoken-digits", batch_size=50, epochs=20, accuracy=30)


def transformer_spoken_digits() -> Spec:
    """Return `transformer-spoken-digits`."""
    base = lstm_spoken_digits()
    return replace(
        base,
        preset="transformer-spoken-digits",
        model=replace(base.model, name="transformer-encoder"),
        train=replace(base.train, learning_rate=1e-3),
    )


SEQUENCES: tuple[Callable[[], Spec], ...] = (
    lstm_basic_motions,
    gru_japanese_vowels,
    lstm_spoken_digits,
    transformer_spoken_digits,
)

_WORDS = {
    lstm_basic_motions: "An LSTM on BasicMotions: acceleration and rotation rate of a watch as two pure quaternions.",
    gru_japanese_vowels: "A GRU on JapaneseVowels: 7 to 29 steps of 12 coefficients as three quaternions.",
    lstm_spoken_digits: "An LSTM on spoken digits: log-mel energies with first and second differences as pure quaternions.",
    transformer_spoken_digits: "Attention in place of the LSTM of `lstm-spoken-digits`.",
}
for _preset, _description in _WORDS.items():  # not docstrings, which `-OO` takes away from `fourfold presets`
    _preset.__doc__ = _description
