"""Commands called in the test's own process, and runs that need no training."""

import contextlib
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO
from unittest import mock

from fourfold.cli import main
from fourfold.record import DataSpec, Epoch, ModelSpec, Provenance, PruneSpec, Row, RunStore, Spec, StopSpec


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def call(*words) -> Ended:
    """Run a command in this process. Its figures have no content, as drawing them takes longer than a short run."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    figures = mock.patch("matplotlib.figure.Figure.savefig", save_nothing)
    with figures, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as ended:
            code = ended.code
    return Ended(code, out.getvalue(), err.getvalue())


def save_nothing(figure: object, stream: BinaryIO, *, format: str, **options: object) -> None:
    stream.write(format.encode())


def draw_nothing() -> None:
    """Let figures of this process, which was forked, have no content."""
    from matplotlib.figure import Figure

    Figure.savefig = save_nothing


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content, and every folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def make_spec(algebra: str = "real", max_level: int = 2) -> Spec:
    return Spec(
        preset="sample",
        data=DataSpec(name="digits", encoding="pixels"),
        model=ModelSpec(name="lenet-12", algebra=algebra),
        prune=PruneSpec(fraction=0.5),
        stop=StopSpec(accuracy=0, max_level=max_level),
    )


def make_row(spec: Spec, trial: int, level: int, top1: float, fraction: float = 0.5) -> Row:
    return Row(
        run=spec.id,
        preset=spec.preset,
        dataset=spec.data.name,
        model=spec.model.name,
        algebra=spec.model.algebra,
        trial=trial,
        level=level,
        control="ticket",
        weights=100,
        weights_total=888,
        density=100 / 888,
        parameters=round(910 * fraction),
        parameters_total=910,
        parameters_real=910,
        fraction_of_real=fraction,
        macs=100,
        macs_dense=888,
        macs_real=888,
        stored_bytes=500,
        top1=top1,
        top5=None,
        loss=0.5,
        train_loss=0.5,
        steps=24,
        layers={"fc1": (60, 768), "fc2": (40, 120)},
        epochs=(Epoch(epoch=1, train_loss=0.5, top1=top1, loss=0.5),),
        mask="0" * 64,
        provenance=Provenance(seconds=1.25, finished="2026-01-02T03:04:05+00:00", device="cpu", versions={"torch": "2"}),
    )


def make_run(out: Path, algebra: str = "real", levels: dict[int, int] | None = None) -> RunStore:
    """A run of three levels with some levels of some trials."""
    spec = make_spec(algebra)
    store = RunStore.create(out, spec)
    for trial, count in (levels or {}).items():
        for level in range(count):
            store.append(make_row(spec, trial, level, 90 - 10 * level, 0.5**level))
    return store


def tiny_preset() -> Spec:
    """Lenet-12 on the digits: 24 steps a level, five levels."""
    spec = make_spec(max_level=4)
    return replace(spec, preset="tiny", train=replace(spec.train, epochs=1))
