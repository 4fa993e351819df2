"""Texts as windows, and copy memory: every token is foretold once, and what is shown is what is recalled."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from fourfold import data
from fourfold.data.sequences.text import load_wikitext_2
from fourfold.record import UserError

TEXT = "the quick brown fox jumps over the lazy dög\n" * 3


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "fox.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def spelled(batches, first):
    """The text that a part's targets tell, after its first token."""
    told = [first]
    for inputs, targets in batches:
        for window, nexts in zip(inputs, targets, strict=True):
            kept = nexts != -100
            assert window[kept].tolist() == [told[-1], *nexts[kept][:-1].tolist()]  # each target follows its input
            told += nexts[kept].tolist()
    return told


@pytest.mark.parametrize("length", [1, 7, 64, 1000])
@pytest.mark.parametrize("tokens", ["bytes", "characters"])
def test_every_token_but_the_first_is_foretold_once(file, length, tokens):
    splits = data.from_text(file, 0.25, tokens=tokens, length=length)
    whole = list(TEXT.encode()) if tokens == "bytes" else [sorted(set(TEXT)).index(letter) for letter in TEXT]
    cut = len(whole) - round(0.25 * len(whole))
    assert spelled(splits.train.batches(2), whole[0]) == whole[:cut]
    assert spelled(splits.test.batches(1), whole[cut]) == whole[cut:]
    assert (splits.shape, splits.kind) == ((length,), "label map")
    assert splits.outputs == (256 if tokens == "bytes" else len(set(TEXT)))
    assert splits.classes[whole[4]] == (str(whole[4]) if tokens == "bytes" else TEXT[4])


def test_parts_of_their_own_share_an_alphabet(file, tmp_path):
    (tmp_path / "other.txt").write_text("zebra?!")
    splits = data.from_text(file, tmp_path / "other.txt", tmp_path / "other.txt", tokens="characters")
    assert splits.classes == tuple(sorted(set(TEXT + "zebra?!")))
    assert len(splits.validation) == 1


def test_broken_texts_are_one_sentence_with_their_names(file, tmp_path):
    (tmp_path / "one.txt").write_bytes(b"x")
    (tmp_path / "same.txt").write_bytes(b"xxxxxxxxxx")
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\xff")
    for path, options, message in (
        (tmp_path / "none.txt", {}, r"none\.txt: expected a text that can be read"),
        (tmp_path / "one.txt", {}, r"one\.txt: expected at least 2 bytes in the .* part"),
        (tmp_path / "same.txt", {"tokens": "characters", "test": 0.5}, "at least 2 different characters"),
        (tmp_path / "latin.txt", {"tokens": "characters"}, r"latin\.txt: .*not UTF-8"),
        (file, {"tokens": "words"}, "`tokens`"),
        (file, {"length": 0}, "`length`"),
        (file, {"test": 2.0}, "`test`"),
    ):
        with pytest.raises(UserError, match=message):
            data.from_text(path, **options)
    assert data.from_text(tmp_path / "latin.txt", tmp_path / "latin.txt").outputs == 256


def test_wikitext_2_trains_on_what_is_there(tmp_path):
    folder = tmp_path / "wikitext-2"
    folder.mkdir()
    with pytest.raises(UserError, match=r"wikitext-2 is not in .* \(wikitext-2/valid.txt is missing\)"):
        load_wikitext_2(tmp_path)
    (folder / "valid.txt").write_text("v" * 300)
    (folder / "test.txt").write_text("t" * 20)
    splits = load_wikitext_2(tmp_path)
    assert (len(splits.train), splits.validation, len(splits.test)) == (3, None, 1)
    (folder / "train.txt").write_text("a" * 900)
    splits = load_wikitext_2(tmp_path)
    assert (len(splits.train), len(splits.validation)) == (8, 3)


def test_real_wikitext_2_is_read():
    directory = Path(os.environ.get("FOURFOLD_DATA", "nowhere"))
    if not (directory / "wikitext-2" / "test.txt").is_file():
        pytest.skip("FOURFOLD_DATA has no wikitext-2: no real data here")
    splits = load_wikitext_2(directory)
    size = (directory / "wikitext-2" / "test.txt").stat().st_size
    assert sum(int((targets != -100).sum()) for _, targets in splits.test.batches(500)) == size - 1


def test_what_is_shown_is_recalled_after_the_delay():
    splits = data.copy_memory(symbols=3, length=4, delay=5, train=30, test=20)
    assert (splits.shape, splits.classes, splits.kind) == ((13, 5), ("A", "B", "C"), "label map")
    seen = {}
    for part in ("train", "test"):
        ((series, targets),) = getattr(splits, part).batches(100)
        assert torch.equal(series.sum(2), torch.ones(len(series), 13))
        codes = series.argmax(2)
        assert torch.equal(codes[:, :4] - 1, targets[:, 9:])
        assert (targets[:, :9] == -100).all()
        assert (codes[:, 8] == 4).all()
        assert not codes[:, 4:8].any()
        assert not codes[:, 9:].any()
        seen[part] = targets[:, 9:].tolist()
    assert seen["train"][:20] != seen["test"]
    assert splits.prepare(4).shape == (13, 8)
    assert splits.digest == data.copy_memory(symbols=3, length=4, delay=5, train=30, test=20).digest
    assert splits.digest != data.copy_memory(symbols=3, length=4, delay=5, train=30, test=20, seed=1).digest
    assert np.isclose(np.mean(seen["train"]), 1, atol=0.4)
    with pytest.raises(UserError, match="`delay`"):
        data.copy_memory(delay=0)
