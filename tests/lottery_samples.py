"""Experiments of a tenth of a second, and the ways to run them in the test's own process."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from fourfold import lottery, presets
from fourfold.execution import Job, serving
from fourfold.record import PruneSpec, Row, RunStore, Spec, StopSpec
from fourfold.train import Trained, single_thread, train
from fourfold.train.saving import CheckpointEvery

BOTH = ("real", "quaternion")


def tiny_spec(algebra: str = "real", *, levels: int = 5, **training) -> Spec:
    """Lenet-12 on the digits: 24 steps an epoch, half the weights a level, accuracy never ends it."""
    spec = presets.get("digits", algebra=algebra)
    return replace(
        spec,
        preset="tiny",
        model=replace(spec.model, name="lenet-12"),
        train=replace(spec.train, **{"epochs": 1, **training}),
        prune=PruneSpec(fraction=0.5),
        stop=StopSpec(accuracy=0, max_level=levels - 1),
    )


@cache
def prepared(spec: Spec) -> lottery.Experiment:
    return lottery.Experiment.prepare(spec, None, torch.device("cpu"))


def run_alone(spec: Spec, out: Path, trial: int = 0, trainer: Callable[..., Trained] = train, keep=()) -> RunStore:
    """Run one trial here, without a worker; whatever is in its folder already is not run again."""
    store = RunStore.create(out, spec)
    with single_thread():
        lottery.run_trial(replace(prepared(spec), trainer=trainer), store, trial, keep=keep)
    return store


class Trainer:
    """Trains networks, and remembers each with what it was given and how it was before and after."""

    def __init__(self) -> None:
        self.networks, self.before, self.after, self.named, self.trained = [], [], [], [], []

    def __call__(self, network, splits, spec, **named) -> Trained:
        self.networks.append(network)
        self.before.append(self._state(network))
        self.named.append(named | {"spec": spec})
        self.trained.append(train(network, splits, spec, **named))
        self.after.append(self._state(network))
        return self.trained[-1]

    @staticmethod
    def _state(network):
        return {name: value.detach().clone() for name, value in network.state_dict().items()}


def trains_nothing(*arguments, **named) -> Trained:
    """A trainer that is not to be called."""
    raise AssertionError("a network was trained")


def workers_of(pid: int) -> list[int]:
    """The worker processes of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    children = [int(child) for task in tasks for child in _read_if_there(task / "children").split()]
    return [child for child in children if b"fourfold.execution.worker" in _read_if_there(Path(f"/proc/{child}/cmdline"))]


def _read_if_there(file: Path) -> bytes:
    """A thread or a process may end between being listed and being looked at."""
    try:
        return file.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def serve(
    spec: Spec,
    out: Path,
    *,
    clock: serving.Clock | None = None,
    send=lambda kind, **content: None,
    keep=(),
    checkpoint: CheckpointEvery = "auto",
) -> None:
    """Run trial 0 here as a worker does: with its folder, its lock, its clock, its checkpoints and its events."""
    store = RunStore.create(out, spec)
    with single_thread():
        job = Job(specs=(spec,), out=out, keep=tuple(keep), checkpoint=checkpoint)
        serving.run_trial_here(prepared(spec), store, 0, clock or serving.Clock(None), send, job)


def results(rows: list[Row]) -> list[dict]:
    """All of the rows that must not differ between two runs of one trial."""
    return [row.result() for row in rows]


def files(folder: Path) -> dict[str, bytes]:
    """Every file at or below a folder."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
