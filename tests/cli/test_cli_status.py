"""`status` says how far each trial of each run has come."""

import re
from dataclasses import replace

import pytest
from cli_samples import call, make_row, make_run, make_spec
from rich.console import Console

from fourfold.cli import status as cli_status
from fourfold.record import CONTROLS, RunStore
from fourfold.record.checkpoints import Training

HEADER = ["run", "trial", "levels", "fraction", "of", "real", "top-1", "engine", "state", "beside", "its", "tickets"]


def status(*words):
    ended = call("status", *words)
    assert (ended.code, ended.err) == (0, "")
    return [line.split() for line in ended.out.splitlines()]


def test_every_trial_has_a_line_with_its_last_level(here):
    store = make_run(here / "runs", levels={0: 3, 2: 1})
    store.fail(5, 0, "the loss became nan in epoch 1")
    header, *table = status()
    assert header == [
        "run",
        "trial",
        "levels",
        "fraction",
        "of",
        "real",
        "top-1",
        "engine",
        "state",
        "beside",
        "its",
        "tickets",
    ]
    name = store.path.name
    assert table == [
        [name, "0", "3", "25.00", "%", "70.00", "%", "finished"],
        [name, "2", "1", "100.00", "%", "90.00", "%", *["unfinished:", "the", "same", "command", "resumes"]],
        [name, "5", "0", *["failed", "at", "level", "0:", "the", "loss", "became", "nan", "in", "epoch", "1"]],
    ]


def test_the_engine_of_the_last_level_is_named(here):
    spec = make_spec()
    store = RunStore.create(here / "runs", spec)
    for level, engine in enumerate(["native", "eager"]):
        row = make_row(spec, 0, level, 90)
        store.append(replace(row, provenance=replace(row.provenance, engine=engine)))
    assert status()[1][7] == "eager"


def test_a_trial_inside_a_level_has_a_line_that_says_where_it_was_saved(here):
    store = make_run(here / "runs", levels={0: 1})
    position = {"epoch": 2, "epochs": 9, "step": 7, "steps": 24}
    store.checkpoints.save(Training(0, 0), {}, position, {})  # of a level that has its row by now
    store.checkpoints.save(Training(0, 1), {}, position, {})
    store.checkpoints.save(Training(3, 0), {}, position | {"epoch": 9}, {})
    store.checkpoints.save(Training(3, 0, "inverted"), {}, position, {})
    (store.path / "checkpoints" / "4-0.safetensors").write_bytes(b"cut off")
    _, first, second, third = [" ".join(line) for line in status()]
    assert first.endswith("the same command resumes; level 1 saved at epoch 3 of 9, step 7 of 24")
    assert second.startswith(
        f"{store.path.name} 3 0 unfinished: the same command resumes; inverted level 0 saved at epoch 3 of 9"
    )
    assert second.endswith("; level 0 saved at its end")
    assert third.endswith("; level 0 saved at an unknown place (damaged)")


def test_controls_are_counted(here):
    store = make_run(here / "runs", levels={0: 3, 1: 1})
    for level in (0, 2):
        store.append(replace(store.rows(0)[level], control="inverted"))
    _, first, second = status()
    assert first[-3:] == ["finished", "inverted", "2"]
    assert "inverted" not in second


@pytest.mark.parametrize("width", [None, 80, 150], ids=["no terminal", "narrow", "wide"])
def test_nothing_is_cut_off_where_there_are_many_controls(width, here, monkeypatch, capsys):
    store = make_run(here / "runs", levels={0: 3})
    controls = [*CONTROLS][1:]
    for control in controls:
        store.append(replace(store.rows(0)[1], control=control))
    console = Console(width=width, force_terminal=width is not None, color_system=None)
    monkeypatch.setattr(cli_status, "make_console", lambda **settings: console)
    cli_status.command((here / "runs",))
    header, first, *more = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert header.split() == [
        "run",
        "trial",
        "levels",
        "fraction",
        "of",
        "real",
        "top-1",
        "engine",
        "state",
        "beside",
        "its",
        "tickets",
    ]
    assert first.split()[:7] == [store.path.name, "0", "3", "25.00", "%", "70.00", "%"]
    told = " ".join([first.split("finished", 1)[1], *more]).split()
    assert " ".join(told) == ", ".join(f"{control} 1" for control in sorted(controls))
    assert bool(more) == (width is not None)


def test_a_run_that_is_worked_on_is_running(here):
    store = make_run(here / "runs", levels={0: 3, 1: 1})
    with store.lock("run"):
        table = status()
    assert [line[-1] for line in table[1:]] == ["finished", "running"]


@pytest.mark.parametrize(("held", "state"), [(False, "nothing finished yet"), (True, "running")])
def test_a_run_without_a_row(here, held, state):
    store = make_run(here / "runs")
    if held:
        with store.lock("run"):
            table = status("runs")
    else:
        table = status("runs")
    assert table[1] == [store.path.name, "0", *state.split()]


def test_runs_are_found_wherever_they_lie(here):
    make_run(here / "a" / "b", "real", {0: 1})
    make_run(here / "c", "quaternion", {0: 2})
    ids = [make_spec(algebra).id for algebra in ("real", "quaternion")]
    assert [line[0] for line in status("c", "a")[1:]] == ids
    assert [line[0] for line in status(f"c/{ids[1]}")[1:]] == ids[1:]


def test_status_changes_no_file(here):
    store = make_run(here / "runs", levels={0: 2})
    before = {file.name: file.read_bytes() for file in store.path.iterdir()}
    status()
    assert {file.name: file.read_bytes() for file in store.path.iterdir() if not file.name.startswith(".")} == before


def test_a_damaged_run_is_told_below_the_others(here):
    make_run(here / "runs", "real", {0: 1})
    bad = make_run(here / "runs", "quaternion", {0: 1})
    (bad.path / "rows-0.jsonl").write_bytes(b"\xff\n")
    ended = call("status")
    assert ended.code == 1
    assert any("-real-" in line for line in ended.out.splitlines())
    assert re.fullmatch(r"fourfold: \S+rows-0\.jsonl:1 cannot be read \(.*\); remove that line and .*\n", ended.err)
