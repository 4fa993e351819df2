"""How often 95 % confidence intervals of a mean over a few trials hold the truth: `python benchmarks/intervals.py`."""

import argparse
from collections.abc import Callable

import numpy as np
from scipy import stats

from fourfold.report.statistics import interval

Generator = np.random.Generator

DISTRIBUTIONS: dict[str, tuple[Callable[[Generator, int], np.ndarray], float]] = {
    "normal": (lambda generator, n: generator.normal(size=n), 0),
    "uniform": (lambda generator, n: generator.uniform(-1, 1, n), 0),
    "exponential": (lambda generator, n: 1 - generator.exponential(size=n), 0),
    "collapsing": (lambda generator, n: generator.normal(size=n) - 5 * (generator.random(n) < 0.1), -0.5),
}
"""Draws of a size, and their true mean; `collapsing` is normal with one trial in ten five deviations lower."""


def studentised(values: np.ndarray) -> tuple[float, float]:
    """The studentised interval at any number of trials, where ours goes over to Student's below five."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[2, 3, 4, 5, 10])
    parser.add_argument("--sets", type=int, default=1000)
    arguments = parser.parse_args()
    print(f"{'trials':6}  {'distribution':12}  " + "  ".join(f"{name:>18}" for name in METHODS))
    print(f"{'':6}  {'':12}  " + "  ".join(f"{'held, median width':>18}" for _ in METHODS))
    for trials in arguments.trials:
        for name, (draw, truth) in DISTRIBUTIONS.items():
            generator = np.random.default_rng(trials)
            samples = [draw(generator, trials) for _ in range(arguments.sets)]
            cells = []
            for method in METHODS.values():
                with np.errstate(all="ignore"):
                    ends = np.array([method(sample) for sample in samples])
                held = np.mean((ends[:, 0] <= truth) & (truth <= ends[:, 1]))
                cells.append(f"{100 * held:9.1f} %{np.median(ends[:, 1] - ends[:, 0]):7.2f}")
            print(f"{trials:6}  {name:12}  " + "  ".join(cells), flush=True)


if __name__ == "__main__":
    main()
