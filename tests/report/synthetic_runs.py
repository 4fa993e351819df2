"""Runs that nobody trained: valid specs and rows whose curves look like paper 1's Conv-4, for the tests of the report."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fourfold import models
from fourfold.record import DataSpec, Epoch, ModelSpec, Provenance, Row, RunStore, Spec, TrainSpec
from fourfold.report import Curve, Point, Stat

LAYERS = {"conv1": 1_728, "conv2": 36_864, "conv3": 73_728, "conv4": 147_456, "fc1": 2_097_152, "fc2": 65_536, "fc3": 2_560}
"""Weights of the real network."""

EVIL = "evil $\\frac$ </script><img src=x onerror=alert(1)> | cell"
"""A preset's name is the user's: it must not end a script, start an element, a formula or a cell."""

BIASES = 906
POSITIONS = {"conv1": 1024, "conv2": 1024, "conv3": 256, "conv4": 256, "fc1": 1, "fc2": 1, "fc3": 1}
"""How often a kernel is used for one image."""


def spec(algebra: str = "real", *, preset: str = "conv4-cifar10", **changes: object) -> Spec:
    """Return a valid spec; `changes` replaces fields of its `TrainSpec`."""
    return Spec(
        preset=preset,
        data=DataSpec(name="cifar-10", encoding="grey"),
        model=ModelSpec(name="conv-4", algebra=algebra),  # type: ignore[arg-type]
        train=dataclasses.replace(TrainSpec(learning_rate=3e-4, epochs=12), **changes),  # type: ignore[arg-type]
    )


def row(of: Spec, trial: int, level: int, *, control: str = "ticket", top1: float | None = None) -> Row:
    """Return one level of one trial: same arguments, same row."""
    n = models.dimension(of.model.algebra)
    draw = np.random.default_rng([trial, level, n])
    density = 0.8**level
    layers = {}
    for index, (name, real) in enumerate(LAYERS.items()):
        total = real if name == "fc3" else real // n
        kept = max(1, round(total * min(1.0, density ** (0.55 + 0.1 * index if name != "fc3" else 0.3))))
        layers[name] = (kept, total)
    weights, total = sum(kept for kept, _ in layers.values()), sum(size for _, size in layers.values())
    real_total = sum(LAYERS.values())
    fraction = (weights + BIASES) / (real_total + BIASES)
    mean = _accuracy(fraction, n) if control == "ticket" else _accuracy(fraction, n) * 0.8
    final = round(float(mean + draw.normal(0, 0.35 + 1.2 * (mean < 60))), 2) if top1 is None else top1
    epochs = tuple(
        Epoch(
            epoch=epoch,
            train_loss=float(2.3 * np.exp(-epoch / 4) + 0.05),
            top1=float(10 + (final - 10) * (1 - np.exp(-epoch / (2.5 + n / 2))) + draw.normal(0, 0.4)),
            loss=float(2.3 - final / 60 + 0.01 * epoch),
        )
        for epoch in range(1, of.train.epochs + 1)
    )
    macs = {name: (1 if name == "fc3" else n) * POSITIONS[name] for name in LAYERS}
    return Row(
        run=of.id,
        preset=of.preset,
        dataset=of.data.name,
        model=of.model.name,
        algebra=of.model.algebra,
        trial=trial,
        level=level,
        control=control,
        weights=weights,
        weights_total=total,
        density=weights / total,
        parameters=weights + BIASES,
        parameters_total=total + BIASES,
        parameters_real=real_total + BIASES,
        fraction_of_real=fraction,
        macs=sum(kept * macs[name] for name, (kept, _) in layers.items()),
        macs_dense=sum(size * macs[name] for name, (_, size) in layers.items()),
        macs_real=sum(LAYERS[name] * POSITIONS[name] for name in LAYERS),
        stored_bytes=4 * (weights + BIASES) + (total // 8 if level else 0) + trial,
        top1=final,
        top5=None,
        loss=2.3 - final / 60,
        train_loss=epochs[-1].train_loss if epochs else 0.1,
        steps=40 * 900,
        layers=layers,
        epochs=epochs,
        mask=hashlib.sha256(f"{of.id}{trial}{level}".encode()).hexdigest(),
        provenance=Provenance(
            seconds=61.5 + level,
            finished=f"2026-01-{level + 1:02d}T12:00:00+00:00",
            device="cpu (2 threads, a test)",
            versions={"fourfold": "0.1.0", "torch": "2.13.0", "python": "3.12.1"},
        ),
    )


def write(out: Path, of: Spec, trials: Sequence[int] | int = 3, levels: int = 8, rows: Iterable[Row] = ()) -> RunStore:
    """Write a run: every level of every trial, and then `rows`."""
    store = RunStore.create(out, of)
    for trial in range(trials) if isinstance(trials, int) else trials:
        for level in range(levels):
            store.append(row(of, trial, level))
    for extra in rows:
        store.append(extra)
    return store


def write_as(folder: Path, of: Spec, trials: int = 1, levels: int = 3) -> RunStore:
    """Write a run into a folder that is not called after it."""
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps(of.to_json()), encoding="utf-8")
    store = RunStore(folder)
    for trial in range(trials):
        for level in range(levels):
            store.append(row(of, trial, level))
    return store


def curve(points: dict[float, float], algebra: str = "real", trials: int = 3) -> Curve:
    """Return a curve through (fraction of real, accuracy); its last point has one trial fewer."""
    stat = Stat(mean=0, std=None, n=trials)
    made = tuple(
        Point(
            level=level,
            density=1.0,
            fraction_of_real=fraction,
            weights=1,
            macs=1,
            stored_bytes=1,
            top1=Stat(mean=top1, std=None, n=max(1, trials - (level == len(points) - 1))),
            top5=None,
            loss=stat,
            train_loss=stat,
            full=True,
        )
        for level, (fraction, top1) in enumerate(sorted(points.items(), reverse=True))
    )
    return Curve(
        run=algebra,
        preset="p",
        dataset="d",
        model="m",
        algebra=algebra,
        control="ticket",
        label=algebra,
        variant=0,
        trials=(0,),
        points=made,
        training=(),
        layers={},
        parameters_real=1,
        macs_real=1,
    )


def _accuracy(fraction: float, n: int) -> float:
    """Return a curve that falls from 86 % (real) to 31 % at 1.5 %, or from 82 % (quaternion) to 40 % at 0.6 %."""
    x = np.log(fraction)
    knots = np.log([0.004, 0.006, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0])
    if n == 1:
        return float(np.interp(x, knots, [12, 18, 31, 58, 74, 81, 84.5, 86, 86]))
    return float(np.interp(x, knots, [30, 40, 65, 74, 79, 81.5, 82, 82, 82]) - (n == 2))
