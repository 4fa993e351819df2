"""`fourfold sweep` from its plan to its table, and again."""

import re

import pytest
from cli_samples import call, tree

from fourfold.record import find_runs

WORDS = ["sweep", "digits", "--set", "train.learning_rate=1e-9,1e-3", "--set", "model.name=lenet-12", "--set", "train.epochs=1"]
SETTINGS = [*WORDS, "--trials", "2", "--device", "cpu", "--workers", "2"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swept")
    first = call(*SETTINGS, "--out", folder)
    after = tree(folder)
    return folder, first, after, call(*SETTINGS, "--out", folder)


@pytest.mark.slow
def test_a_grid_prints_its_budget_then_its_levels_then_the_best(swept):
    folder, first, _, _ = swept
    assert (first.code, first.err) == (0, "")
    lines = first.out.splitlines()
    assert lines[:2] == [
        "digits-sweep: lenet-12 on digits; real and quaternion with equal budgets: a grid of 2 points, 2 trials of each, "
        "1 epoch a level, to level 0",
        "  compared by the accuracy of level 0 on 144 held-out training images, never by the test set",
    ]
    assert re.fullmatch(r"  about .* in all with 2 trials at a time → \S+", lines[2])
    levels = [line for line in lines if " trial " in line and " level 0: " in line]
    assert len(levels) == 8
    pattern = (
        r"(real|quaternion) train\.learning_rate=(1e-09|0\.001) trial [01] level 0: [\d.]+ % of the held-out images \(.* s\)"
    )
    assert all(re.fullmatch(pattern, line) for line in levels)
    rows = {row.run: row for store in find_runs(folder) for row in store.rows(1)}
    for algebra in ("real", "quaternion"):
        best, second = (line.split() for line in lines if line.startswith(algebra) and "digits-sweep-" in line)
        assert (best[1], second[1]) == ("best", "second")
        assert (best[2], second[2]) == ("0.001", "1e-09")
        assert rows[best[-1]].validation > rows[second[-1]].validation
        edge = (
            f"{algebra}: the best train.learning_rate (0.001) is the largest that was tried, so a better one may lie beyond it"
        )
        assert edge in lines


@pytest.mark.slow
def test_the_same_command_runs_nothing_again_and_says_the_same(swept):
    folder, first, after, second = swept
    assert tree(folder) == after
    assert " trial 0 level " not in second.out
    assert second.out.splitlines()[-4:] == first.out.splitlines()[-4:]


@pytest.mark.slow
def test_points_are_runs_that_report_reads(swept, tmp_path):
    folder, *_ = swept
    assert len(find_runs(folder)) == 4
    assert call("report", folder, "--out", tmp_path / "page").code == 0
    assert "digits-sweep" in (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert call("status", folder).out.count("finished") == 8


@pytest.mark.slow
@pytest.mark.usefixtures("quick_plan")
def test_a_dry_run_writes_nothing_and_no_time_leaves_all_to_do(here):
    assert call(*SETTINGS, "--dry-run").code == 0
    assert list(here.iterdir()) == []
    ended = call(*SETTINGS, "--budget", "0.001s", "--out", here / "runs")
    assert ended.code == 0
    assert "real: 0 of 2 points are done; the same command resumes" in ended.out.splitlines()


@pytest.mark.slow
@pytest.mark.usefixtures("quick_plan")
def test_a_study_evaluates_as_many_points_for_every_algebra(here):
    pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'fourfold[sweep]'")
    words = ["train.learning_rate=1e-4:1e-2:log" if "learning_rate" in word else word for word in WORDS]
    ended = call(*words, "--study", "2", "--trials", "1", "--seed", "3", "--device", "cpu", "--out", here / "runs")
    assert (ended.code, ended.err) == (0, "")
    assert ": a study of 2 points, 1 trial of each, " in ended.out
    assert sorted(store.spec().model.algebra for store in find_runs(here / "runs")) == ["quaternion"] * 2 + ["real"] * 2
    assert len(list((here / "runs" / "studies").glob("*.jsonl"))) == 2
