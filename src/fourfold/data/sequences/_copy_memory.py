"""Copy memory (Hochreiter and Schmidhuber 1997), generated: symbols are shown, and recalled after a delay."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.data.own.arrays import from_arrays
from fourfold.data.own.values import IGNORED
from fourfold.data.splits import Splits
from fourfold.record.errors import UserError

TRAIN_ITEMS, TEST_ITEMS = 10_000, 1_000


def copy_memory(
    *, symbols: int = 8, length: int = 10, delay: int = 10, train: int = TRAIN_ITEMS, test: int = TEST_ITEMS, seed: int = 0
) -> Splits:
    """Return series of `length` symbols, `delay` blanks and a mark, behind which the symbols shall be recalled in order.

    Inputs are one-hot float32 (N, 2 · length + delay, symbols + 2): a blank, the symbols, and the mark at the last step of the
    delay. Targets are int64 (N, 2 · length + delay), -100 before the recall. Guessing has a cross-entropy of ln(symbols).

    Args:
        symbols: Different symbols.
        length: Symbols of a series.
        delay: Steps between the last symbol and the first recall.
        train: Training series.
        test: Test series, of a seed of their own.
        seed: What they are drawn from.

    Raises:
        UserError: a number that is too small.
    """
    for name, value, least in (
        ("symbols", symbols, 2),
        ("length", length, 1),
        ("delay", delay, 1),
        ("train", train, 1),
        ("test", test, 1),
    ):
        if type(value) is not int or not least <= value <= 10**7:
            raise UserError(f"`{name}` (={value!r}) must be an integer from {least}")

    def series(count: int, part: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        symbols_of_item = np.random.default_rng([seed, part]).integers(0, symbols, (count, length))
        codes = np.zeros((count, 2 * length + delay), np.int64)
        codes[:, :length] = symbols_of_item + 1
        codes[:, length + delay - 1] = symbols + 1
        targets = np.full(codes.shape, IGNORED, np.int64)
        targets[:, length + delay :] = symbols_of_item
        return np.eye(symbols + 2, dtype=np.float32)[codes], targets

    names = [chr(ord("A") + number) if symbols <= 26 else str(number) for number in range(symbols)]
    return from_arrays(
        series(train, 0), series(test, 1), name="copy-memory", classes=names, targets="label map", normalization="none"
    )


def load_copy_memory(directory: Path) -> Splits:
    """Return `copy_memory` as Parcollet et al. 2019 have it: 8 symbols, 10 of them shown, recalled after 10 steps."""
    return copy_memory()
