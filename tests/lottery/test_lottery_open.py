"""Levels of the user's own network, data and task: ended anywhere they resume to the same rows, whatever a checkpoint holds."""

import dataclasses
import sys

import numpy as np
import pytest

from checkpoint_samples import EndsAtSteps
from fourfold import lottery, parts, presets
from fourfold.record import RunStore, Trust
from fourfold.train import OutOfTimeError, resolve_device, single_thread
from fourfold.train import checkpoint as pauses
from fourfold.train.saving import Rule, Saving

FILE = """
import numpy as np
import torch
from torch import nn
import fourfold as ff

def data():
    draw = np.random.default_rng(0)
    x = draw.standard_normal((150, 6, 4)).astype("float32")
    return ff.data.from_arrays((x, x.sum((1, 2))), validation=20)

class Net(nn.Module):
    def __init__(self, algebra, features):
        super().__init__()
        self.rows = ff.nn.LSTM(features, 8, batch_first=True, algebra=algebra)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.drop(self.rows(x)[0][:, -1]))

def net(algebra, inputs, outputs):
    return Net(algebra, inputs[-1])
"""

SETTINGS = {
    "plain": {},
    "optimiser with state of its own": {"train.optimizer": "nadam", "train.clip_norm": 0.5, "train.schedule": "one-cycle"},
    "average of weights": {"train.ema": 0.9, "train.optimizer": "radam"},
    "mixed": {"train.mixup": 0.3, "train.optimizer_arguments": ("amsgrad=true",)},
    "continued": {"train.optimizer": "adamw", "prune.rewind": "continue"},
    "scored by the task's loss": {"prune.score": "taylor", "prune.unit": "element"},
}


@pytest.fixture
def folder(tmp_path):
    before = list(sys.path)
    (tmp_path / "roads.py").write_text(FILE)
    yield tmp_path
    sys.path[:] = before


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_trial_in_pieces_leaves_the_rows_of_a_whole_one(folder, settings, monkeypatch):
    monkeypatch.setattr(pauses, "LOOK_SECONDS", 0.01)
    spec = presets.new(
        "roads",
        data="roads.py:data",
        model="roads.py:net",
        task="regression",
        algebra="quaternion",
        epochs=2,
        batch_size=16,
        max_level=2,
        settings=settings,
    ).trusted(Trust(folder=str(folder)))
    with single_thread():
        experiment = lottery.Experiment.prepare(spec, None, resolve_device("cpu"))
        whole = RunStore.create(folder / "whole", spec)
        lottery.run_trial(experiment, whole, 0)
        pieces = RunStore.create(folder / "pieces", spec)
        ends, count = EndsAtSteps(1, 7), 0
        saving = Saving(store=pieces, trial=0, ends=ends, rule=Rule("epoch"))
        while True:
            try:
                lottery.run_trial(experiment, pieces, 0, saving=saving)
            except OutOfTimeError:
                count += 1
                ends.rearm()
            else:
                break
    assert count >= 3
    rows = whole.rows(0)
    assert [row.level for row in rows] == [0, 1, 2]
    for row, other in zip(rows, pieces.rows(0), strict=True):
        assert row.same_result(other)
        assert row.metric.name == "rmse"
        assert row.validation is not None
        assert set(row.layers) == {"rows.weight_ih_l0", "rows.weight_hh_l0", "head"}
    assert rows[2].weights < rows[1].weights < rows[0].weights


def test_a_network_without_a_real_twin_is_an_experiment_too(folder):
    (folder / "roads.py").write_text(FILE.replace("    return Net(", "    assert algebra == 'quaternion'\n    return Net("))
    spec = presets.new("roads", data="roads.py:data", model="roads.py:net", task="regression", algebra="quaternion", epochs=1)
    spec = dataclasses.replace(spec, stop=dataclasses.replace(spec.stop, max_level=1)).trusted(Trust(folder=str(folder)))
    with single_thread():
        experiment = lottery.Experiment.prepare(spec, None, resolve_device("cpu"))
        store = RunStore.create(folder / "runs", spec)
        lottery.run_trial(experiment, store, 0)
    assert store.rows(0)[0].fraction_of_real == 1
    assert store.rows(0)[0].parameters_real == store.rows(0)[0].parameters_total


def write_photos(folder, seed):
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 255, (2, 2, 6, 8, 8, 3), dtype=np.uint8)
    for split, images_of_split in zip(("train", "test"), pixels, strict=True):
        for name, images in zip("ab", images_of_split, strict=True):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for number, image in enumerate(images):
                Image.fromarray(image).save(folder / split / name / f"{seed}-{number}.png")


def write_archive(file, seed):
    draw = np.random.default_rng(seed)
    images = {f"x_{part}": draw.integers(0, 255, (12, 8, 8), dtype=np.uint8) for part in ("train", "test")}
    np.savez(file, **images, **{f"y_{part}": np.arange(12) % 2 for part in ("train", "test")})


@pytest.mark.parametrize(("name", "write"), [("photos/", write_photos), ("photos.npz", write_archive)])
def test_files_that_are_replaced_within_a_session_are_read_again(name, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name, 0)
    spec = presets.new("photos", data=name, model="lenet-12")
    first = parts.load(spec)
    assert parts.load(spec) is first
    write(tmp_path / name, 1)
    assert parts.load(spec) is not first
    assert len(parts.load(spec).train) == (24 if name == "photos/" else 12)
