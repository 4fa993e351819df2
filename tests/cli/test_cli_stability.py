"""`stability` measures the levels of runs on disk, prints a table, and the report has it too."""

import pytest
from cli_samples import call, make_run, tree

COMMON = ("--epochs", "1", "--prune-fraction", "0.7", "--max-level", "2", "--workers", "1")


@pytest.fixture
def runs(here, quick_plan):
    assert call("run", "digits", "--algebra", "quaternion", "--trials", "2", *COMMON).code == 0
    return here / "runs"


@pytest.mark.slow
def test_every_level_gets_its_barrier_and_the_report_shows_it(here, runs):
    ended = call("stability", "--levels", "1", "2", "--steps", "0", "10", "--points", "3", "--workers", "1")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert sum("a barrier of" in line for line in lines) == 2 * 2 * 2
    table = [line.split() for line in lines if line.startswith("Quaternion")]
    assert [(row[1], row[4]) for row in table] == [("1", "0"), ("1", "10"), ("2", "0"), ("2", "10")]
    assert all(
        row[-3] == "2" and float(row[-2]) > float(row[-1]) > 0 for row in table
    )  # trials; masks agree more than by chance
    again = call("stability", "--levels", "1", "--steps", "10", "--points", "3")
    assert (again.code, "a barrier of" in again.out) == (0, False)
    assert call("report", "runs", "--out", "page").code == 0
    assert "Copies part at step" in (here / "page" / "tables.md").read_text(encoding="utf-8")
    assert len((here / "page" / "stability.csv").read_text(encoding="utf-8").splitlines()) == 1 + 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--levels", "7"), "`levels` (=7) must lie in [0, 3)"),
        (("--levels", "x"), "`--levels` (=x) must be levels such as 0 3 6, or all"),
        (("--steps", "99999"), "`steps` (=99999) must lie in [0, "),
        (("--points", "1"), "`points` (=1) must be at least 2"),
        (("nowhere",), "there is no nowhere"),
    ],
)
def test_mistakes_are_one_sentence_and_change_nothing(here, words, sentence):
    make_run(here / "runs", levels={0: 3})
    before = tree(here)
    ended = call("stability", *words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"fourfold: {sentence}")
    assert tree(here) == before


def test_no_runs_is_said(here):
    (here / "runs").mkdir()
    assert call("stability").err.startswith("fourfold: there are no runs in runs")
