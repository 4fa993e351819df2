"""Evaluation against numpy on all images at once."""

import numpy as np
import pytest
import torch
from torch import nn

from fourfold.data import Resident
from fourfold.record import DataSpec
from fourfold.train import evaluate
from fourfold.train.evaluation import BATCH_SIZE


def images(num_classes: int, count: int = 2 * BATCH_SIZE + 77) -> Resident:
    random = np.random.RandomState(0)
    return Resident(
        torch.from_numpy(random.randint(0, 256, (count, 1, 4, 4)).astype(np.uint8)),
        torch.from_numpy(random.randint(0, num_classes, count)),
        None,
        spec=DataSpec(name="digits"),
        mean=(0.5,),
        std=(0.25,),
        n=1,
        channels=1,
    )


def network(num_classes: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, num_classes))


@pytest.mark.parametrize("num_classes", [10, 99, 100, 101])
def test_accuracy_and_loss_are_those_of_all_images_at_once(num_classes):
    data, built = images(num_classes), network(num_classes).eval()
    ((x, labels),) = data.batches(10**6)
    with torch.no_grad():
        logits, labels = built(x).double().numpy(), labels.numpy()
    found = evaluate(built, data)
    rank = (-logits).argsort(1)
    assert found.top1 == pytest.approx(100 * (rank[:, 0] == labels).mean())
    assert found.loss == pytest.approx(
        (np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]).mean(), rel=1e-5
    )
    if num_classes < 100:
        assert found.top5 is None
    else:
        assert found.top5 == pytest.approx(100 * (rank[:, :5] == labels[:, None]).any(1).mean())
        assert found.top5 > found.top1


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_changes_neither_mode_nor_statistics(training):
    built = network(10).train(training)
    before = {name: value.clone() for name, value in built.state_dict().items()}
    first = evaluate(built, images(10))
    assert evaluate(built, images(10)) == first
    assert all(module.training == training for module in built.modules())
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())
    assert all(p.grad is None for p in built.parameters())


def test_a_network_that_knows_the_answers_is_right_in_every_case():
    class Oracle(nn.Module):
        def forward(self, x):
            nonlocal seen
            seen += len(x)
            return 100 * nn.functional.one_hot(data.labels[seen - len(x) : seen], 10).float()

    data, seen = images(10), 0
    found = evaluate(Oracle(), data)
    assert (found.top1, found.loss) == (100, pytest.approx(0, abs=1e-6))
    assert seen == len(data)
