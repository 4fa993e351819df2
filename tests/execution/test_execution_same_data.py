"""Whatever resumes a run, or compares them, notices other data than they were trained on, in one sentence.

The data are small files in MNIST's form; they are changed between two commands in several ways.
"""

import dataclasses
import json
import re
import shutil
from dataclasses import replace

import pytest
import torch

from fake_files import write_mnist
from fourfold import data, deploy, execution, lottery, report
from fourfold.cli import tickets
from fourfold.execution import serving
from fourfold.execution.jobs import Job, Trial
from fourfold.execution.ray import chain
from fourfold.lottery import Line
from fourfold.lottery._stability import run_stability
from fourfold.record import DataSpec, PruneSpec, RunStore, UserError
from fourfold.train import single_thread
from fourfold.tuning import sweep
from lottery_samples import files, results, tiny_spec

OTHER = r"of other mnist data \(SHA-256 \w{8}\) than those that are here \(\w{8}\)"


def spec_of(algebra="quaternion", levels=3):
    spec = tiny_spec(algebra, levels=levels)
    return replace(spec, data=DataSpec(name="mnist", encoding="pixels"), prune=PruneSpec(fraction=0.5))


SPEC = spec_of()


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "data"
    write_mnist(folder, train=60, test=20)
    return folder


def refused(images, out, spec=SPEC, **settings):
    """Call `run`, which must refuse before it starts a worker, and write nothing."""
    before = files(out)
    with pytest.raises(UserError, match=OTHER):
        execution.run(spec, **{"trials": 1, "out": out, "device": "cpu", "workers": 1, "data_dir": images, **settings})
    assert files(out) == before


def run(images, out, spec=SPEC, *, keep=(), controls=(), levels=None):
    """Do here what `run` has workers do."""
    experiment = lottery.Experiment.prepare(spec, images, torch.device("cpu"))
    store = RunStore.create(out, spec, experiment.data)
    with single_thread():
        lottery.run_trial(experiment, store, 0, keep=keep)
        lottery.run_controls(experiment, store, 0, controls, levels)
    return store.rows(0) + [row for control in controls for row in store.control_rows(0, control)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of three levels whose level 1 is kept."""
    folder = tmp_path_factory.mktemp("made")
    write_mnist(folder / "data", train=60, test=20)
    run(folder / "data", folder / "runs", keep=[1])
    return folder / "runs"


@pytest.fixture
def store(made, tmp_path):
    return RunStore(shutil.copytree(made, tmp_path / "runs") / SPEC.id)


def cut(store, levels=2):
    lines = (store.path / "rows-0.jsonl").read_text().splitlines(keepends=True)
    (store.path / "rows-0.jsonl").write_text("".join(lines[:levels]))


def forget(store, *, spec=True, rows=True):
    """Make a run what one of an earlier version is: nothing in it names its data."""
    for file in store.path.glob("*.json*" if spec else "*.jsonl"):
        lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
        values = [json.loads(line) for line in lines]
        for value in values:
            value.pop("data_sha256", None)
            if file.suffix == ".jsonl" and rows:
                value.pop("data", None)
        file.write_text("".join(json.dumps(value) + "\n" for value in values))


@pytest.fixture
def others(tmp_path):
    write_mnist(tmp_path / "others", train=60, test=20, seed=1)
    return tmp_path / "others"


def test_every_row_and_the_run_name_their_data(store, images):
    digest = data.load("mnist", images).digest
    assert [row.data for row in store.rows(0)] == [digest] * 3
    assert store.data() == digest
    assert store.spec() == SPEC
    assert store.path.name == SPEC.id


@pytest.mark.parametrize("change", [{"seed": 1}, {"train": 30}, {"test": 30}], ids=["others", "a subset", "other tests"])
def test_a_trial_does_not_go_on_with_other_data(change, store, tmp_path):
    write_mnist(tmp_path / "others", **{"train": 60, "test": 20} | change)
    cut(store)
    refused(tmp_path / "others", store.path.parent)


@pytest.mark.parametrize("named", ["spec", "rows"])
def test_what_a_run_names_once_is_enough(named, store, others):
    forget(store, spec=named == "rows", rows=named == "spec")
    cut(store)
    refused(others, store.path.parent)


def test_a_trial_does_not_begin_with_other_data_than_those_before_it(store, others):
    refused(others, store.path.parent, trials=2)


def test_edited_files_are_other_data(store, images):
    write_mnist(images, train=60, test=20, seed=5)
    refused(images, store.path.parent)


def test_the_same_data_in_another_form_go_on(store, tmp_path):
    undisturbed = results(store.rows(0))
    write_mnist(tmp_path / "plain" / "MNIST", train=60, test=20, packed=False)
    cut(store)
    assert results(run(tmp_path / "plain", store.path.parent)) == undisturbed


def test_rows_that_do_not_name_their_data_are_continued_and_from_then_on_they_are_fixed(store, images, others):
    undisturbed = store.rows(0)
    forget(store)
    assert [row.data for row in store.rows(0)] == [None] * 3
    cut(store)
    rows = run(images, store.path.parent)
    assert [row.data for row in rows] == [None, None, undisturbed[2].data]
    assert all(row.same_result(other) for row, other in zip(rows, undisturbed, strict=True))
    refused(others, store.path.parent)


def test_functions_that_are_called_directly_notice_it_too(store, others):
    experiment = lottery.Experiment.prepare(SPEC, others, torch.device("cpu"))
    cut(store)
    with single_thread():
        for go_on in (
            lambda: lottery.run_trial(experiment, store, 0),
            lambda: lottery.run_controls(experiment, store, 0, ["random-init"]),
            lambda: execution.stability([store], Line(points=2), data_dir=others, workers=1),
            lambda: RunStore.create(store.path.parent, SPEC, experiment.data),
        ):
            with pytest.raises(UserError, match=OTHER):
                go_on()


def test_controls_are_of_the_data_of_their_tickets(store, images, others):
    refused(others, store.path.parent, controls=["random-init"])
    rows = run(images, store.path.parent, controls=["random-init", "equal-macs"], levels=[0])
    assert {row.data for row in rows} == {store.data()}
    forget(store, rows=False)
    (store.path / "rows-0.jsonl").write_text("")  # the control's rows alone know
    refused(others, store.path.parent)


def test_connectivity_is_of_the_data_of_its_level(store, images, others):
    line = Line(levels=(0,), points=2)
    forget(store)
    experiment = lottery.Experiment.prepare(SPEC, images, torch.device("cpu"))
    with single_thread():
        run_stability(experiment, store, 0, line, lambda row: None)
    assert [row.data for row in store.connectivity(0)] == [data.load("mnist", images).digest]
    with pytest.raises(UserError, match=OTHER):
        execution.stability([store], Line(points=2), data_dir=others, workers=1)


def test_a_process_that_reads_other_data_than_the_run_does_not_begin(images, others, tmp_path):
    digests = {"mnist": data.load("mnist", images).digest}
    job = Job(specs=(SPEC,), out=tmp_path / "runs", data_dir=others, device="cpu", data=digests)
    trial = Trial(spec=SPEC, number=0, job=job)
    told = []
    serving.Server(experiments_kept=1).serve([trial], lambda line: told.append(json.loads(line)))
    assert [value["event"] for value in told] == ["error"]
    assert re.match(r"the mnist data on \S+ \(SHA-256 \w{8}\) are others than those that the run was", told[0]["message"])
    (parcel,) = chain.run_chain(trial.to_line(), {}, chain.versions())
    assert [json.loads(line)["event"] for line, _ in parcel] == ["error"]


@pytest.mark.slow
def test_the_report_compares_no_rows_of_different_data(store, images, others, tmp_path):
    real = spec_of("real")
    run(others, tmp_path / "elsewhere", real)
    with pytest.raises(UserError, match=r"^tiny-\S+ and tiny-\S+ are of different mnist data \(SHA-256 \w{8} and \w{8}\)"):
        report.build([store.path, tmp_path / "elsewhere"], tmp_path / "report")
    both = [*store.rows(0), *RunStore(tmp_path / "elsewhere" / real.id).rows(0)]
    with pytest.raises(UserError, match="are of different mnist data"):
        report.experiments_of_rows(both)
    forget(RunStore(tmp_path / "elsewhere" / real.id))
    assert report.build([store.path, tmp_path / "elsewhere"], tmp_path / "report").is_file()
    run(images, tmp_path / "runs", real)
    assert report.build([store.path, tmp_path / "runs"], tmp_path / "report").is_file()


def test_the_report_joins_no_trials_of_different_data(store, others, tmp_path):
    run(others, tmp_path / "elsewhere")
    moved = RunStore(tmp_path / "elsewhere" / SPEC.id)
    for row in moved.rows(0):
        moved.append(replace(row, trial=1))
    (moved.path / "rows-0.jsonl").unlink()
    with pytest.raises(UserError, match=r"^levels of tiny-\S+ are of different mnist data"):
        report.read_runs([store.path, tmp_path / "elsewhere"])


def test_a_row_that_lies_twice_may_name_its_data_once(store, tmp_path):
    copied = RunStore(shutil.copytree(store.path, tmp_path / "copied" / SPEC.id))
    forget(copied)
    assert len(report.read_runs([store.path, copied.path])[0].rows) == 3


def test_a_sweep_compares_no_points_of_different_data(images, others, tmp_path):
    base = sweep.base_of(SPEC, validation=10)
    base = replace(base, stop=replace(base.stop, max_level=0))
    one, two = {"train.learning_rate": (1e-3, 2e-3)}, {"train.learning_rate": (1e-3, 3e-3)}

    def run_from(folder):
        return lambda specs: [run(folder, tmp_path / "runs", spec) for spec in specs]

    found = sweep.run_grid([base], one, trials=1, out=tmp_path / "runs", run=run_from(images))
    assert [each.data for each in found["quaternion"]] == [(data.load("mnist", images).digest,)] * 2
    with pytest.raises(UserError, match=OTHER):
        sweep.run_grid([base], two, trials=1, out=tmp_path / "runs", run=run_from(others))
    run(others, tmp_path / "runs", sweep.at_point(base, {"train.learning_rate": 3e-3}))
    with pytest.raises(UserError, match=r"^tiny-sweep-\S+ and tiny-sweep-\S+ are of different mnist data"):
        sweep.run_grid([base], two, trials=1, out=tmp_path / "runs", run=lambda specs: None)


def test_an_artifact_is_calibrated_and_tested_on_its_own_data(store, images, others):
    network = lottery.load_trained(store, 0, 1)
    trained_on = store.rows(0)[1].data
    assert tickets.program_of(store, network, 0, 1).provenance["data"] == trained_on
    assert tickets.calibration_images("mnist", images, trained_on).shape == (60, 28, 28, 1)
    assert tickets.calibration_images("mnist", others, None) is not None
    for read in (tickets.calibration_images, tickets.test_set):
        with pytest.raises(
            UserError, match=r"^mnist: expected the data that the network was trained on \(SHA-256 \w{8}\), found others"
        ):
            read("mnist", others, trained_on)


def test_export_calibrates_on_its_own_data(store, images, others, tmp_path, capsys):
    from fourfold.cli import main

    words = ["export", str(store.path), "--level", "1", "--values", "int8", "--out", str(tmp_path / "a"), "--data-dir"]
    main([*words, str(images)])
    assert deploy.read(tmp_path / "a").provenance["data"] == store.data()
    with pytest.raises(SystemExit) as ended:
        main([*words, str(others)])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("fourfold: mnist: expected the data that the network was trained on")


def test_an_experiment_without_a_digest_is_left_alone(store, images):
    experiment = lottery.Experiment.prepare(SPEC, images, torch.device("cpu"))
    cut(store)
    with single_thread():
        lottery.run_trial(dataclasses.replace(experiment, data=None), store, 0)
    assert [row.data is None for row in store.rows(0)] == [False, False, True]
