"""The table of what `fourfold stability` measured: barriers between copies, and masks of trials against chance."""

from fourfold.record import TOP1, Metric
from fourfold.report._curves import Curve, Stat
from fourfold.report._experiments import Experiment
from fourfold.report.tables import Record, Table
from fourfold.report.words import MISSING, accuracy, percent

STABILITY_NOTE = (
    "Two copies of the level's network, one network up to the step, are trained to the end in different orders of images. "
    "Error: of the test images, mean over the copies. Barrier: the largest error on the straight line between them less that "
    "mean, in points; mean ± sample standard deviation over trials (Frankle et al. 2020). Masks shared: weights that the masks "
    "of two trials both keep / weights that either keeps, mean over pairs of trials; by chance: the same for random masks with "
    "as many weights in every layer."
)


def stability_table(experiment: Experiment) -> Table | None:
    """Return the stability of an experiment's levels; None where nothing was measured."""
    metric = experiment.metric
    rows = [
        (
            record["network"],
            str(record["level"]),
            percent(float(record["fraction_of_real"] or 0)),
            MISSING if record["step"] is None else str(record["step"]),
            _measured(record["error_mean"], None, metric),
            _measured(record["barrier_mean"], record["barrier_std"], metric),
            MISSING if record["trials"] is None else str(record["trials"]),
            _mean(record["masks_shared"], None, digits=3),
            _mean(record["shared_by_chance"], None, digits=3),
        )
        for record in stability_records(experiment)
    ]
    if not rows:
        return None
    columns = (
        "Network",
        "Level",
        "Fraction of real",
        "Copies part at step",
        metric.error_label,
        f"Barrier ({metric.difference_unit})",
        "Trials",
        "Masks shared",
        "By chance",
    )
    note = STABILITY_NOTE if metric == TOP1 else STABILITY_NOTE.replace("in points", f"in {metric.difference_unit}")
    return Table(title="Stability", columns=columns, rows=tuple(rows), note=note)  # type: ignore[arg-type]


def stability_records(experiment: Experiment) -> list[Record]:
    """Return one record a network, level and step, with all numbers; without a step where masks alone were compared."""
    return [record for curve in experiment.tickets for record in _records(curve, experiment)]


def _records(curve: Curve, experiment: Experiment) -> list[Record]:
    lines = [row for row in experiment.connectivity if row.run == curve.run]
    pairs = [row for row in experiment.overlaps if row.run == curve.run]
    records: list[Record] = []
    for level in sorted({row.level for row in lines} | {row.level for row in pairs}):
        here = [row for row in lines if row.level == level]
        shared = [row for row in pairs if row.level == level]
        fractions = [row.fraction_of_real for row in here] or [row.fraction_of_real for row in shared]
        steps: list[int | None] = [*sorted({row.connectivity.step for row in here})]
        for step in steps or [None]:
            measured = [row.connectivity for row in here if row.connectivity.step == step]
            barrier = Stat.of([one.barrier for one in measured]) if measured else None
            errors = [(one.errors[0] + one.errors[-1]) / 2 for one in measured]
            records.append(
                {
                    "preset": experiment.preset,
                    "network": curve.label,
                    "run": curve.run,
                    "level": level,
                    "fraction_of_real": sum(fractions) / len(fractions),
                    "step": step,
                    "error_mean": Stat.of(errors).mean if errors else None,
                    "barrier_mean": barrier.mean if barrier else None,
                    "barrier_std": barrier.std if barrier else None,
                    "trials": barrier.n if barrier else None,
                    "masks_shared": Stat.of([row.jaccard for row in shared]).mean if shared else None,
                    "shared_by_chance": Stat.of([row.by_chance for row in shared]).mean if shared else None,
                    "pairs_of_trials": len(shared),
                }
            )
    return records


def _measured(mean: str | float | None, std: str | float | None, metric: Metric) -> str:
    """Return a value of the metric as tables print it."""
    if mean is None or std is None:
        return MISSING if mean is None else metric.number(float(mean))
    return accuracy(Stat(mean=float(mean), std=float(std), n=2), metric)


def _mean(mean: str | float | None, std: str | float | None, digits: int = 2) -> str:
    if mean is None:
        return MISSING
    if std is None:
        return f"{float(mean):.{digits}f}"
    return accuracy(Stat(mean=float(mean), std=float(std), n=2))
