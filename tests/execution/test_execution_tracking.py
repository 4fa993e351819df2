"""Trackers get what the rows hold, go on with the runs they know, and never end a run."""

import sys
import types
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from fourfold.execution import Event, tracking
from fourfold.execution.events import event_of
from fourfold.execution.jobs import Job, Trial
from fourfold.execution.serving import Clock, run_trial_here
from fourfold.record import RunStore, UserError
from lottery_samples import prepared, tiny_spec

LEVELS, EPOCHS = 3, 2


@dataclass
class Ran:
    """The events of a trial that two processes shared: the first was ended in level 1, after its first epoch."""

    spec: object
    first: list = field(default_factory=list)
    second: list = field(default_factory=list)
    rows: list = field(default_factory=list)


class EndedError(BaseException):
    """Ends a training as a signal would."""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    out = tmp_path_factory.mktemp("ran")
    spec = tiny_spec("quaternion", levels=LEVELS, epochs=EPOCHS)
    made = Ran(spec)
    job = Job(specs=(spec,), out=out)
    trial = Trial(spec=spec, number=0, job=job)

    def send(events, most=None):
        def take(kind, **content):
            events.append(event_of(trial, {"event": kind, **content}))
            if len(events) == most:
                raise EndedError

        return take

    with pytest.raises(EndedError):
        run_trial_here(prepared(spec), RunStore.create(out, spec), 0, Clock(None), send(made.first, EPOCHS + 2), job)
    run_trial_here(prepared(spec), RunStore.create(out, spec), 0, Clock(None), send(made.second), job)
    made.rows = RunStore(out / spec.id).rows(0)
    return made


def send(names, folder, events, **trackers):
    """Send events as a run does, to trackers that there are or to others, and return all that were passed on."""
    passed = []
    with tracking.tracked(names, folder, passed.append, trackers or None) as on_event:
        for event in events:
            on_event(event)
    return passed


def expected(ran):
    """What the rows say: figures by name, axis and step."""
    accuracies = {("epoch/top1", row.level * EPOCHS + epoch.epoch): epoch.top1 for row in ran.rows for epoch in row.epochs}
    levels = {(f"level/{name}", row.level): value for row in ran.rows for name, value in tracking.figures_of(row).items()}
    return accuracies | levels


def test_the_figures_are_those_of_the_row(ran):
    (row, *_) = ran.rows
    figures = tracking.figures_of(row)
    assert (figures["top1"], figures["weights"], figures["seconds"]) == (row.top1, row.weights, row.provenance.seconds)
    assert not {"top5", "validation"} & set(figures)
    assert [event.kind for event in ran.first] == ["epoch"] * EPOCHS + ["row", "epoch"]


def test_tensorboard_files_hold_every_epoch_and_row_once(ran, tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: pip install 'fourfold[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "tensorboard" / f"{ran.spec.id}-0"
    assert send(["tensorboard"], tmp_path, ran.first) == ran.first
    assert len(list(folder.iterdir())) == 1
    assert send(["tensorboard"], tmp_path, ran.second) == ran.second
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    found = [((tag, each.step), each.value) for tag in reader.Tags()["scalars"] for each in reader.Scalars(tag)]
    assert len(found) == len(dict(found))  # the epoch that was trained twice is there once
    assert dict(found) == pytest.approx(expected(ran), rel=1e-6)


class FakeRun:
    """A run of W&B or Trackio, which keeps what it is called with."""

    def __init__(self, calls, settings):
        self.calls, self.id = calls, settings.get("id", settings.get("name"))
        calls.append(("init", settings))

    def define_metric(self, name, *, step_metric):
        self.calls.append(("define", self.id, name, step_metric))

    def log(self, figures, **step):
        self.calls.append(("log", self.id, figures, step))

    def finish(self):
        self.calls.append(("finish", self.id))


def fake_module(monkeypatch, name, **content):
    module = types.ModuleType(name)
    module.__spec__ = types.SimpleNamespace(name=name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def test_wandb_gets_both_axes_as_figures_and_goes_on_with_its_run(ran, tmp_path, monkeypatch):
    calls = []

    def init(*, project, dir, id, name, group, config, resume, reinit):
        return FakeRun(calls, {"id": id, "resume": resume, "reinit": reinit, "group": group, "config": config, "dir": dir})

    fake_module(monkeypatch, "wandb", init=init)
    for events in (ran.first, ran.second):
        send(["wandb"], tmp_path / "tracking", events)
    name = f"{ran.spec.id}-0"
    inits = [call[1] for call in calls if call[0] == "init"]
    assert [(each["id"], each["resume"], each["reinit"]) for each in inits] == [(name, "allow", "create_new")] * 2
    assert inits[0]["config"] == ran.spec.to_json()
    assert (tmp_path / "tracking").is_dir()
    assert ("define", name, "level/*", "level/number") in calls
    found = {}
    for kind, run, *rest in calls:
        if kind == "log":
            figures, step = rest
            ((axis, number),) = [(key, value) for key, value in figures.items() if key.endswith("/number")]
            assert (run, step) == (name, {})
            found |= {(key, number): value for key, value in figures.items() if key != axis}
    assert found == expected(ran)
    assert [call[0] for call in calls].count("finish") == 2


def test_trackio_runs_stand_side_by_side(ran, tmp_path, monkeypatch):
    import contextvars

    calls, current = [], contextvars.ContextVar("current", default=None)

    def init(project, *, name, group, config, resume):
        assert current.get() is None  # the real one would finish the run before
        run = FakeRun(calls, {"name": name, "resume": resume})
        current.set(run)
        return run

    fake_module(monkeypatch, "trackio", init=init)
    monkeypatch.setenv("TRACKIO_DIR", "elsewhere")
    twin = [Event(kind="epoch", spec=ran.spec.real_twin, trial=0, level=0, epoch=1, top1=50.0)]
    send(["trackio"], tmp_path, [*ran.first, *twin, *ran.second])
    assert [call[1] for call in calls if call[0] == "init"] == [
        {"name": f"{spec.id}-0", "resume": "allow"} for spec in (ran.spec, ran.spec.real_twin)
    ]
    found = {
        (key, step["step"]): value
        for kind, run, *rest in calls
        if kind == "log" and run == f"{ran.spec.id}-0"
        for figures, step in [rest]
        for key, value in figures.items()
    }
    assert found == expected(ran)
    assert [call[0] for call in calls].count("finish") == 2


class FakeClient:
    """The few calls of an `MlflowClient` that are used, over a store that outlives it."""

    store: ClassVar[dict] = {}

    def __init__(self, uri):
        self.runs = self.store.setdefault(uri, {})

    def get_experiment_by_name(self, name):
        return self.runs.get("experiment")

    def create_experiment(self, name):
        self.runs["experiment"] = types.SimpleNamespace(experiment_id="1")
        return "1"

    def search_runs(self, experiment_ids, filter_string):
        assert experiment_ids == ["1"]
        found = [run for key, run in self.runs.items() if key != "experiment"]
        return [run for run in found if filter_string == f"tags.`fourfold.run` = '{run.tags['fourfold.run']}'"]

    def create_run(self, experiment_id, tags, run_name):
        run_id = f"run{len(self.runs)}"
        self.runs[run_id] = types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id), tags=tags, status=[], metrics={})
        return self.runs[run_id]

    def update_run(self, run_id, status):
        self.runs[run_id].status.append(status)

    def log_metric(self, run_id, key, value, step):
        self.runs[run_id].metrics[key, step] = value

    def set_terminated(self, run_id):
        self.runs[run_id].status.append("ended")


@pytest.mark.parametrize("server", [None, "http://example.org"])
def test_mlflow_finds_its_run_again(server, ran, tmp_path, monkeypatch):
    fake_module(monkeypatch, "mlflow")
    fake_module(monkeypatch, "mlflow.tracking", MlflowClient=FakeClient)
    monkeypatch.setattr(FakeClient, "store", {})
    if server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    else:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for events in (ran.first, ran.second):
        send(["mlflow"], tmp_path / "here", events)
    ((place, runs),) = FakeClient.store.items()
    assert place == (server or f"sqlite:///{tmp_path}/here/mlflow.db")
    (run,) = [run for key, run in runs.items() if key != "experiment"]
    assert run.metrics == expected(ran)
    assert run.status == ["ended", "RUNNING", "ended"]


class Failing:
    """A tracker that fails when it is made, from its third call on, or when it is closed."""

    def __init__(self, when):
        self.when, self.calls = when, 0
        if when == "made":
            raise ConnectionError("the server is away\nand more")

    def log(self, *arguments):
        self.calls += 1
        if self.when == "third" and self.calls >= 3:
            raise ConnectionError("the server is away\nand more")

    def close(self):
        if self.when == "closed":
            raise ConnectionError("the server is away\nand more")


@pytest.mark.parametrize("when", ["made", "third", "closed"])
def test_a_tracker_that_fails_says_so_once_and_the_run_goes_on(when, ran, tmp_path):
    made = []

    def make(folder):
        made.append(Failing(when))
        return made[-1]

    passed = send(["json"], tmp_path, ran.second, json=make)
    notices = [event for event in passed if event.kind == "notice"]
    assert [event for event in passed if event.kind != "notice"] == ran.second
    assert [notice.message for notice in notices] == [
        "json failed (the server is away) and gets nothing more; the run continues"
    ]
    assert all(tracker.calls == 3 for tracker in made if when == "third")


def test_ctrl_c_still_ends_a_run_and_closes_the_trackers(ran, tmp_path):
    closed = []
    tracker = types.SimpleNamespace(log=lambda *rest: None, close=lambda: closed.append(1))

    def interrupted():
        with tracking.tracked(["json"], tmp_path, lambda event: None, {"json": lambda folder: tracker}) as on_event:
            on_event(ran.first[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert closed == [1]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["neptune"], r"^unknown tracker 'neptune'; known: mlflow, tensorboard, trackio, wandb$"),
        (["json", "json"], r"^`track` \(=\['json', 'json'\]\) names json twice$"),
        (["absent"], r"^`track` \(='absent'\) is not installed; `pip install 'fourfold\[absent\]'` adds it$"),
    ],
)
def test_mistakes_are_one_sentence_before_anything_is_written(names, sentence, tmp_path):
    trackers = tracking.TRACKERS if "neptune" in names else {names[0]: Failing}
    with pytest.raises(UserError, match=sentence), tracking.tracked(names, tmp_path / "new", lambda event: None, trackers):
        pass
    assert not (tmp_path / "new").exists()


def test_nothing_is_tracked_by_default(ran, tmp_path):
    assert send([], tmp_path / "new", ran.first) == ran.first
    assert not (tmp_path / "new").exists()


def test_every_tracker_has_an_extra_of_its_name():
    import tomllib
    from pathlib import Path

    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name in tracking.TRACKERS:
        assert any(each.startswith(name) for each in extras["optional-dependencies"][name])


def test_a_control_is_a_run_of_its_own(ran, tmp_path):
    seen = []
    tracker = types.SimpleNamespace(
        log=lambda run, axis, step, figures: seen.append((run.name, axis, step)), close=lambda: None
    )
    control = Event(kind="epoch", spec=ran.spec, trial=3, control="random-init", level=2, epoch=1, top1=50.0)
    send(["json"], tmp_path, [control], json=lambda folder: tracker)
    assert seen == [(f"{ran.spec.id}-3-random-init", "epoch", 2 * EPOCHS + 1)]
