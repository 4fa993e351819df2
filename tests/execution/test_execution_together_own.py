"""Several processes train the user's own networks for tasks of any kind: the rows of one process."""

import sys
from dataclasses import replace

import pytest
import torch

from forked_ranks import fork_ranks, needs_ranks
from fourfold import execution, presets, tasks
from fourfold.record import RunStore, Trust
from fourfold.train.engines import Distributed
from lottery_samples import results

pytestmark = needs_ranks

CODE = """
import numpy as np
import torch
from torch import nn

import fourfold as ff

random = np.random.default_rng(0)
x = random.standard_normal((61, 8)).astype("float32")
values = x[:, :2] @ np.ones((2, 2), "float32")
classes = (x[:, 0] > 0) + 2 * (x[:, 1] > 0).astype("int64")


def numbers(): return ff.data.from_arrays((x, values), components="zero")
def labels(): return ff.data.from_arrays((x, np.stack([classes % 2, classes // 2], 1)))
def kinds(): return ff.data.from_arrays((x, classes))
def pairs(): return ff.data.from_arrays(({"left": x, "right": -x}, {"one": values, "other": values}))
def places():
    images = random.standard_normal((61, 4, 4, 4)).astype("float32")
    return ff.data.from_arrays((images, np.where(images[:, 0] > 1, -100, images[:, 1] > 0).astype("int64")),
                               targets="label map", channels="first", classes=2)
def dataset():
    return ff.data.from_datasets(torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(classes)), 0.2, classes=4)


def net(algebra, inputs, outputs):
    return nn.Sequential(ff.nn.Linear(inputs[0], 8, algebra=algebra), nn.ReLU(), nn.Linear(8, outputs))


def maps(algebra, inputs, outputs):
    return nn.Sequential(ff.nn.Conv2d(inputs[0], 8, 3, padding=1, algebra=algebra), nn.ReLU(), nn.Conv2d(8, outputs, 1))


class Two(nn.Module):
    def __init__(self, algebra):
        super().__init__()
        self.one, self.two = (ff.nn.Linear(8, 2, algebra="real") for _ in range(2))

    def forward(self, left, right):
        return {"one": self.one(left), "other": self.two(right)}


def two(algebra, inputs, outputs):
    return Two(algebra)


class Pairs:
    metric = ff.tasks.Metric(name="difference", higher_is_better=False)

    def loss(self, outputs, targets):
        return sum(nn.functional.l1_loss(outputs[name], targets[name]) for name in targets)

    def meter(self):
        return Difference()


class Difference:
    def __init__(self): self.sum = 0.0
    def update(self, outputs, targets): self.sum += float((outputs["one"] - targets["one"]).abs().sum())
    def compute(self): return self.sum
"""

CASES = {
    "numbers": ("numbers", "net", "regression", {}),
    "labels": ("labels", "net", "multilabel", {"task.class_weights": (1.0, 3.0)}),
    "classes": ("kinds", "net", "classification", {}),
    "weighted classes": (
        "kinds",
        "net",
        "classification",
        {"task.class_weights": (1.0, 0.0, 2.0, 5.0), "task.ignore_index": 2},
    ),
    "smoothed": ("kinds", "net", "classification", {"task.label_smoothing": 0.1, "task.class_weights": (1.0, 2.0, 2.0, 5.0)}),
    "void pixels": ("places", "maps", "segmentation", {}),
    "trees": ("pairs", "two", "own.py:Pairs", {}),
    "a dataset": ("dataset", "net", "classification", {}),
    "another optimiser": (
        "numbers",
        "net",
        "regression",
        {"train.optimizer": "adamw", "train.clip_norm": 0.5, "train.ema": 0.9},
    ),
}


def specs_in(folder):
    (folder / "own.py").write_text(CODE)
    made = []
    for name, (data, model, task, settings) in CASES.items():
        algebra = "real" if model == "two" else "quaternion"
        options = {"epochs": 1, "batch_size": 11, "max_level": 1, "fraction": 0.5, "algebra": algebra}
        spec = presets.new(
            name.replace(" ", "-"), data=f"own.py:{data}", model=f"own.py:{model}", task=task, settings=settings, **options
        )
        made.append(replace(spec, trust=Trust(folder=str(folder))))
    return made


@pytest.mark.slow
def test_ranks_give_the_rows_of_one_process_whatever_the_task(tmp_path):
    before = list(sys.path)
    specs = specs_in(tmp_path)
    for world in (1, 2):

        def work(rank, world=world):
            execution.run(specs, trials=1, out=tmp_path / str(world), device="cpu")

        ended = fork_ranks(world, work, tmp_path / f"said-{world}")
        assert [(one.code, one.said) for one in ended] == [(0, "")] * world
    alone = {row.run: row for row in execution.run(specs, trials=1, out=tmp_path / "alone", device="cpu", workers=0)}
    for spec in specs:
        one, two = (RunStore(tmp_path / str(world) / spec.id).rows(0) for world in (1, 2))
        assert len(one) == 2
        assert {row.provenance.engine for row in two} == {Distributed.name}
        assert results(one) == results(two)
        rows = RunStore(tmp_path / "alone" / spec.id).rows(0)
        assert alone[spec.id] == rows[-1]
        for mine, theirs in zip(two, rows, strict=True):
            assert mine.train_loss == pytest.approx(theirs.train_loss, rel=1e-4)
            assert mine.metrics == pytest.approx(theirs.metrics, rel=1e-3)
    sys.path[:] = before


@pytest.mark.parametrize("settings", [{}, {"class_weights": (1.0, 0.5, 4.0)}, {"ignore_index": 1}])
@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_losses_of_parts_add_up_to_the_loss_of_the_batch(settings, parts):
    generator = torch.Generator().manual_seed(0)
    task = tasks.Classification(label_smoothing=0.1, **settings)
    logits, labels = torch.randn(7, 3, generator=generator), torch.randint(0, 3, (7,), generator=generator)
    shares = [
        task.loss(one, other) * tasks.loss_terms(task, other) / tasks.loss_terms(task, labels)
        for one, other in zip(logits.tensor_split(parts), labels.tensor_split(parts), strict=True)
        if tasks.loss_terms(task, other)
    ]
    if settings.get("ignore_index") is not None:
        assert float(task.loss(logits, torch.full_like(labels, settings["ignore_index"]))) == 0
    assert float(sum(shares)) == pytest.approx(float(task.loss(logits, labels)), rel=1e-6)
