"""An experiment is all that is known about one preset: what one section of the page shows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from fourfold.record import TICKET, TOP1, ConnectivityRow, Metric, OverlapRow, Row, Spec
from fourfold.record.examples import Examples
from fourfold.report._curves import Curve, curves
from fourfold.report.published import DATASETS, EARLY_STOPPING, MODELS, PublishedCurve, published_curves
from fourfold.report.runs import Run, check_same_data, read_runs
from fourfold.report.scaling import scale_of, unscaled

WAYS = {EARLY_STOPPING: "with early stopping", "-released": "as the released code trains"}
"""What the ends of presets' names say."""

_Key: TypeAlias = tuple[str, str, str, Metric]
"""Preset, data set, model and metric: what rows of one experiment have in common."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """One preset: its curves and where they come from. Equal only to itself: `comparisons` remembers each."""

    preset: str
    dataset: str
    model: str
    curves: tuple[Curve, ...]
    """Tickets before controls, real before quaternion."""
    published: tuple[PublishedCurve, ...]
    rows: tuple[Row, ...]
    specs: Mapping[str, Spec] = field(default_factory=dict)
    """By run; empty when only rows are known."""
    failures: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    """By run and trial; runs without failures are left out."""
    connectivity: tuple[ConnectivityRow, ...] = ()
    overlaps: tuple[OverlapRow, ...] = ()
    examples: Mapping[tuple[str, int], Examples] = field(default_factory=dict)
    """What networks say of a few items of the test set, by run and level."""

    @property
    def metric(self) -> Metric:
        """What the networks are judged by."""
        return next((curve.metric for curve in self.curves), TOP1)

    @property
    def tickets(self) -> tuple[Curve, ...]:
        """The curves that are no controls."""
        return tuple(curve for curve in self.curves if curve.control == TICKET)

    @property
    def controls(self) -> tuple[Curve, ...]:
        """The other curves."""
        return tuple(curve for curve in self.curves if curve.control != TICKET)

    @property
    def title(self) -> str:
        """Network and data set, in the papers' spelling where they have one, and what is done another way than usual."""
        title = f"{MODELS.get(self.model, self.model)} on {DATASETS.get(self.dataset, self.dataset)}"
        ways = [words for ending, words in WAYS.items() if unscaled(self.preset).endswith(ending)]
        scale = scale_of(self.preset)
        metric = [] if self.metric == TOP1 else [f"by {self.metric.title or self.metric.name}"]
        return ", ".join([title, *ways, *([] if scale is None else [f"scaled to {scale:g}"]), *metric])


def experiments(runs: Iterable[Run]) -> tuple[Experiment, ...]:
    """Return the experiments of runs, ordered by name; a run without rows still shows its failures.

    Runs that are judged by different metrics are different experiments, whatever their names.
    """
    groups: dict[_Key, list[Run]] = {}
    runs = tuple(runs)
    for run in runs:
        spec = run.spec
        groups.setdefault((spec.preset, spec.data.name, spec.model.name, _metric_of(run, runs)), []).append(run)
    return tuple(
        replace(
            (base := _experiment(*key[:3], rows=tuple(row for run in group for row in run.rows))),
            curves=_told_apart(base.curves, {run.id: run.spec for run in group}),
            specs={run.id: run.spec for run in group},
            failures={run.id: run.failures for run in group if run.failures},
            connectivity=tuple(row for run in group for row in run.connectivity),
            overlaps=tuple(row for run in group for row in run.overlaps),
            examples={(run.id, level): one for run in group for level, one in run.examples.items()},
        )
        for key, group in sorted(groups.items(), key=_order)
    )


def _metric_of(run: Run, runs: Sequence[Run]) -> Metric:
    """Return what a run is judged by; of one without rows, what another run of its task is."""
    same_task = (other for other in runs if other.spec.task.name == run.spec.task.name)
    return next((row.metric for each in (run, *same_task) for row in each.rows), TOP1)


def _order(item: tuple[_Key, Any]) -> tuple[str, ...]:
    """Return what experiments are sorted by: preset, data set, model and the name of the metric."""
    preset, dataset, model, metric = item[0]
    return preset, dataset, model, metric.name, metric.label


def read_experiments(paths: Sequence[Path]) -> tuple[Experiment, ...]:
    """Return the experiments of every run at or below the paths; see `read_runs` for what it raises."""
    return experiments(read_runs(paths))


def experiments_of_rows(rows: Iterable[Row]) -> tuple[Experiment, ...]:
    """Return the experiments of rows alone, ordered by name."""
    groups: dict[_Key, list[Row]] = {}
    for row in rows:
        groups.setdefault((row.preset, row.dataset, row.model, row.metric), []).append(row)
    return tuple(_experiment(*key[:3], rows=tuple(group)) for key, group in sorted(groups.items(), key=_order))


def _told_apart(curves: Sequence[Curve], specs: Mapping[str, Spec]) -> tuple[Curve, ...]:
    """Return curves whose labels would need a run's hash with the settings in its place in which their runs differ."""
    named = []
    for curve in curves:
        hashed = f" ({curve.run.rpartition('-')[2]})"
        twins = {other.run for other in curves if (other.algebra, other.control) == (curve.algebra, curve.control)}
        settings = settings_told(specs[curve.run], [specs[run] for run in twins])
        label = curve.label if settings is None else curve.label.replace(hashed, f" ({settings})" if settings else "")
        named.append(replace(curve, label=label))
    return tuple(named)


def settings_told(spec: Spec, others: Iterable[Spec]) -> str | None:
    """Return the settings in which a spec differs from any of some others, such as `unit element`; None if in none.

    A setting that is off is not told.
    """
    own, fields = flat(spec), [flat(other) for other in others]
    differ = [name for name in own if any(other[name] != own[name] for other in fields)]
    settings = (f"{name.rpartition('.')[2].replace('_', ' ')} {own[name]}" for name in differ if own[name] is not None)
    return ", ".join(settings) if differ else None


def _experiment(preset: str, dataset: str, model: str, *, rows: tuple[Row, ...]) -> Experiment:
    check_same_data(dataset, [(row.run, row.data) for row in rows])
    return Experiment(
        preset=preset,
        dataset=dataset,
        model=model,
        curves=curves(rows),
        published=published_curves(dataset, model, preset) if all(row.metric == TOP1 for row in rows) else (),
        rows=rows,
    )


def flat(spec: Spec) -> dict[str, Any]:
    """Return a spec's fields with dotted names."""
    fields: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                walk(f"{prefix}.{key}" if prefix else key, item)
        else:
            fields[prefix] = value

    walk("", asdict(spec))
    return fields
