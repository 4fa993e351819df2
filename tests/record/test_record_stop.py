"""When a trial ends: the stop rules of both papers, and the last weight."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_samples import make_spec

from fourfold.record import PruneSpec, StopSpec

PAPER_1 = StopSpec(accuracy=30, levels=2)
PAPER_2 = StopSpec(accuracy=20, levels=3)


@pytest.mark.parametrize(
    ("rule", "top1", "ended"),
    [
        (PAPER_1, [], False),
        (PAPER_1, [10], False),
        (PAPER_1, [90, 29.9], False),
        (PAPER_1, [90, 29.9, 29.9], True),
        (PAPER_1, [90, 29.9, 30, 29.9], False),  # not successive
        (PAPER_1, [90, 30, 30, 30], False),  # 30 is not below 30
        (PAPER_1, [10, 10], True),
        (PAPER_2, [70, 19, 19], False),
        (PAPER_2, [70, 19, 19, 19], True),
        (PAPER_2, [70, 19, 21, 19, 19], False),
        (PAPER_2, [70, 29, 29, 29], False),
    ],
)
def test_the_papers_rules(rule, top1, ended):
    assert rule.reached(top1) is ended


@settings(derandomize=True, deadline=None)
@given(st.lists(st.floats(0, 100), max_size=12), st.floats(0, 100), st.integers(1, 4), st.none() | st.integers(0, 12))
def test_the_rule_is_a_run_of_low_accuracies_or_the_last_level(top1, accuracy, levels, max_level):
    low = 0
    for value in reversed(top1):
        if not value < accuracy:
            break
        low += 1
    last_done = max_level is not None and len(top1) == max_level + 1
    beyond = max_level is not None and len(top1) > max_level + 1
    expected = low >= levels or last_done or beyond
    assert StopSpec(accuracy=accuracy, levels=levels, max_level=max_level).reached(top1) is expected


def test_max_level_is_the_last_level_that_is_trained():
    rule = StopSpec(accuracy=0, max_level=2)
    assert [rule.reached([50.0] * count) for count in range(5)] == [False, False, False, True, True]


def test_density_is_what_is_left_after_each_level():
    prune = PruneSpec(fraction=0.2)
    assert prune.density(0) == 1
    for level in range(30):
        assert prune.density(level) == pytest.approx(0.8**level, rel=1e-12)


@pytest.mark.parametrize("num_weights", [1, 2, 10, 888, 2_425_000])
def test_a_trial_ends_before_a_level_without_weights(num_weights):
    spec = make_spec(prune=PruneSpec(fraction=0.5), stop=StopSpec(accuracy=0))
    levels = next(count for count in range(1, 99) if spec.finished([90.0] * count, num_weights))
    assert round(0.5 ** (levels - 1) * num_weights) > 0
    assert round(0.5**levels * num_weights) == 0


def test_a_trial_that_has_not_begun_is_not_finished():
    assert not make_spec(stop=StopSpec(max_level=0)).finished([], 888)
    assert make_spec(stop=StopSpec(max_level=0)).finished([90.0], 888)
