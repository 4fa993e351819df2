"""Segmentation against scikit-learn and torch: IoU, accuracies and loss, however pixels are divided into batches."""

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from torch.nn import functional as F

from fourfold import tasks
from fourfold.record import DataSpec, ModelSpec, Spec, TaskSpec, UserError


def case(seed):
    """Logits, labels with void pixels and classes that do not occur, and the void label beside -100."""
    random = np.random.default_rng(seed)
    classes, items = int(random.integers(2, 13)), int(random.integers(1, 6))
    shape = (items, int(random.integers(1, 8)), int(random.integers(1, 8)))
    logits = torch.from_numpy(random.normal(size=(items, classes, *shape[1:]))).float()
    logits[:, random.random(classes) < 0.3] -= 100  # classes that no pixel is taken for
    labels = random.choice(np.flatnonzero(random.random(classes) < 0.7) if classes > 2 else [0, 1], shape, replace=True)
    ignore = [None, 255, 11][seed % 3]
    labels[random.random(shape) < 0.2] = -100
    if ignore is not None:
        labels[random.random(shape) < 0.2] = ignore
    return logits, torch.from_numpy(labels), ignore


def safe_case(seed):
    try:
        return case(seed)
    except ValueError:  # no class was drawn
        return safe_case(seed + 1000)


@pytest.mark.parametrize("hundred", [0, 1])
def test_iou_of_random_cases_is_that_of_scikit_learn(hundred):
    measured = absent = 0
    for seed in range(100 * hundred, 100 * hundred + 100):
        logits, labels, ignore = safe_case(seed)
        meter = tasks.Segmentation(ignore_index=ignore).meter()
        for _ in range(2):  # a meter is used for several levels
            meter.reset()
            for one, other in zip(logits, labels, strict=True):
                meter.update(one[None], other[None])
        void = {-100, ignore}
        kept = ~np.isin(labels.numpy(), [label for label in void if label is not None])
        if not kept.any():
            with pytest.raises(UserError, match="every pixel is void"):
                meter.compute()
            continue
        true, said = labels.numpy()[kept], logits.argmax(1).numpy()[kept]
        every = np.arange(logits.shape[1])
        assert (meter.confusion_matrix().numpy() == reference.confusion_matrix(true, said, labels=every)).all()
        present = np.union1d(true, said)
        ious = 100 * reference.jaccard_score(true, said, labels=present, average=None, zero_division=0)
        values = meter.compute()
        assert {name: value for name, value in values.items() if name.startswith("iou_")} == pytest.approx(
            {f"iou_{label}": iou for label, iou in zip(present, ious, strict=True)}
        )
        assert [label for label, iou in enumerate(meter.per_class()) if iou is not None] == present.tolist()
        assert values["miou"] == pytest.approx(ious.mean())
        assert values["pixel_accuracy"] == pytest.approx(100 * reference.accuracy_score(true, said))
        recalls = reference.recall_score(true, said, labels=np.unique(true), average="macro", zero_division=0)
        assert values["class_accuracy"] == pytest.approx(100 * recalls)
        measured, absent = measured + 1, absent + (len(present) < len(every))
    assert measured > 90
    assert absent > 20  # such cases occur


def test_a_class_without_pixels_is_left_out_of_the_mean_and_one_that_is_said_alone_counts_as_nothing():
    labels = torch.tensor([[[0, 0, 1, 1]]])
    logits = F.one_hot(torch.tensor([[[0, 2, 1, 1]]]), 4).movedim(-1, 1).float()  # class 3 occurs nowhere
    meter = tasks.Segmentation().meter()
    meter.update(logits, labels)
    assert meter.per_class() == [50, 100, 0, None]
    values = meter.compute()
    assert (values["miou"], values["pixel_accuracy"], values["class_accuracy"]) == (50, 75, 75)
    assert "iou_3" not in values


def test_the_loss_is_the_cross_entropy_of_torch_without_void_pixels():
    for seed in range(30):
        logits, labels, ignore = safe_case(seed)
        weights = torch.rand(logits.shape[1], generator=torch.Generator().manual_seed(seed)) + 0.1
        plain = labels if ignore is None else labels.masked_fill(labels == ignore, -100)
        for factors in (None, tuple(weights.tolist())):
            task = tasks.Segmentation(ignore_index=ignore, class_weights=factors, label_smoothing=0.1)
            loss = task.loss(logits, labels)
            if bool((plain == -100).all()):
                assert loss == 0
            else:
                weight = None if factors is None else weights
                assert torch.equal(loss, F.cross_entropy(logits, plain, weight, label_smoothing=0.1))


@pytest.mark.parametrize("weights", [None, (1.0, 0.0)])
def test_a_batch_without_pixels_that_count_has_no_loss_and_no_gradient(weights):
    logits = torch.randn(2, 2, 3, 3, requires_grad=True)
    labels = torch.full((2, 3, 3), -100) if weights is None else torch.ones(2, 3, 3, dtype=torch.int64)
    loss = tasks.Segmentation(class_weights=weights).loss(logits, labels)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


def test_a_spec_has_its_settings_and_its_metric_is_mean_iou():
    spec = Spec(
        preset="a",
        data=DataSpec(name="digits"),
        model=ModelSpec(name="conv-2"),
        task=TaskSpec(name="segmentation", class_weights=(1, 2), ignore_index=255, label_smoothing=0.1),
    )
    task = tasks.get(spec)
    assert task == tasks.Segmentation(class_weights=(1.0, 2.0), ignore_index=255, label_smoothing=0.1)
    assert (task.metric.name, task.metric.is_percent, task.metric.higher_is_better) == ("miou", True, True)
    with pytest.raises(UserError, match=r"`task.class_weights` \(2 numbers\) must be one per class of 3"):
        task.loss(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64))


@pytest.mark.parametrize("ignore", [None, 255])
def test_classification_of_places_leaves_void_out_of_loss_and_metrics_alike(ignore):
    labels = torch.tensor([[0, 1, -100, 2], [-100, 2, 2, 1]])
    if ignore is not None:
        labels[0, 0] = ignore
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    kept = (labels != -100) & (labels != 255)
    task = tasks.Classification(ignore_index=ignore)
    assert task.loss(logits, labels) == pytest.approx(F.cross_entropy(logits.movedim(1, -1)[kept], labels[kept]).item())
    meter = task.meter()
    meter.update(logits, labels)
    right = (logits.argmax(1) == labels)[kept].float().mean()
    assert meter.compute()["top1"] == pytest.approx(100 * right.item())
