"""`fourfold pack`: fewer bytes and the same answers; what is being written is left alone."""

import re
from pathlib import Path

import pytest
from cli_samples import call, make_spec, tree

from fourfold.record import RunStore

RUN = ("run", "digits", "--trials", 1, "--epochs", 1, "--workers", 0, "--algebra", "real")


def lines():
    return {name: content for name, content in tree(Path("runs")).items() if "jsonl" in name}


def test_a_packed_run_is_shown_and_resumed_as_a_plain_one(here):
    assert call(*RUN, "--max-level", 1).code == 0
    plain, status = lines(), call("status").out
    ended = call("pack")
    assert ended.code == 0
    assert re.fullmatch(r"packed 1 file of 1 run: \S+ MB to \S+ MB\n", ended.out)
    assert {f"{name}.xz" for name in plain} == set(lines())
    assert call("status").out == status
    assert call("check").code == 0
    assert call(*RUN, "--max-level", 1, "--controls", "random-init").code == 0
    assert [name.split("/")[1] for name in sorted(lines())] == ["rows-0-random-init.jsonl", "rows-0.jsonl.xz"]
    assert call("pack", "runs", "--unpack").out.startswith("unpacked 1 file of 1 run: ")
    assert {name: lines()[name] for name in plain} == plain


def test_a_run_that_is_being_written_and_a_folder_without_runs_are_sentences(here):
    store = RunStore.create(Path("runs"), make_spec())
    with store.lock("run"):
        ended = call("pack")
    assert ended.code == 1
    assert "another process is working on" in ended.err
    Path("empty").mkdir()
    assert "there are no runs in empty" in call("pack", "empty").err


@pytest.mark.parametrize("command", ["pack"])
def test_it_is_described(command):
    assert "--unpack" in call(command, "--help").out
