"""Built-in tasks against scikit-learn and torch, however the items are divided into batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torch.nn import functional as F

from fourfold import tasks
from fourfold.record import TOP1, DataSpec, ModelSpec, Spec, TaskSpec, Trust, UserError

SEEDS = st.integers(0, 2**31)
BATCHES = st.lists(st.integers(1, 17), min_size=1, max_size=5)


def spec_of(trust=None, **task):
    return Spec(preset="a", data=DataSpec(name="digits"), model=ModelSpec(name="conv-2"), task=TaskSpec(**task), trust=trust)


def measured(task, outputs, targets, batches):
    """The values of a meter that sees items in batches, and is used for a second time."""
    meter = task.meter()
    for _ in range(2):
        meter.reset()
        start = 0
        for size in batches:
            meter.update(outputs[start : start + size], targets[start : start + size])
            start += size
        assert start == len(outputs)
    return tasks.values_of(meter, task.metric)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(SEEDS, BATCHES, st.integers(2, 120), st.booleans())
def test_classification_is_that_of_scikit_learn(seed, batches, classes, ignores):
    generator = torch.Generator().manual_seed(seed)
    count = sum(batches)
    logits = torch.randn(count, classes, generator=generator)
    labels = torch.randint(0, classes, (count,), generator=generator)
    task = tasks.Classification(ignore_index=1 if ignores else None)
    kept = labels != 1 if ignores else torch.ones(count, dtype=torch.bool)
    if not kept.any():
        with pytest.raises(UserError, match="every label is ignored"):
            measured(task, logits, labels, batches)
        return
    values = measured(task, logits, labels, batches)
    true, scores = labels[kept].numpy(), logits[kept].numpy()
    assert values["top1"] == pytest.approx(100 * reference.accuracy_score(true, scores.argmax(1)))
    assert ("top5" in values) == (classes >= 100)
    if classes >= 100:
        assert values["top5"] == pytest.approx(
            100 * reference.top_k_accuracy_score(true, scores, k=5, labels=np.arange(classes))
        )
    meter = task.meter()
    meter.update(logits, labels)
    matrix = reference.confusion_matrix(true, scores.argmax(1), labels=np.arange(classes))
    assert (meter.confusion_matrix().numpy() == matrix).all()
    for label, part in enumerate(meter.per_class()):
        of_class = true == label
        assert part == (pytest.approx(100 * (scores.argmax(1)[of_class] == label).mean()) if of_class.any() else None)
    assert torch.equal(tasks.Classification().loss(logits, labels), F.cross_entropy(logits, labels))


def test_settings_of_classification_are_those_of_torch():
    logits, labels = torch.randn(6, 3, 2), torch.tensor([[0, 1], [2, 1], [0, 0], [1, 255], [2, 2], [0, 1]])
    task = tasks.get(spec_of(label_smoothing=0.1, class_weights=(1, 2, 3), ignore_index=255))
    right = F.cross_entropy(logits, labels, torch.tensor([1.0, 2, 3]), ignore_index=255, label_smoothing=0.1)
    assert torch.equal(task.loss(logits, labels), right)
    assert not task.is_plain
    assert tasks.get(spec_of()).is_plain


@settings(derandomize=True, deadline=None, max_examples=40)
@given(SEEDS, BATCHES, st.integers(2, 6))
def test_multilabel_is_that_of_scikit_learn(seed, batches, labels):
    generator = torch.Generator().manual_seed(seed)
    count = sum(batches)
    logits = torch.randn(count, labels, generator=generator)
    true = torch.randint(0, 2, (count, labels), generator=generator).float()
    values = measured(tasks.Multilabel(), logits, true, batches)
    said = (logits > 0).numpy()
    assert values["f1"] == pytest.approx(100 * reference.f1_score(true.numpy(), said, average="micro", zero_division=0))
    assert values["f1_macro"] == pytest.approx(100 * reference.f1_score(true.numpy(), said, average="macro", zero_division=0))
    assert values["exact"] == pytest.approx(100 * reference.accuracy_score(true.numpy(), said))
    weighted = tasks.Multilabel(class_weights=tuple(range(labels)))
    right = F.binary_cross_entropy_with_logits(logits, true, pos_weight=torch.arange(labels).float())
    assert torch.equal(weighted.loss(logits, true), right)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(SEEDS, BATCHES, st.integers(1, 3), st.sampled_from([0.0, 1e6]))
def test_regression_is_that_of_scikit_learn(seed, batches, outputs, mean):
    generator = torch.Generator().manual_seed(seed)
    count = sum(batches)
    true = mean + torch.randn(count, outputs, generator=generator, dtype=torch.float64)
    said = true + 0.3 * torch.randn(count, outputs, generator=generator, dtype=torch.float64)
    values = measured(tasks.Regression(), said, true, batches)
    assert values["rmse"] == pytest.approx(np.sqrt(reference.mean_squared_error(true, said)))
    assert values["mae"] == pytest.approx(reference.mean_absolute_error(true, said))
    if count > 1:
        assert values["r2"] == pytest.approx(reference.r2_score(true, said), rel=1e-6)
    assert not tasks.Regression().metric.higher_is_better
    if outputs == 1:
        assert torch.equal(tasks.Regression().loss(said, true[:, 0]), F.mse_loss(said, true))
        assert measured(tasks.Regression(), said, true[:, 0], batches) == pytest.approx(values)


def test_r2_of_equal_targets_is_that_of_scikit_learn():
    true = torch.full((5, 1), 3.0)
    for said in (true, true + 1):
        assert measured(tasks.Regression(), said, true, [2, 3])["r2"] == reference.r2_score(true, said)


@pytest.mark.parametrize("name", sorted(tasks.TASKS))
@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (torch.zeros(4, 3), torch.zeros(5, 3)),
        (torch.zeros(4, 3), torch.zeros(4, 2)),
        (torch.zeros(()), torch.zeros(4)),
        ([torch.zeros(4, 3)], torch.zeros(4)),
        (torch.zeros(4, 3), {"labels": 3}),
        (torch.zeros(4), torch.zeros(4, 4)),
        (torch.zeros(4, 3), torch.zeros(4, 1, 1, dtype=torch.long)),
    ],
)
def test_what_does_not_fit_is_one_sentence(name, outputs, targets):
    task = tasks.get(spec_of(name=name))
    for use in (task.loss, task.meter().update):
        with pytest.raises(UserError, match=r"network's output|targets"):
            use(outputs, targets)


@pytest.mark.parametrize("name", sorted(tasks.TASKS))
def test_a_meter_without_batches_is_one_sentence(name):
    with pytest.raises(UserError, match="there is nothing to measure"):
        tasks.get(spec_of(name=name)).meter().compute()


TASK = """
import torch
from fourfold.tasks import Metric

class Mean:  # as torchmetrics has it: a number, or several by name
    def __init__(self): self.reset()
    def reset(self): self.seen = []
    def update(self, preds, target): self.seen.append((preds - target).abs())
    def compute(self): return torch.cat(self.seen).mean()

class Absolute:
    metric = Metric(name="mae", unit="m", higher_is_better=False)
    def loss(self, outputs, targets): return (outputs - targets).abs().mean()
    def meter(self): return Mean()

def function(): return Absolute()
instance = Absolute()
def nothing(): return None
class NoMeter:
    metric = Absolute.metric
    def loss(self, outputs, targets): ...
class NoMetric(Absolute):
    metric = "mae"
"""


@pytest.mark.parametrize("name", ["Absolute", "function", "instance"])
def test_tasks_of_user_code_are_classes_functions_or_objects(tmp_path, name):
    (tmp_path / "roads.py").write_text(TASK)
    task = tasks.get(spec_of(Trust(folder=str(tmp_path)), name=f"roads.py:{name}"))
    assert isinstance(task, tasks.Task)
    assert isinstance(task.meter(), tasks.Meter)
    assert measured(task, torch.ones(3), torch.tensor([1.0, 2, 3]), [1, 2]) == {"mae": 1.0}
    with pytest.raises(UserError, match="--trust-code"):
        tasks.get(spec_of(name=f"roads.py:{name}"))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("nothing", r"found a NoneType without metric and loss and meter$"),
        ("NoMeter", r"found a NoMeter without meter$"),
        ("NoMetric", r"expected the `metric` of `NoMetric` to be a `fourfold.tasks.Metric`, found a str$"),
    ],
)
def test_what_is_no_task_is_one_sentence(tmp_path, name, found):
    (tmp_path / "roads.py").write_text(TASK)
    with pytest.raises(UserError, match=found):
        tasks.get(spec_of(Trust(folder=str(tmp_path)), name=f"roads.py:{name}"))


def test_an_unknown_task_lists_those_that_there_are():
    known = ", ".join(sorted(tasks.TASKS))
    with pytest.raises(UserError, match=rf"^unknown task 'clasification'; did you mean classification\? known: {known}; or"):
        tasks.get(spec_of(name="clasification"))


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        *((name, {"ignore_index": 0}) for name in ("multilabel", "regression")),
        *((name, {"label_smoothing": 0.1}) for name in ("multilabel", "regression")),
        ("regression", {"class_weights": (0.0, 1.0)}),
    ],
)
def test_a_setting_that_a_task_has_not_is_refused_whatever_its_value(name, setting):
    (field,) = setting
    with pytest.raises(UserError, match=rf"^`task\.{field}` \(=.*\) cannot be combined with `task\.name` \(='{name}'\)"):
        TaskSpec(name=name, **setting)


@pytest.mark.parametrize("value", [torch.zeros(2), "0.5", None, {"other": 1.0}, {}, True])
def test_what_a_meter_cannot_say_is_one_sentence(value):
    class Odd:
        def compute(self):
            return value

    with pytest.raises(UserError, match=r"top1"):
        tasks.values_of(Odd(), TOP1)
