"""Restructuring changes no bit: every kind of run gives what another checkout's code gives, and in pieces what it gives whole.

Comparing with another checkout takes about half a minute and its `src` folder:

    FOURFOLD_REFERENCE=/path/to/checkout/src pytest tests/lottery/test_lottery_reference.py
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import reference_rows

import fourfold
from checkpoint_samples import EndsAtSteps
from fourfold.train import OutOfTimeError
from fourfold.train import checkpoint as pauses
from fourfold.train.saving import Rule, Saving

REFERENCE = os.environ.get("FOURFOLD_REFERENCE")
CASES = reference_rows.cases()


def in_pieces(experiment, store, case):
    """Run a case as one does whose process ends every few steps; each time it resumes from its checkpoint."""
    ends = EndsAtSteps(0, 20)
    saving = Saving(store=store, trial=0, ends=ends, rule=Rule("epoch"))
    while True:
        try:
            reference_rows.run(experiment, store, case, saving=saving)
        except OutOfTimeError:
            ends.rearm()
        else:
            return


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "weights",
        "learning-rate",
        "continue with momentum",
        "one-shot, step",
        "one-shot, continue",
        "gradual, by layer",
        "synflow, one-shot",
        "early stopping, fine-tune",
        "controls of a rewound ticket",
    ],
)  # test_lottery_checkpoints.py has others
def test_a_run_in_pieces_leaves_what_a_whole_one_leaves(name, tmp_path, monkeypatch):
    monkeypatch.setattr(pauses, "LOOK_SECONDS", 0.01)
    whole = reference_rows.outcome(CASES[name], tmp_path / "whole")
    pieces = reference_rows.outcome(CASES[name], tmp_path / "pieces", in_pieces)
    assert pieces == whole
    assert len(whole["rows"]) >= 2


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What this code and the reference's code compute, by case."""
    if not REFERENCE:
        pytest.skip("FOURFOLD_REFERENCE names no checkout to compare with")
    folder, found = tmp_path_factory.mktemp("reference"), []
    for source in (Path(fourfold.__file__).parents[1], Path(REFERENCE)):
        target = folder / f"{len(found)}.json"
        command = [sys.executable, reference_rows.__file__, target]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(source)})
        found.append(json.loads(target.read_text(encoding="utf-8")))
    return found


@pytest.mark.skipif(not REFERENCE, reason="FOURFOLD_REFERENCE names no checkout to compare with")
@pytest.mark.parametrize("name", [*CASES, "engines", "connectivity"])
def test_every_bit_is_the_references(name, both):
    ours, reference = (found[name] for found in both)
    assert ours == reference
