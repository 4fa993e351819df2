"""A difference is said only where intervals show it: trials whose truth is known, of accuracy and of an error."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import synthetic_runs as synthetic

from fourfold.record import Metric, Row
from fourfold.report import Curve, Experiment, curves, experiments_of_rows, sentences, summary, summary_table
from fourfold.report._differences import NEIGHBOURS, Differences, differences
from fourfold.report.tables import summary_records

RMSE = Metric(name="rmse", unit="m", higher_is_better=False, title="root mean squared error")

Gap = Callable[[float], float]


def no_gap(fraction: float) -> float:
    return 0.0


def ahead_below_six_percent(fraction: float) -> float:
    return 5.0 if fraction < 0.06 else 0.0


def rows(gap: Gap, trials: int, noise: float = 0.5, seed: int = 0) -> list[Row]:
    """Rows of both networks: real falls to small sizes, quaternion is `gap(fraction)` points above it, both with noise."""
    draw = np.random.default_rng([seed, trials])
    made = []
    for algebra, above in (("real", no_gap), ("quaternion", gap)):
        for trial in range(trials):
            for level in range(16):
                row = synthetic.row(synthetic.spec(algebra, epochs=1), trial, level)
                top1 = 85 + 4 * np.log10(row.fraction_of_real) + above(row.fraction_of_real) + draw.normal(0, noise)
                made.append(replace(row, top1=float(top1)))
    return made


def as_error(row: Row) -> Row:
    """The row of a task whose error is what accuracy lacks of 100."""
    epochs = tuple(replace(epoch, top1=None, metric=100 - epoch.top1) for epoch in row.epochs)
    values = {"rmse": 100 - row.top1, "loss": row.loss}
    return replace(row, top1=None, top5=None, metric=RMSE, metrics=values, epochs=epochs, preset="roads")


def experiment(of: list[Row]) -> Experiment:
    (found,) = experiments_of_rows(of)
    return found


def found_in(of: list[Row]) -> Differences:
    real, quaternion = curves(of)
    found = differences(quaternion, real)
    assert found is not None
    return found


def with_values(curve: Curve, values: np.ndarray) -> Curve:
    """The curve with other accuracies, (trials, levels)."""
    traces = tuple(replace(trace, top1=tuple(top1)) for trace, top1 in zip(curve.traces, values, strict=True))
    return replace(curve, traces=traces)


@pytest.mark.parametrize("trials", [3, 5, 10])
def test_noise_alone_shows_no_difference(trials: int) -> None:
    real, quaternion = curves(rows(no_gap, trials))
    draw = np.random.default_rng(trials)
    shown, single = [], []
    for _ in range(60 if trials < 10 else 15):
        ours, theirs = (with_values(one, draw.normal(80, 1, (trials, 16))) for one in (quaternion, real))
        found = differences(ours, theirs)
        assert found is not None
        assert len(found.sizes) > 15
        shown.append(found.is_shown)
        single.append(found.ahead_at > 0 and found.behind_at > 0)
    assert np.mean(shown) <= 0.08
    assert all(single)  # the means change their order every time


def test_the_finding_on_noise_says_that_no_difference_is_shown() -> None:
    noise = rows(no_gap, 5)
    found = experiment(noise)
    assert sentences(found)[0].startswith("No difference is shown between Quaternion and real from ")
    assert "(5 trials, " in sentences(found)[0]
    cells = dict(zip(summary_table(found).columns, summary_table(found).rows[1], strict=True))
    assert cells["Shown ahead of real at"] == cells["Shown behind real at"] == "none"
    record = summary_records(found)[1]
    assert record["shown_ahead_of_real_at"] is record["shown_behind_real_largest_gap_mean"] is None
    assert f"  {sentences(found)[0]}" in summary(noise).splitlines()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_true_gap_at_small_sizes_is_found_there_and_only_there(sign: int) -> None:
    made = rows(lambda fraction: sign * ahead_below_six_percent(fraction), 5)
    found = found_in(made)
    side, other = (found.ahead, found.behind) if sign > 0 else (found.behind, found.ahead)
    assert side is not None
    assert other is None
    ((high, low),) = side.ranges
    assert 0.04 < high < 0.075  # between the sizes around 6 % the networks' curves are interpolated
    assert low == found.sizes[-1]
    assert side.gap.low is not None
    assert side.gap.high is not None
    assert sign * side.gap.mean > 4
    assert side.gap.low < sign * 5.5
    assert low <= side.at <= high
    assert not found.is_shown_everywhere
    word = "ahead of" if sign > 0 else "behind"
    sentence = sentences(experiment(made))[0]
    assert sentence.startswith(f"Quaternion is {word} real at ")
    assert "at other sizes from " in sentence
    assert sentence.count("of the real parameters") == 1


def test_one_trial_shows_nothing_and_says_who_is_ahead_at_most_sizes() -> None:
    made = rows(lambda fraction: 20.0, 1)
    found = found_in(made)
    assert (found.trials, found.is_shown) == (1, False)
    assert found.ahead_at == len(found.sizes)
    sentence = sentences(experiment(made))[0]
    assert sentence.startswith(
        f"One trial only, which shows no difference: Quaternion is ahead of real at {found.ahead_at} of "
    )
    behind = sentences(experiment(rows(lambda fraction: -20.0, 1)))[0]
    assert f"Quaternion is behind real at {found.ahead_at} of {found.ahead_at} sizes" in behind
    cells = dict(zip(summary_table(experiment(made)).columns, summary_table(experiment(made)).rows[1], strict=True))
    assert cells["Shown ahead of real at"] == "one trial"
    assert not any("mean" in text for text in sentences(experiment(made)))


def test_of_an_error_less_is_ahead_at_the_same_sizes() -> None:
    accuracy, error = rows(ahead_below_six_percent, 5), [as_error(row) for row in rows(ahead_below_six_percent, 5)]
    right, found = found_in(accuracy), found_in(error)
    assert right.ahead is not None
    assert found.ahead is not None
    assert (found.ahead.ranges, found.ahead.at, found.behind) == (right.ahead.ranges, right.ahead.at, None)
    assert (found.ahead_at, found.behind_at) == (right.ahead_at, right.behind_at)
    assert found.ahead.gap.mean == pytest.approx(-right.ahead.gap.mean)
    sentence = sentences(experiment(error))[0]
    assert sentence.startswith("Quaternion is ahead of real at ")
    assert "largest mean gap −" in sentence
    assert " m [" in sentence
    assert "points" not in sentence


def test_fewer_sizes_in_a_row_than_neighbours_are_chance() -> None:
    real, quaternion = curves(rows(no_gap, 5, noise=0))
    wiggle = np.linspace(-0.1, 0.1, 5)[:, None] * np.where(np.arange(16) % 2, 1, -1)
    for sizes_in_a_row, is_shown in ((1, False), (NEIGHBOURS + 1, True)):
        values = 80 + wiggle + 0 * np.arange(16.0)
        values[:, 5 : 5 + sizes_in_a_row] += 3
        # Real's own sizes lie between, so one raised level raises the interpolated gap at its neighbours, too, but not with
        # whole intervals: real varies more than half of what the interpolation gives them.
        theirs = np.full((5, 16), 80.0) + np.array([-4, 4, -4, 4, 0.0])[:, None]
        theirs[:, :] = 80.0 if is_shown else theirs
        found = differences(with_values(quaternion, values), with_values(real, theirs))
        assert found is not None
        assert found.is_shown is is_shown


def test_sizes_that_differ_between_trials_only_are_no_neighbours() -> None:
    real, quaternion = curves(rows(no_gap, 3))
    near = replace(quaternion.points[3], fraction_of_real=quaternion.points[3].fraction_of_real * 0.995)
    found, more = (
        differences(replace(quaternion, points=points), real) for points in (quaternion.points, (*quaternion.points, near))
    )
    assert found is not None
    assert more is not None
    assert len(found.sizes) == len(more.sizes)


def test_networks_without_a_common_trial_or_size_are_not_compared() -> None:
    real, quaternion = curves(rows(no_gap, 2))
    others = replace(quaternion, traces=tuple(replace(trace, trial=trace.trial + 7) for trace in quaternion.traces))
    assert differences(others, real) is None
    apart = Experiment(preset="p", dataset="d", model="m", curves=(real, others), published=(), rows=())
    assert "No trial has measured Quaternion and real at a common fraction" in sentences(apart)[0]
