"""How often 95 % confidence intervals over a few trials hold the truth, and how much trials of two algebras have in common.

python benchmarks/intervals.py                      # of a mean, by several methods
python benchmarks/intervals.py --crossings 400      # of where one simulated curve overtakes another
python benchmarks/intervals.py --noise 400          # of gaps that exclude zero in a row, between networks that do not differ
python benchmarks/intervals.py --correlation results    # of real and quaternion accuracies, trial by trial
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import stats

from fourfold.report import experiments_of_rows, read_runs
from fourfold.report._curves import Trace
from fourfold.report.gaps import overtaking, pairs, read
from fourfold.report.statistics import interval

Generator = np.random.Generator

DISTRIBUTIONS: dict[str, tuple[Callable[[Generator, int], np.ndarray], float]] = {
    "normal": (lambda generator, n: generator.normal(size=n), 0),
    "uniform": (lambda generator, n: generator.uniform(-1, 1, n), 0),
    "exponential": (lambda generator, n: 1 - generator.exponential(size=n), 0),
    "collapsing": (lambda generator, n: generator.normal(size=n) - 5 * (generator.random(n) < 0.1), -0.5),
    "stepped": (lambda generator, n: np.round(1.5 * generator.normal(size=n)) / 1.5, 0),
}
"""Draws of a size, and their true mean; `collapsing` is normal with one trial in ten five deviations lower, `stepped` normal
and rounded, as accuracies on few test images are."""


def studentised(values: np.ndarray) -> tuple[float, float]:
    """The studentised interval at any number of trials, where ours goes over to Student's below ten."""
    resamples = values[np.random.default_rng(0).integers(0, len(values), (4000, len(values)))]
    errors = stats.sem(resamples, axis=1)
    varied = errors > 1e-12
    if not varied.any():
        return values.mean(), values.mean()
    low, high = np.quantile((resamples.mean(1)[varied] - values.mean()) / errors[varied], [0.025, 0.975])
    return values.mean() - high * stats.sem(values), values.mean() - low * stats.sem(values)


def of_scipy(method: str) -> Callable[[np.ndarray], tuple[float, float]]:
    return lambda values: tuple(stats.bootstrap((values,), np.mean, n_resamples=1000, method=method, rng=0).confidence_interval)


def students_t(values: np.ndarray) -> tuple[float, float]:
    return tuple(stats.ttest_1samp(values, 0).confidence_interval(0.95))


def ours(values: np.ndarray) -> tuple[float, float]:
    found = interval(values)
    return found.low or found.mean, found.high or found.mean


METHODS = {
    "percentile": of_scipy("percentile"),
    "BCa": of_scipy("BCa"),
    "studentised": studentised,
    "Student's t": students_t,
    "ours": ours,
}


def crossing_coverage(trials: int, sets: int) -> float:
    """Simulate two lines that meet at 0.1 with noise of half a point, a part of it common to a trial; return the part held."""
    generator, places, held = np.random.default_rng(trials), np.geomspace(0.25, 0.01, 15), 0
    for _ in range(sets):
        common = generator.normal(scale=0.5, size=(trials, 15))
        curves = []
        for slope in (10, 4):
            top1 = 80 + slope * np.log10(places / 0.1) + common + generator.normal(scale=0.5, size=(trials, 15))
            curves.append(
                [Trace(trial=t, density=(), fraction_of_real=tuple(places), top1=tuple(top1[t])) for t in range(trials)]
            )
        found = overtaking(curves[1], curves[0])
        held += found is not None and found.dense_end is not None and (found.sparse_end or 0) <= 0.1 <= found.dense_end
    return held / sets


def false_differences(trials: int, levels: int, sets: int, most: int = 3) -> tuple[int, list[float]]:
    """Return the sizes, and in which part of simulated sets so many in a row exclude zero, of networks that do not differ."""
    generator, start = np.random.default_rng(trials), 6.5  # the second network's levels lie between the first one's
    theirs, ours = np.arange(levels), np.arange(levels - 6) + start
    sizes = np.sort(np.concatenate([theirs[theirs >= start], ours[ours <= theirs[-1]]]))
    longest = []
    for _ in range(sets):
        noise = generator.normal(size=(2, trials, levels))
        gaps = [np.interp(sizes, ours, noise[0, t, 6:]) - np.interp(sizes, theirs, noise[1, t]) for t in range(trials)]
        found = [interval(column) for column in np.array(gaps).T]
        signs = "".join("+" if one.low > 0 else "-" if one.high < 0 else " " for one in found)
        longest.append(max(row for row in range(len(sizes) + 1) if "+" * row in signs or "-" * row in signs))
    return len(sizes), [float(np.mean([one >= row for one in longest])) for row in range(1, most + 1)]


def print_correlations(results: Path) -> None:
    """Print how real and quaternion accuracies correlate over trials, at the fractions that all trials of both reached."""
    for experiment in experiments_of_rows(row for run in read_runs([results]) for row in run.rows):
        curves = {curve.algebra: curve for curve in experiment.tickets}
        if not {"real", "quaternion"} <= curves.keys() or curves["real"].most_trials < 5:
            continue
        both = pairs(curves["quaternion"].traces, curves["real"].traces)
        found = []
        for place in curves["quaternion"].traces[0].fraction_of_real:
            values = np.array([[read(trace, place) for trace in pair] for pair in both])
            if not np.isnan(values).any() and values.std(0).min() > 0:
                found.append(np.corrcoef(values.T)[0, 1])
        print(
            f"{experiment.preset}: {min(found):+.2f} to {max(found):+.2f}, mean {np.mean(found):+.2f}, {len(found)} fractions"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crossings", type=int, help="simulated sets; only this is measured")
    parser.add_argument("--noise", type=int, help="simulated sets; only this is measured")
    parser.add_argument("--correlation", type=Path, help="folder of runs; only this is measured")
    parser.add_argument("--trials", type=int, nargs="+", default=[2, 3, 4, 5, 10])
    parser.add_argument("--sets", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.correlation:
        print_correlations(arguments.correlation)
        return
    if arguments.noise:
        for levels in (16, 30):
            for trials in (3, 5, 10):
                sizes, parts = false_differences(trials, levels, arguments.noise)
                rows = ", ".join(f"{row} in a row {100 * part:.1f} %" for row, part in enumerate(parts, start=1))
                print(f"{trials:6}  {sizes} sizes: {rows}", flush=True)
        return
    if arguments.crossings:
        for trials in (3, 5, 10):
            print(f"{trials:6}  crossing held {100 * crossing_coverage(trials, arguments.crossings):.1f} %", flush=True)
        return
    print(f"{'trials':6}  {'distribution':12}  " + "  ".join(f"{name:>24}" for name in METHODS))
    print(f"{'':6}  {'':12}  " + "  ".join(f"{'held, width (99th in 100)':>24}" for _ in METHODS))
    for trials in arguments.trials:
        for name, (draw, truth) in DISTRIBUTIONS.items():
            generator = np.random.default_rng(trials)
            samples = [draw(generator, trials) for _ in range(arguments.sets)]
            cells = []
            for method in METHODS.values():
                with np.errstate(all="ignore"):
                    ends = np.array([method(sample) for sample in samples])
                held = np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
                median, wide = np.quantile(ends[:, 1] - ends[:, 0], [0.5, 0.99])
                cells.append(f"{100 * held:7.1f} %{median:7.2f} {f'({wide:.1f})':>7}")
            print(f"{trials:6}  {name:12}  " + "  ".join(cells), flush=True)


if __name__ == "__main__":
    main()
