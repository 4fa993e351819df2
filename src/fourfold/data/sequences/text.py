"""`from_text`: a text as windows of characters or bytes, each with what follows."""

import os
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fourfold.data.own.arrays import from_arrays
from fourfold.data.own.values import IGNORED
from fourfold.data.splits import Splits
from fourfold.record.errors import UserError, unknown

Tokens = Literal["bytes", "characters"]

LENGTH = 128
"""Tokens of a window."""

_LARGEST = 2**30
"""Bytes of a file: windows are kept as int64."""


def from_text(
    train: str | os.PathLike[str],
    test: str | os.PathLike[str] | float = 0.1,
    validation: str | os.PathLike[str] | None = None,
    *,
    tokens: Tokens = "bytes",
    length: int = LENGTH,
    name: str | None = None,
) -> Splits:
    """Return a text for `language`: inputs are windows of tokens int64 (N, length), targets the token that follows each.

    Windows lie side by side, so that every token but the first of a part is foretold once; behind the end of a text, targets
    are -100.

    Args:
        train: A file of text.
        test: The same; or which part of the training text to hold out, from its end.
        validation: A file of text; None means no validation part.
        tokens: `bytes`, 256 of them; or `characters` of UTF-8, those that occur in any part.
        length: Tokens of a window: how far a network sees back at most.
        name: What to call the data; None means the file's name.

    Raises:
        UserError: a file that is missing, empty, too large or not UTF-8, or a setting that cannot be.
    """
    if tokens not in get_args(Tokens):
        raise unknown("`tokens`", tokens, get_args(Tokens))
    if type(length) is not int or not 1 <= length <= 2**16:
        raise UserError(f"`length` (={length!r}) must be an integer from 1 to {2**16}")
    paths = {"train": Path(train).expanduser()}
    if not isinstance(test, int | float):
        paths["test"] = Path(test).expanduser()
    if validation is not None:
        paths["validation"] = Path(validation).expanduser()
    texts = {role: _read(path, tokens) for role, path in paths.items()}
    if isinstance(test, int | float):
        if not 0 < test < 1:
            raise UserError(f"`test` (={test!r}) must be a file, or a part of the training text above 0 and below 1")
        cut = len(texts["train"]) - round(test * len(texts["train"]))
        texts["train"], texts["test"] = texts["train"][:cut], texts["train"][cut:]
    for role, text in texts.items():
        if len(text) < 2:
            path = paths.get(role, paths["train"])
            raise UserError(f"{path}: expected at least 2 {tokens} in the {role} part, found {len(text)}")
    alphabet = np.arange(256) if tokens == "bytes" else np.unique(np.concatenate(list(texts.values())))
    if len(alphabet) < 2:
        raise UserError(f"{paths['train']}: expected at least 2 different characters, found 1")
    parts = {role: _windows(np.searchsorted(alphabet, text), length) for role, text in texts.items()}
    names = [str(code) for code in alphabet] if tokens == "bytes" else [chr(code) for code in alphabet]
    return from_arrays(
        parts["train"],
        parts["test"],
        parts.get("validation"),
        name=name or paths["train"].stem,
        classes=names,
        targets="label map",
    )


def load_wikitext_2(directory: Path) -> Splits:
    """Return WikiText-2 (Merity et al. 2016) as bytes: `train.txt`, `valid.txt` and `test.txt` in `wikitext-2`.

    Without `train.txt`, `valid.txt` is what is trained on.

    Raises:
        UserError: a file is missing.
    """
    folder = directory / "wikitext-2"
    for part in ("valid.txt", "test.txt"):
        if not (folder / part).is_file():
            raise UserError(
                f"wikitext-2 is not in {directory} (wikitext-2/{part} is missing); put train.txt, valid.txt and test.txt there,"
                " or name the folder that holds it with --data-dir"
            )
    if (folder / "train.txt").is_file():
        return from_text(folder / "train.txt", folder / "test.txt", folder / "valid.txt", name="wikitext-2")
    return from_text(folder / "valid.txt", folder / "test.txt", name="wikitext-2")


def _read(path: Path, tokens: Tokens) -> NDArray[np.int64]:
    """Return the codes of a text."""
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path}: expected at most {_LARGEST:,} bytes of text, found {path.stat().st_size:,}")
        content = path.read_bytes()
        if tokens == "bytes":
            return np.frombuffer(content, np.uint8).astype(np.int64)
        return np.frombuffer(content.decode("utf-8").encode("utf-32-le"), "<u4").astype(np.int64)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "bytes that are not UTF-8; `tokens='bytes'` takes any"
        raise UserError(f"{path}: expected a text that can be read, found {reason}") from error


def _windows(text: NDArray[np.int64], length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return windows side by side and what follows each of their tokens, both (N, length)."""
    count = -(-(len(text) - 1) // length)
    inputs, targets = np.zeros(count * length, np.int64), np.full(count * length, IGNORED, np.int64)
    inputs[: len(text) - 1], targets[: len(text) - 1] = text[:-1], text[1:]
    return inputs.reshape(count, length), targets.reshape(count, length)
