"""`fourfold run` from its plan to its page, and again."""

import re
import resource
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_samples import Ended, call, tiny_preset, tree

from fourfold import execution, lottery, presets, report
from fourfold.execution import Event, tracking
from fourfold.record import RunStore, find_runs

SETTINGS = ["run", "digits", "--epochs", "1", "--max-level", "2", "--prune-fraction", "0.5", "--trials", "1", "--device", "cpu"]
LINE = re.compile(
    r"(\w+) trial 0 level (\d): ([\d.]+) % of real, density ([\d.]+) %, top-1 ([\d.]+) % \(\d+\.\d s, (?:native|eager)\)"
)


@dataclass
class Ran:
    folder: Path
    first: Ended
    rows: list
    after_first: dict
    second: Ended


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The command, called twice."""
    folder = tmp_path_factory.mktemp("ran")
    first = call(*SETTINGS, "--out", folder / "runs", "--keep", "2")
    rows = [row for store in find_runs(folder) for row in store.rows(0)]
    after_first = tree(folder)
    return Ran(folder, first, rows, after_first, call(*SETTINGS, "--out", folder / "runs", "--keep", "2"))


@pytest.mark.slow
def test_a_run_prints_its_plan_then_a_line_a_level_then_where_the_page_is(ran):
    assert (ran.first.code, ran.first.err) == (0, "")
    lines = ran.first.out.splitlines()
    assert lines[0] == (
        "digits: lenet-300-100 on digits, 1 trial of each, 50 % of the remaining weights pruned a level, "
        "until top-1 is below 30 % at 2 successive levels or level 2 is done"
    )
    assert re.match(
        r"  real +50,200 weights \(100\.0 % of real's parameters\), 50,200 MACs; 3 levels, .* → \S+/digits-real-",
        lines[1],
    )
    assert re.match(
        r"  quaternion +13,300 weights \( 27\.1 % of real's parameters\), 50,200 MACs; 3 levels, the dense one ", lines[2]
    )
    assert re.match(r"  about .* left with \d+ trials? at a time$", lines[3])
    assert lines[-2] == f"figure  {ran.folder}/runs/digits-report/figures"
    assert lines[-1] == f"page    {ran.folder}/runs/digits-report/index.html"


@pytest.mark.slow
def test_the_lines_are_the_rows(ran):
    found = [LINE.fullmatch(line).groups() for line in ran.first.out.splitlines() if " trial 0 level " in line]
    expected = [
        (row.algebra, str(row.level), f"{100 * row.fraction_of_real:.2f}", f"{100 * row.density:.2f}", f"{row.top1:.2f}")
        for row in ran.rows
    ]
    assert sorted(found) == sorted(expected)
    assert [(row.algebra, row.level) for row in ran.rows] == [("quaternion", n) for n in range(3)] + [
        ("real", n) for n in range(3)
    ]
    real = {row.level: row for row in ran.rows if row.algebra == "real"}
    assert [real[level].weights for level in range(3)] == [50_200, 25_100, 12_550]


@pytest.mark.slow
def test_page_figures_and_kept_weights_are_on_disk(ran):
    page = ran.folder / "runs" / "digits-report" / "index.html"
    assert "<html" in page.read_text(encoding="utf-8")
    figures = [file.suffix for file in (page.parent / "figures").iterdir()]
    assert {".png", ".svg", ".csv"} <= set(figures)
    for store in find_runs(ran.folder):
        assert [file.name for file in (store.path / "weights").iterdir()] == ["0-2.safetensors"]
        assert not lottery.load_trained(store, 0, 2).training


@pytest.mark.slow
def test_the_summary_compares_both_algebras(ran):
    assert "digits: Lenet-300-100 on digits" in ran.first.out
    assert "Dense top-1 accuracy: Real " in ran.first.out


@pytest.mark.slow
def test_the_same_command_runs_nothing_again(ran):
    assert (ran.second.code, ran.second.err) == (0, "")
    assert " trial 0 level " not in ran.second.out
    assert ran.second.out.count("3 levels done already") == 2
    runs = {name: content for name, content in ran.after_first.items() if "-report" not in name}
    assert {name: content for name, content in tree(ran.folder).items() if "-report" not in name} == runs
    assert ran.second.out.splitlines()[-1] == ran.first.out.splitlines()[-1]


@pytest.mark.slow
def test_status_says_that_it_is_finished(ran):
    table = [line.split() for line in call("status", ran.folder).out.splitlines()][1:]
    assert [(line[1], line[2], line[-1]) for line in table] == [("0", "3", "finished")] * 2


@pytest.mark.slow
def test_report_makes_the_page_again(ran, tmp_path):
    ended = call("report", ran.folder / "runs", "--out", tmp_path / "page")
    assert (ended.code, ended.err) == (0, "")
    first, verdict = ended.out.splitlines()
    assert first == f"wrote {tmp_path}/page/index.html: 1 experiment, figures and tables beside it"
    assert verdict.split(maxsplit=3)[:3] == ["digits", "1", "trial"]
    assert (tmp_path / "page" / "index.html").exists()


@pytest.mark.slow
def test_a_dry_run_prints_the_plan_and_writes_nothing(here, quick_plan):
    ended = call(*SETTINGS, "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    assert [line.split()[0] for line in ended.out.splitlines()] == ["digits:", "real", "quaternion", "about"]
    assert list(here.iterdir()) == []


@pytest.mark.slow
def test_flags_change_what_they_name(here, quick_plan, monkeypatch):
    seen = {}

    monkeypatch.setattr(execution, "run_job", lambda job, on_event: seen.update(vars(job)) or [])
    flags = "--algebra quaternion --epochs 3 --learning-rate 0.5 --prune-fraction 0.25 --max-level 7 --trials 4 --workers 3"
    ended = call(
        "run", "digits", *flags.split(), "--budget", "1h30m", "--keep", "0", "5", "--out", "elsewhere", "--data-dir", "d"
    )
    assert ended.code == 0
    (spec,) = seen["specs"]
    assert spec.model.algebra == "quaternion"
    assert (spec.train.epochs, spec.train.learning_rate) == (3, 0.5)
    assert (spec.prune.fraction, spec.stop.max_level) == (0.25, 7)
    assert (seen["trials"], seen["workers"], seen["budget_seconds"]) == (4, 3, 5400)
    assert (list(seen["keep"]), str(seen["out"]), str(seen["data_dir"])) == ([0, 5], "elsewhere", "d")
    preset = presets.get("digits", algebra="quaternion")
    assert (spec.data, spec.model, spec.preset) == (preset.data, preset.model, "digits")


@pytest.mark.slow
def test_without_flags_the_preset_is_run_as_it_is(here, quick_plan, monkeypatch):
    seen = {}
    monkeypatch.setattr(execution, "run_job", lambda job, on_event: seen.update(vars(job)) or [])
    assert call("run", "lenet-300-100-mnist").code == 0
    assert list(seen["specs"]) == [presets.get("lenet-300-100-mnist", algebra=name) for name in ("real", "quaternion")]
    assert (seen["trials"], seen["workers"], seen["budget_seconds"], seen["data_dir"]) == (5, None, None, None)
    assert (str(seen["out"]), seen["device"], list(seen["keep"])) == ("runs", "auto", [])


@pytest.mark.slow
def test_ctrl_c_says_that_the_same_command_goes_on(here, quick_plan, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(execution, "run_job", interrupted)
    ended = call(*SETTINGS)
    assert ended.code == 130
    assert ended.err == "\nfourfold: stopped; all finished levels are on disk, the same command resumes\n"


@pytest.mark.slow
@pytest.mark.started_workers  # the process that others are forked from would keep the limit
def test_a_full_disk_is_one_sentence_and_the_same_command_goes_on(here, quick_plan, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "tiny", tiny_preset)
    monkeypatch.setattr(report, "build", lambda runs, out: out / "index.html")
    words = ["run", "tiny", "--algebra", "real", "--trials", "1", "--workers", "1", "--device", "cpu"]
    # No file of the worker may grow beyond this: two rows fit, and no disk has to be filled.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2500, before[1]))
    try:
        full = call(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert full.code == 2
    assert full.err == (
        f"fourfold: cannot write to {here}/runs/{tiny_preset().id} (File too large); "
        "all rows so far are safe: free some space, then run the same command\n"
    )
    store = RunStore(here / "runs" / tiny_preset().id)
    first = store.rows(0)
    assert 1 <= len(first) < 5
    again = call(*words)
    assert (again.code, again.err) == (0, "")
    assert again.out.count(" level ") >= 5 - len(first)
    rows = store.rows(0)
    assert rows[: len(first)] == first
    alone = execution.run(tiny_preset(), trials=1, out=here / "alone", device="cpu", workers=1)
    assert [row.result() for row in rows] == [row.result() for row in alone]


@pytest.mark.slow
def test_controls_and_protocol_reach_the_run(here, quick_plan, monkeypatch):
    seen = {}
    monkeypatch.setattr(execution, "run_job", lambda job, on_event: seen.update(vars(job)) or [])
    words = [
        "run",
        "conv2-cifar10",
        "--protocol",
        "released",
        "--controls",
        "random-init",
        "inverted",
        "--control-levels",
        "0",
        "3",
    ]
    assert call(*words).code == 0
    assert [spec.preset for spec in seen["specs"]] == ["conv2-cifar10-released"] * 2
    assert (list(seen["controls"]), seen["control_levels"]) == (["random-init", "inverted"], (0, 3))
    ran = call("run", "digits", "--controls", "inverted", "--trials", "1", "--workers", "2", "--max-level", "4")
    assert ran.code == 0
    assert "then, of all levels, inverted: about 1 s" in ran.out  # five trainings of 0.24 s of each network
    assert seen["control_levels"] is None


@pytest.mark.slow
def test_changes_of_the_preset_reach_the_run(here, quick_plan, monkeypatch):
    seen = {}
    monkeypatch.setattr(execution, "run_job", lambda job, on_event: seen.update(vars(job)) or [])
    words = "--epochs 3 --learning-rate 0.5 --precision bf16 --prune-fraction 0.25 --max-level 7"
    assert call("run", "digits", *words.split()).code == 0
    for spec in seen["specs"]:
        train = spec.train
        assert (train.epochs, train.learning_rate, train.precision) == (3, 0.5, "bf16")
        assert (spec.prune.fraction, spec.stop.max_level) == (0.25, 7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--control-levels", "some"], "`--control-levels` (=some) must be levels such as 0 3 6, or all"),
        (["--controls", "nothing"], "unknown control 'nothing'; known: equal-macs, erk-random"),
        (["--precision", "bf8"], "unknown train precision 'bf8'; known: bf16, float32, tf32"),
        (["--precision", "tf32", "--device", "cpu"], "`train.precision` (='tf32') needs a CUDA device; cpu "),
        (["--protocol", "released"], "`protocol` (='released') must be 'text' for digits, of which no code was released"),
    ],
)
def test_mistakes_about_what_is_run_are_one_sentence(words, sentence, here):
    ended = call("run", "digits", *words)
    assert ended.code == 2
    assert ended.err.startswith(f"fourfold: {sentence}")
    assert ended.err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(("words", "folder"), [([], "runs/tracking"), (["--track-dir", "there"], "there")])
def test_trackers_get_the_events_of_the_run(words, folder, here, quick_plan, monkeypatch):
    seen = []

    class Tracker:
        def __init__(self, folder):
            seen.append(str(folder))

        def log(self, run, axis, step, figures):
            seen.append((run.name.rpartition("-")[2], axis, step, figures))

        def close(self):
            seen.append("closed")

    def run(job, on_event):
        on_event(Event(kind="epoch", spec=job.specs[0], trial=4, level=0, epoch=1, top1=50.0))
        return []

    monkeypatch.setitem(tracking.TRACKERS, "json", Tracker)
    monkeypatch.setattr(execution, "run_job", run)
    assert call("run", "digits", "--track", "json", *words).code == 0
    assert seen == [folder, ("4", "epoch", 1, {"top1": 50.0}), "closed"]


@pytest.mark.slow
def test_any_field_of_the_spec_can_be_set(here):
    given = ["prune.score=taylor", "prune.schedule=one-shot", "prune.rewind=step", "prune.rewind_to=3", "preset=mine"]
    ended = call(*SETTINGS, "--algebra", "real", *(word for each in given for word in ("--set", each)))
    assert (ended.code, ended.err) == (0, "")
    assert f"  with {', '.join(given)}" in ended.out.splitlines()
    (store,) = find_runs(here)
    spec = store.spec()
    assert (spec.preset, spec.train.epochs, spec.prune.fraction) == ("mine", 1, 0.5)
    assert (spec.prune.score, spec.prune.schedule, spec.prune.rewind, spec.prune.rewind_to) == ("taylor", "one-shot", "step", 3)
    assert len(store.rows(0)) == 3


@pytest.mark.slow
def test_controls_of_a_level_that_no_trial_has_are_told(here):
    words = ["run", "digits", "--epochs", "1", "--trials", "1", "--device", "cpu", "--algebra", "real"]
    words += ["--set", "stop.accuracy=100", "--controls", "inverted"]
    ended = call(*words, "--control-levels", "1", "2")
    assert ended.code == 2
    assert ended.err == "fourfold: `--control-levels` (=2) must be at most 1, the last level of all trials\n"
    (store,) = find_runs(here)
    assert [row.level for row in store.control_rows(0, "inverted")] == [1]
    assert call(*words, "--control-levels", "1").code == 0
