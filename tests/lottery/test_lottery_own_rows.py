"""Rows of the user's own data: those of built-in data where the arrays are the same, and what came out for each class."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from fourfold import data, execution, lottery, presets, tasks
from fourfold.record import Row, RunStore, Trust

CODE = """
import numpy as np
from torch import nn

import fourfold as ff
from fourfold import data as built_in


def digits():
    whole, about = built_in.load("digits"), built_in.info("digits")
    parts = ((whole.train_images, whole.train_labels), (whole.test_images, whole.test_labels))
    return ff.data.from_arrays(*parts, channels="first", normalization=(about.mean, about.std), components="pixels")


x = np.random.default_rng(0).standard_normal((90, 8)).astype("float32")


kind = (x[:, 0] * 1.5).round().clip(-1, 1).astype(int)


def kinds(): return ff.data.from_arrays((x, np.array(["low", "middle", "high"])[kind]))
def labels(): return ff.data.from_arrays((x, np.stack([x[:, 0] > 0, x[:, 1] > 1], 1)))
def numbers(): return ff.data.from_arrays((x, x[:, 0]))
def many(): return ff.data.from_arrays((np.tile(x, (3, 1)), np.arange(270) % 101))


def net(algebra, inputs, outputs):
    return nn.Sequential(ff.nn.Linear(inputs[0], 8, algebra=algebra), nn.ReLU(), nn.Linear(8, outputs))
"""


@pytest.fixture
def folder(tmp_path):
    before = list(sys.path)
    (tmp_path / "own.py").write_text(CODE)
    yield tmp_path
    sys.path[:] = before


def spec(folder, name, task="classification", model="own.py:net", **options):
    options = {"epochs": 1, "batch_size": 30, "max_level": 1, "fraction": 0.5} | options
    made = presets.new("own", data=f"own.py:{name}", model=model, task=task, **options)
    return replace(made, trust=Trust(folder=str(folder)))


def rows(spec, folder, out="runs"):
    return execution.run(spec, trials=1, out=folder / out, workers=0, device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["lenet-300-100", "conv-2"])
@pytest.mark.parametrize("algebra", ["real", "quaternion"])
@pytest.mark.parametrize("held_out", [0, 100])
def test_the_same_arrays_give_the_rows_of_the_built_in_set_bit_for_bit(folder, model, algebra, held_out):
    """By the native engine where that trains the built-in set, with crops and validation images drawn alike."""
    settings = {"data.validation": held_out, "data.crop": 1} if held_out else {}
    options = {"algebra": algebra, "batch_size": 200, "settings": settings}
    own = spec(folder, "digits", model=model, **options)
    built_in = replace(own, data=replace(own.data, name="digits", encoding="pixels"), trust=None)
    for mine, theirs in zip(rows(own, folder), rows(built_in, folder), strict=True):
        assert mine.provenance.engine == theirs.provenance.engine
        assert mine.provenance.engine == ("native" if model == "lenet-300-100" else "eager")
        expected = {
            name: value for name, value in theirs.result().items() if name not in ("run", "dataset", "data", "per_class")
        }
        assert {name: value for name, value in mine.result().items() if name in expected} == expected
        assert theirs.per_class is None
        assert sum(map(sum, mine.per_class.confusion)) == 360


@pytest.mark.parametrize(
    ("name", "task", "names"),
    [
        ("kinds", "classification", ("high", "low", "middle")),
        ("labels", "multilabel", ("0", "1")),
        ("numbers", "regression", None),
    ],
)
def test_rows_tell_what_came_out_for_each_class(folder, name, task, names):
    own = spec(folder, name, task, algebra="quaternion")
    for row in rows(own, folder):
        assert Row.from_line(row.to_line()) == row
        assert ("per_class" in row.to_line()) == (names is not None)
        if names is None:
            assert row.per_class is None
            continue
        found = row.per_class
        assert found.names == names
        if task == "multilabel":
            assert sum(found.values) / 2 == pytest.approx(row.metrics["f1_macro"])
            assert found.confusion is None
            continue
        matrix = np.array(found.confusion)
        assert 100 * matrix.trace() / matrix.sum() == pytest.approx(row.top1)
        right = [100 * matrix[k, k] / matrix[k].sum() for k in range(3)]
        assert list(found.values) == pytest.approx(right)


def test_the_matrix_of_many_classes_is_left_out(folder):
    row = rows(spec(folder, "many", max_level=0), folder)[0]
    assert len(row.per_class.values) == 101
    assert row.per_class.confusion is None


def test_rows_without_classes_are_the_same_as_with_them(folder):
    """A row of an earlier version, which lacks the field, is no other result."""
    (row, *_) = rows(spec(folder, "kinds", max_level=0), folder)
    assert row.same_result(replace(row, per_class=None))
    assert not row.same_result(replace(row, per_class=replace(row.per_class, values=(0.0, 0.0, 0.0))))


@pytest.mark.slow
def test_what_is_counted_is_what_the_network_says(folder):
    own = spec(folder, "kinds", max_level=0, epochs=3)
    (row,) = execution.run(own, trials=1, out=folder / "runs", workers=0, device="cpu", keep=[0])
    network = lottery.load_ticket(RunStore(folder / "runs" / own.id).trusted(own.trust), 0)
    splits: data.Splits = lottery.Experiment.prepare(own, None, torch.device("cpu")).splits
    meter = tasks.ClassificationMeter()
    for inputs, labels in splits.test.batches(7):
        meter.update(network(inputs), labels)
    assert meter.confusion_matrix().tolist() == [list(counts) for counts in row.per_class.confusion]
