"""Whatever an experiment is made of: its masks are what was asked for, and an interruption changes no bit of its rows."""

import os
import random

import pytest
from random_specs import LAST_LEVEL, Interruptions, draw_spec

from fourfold import lottery
from fourfold.lottery.controls import check_controls, run_controls
from fourfold.record import CONTROLS, RunStore, UserError
from fourfold.train import single_thread
from lottery_samples import prepared, results

SEEDS = range(int(os.environ.get("FOURFOLD_SWEEP", "10")))
SAME_NETWORK = ("random-init", "shuffled-layer", "random-layer", "shuffled-global", "erk-random")
SAME_LAYERS = ("random-init", "shuffled-layer", "random-layer")


def drawn_controls(spec, seed: int) -> tuple[list[str], list[int]]:
    """Some controls and a level, where the experiment can have any."""
    draw = random.Random(seed)
    names, levels = draw.sample(sorted(CONTROLS), 2), [draw.randint(0, LAST_LEVEL)]
    try:
        check_controls([spec], names, levels)
    except UserError:
        return [], []
    return names, levels


def check_density(spec, row) -> None:
    prune = spec.prune
    if prune.unit == "row":
        kept, total = [*row.layers.values()][-1]
        assert kept == total  # of every class
    density = 1 if row.level == 0 else prune.density(row.level)
    if prune.budget == "macs":
        assert row.macs <= round(density * row.macs_dense)
    elif prune.unit == "weight":
        parts = 1 if prune.scope in ("global", "erk") else 8 * len(row.layers)
        assert abs(row.weights - density * row.weights_total) <= parts / 2
    else:
        assert row.weights >= 1  # how near it can come depends on the units: tests/pruning


def check_control(spec, row, ticket) -> None:
    if row.control in SAME_NETWORK and spec.prune.unit == "weight":
        assert row.weights == ticket.weights
    if spec.prune.unit == "row" and row.control != "small-dense":
        kept, total = [*row.layers.values()][-1]
        assert kept == total  # of every class
    if row.control in SAME_LAYERS:
        assert row.layers == ticket.layers
    if row.control == "equal-macs":
        assert 0 <= ticket.macs - row.macs <= max(100, 0.02 * ticket.macs)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_random_experiments(seed, tmp_path):
    spec = draw_spec(seed)
    experiment, interruptions = prepared(spec), Interruptions(seed)
    whole, pieces = RunStore.create(tmp_path / "whole", spec), RunStore.create(tmp_path / "pieces", spec)
    with single_thread():
        lottery.run_trial(experiment, whole, 0)
        count = interruptions.until_done(lambda tick: lottery.run_trial(experiment, pieces, 0, on_epoch=tick))
    assert count > 0
    assert whole.failure(0) == pieces.failure(0)
    assert results(whole.rows(0)) == results(pieces.rows(0))
    assert [row.level for row in whole.rows(0)] == list(range(LAST_LEVEL + 1)) or whole.failure(0)
    for row in whole.rows(0):
        check_density(spec, row)

    names, levels = drawn_controls(spec, seed)
    with single_thread():
        run_controls(experiment, whole, 0, names, levels)
        interruptions.until_done(lambda tick: run_controls(experiment, pieces, 0, names, levels, on_epoch=tick))
    for name in names:
        rows = whole.control_rows(0, name)
        assert results(rows) == results(pieces.control_rows(0, name))
        for row in rows:
            check_control(spec, row, whole.rows(0)[row.level])
