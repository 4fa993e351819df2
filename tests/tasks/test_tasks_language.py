"""Bits per character against numpy in double precision, however the text is divided into batches."""

import math

import numpy as np
import pytest
import torch

from fourfold import tasks
from fourfold.record import UserError


def bits(logits, targets):
    """The mean of -log2 of the probability of each token that follows, place by place."""
    total = count = 0
    for scores, nexts in zip(logits.astype(np.float64), targets, strict=True):
        for place, token in enumerate(nexts):
            if token != -100:
                exponents = np.exp(scores[:, place] - scores[:, place].max())
                total -= math.log2(exponents[token] / exponents.sum())
                count += 1
    return total / count


def test_bits_of_random_cases_are_those_of_numpy():
    task = tasks.Language()
    for seed in range(200):
        random = np.random.default_rng(seed)
        items, tokens, steps = (int(random.integers(low, 9)) for low in (1, 2, 1))
        logits = random.normal(scale=3, size=(items, tokens, steps)).astype(np.float32)
        targets = random.integers(0, tokens, (items, steps))
        targets[random.random(targets.shape) < 0.2] = -100
        targets[0, 0] = 1
        meter = task.meter()
        for _ in range(2):
            meter.reset()
            for one, nexts in zip(logits, targets, strict=True):  # batches of one
                meter.update(torch.from_numpy(one[None]), torch.from_numpy(nexts[None]))
        values = meter.compute()
        assert values["bpc"] == pytest.approx(bits(logits, targets), rel=1e-6)
        right = (logits.argmax(1) == targets)[targets != -100]
        assert values["top1"] == pytest.approx(100 * right.mean())
        loss = task.loss(torch.from_numpy(logits), torch.from_numpy(targets))
        assert loss.item() / math.log(2) == pytest.approx(values["bpc"], rel=1e-5)
        assert task.loss_terms(torch.from_numpy(targets)) == (targets != -100).sum()


def test_a_batch_without_anything_to_predict_has_no_loss_and_is_not_measured():
    outputs, nothing = torch.randn(2, 3, 4, requires_grad=True), torch.full((2, 4), -100)
    task = tasks.Language()
    task.loss(outputs, nothing).backward()
    assert not outputs.grad.any()
    meter = task.meter()
    meter.update(outputs.detach(), nothing)
    with pytest.raises(UserError, match="no token follows another"):
        meter.compute()
    assert not task.metric.higher_is_better


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(2, 3, 4), torch.zeros(2, 5, dtype=torch.int64)),
        (torch.zeros(2, 3, 4), torch.zeros(2, 4)),
    ],
)
def test_shapes_that_do_not_fit_are_one_sentence(outputs, targets):
    with pytest.raises(UserError, match=r"\(='language'\)"):
        tasks.Language().loss(outputs, targets)
