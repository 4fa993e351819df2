"""Mutated files of every parser: each is read or refused in a sentence; `fuzz_files.py` tries as many as one likes.

`FOURFOLD_SWEEP=40000` tries so many of each parser here.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from file_parsers import PARSERS, REFUSALS, prepare
from fourfold.data.own.image_files import quiet
from fuzz_files import fuzz, try_one

SWEEP = int(os.environ.get("FOURFOLD_SWEEP", "100"))
FAILED = Path(__file__).parent / "files_that_failed"
"""Files that once led to a traceback, a hang or too much memory, in a folder for each parser."""

NAMES = list(PARSERS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_whole_files_are_read_and_mutated_ones_are_read_or_refused(name, tmp_path):
    parser = PARSERS[name]
    path = tmp_path / parser.name
    prepare(path)
    for content in parser.samples:
        path.write_bytes(parser.wrap(content))
        parser.parse(path)
    counts, failures = fuzz(name, parser, tmp_path, 0, range(SWEEP))
    assert failures == []
    assert counts["refused"] > SWEEP / 10
    assert counts["read"] + counts["refused"] == SWEEP


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", ["a pipe", "a folder", "a link to itself", "missing", "empty", "a device"])
def test_what_is_no_file_is_refused_at_once(name, how, tmp_path):
    parser = PARSERS[name]
    path = tmp_path / parser.name
    prepare(path)
    if how == "a pipe":
        os.mkfifo(path)
    elif how == "a folder":
        path.mkdir()
    elif how == "a link to itself":
        path.symlink_to(path)
    elif how == "empty":
        path.touch()
    elif how == "a device":
        path.symlink_to("/dev/zero")
    harmless = {"missing": (".jsonl", ".jsonl.xz", "failed-0.json", "0-2.safetensors"), "empty": (".jsonl",)}
    with quiet():
        assert try_one(parser, path) == path.name.endswith(harmless.get(how, ()))  # where there need be none


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", [pytest.param(file, id=f"{file.parent.name}/{file.name}") for file in FAILED.glob("*/*")])
def test_files_that_once_failed_are_read_or_refused(file, tmp_path):
    parser = PARSERS[file.parent.name]
    path = tmp_path / parser.name
    prepare(path)
    path.write_bytes(file.read_bytes())
    with quiet():
        try_one(parser, path)


def test_a_parser_that_fails_is_noticed(tmp_path):
    parser = PARSERS["failed-*.json"]

    def broken(path: Path) -> None:
        raise KeyError(path.name)

    def hungry(path: Path) -> None:
        assert len(b"x" * 2**28) > 2**26
        raise REFUSALS[0]("enough")

    for harm, sign in ((broken, "KeyError"), (hungry, "MiB")):
        _, failures = fuzz("x", replace(parser, parse=harm), tmp_path, 0, range(1))
        assert len(failures) == 1
        assert sign in failures[0]
