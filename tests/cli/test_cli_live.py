"""What is shown while a run runs: a table on a terminal, lines elsewhere."""

import io
import math
from dataclasses import replace

import pytest
from cli_samples import make_row, make_run, make_spec
from rich.console import Console

from fourfold.cli.live import follow
from fourfold.execution import Event

REAL, QUATERNION = make_spec("real"), make_spec("quaternion")


def terminal(width=160):
    return Console(record=True, force_terminal=True, width=width, file=io.StringIO())


def table(console):
    """The cells of the table as it was drawn last, by level."""
    lines = [line.split() for line in console.export_text().splitlines()]
    last = max(i for i, line in enumerate(lines) if line[:1] == ["level"])
    return {line[0]: line[1:] for line in lines[last + 1 :] if line and line[0].isdigit()}


def row_event(spec, trial, level, top1, fraction):
    row = make_row(spec, trial, level, top1, fraction)
    return Event(kind="row", spec=spec, trial=trial, level=level, row=row)


def test_the_table_shows_the_gap_at_equal_fraction_of_real(tmp_path):
    console = terminal()
    with follow(console, [REAL, QUATERNION], 2, tmp_path) as take:
        for level, (top1, fraction) in enumerate([(90, 1.0), (80, 0.5), (70, 0.25), (50, 0.125)]):
            take(row_event(REAL, 0, level, top1, fraction))
        for level, (top1, fraction) in enumerate([(75.5, 0.25), (60, math.sqrt(0.125 * 0.25)), (40, 0.01)]):
            take(row_event(QUATERNION, 0, level, top1, fraction))
    cells = table(console)
    assert cells["0"] == ["100.00", "90.00", "(1)", "25.00", "75.50", "(1)", "+5.50"]
    assert cells["1"] == ["50.00", "80.00", "(1)", "17.68", "60.00", "(1)", "+0.00"]  # the real twin: half way from 70 to 50
    assert cells["2"] == ["25.00", "70.00", "(1)", "1.00", "40.00", "(1)"]  # the real twin was not measured there
    assert cells["3"] == ["12.50", "50.00", "(1)"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_two_runs_of_one_algebra_are_told_apart(tmp_path, is_terminal):
    """As experiments of one file, or variants, that differ in a setting or in their names alone."""
    fast = replace(REAL, train=replace(REAL.train, learning_rate=0.5))
    other = replace(REAL, preset="another")
    console = terminal(400) if is_terminal else Console(record=True, width=160, file=io.StringIO())
    with follow(console, [REAL, fast, other], 1, tmp_path) as take:
        for spec, top1 in ((REAL, 81), (fast, 72), (other, 63)):
            take(row_event(spec, 0, 0, top1, 1.0))
            take(Event(kind="finished", spec=spec, trial=0))
    text = console.export_text(clear=False)
    if is_terminal:
        assert table(console)["0"] == ["100.00", "81.00", "(1)", "100.00", "72.00", "(1)", "100.00", "63.00", "(1)"]
        assert text.count("learning rate 0.5") >= 1
    else:
        assert len({line.partition(" trial ")[0] for line in text.splitlines()}) == 3
        assert "(preset sample, learning rate 0.5) trial 0 level 0" in text


def test_the_table_shows_mean_and_sample_deviation_over_trials(tmp_path):
    console = terminal()
    with follow(console, [REAL], 3, tmp_path) as take:
        for trial, top1 in enumerate([80, 82, 87]):
            take(row_event(REAL, trial, 0, top1, 1.0))
    assert table(console)["0"] == ["100.00", "83.00", "±", "3.61", "(3)"]


def test_the_table_and_the_lines_name_the_engines_of_a_level(tmp_path):
    events = []
    for trial, engine in enumerate(["native", "eager", "native"]):
        row = make_row(REAL, trial, 0, 80, 1.0)
        named = replace(row, provenance=replace(row.provenance, engine=engine))
        events.append(Event(kind="row", spec=REAL, trial=trial, level=0, row=named))
    console, lines = terminal(), Console(record=True, width=160, file=io.StringIO())
    for shown in (console, lines):
        with follow(shown, [REAL], 3, tmp_path) as take:
            for event in events:
                take(event)
    assert table(console)["0"][-2:] == ["eager,", "native"]
    told = [line.rpartition("(")[2] for line in lines.export_text().splitlines()]
    assert told == ["1.2 s, native)", "1.2 s, eager)", "1.2 s, native)"]


def test_the_table_starts_from_the_rows_on_disk(tmp_path):
    make_run(tmp_path, "real", {0: 2})
    console = terminal()
    with follow(console, [REAL], 1, tmp_path):
        pass
    assert table(console) == {"0": ["100.00", "90.00", "(1)"], "1": ["50.00", "80.00", "(1)"]}


INSIDE = "epoch 3 of 9, step 7 of 24"


def events_of_checkpoints():
    yield Event(kind="resumed", spec=REAL, trial=0, level=3, message=INSIDE)
    yield Event(kind="checkpoint", spec=QUATERNION, trial=1, level=2, message=INSIDE, control="inverted")
    yield Event(kind="notice", spec=REAL, trial=0, level=3, message="the disk is full")
    yield Event(kind="stopped", spec=REAL, trial=1, message=f"level 4, {INSIDE}")
    yield Event(kind="out-of-time", spec=QUATERNION, trial=0, message=f"level 5, {INSIDE}")


def test_where_a_level_was_saved_goes_on_and_ended_is_shown_on_a_terminal(tmp_path):
    console = terminal()
    with follow(console, [REAL, QUATERNION], 2, tmp_path) as take:
        for event in events_of_checkpoints():
            take(event)
    text = console.export_text()
    assert "real trial 0: the disk is full" in text
    assert f"real trial 1: stopped at level 4, {INSIDE}" in text
    assert f"quaternion trial 0: the time budget is spent at level 5, {INSIDE}" in text
    last = text.splitlines()[-1]
    assert f"real trial 0: level 3, resumes at {INSIDE}" in last
    assert f"quaternion trial 1: inverted level 2, saved at {INSIDE}" in last


def test_where_a_level_goes_on_and_ended_is_a_line_elsewhere(tmp_path):
    console = Console(record=True, width=160, file=io.StringIO())
    with follow(console, [REAL, QUATERNION], 2, tmp_path) as take:
        for event in events_of_checkpoints():
            take(event)
    assert console.export_text().splitlines() == [
        f"real trial 0: level 3 resumes at {INSIDE}",
        "real trial 0: the disk is full",
        f"real trial 1: stopped at level 4, {INSIDE}",
        f"quaternion trial 0: the time budget is spent at level 5, {INSIDE}",
    ]


def test_below_the_table_is_what_runs_and_what_ended(tmp_path):
    console = terminal()
    with follow(console, [REAL, QUATERNION], 2, tmp_path) as take:
        take(Event(kind="notice", spec=REAL, message="two images are blank"))
        take(Event(kind="epoch", spec=REAL, trial=0, level=3, epoch=7, top1=81.25))
        take(Event(kind="epoch", spec=QUATERNION, trial=1, level=0, epoch=1, top1=10.0))
        take(Event(kind="failed", spec=QUATERNION, trial=0, message="level 2: the loss became nan in epoch 1"))
        take(Event(kind="out-of-time", spec=QUATERNION, trial=1))
    text = console.export_text()
    assert "digits: two images are blank" in text
    assert "real trial 0: level 3, epoch 7 of 40, top-1 81.2 %" in text
    assert "quaternion trial 0: failed at level 2: the loss became nan in epoch 1" in text
    assert "quaternion trial 1: the time budget is spent" in text
    assert "quaternion trial 1: level 0" not in text.splitlines()[-1]


def test_an_empty_board_can_be_drawn(tmp_path):
    console = terminal()
    with follow(console, [REAL, QUATERNION], 1, tmp_path):
        pass
    assert "gap at equal % of real" in console.export_text()


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            row_event(QUATERNION, 3, 1, 81.25, 0.125),
            "quaternion trial 3 level 1: 12.50 % of real, density 11.26 %, top-1 81.25 % (1.2 s)",
        ),
        (Event(kind="epoch", spec=REAL, trial=0, level=0, epoch=1, top1=10.0), None),
        (Event(kind="finished", spec=REAL, trial=0), None),
        (Event(kind="notice", spec=REAL, message="two images are blank"), "digits: two images are blank"),
        (
            Event(kind="failed", spec=REAL, trial=1, message="level 2: the loss became nan in epoch 1"),
            "real trial 1: failed at level 2: the loss became nan in epoch 1",
        ),
        (Event(kind="out-of-time", spec=REAL, trial=1), "real trial 1: the time budget is spent"),
    ],
)
def test_elsewhere_each_level_is_one_plain_line(event, line, tmp_path):
    file = io.StringIO()
    with follow(Console(file=file, soft_wrap=True), [REAL, QUATERNION], 4, tmp_path) as take:
        take(event)
    assert file.getvalue() == (f"{line}\n" if line else "")
