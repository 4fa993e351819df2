"""Intervals against scipy and against the truth of simulated trials."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fourfold.report._curves import Trace
from fourfold.report.gaps import (
    accuracy_at,
    gap_at,
    gap_to_dense,
    gap_when_dense,
    gaps_everywhere,
    overtaking,
    read,
    survival,
)
from fourfold.report.statistics import Crossing, Interval, crossing, interval

PLACES = [0.25 * 0.8**level for level in range(14)]
MEETING = 0.25 * 0.8**6.5


def simulated(
    generator: np.random.Generator, trials: int, slope: float = 4.0, shift: float = 0.0
) -> tuple[list[Trace], list[Trace]]:
    """Return trials of a network that gains `slope` points a level on its twin, meets it at `MEETING` and has its noise."""
    ours, theirs = [], []
    for trial in range(trials):
        level = np.arange(len(PLACES))
        base = 90 - 3 * level + generator.normal(0, 0.5)
        gain = slope * (level - 6.5) / 6.5 + shift
        for traces, mean in ((ours, base + gain), (theirs, base)):
            top1 = mean + generator.normal(0, 0.7, len(level))
            traces.append(
                Trace(
                    trial=trial,
                    density=tuple(0.8**level),
                    fraction_of_real=tuple(PLACES),
                    top1=tuple(top1),
                    macs=tuple(4e6 * 0.8**level),
                )
            )
    return ours, theirs


@pytest.mark.parametrize("trials", [2, 3, 5, 9])
def test_few_trials_have_the_interval_of_students_t(trials: int) -> None:
    values = np.random.default_rng(trials).normal(3, 1, trials)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = interval(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.mean, found.trials) == (pytest.approx(values.mean()), trials)


@pytest.mark.parametrize("trials", [10, 14])
def test_more_trials_have_the_studentised_interval_of_scipys_resamples(trials: int) -> None:
    values = np.random.default_rng(trials).normal(3, 1, trials)

    def mean_and_error(sample: np.ndarray, axis: int) -> np.ndarray:
        return np.stack([sample.mean(axis), stats.sem(sample, axis)])

    means, errors = stats.bootstrap(
        (values,), mean_and_error, n_resamples=40_000, method="percentile", rng=7
    ).bootstrap_distribution
    varied = errors > 1e-9
    low, high = np.quantile((means[varied] - values.mean()) / errors[varied], [0.025, 0.975])
    found = interval(values)
    assert found.low == pytest.approx(values.mean() - high * stats.sem(values), rel=0.05)
    assert found.high == pytest.approx(values.mean() - low * stats.sem(values), rel=0.05)


def test_many_trials_agree_with_bca_and_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(0).gamma(2, 1, 200)
    expected = stats.bootstrap((values,), np.mean, n_resamples=9999, rng=1).confidence_interval
    found = interval(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)
    assert interval(values) == found
    assert (interval([1.0, 2.5, 2.0]) + 3).mean == pytest.approx(interval([4.0, 5.5, 5.0]).mean)


def test_one_trial_has_no_interval_and_neither_have_equal_ones() -> None:
    assert interval([81.5]) == Interval(mean=81.5, low=None, high=None, trials=1)
    assert interval([0.25] * 5) == Interval(mean=0.25, low=None, high=None, trials=5)
    ours, theirs = simulated(np.random.default_rng(0), 1)
    found = overtaking(ours, theirs)
    assert found is not None
    assert (found.dense_end, found.sparse_end, found.open, found.trials) == (None, None, False, 1)


@pytest.mark.parametrize("trials", [3, 5, 10])
def test_intervals_of_a_known_gap_hold_it_95_times_in_100(trials: int) -> None:
    generator = np.random.default_rng(trials)
    truth = 4 * (4 - 6.5) / 6.5
    found = [gap_at(*simulated(generator, trials), PLACES[4]) for _ in range(400)]
    held = np.mean([one is not None and one.low <= truth <= one.high for one in found])
    assert 0.92 <= held <= 0.98


def test_intervals_of_a_known_crossing_hold_it_95_times_in_100() -> None:
    generator = np.random.default_rng(5)
    held = []
    for _ in range(120):
        found = overtaking(*simulated(generator, 5))
        assert found is not None
        assert found.dense_end is not None
        held.append((found.sparse_end or 0) <= MEETING <= found.dense_end)
    assert 0.91 <= np.mean(held) <= 0.99


def test_gaps_are_read_at_equal_size_and_never_beyond_what_was_measured() -> None:
    line = Trace(
        trial=0, density=(1, 0.1), fraction_of_real=(0.25, 0.025), top1=(80, 60), stored_bytes=(100, 40), macs=(8, 0.8)
    )
    twin = Trace(trial=0, density=(1, 0.1), fraction_of_real=(1, 0.1), top1=(90, 50), stored_bytes=(400, 100), macs=(8, 0.8))
    assert read(line, 0.25 * 10**-0.5) == pytest.approx(70)
    assert read(line, 0.25 * 1.019) == pytest.approx(80)
    assert np.isnan(read(line, 0.26))
    assert np.isnan(read(line, 0.02))
    same = gap_at([line], [twin], 0.1)
    assert same is not None
    assert same.mean == pytest.approx(80 + 20 * np.log10(0.4) - 50)
    by_macs = gap_at([line], [twin], 0.8, "macs")
    by_bytes = gap_at([line], [twin], 100, "stored_bytes")
    assert by_macs is not None
    assert by_bytes is not None
    assert (by_macs.mean, by_bytes.mean) == (pytest.approx(10), pytest.approx(30))
    assert gap_at([line], [twin], 0.5) is None
    assert gap_when_dense([line], [twin]) == Interval(mean=-10, low=None, high=None, trials=1)
    assert gap_to_dense([twin], 0.1) == Interval(mean=-40, low=None, high=None, trials=1)
    assert accuracy_at([line, twin], 0.1) is not None


def test_trials_are_paired_by_number_and_others_left_out() -> None:
    ours, theirs = simulated(np.random.default_rng(1), 6)
    some = gap_at(ours[2:], theirs[::-1][1:], PLACES[3])
    expected = [ours[t].top1[3] - theirs[t].top1[3] for t in (2, 3, 4)]
    assert some is not None
    assert (some.trials, some.mean) == (3, pytest.approx(np.mean(expected)))
    assert gap_at(ours[:2], theirs[2:], PLACES[3]) is None
    assert gaps_everywhere(ours[:2], theirs[2:])[0] == []


def test_a_trial_that_ended_early_counts_where_it_was() -> None:
    ours, theirs = simulated(np.random.default_rng(1), 3)
    cut = ours[0]
    ours[0] = Trace(trial=0, density=cut.density[:5], fraction_of_real=cut.fraction_of_real[:5], top1=cut.top1[:5])
    near, far = gap_at(ours, theirs, PLACES[4]), gap_at(ours, theirs, PLACES[9])
    assert near is not None
    assert far is not None
    assert (near.trials, far.trials) == (3, 2)


def test_a_crossing_has_open_ends_where_the_rows_leave_them_open() -> None:
    never = crossing([0.2, 0.1], np.array([[-1.0, -2.0], [-1.5, -2.5]]))
    assert never is None
    start = crossing([0.2, 0.1], np.array([[1.0, 2.0], [1.1, 2.2], [0.9, 2.1]]))
    assert start == Crossing(at=0.2, from_start=True, dense_end=0.2, sparse_end=0.2, open=False, trials=3)
    unsure = crossing([0.2, 0.1, 0.05], np.array([[-1.0, -1.0, 9.0], [-1.1, -1.2, -8.0], [-0.9, -0.8, 9.0]]))
    assert unsure is not None
    assert (unsure.open, unsure.sparse_end) == (True, None)
    assert unsure.dense_end is not None
    assert 0.05 < unsure.at < unsure.dense_end < 0.1


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(st.floats(-5, 5), min_size=3, max_size=6), st.floats(-20, 20), st.floats(0.1, 10))
def test_shifting_and_scaling_the_trials_shifts_and_scales_the_interval(
    values: list[float], shift: float, scale: float
) -> None:
    one, other = interval(values), interval([scale * value + shift for value in values])
    assert other.mean == pytest.approx(scale * one.mean + shift, abs=1e-9)
    if one.low is not None and one.high is not None and one.high - one.low > 1e-6:
        assert (other.low, other.high) == pytest.approx((scale * one.low + shift, scale * one.high + shift), abs=1e-6)
        assert one.low < one.mean < one.high


def test_survival_is_where_accuracy_has_fallen_by_the_points() -> None:
    top1 = [90 - level for level in range(14)]
    traces = [
        Trace(
            trial=trial,
            density=tuple(0.8**k for k in range(14)),
            fraction_of_real=tuple(PLACES),
            top1=tuple(value + trial / 10 * (-1) ** k for k, value in enumerate(top1)),
        )
        for trial in range(2)
    ]
    found = survival(traces[:1], 2.5)
    assert found is not None
    assert found.at == pytest.approx(0.25 * 0.8**2.5)
    assert survival(traces, 20) is None
    against = survival(traces[:1], 1, reference=[92.0])
    assert against is not None
    assert against.from_start
