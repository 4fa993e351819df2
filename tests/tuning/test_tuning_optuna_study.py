"""Studies: as many evaluations for every algebra, on disk as JSON lines, the same after any interruption."""

import builtins
import json

import pytest
from sweep_samples import FakeRun, bases

from fourfold.record import UserError
from fourfold.tuning import optuna_study
from fourfold.tuning.sweep import Range, ranked

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'fourfold[sweep]'")

SPACE = {"train.learning_rate": Range(low=1e-4, high=1e-2, log=True), "train.epochs": (1, 2), "train.momentum": (0.0,)}
EVALUATIONS = 13  # more than the ten random ones that Optuna's sampler begins with


def evaluate(out, evaluations=EVALUATIONS, seed=0, run=None):
    return optuna_study.run_study(
        bases(), SPACE, evaluations=evaluations, trials=1, seed=seed, out=out, run=FakeRun(out) if run is None else run
    )


def points(found):
    return {algebra: [each.settings for each in outcomes] for algebra, outcomes in found.items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The outcomes of a study that nothing interrupted, and its folder."""
    out = tmp_path_factory.mktemp("whole")
    return evaluate(out), out


def test_every_algebra_gets_as_many_points_and_finds_its_own_best(whole):
    found, _ = whole
    assert [len(outcomes) for outcomes in found.values()] == [EVALUATIONS] * 2
    best = {algebra: ranked(outcomes)[0].settings["train.learning_rate"] for algebra, outcomes in found.items()}
    assert 1.5e-3 < best["real"] < 6e-3
    assert 0.5e-3 < best["quaternion"] < 2e-3
    assert points(found)["real"][:10] == points(found)["quaternion"][:10]  # random, before there is anything to go by
    assert points(found)["real"] != points(found)["quaternion"]
    assert all(type(each["train.epochs"]) is int for each in points(found)["real"])


def test_the_state_is_json_lines_that_optuna_reads(whole):
    found, out = whole
    files = sorted((out / "studies").glob("*.jsonl"))
    assert [file.name.rpartition("-")[0] for file in files] == ["tiny-sweep-quaternion", "tiny-sweep-real"]
    for file in files:
        assert all(isinstance(json.loads(line), dict) for line in file.read_text().splitlines())
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(files[1])))
    (summary,) = storage.get_all_studies()
    loaded = optuna.load_study(study_name=summary.study_name, storage=storage)
    assert [trial.value for trial in loaded.trials] == [each.mean for each in found["real"]]
    assert loaded.direction.name == "MAXIMIZE"


def test_the_seed_decides(whole, tmp_path):
    found, _ = whole
    assert points(evaluate(tmp_path / "same", 2))["real"] == points(found)["real"][:2]
    assert points(evaluate(tmp_path / "other", 2, seed=1))["real"] != points(found)["real"][:2]


def test_more_evaluations_go_on_and_nothing_is_done_twice(whole, tmp_path):
    found, _ = whole
    run = FakeRun(tmp_path)
    assert [len(outcomes) for outcomes in evaluate(tmp_path, 11, run=run).values()] == [11, 11]
    done = len(run.ran)
    again = evaluate(tmp_path, 11, run=run)
    assert (len(run.ran), len(again["real"])) == (done, 11)
    assert points(evaluate(tmp_path, run=run)) == points(found)
    assert len(set(run.ran)) == len(run.ran)
    assert points(evaluate(tmp_path, 2)) == {algebra: each[:2] for algebra, each in points(found).items()}


class KilledError(BaseException):
    """Ends a study as a signal would."""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["ask", "run", "tell"])
def test_an_interrupted_study_chooses_what_it_would_have_chosen(where, whole, tmp_path, monkeypatch):
    found, _ = whole
    calls = 0

    def breaking(method, *arguments, **named):
        nonlocal calls
        calls += 1
        result = method(*arguments, **named)
        if calls == 23:  # the second algebra's twelfth
            raise KilledError
        return result

    run = FakeRun(tmp_path)
    with monkeypatch.context() as patch:
        if where == "run":
            patch.setattr(FakeRun, "__call__", lambda self, specs, call=FakeRun.__call__: breaking(call, self, specs))
            calls = 11
        else:
            method = getattr(optuna.Study, where)
            patch.setattr(optuna.Study, where, lambda *arguments, **named: breaking(method, *arguments, **named))
        with pytest.raises(KilledError):
            evaluate(tmp_path, run=run)
    for file in (tmp_path / "studies").glob("*.jsonl"):  # as a torn line and a held lock would be left
        with file.open("ab") as stream:
            stream.write(b'{"op_code":6,"wor')
        file.with_name(f"{file.name}.lock").symlink_to(file)
    assert points(evaluate(tmp_path, run=run)) == points(found)
    assert len(set(run.ran)) == len(run.ran)


def test_a_budget_that_is_spent_ends_it_until_the_next_call(whole, tmp_path):
    found, _ = whole
    part = evaluate(tmp_path, run=FakeRun(tmp_path, most=5))
    assert [len(outcomes) for outcomes in part.values()] == [3, 2]
    assert points(evaluate(tmp_path)) == points(found)


def test_a_study_of_its_own_for_everything_that_it_depends_on(tmp_path):
    base = bases()[0]
    other = {**SPACE, "train.epochs": (1, 3)}
    names = [
        optuna_study.study_name(base, SPACE, 1, 0),
        optuna_study.study_name(bases(level=1)[0], SPACE, 1, 0),
        optuna_study.study_name(base, other, 1, 0),
        optuna_study.study_name(base, SPACE, 2, 0),
        optuna_study.study_name(base, SPACE, 1, 1),
    ]
    assert len(set(names)) == 5


def test_mistakes_are_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"^`optuna` \(=0\) must be at least 1 evaluation$"):
        evaluate(tmp_path, 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"^cannot write the study to .*file/studies/.* \(Not a directory\); choose another --out$"
    ):
        evaluate(tmp_path / "file", run=FakeRun(tmp_path))
    evaluate(tmp_path, 1)
    (file, _) = sorted((tmp_path / "studies").glob("*real*.jsonl")) * 2
    file.write_text("no json\n" + file.read_text())
    with pytest.raises(UserError, match=r"real-\w+\.jsonl is damaged \(.*\); delete it, and the study begins again"):
        evaluate(tmp_path, 1)
    file.unlink()
    assert len(evaluate(tmp_path, 1, run=FakeRun(tmp_path, most=0))["real"]) == 1  # the runs are still there

    def absent(name, *rest, real=builtins.__import__):
        if name.partition(".")[0] == "optuna":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(
        UserError, match=r"^a study needs Optuna, which is not installed; `pip install 'fourfold\[sweep\]'` adds"
    ):
        evaluate(tmp_path / "none", 1, run=FakeRun(tmp_path))
    assert not (tmp_path / "none").exists()


def test_two_processes_never_share_a_study(tmp_path):
    def run(specs):
        with pytest.raises(UserError, match=r"^another process is working on the study "):
            evaluate(tmp_path, 1, run=FakeRun(tmp_path))
        FakeRun(tmp_path)(specs)

    assert len(evaluate(tmp_path, 1, run=run)["real"]) == 1
