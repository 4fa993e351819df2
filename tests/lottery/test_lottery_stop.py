"""When trials end: the papers' rules on accuracies that training is made to give."""

from dataclasses import replace

import pytest

from fourfold.record import PruneSpec, StopSpec
from fourfold.train import Evaluation, train
from lottery_samples import run_alone, tiny_spec

PAPER_1 = StopSpec(accuracy=30, levels=2)
PAPER_2 = StopSpec(accuracy=20, levels=3)


@pytest.mark.parametrize(
    ("rule", "accuracies", "num_levels"),
    [
        (PAPER_1, [90, 80, 29, 29, 29, 29], 4),
        (PAPER_1, [90, 29, 80, 29, 30, 29, 29], 7),
        (PAPER_1, [10, 10, 10], 2),
        (PAPER_2, [70, 19, 19, 19, 19], 4),
        (PAPER_2, [70, 19, 19, 20, 19, 19, 19, 19], 7),
        (replace(PAPER_2, max_level=2), [70, 60, 50, 40], 3),
        (replace(PAPER_2, max_level=0), [70, 60], 1),
    ],
)
def test_a_trial_ends_by_its_rule(rule, accuracies, num_levels, tmp_path):
    spec = replace(tiny_spec(), prune=PruneSpec(fraction=0.2), stop=rule)
    given = iter(accuracies)

    def pretend(*arguments, **named):
        trained = train(*arguments, **named)
        return replace(trained, test=Evaluation(top1=next(given), top5=None, loss=1.0))

    rows = run_alone(spec, tmp_path, trainer=pretend).rows(0)
    assert [row.top1 for row in rows] == accuracies[:num_levels]


def test_a_trial_ends_with_its_last_weight(tmp_path):
    spec = replace(tiny_spec("quaternion"), prune=PruneSpec(fraction=0.9), stop=StopSpec(accuracy=0))
    assert [row.weights for row in run_alone(spec, tmp_path).rows(0)] == [312, 31, 3]
