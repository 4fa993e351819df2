"""Mistakes in the arguments of `run` are one sentence, before anything is written."""

import re
from dataclasses import replace

import pytest
import torch

from fourfold import execution, presets
from fourfold.execution import _run as local
from fourfold.record import DataSpec, ModelSpec, PruneSpec, RunStore, UserError
from lottery_samples import tiny_spec

SPEC = tiny_spec()
NAN = float("nan")
cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")


def check(spec) -> None:
    execution.check(execution.Job(specs=(spec,), trials=1, device="cpu"))


@pytest.mark.parametrize(
    ("specs", "arguments", "sentence"),
    [
        (SPEC, {"trials": 0}, "`trials` (=0) must be at least 1"),
        (SPEC, {"trials": -3}, "`trials` (=-3) must be at least 1"),
        (SPEC, {"workers": -1}, "`workers` (=-1) must be at least 0"),
        (SPEC, {"budget_seconds": 0}, "`budget_seconds` (=0) must be above 0"),
        (SPEC, {"budget_seconds": -1.5}, "`budget_seconds` (=-1.5) must be above 0"),
        (SPEC, {"budget_seconds": NAN}, "`budget_seconds` (=nan) must be above 0"),
        (None, {}, "`specs` (=None) must be a `Spec`, the name of a preset, or several of them"),
        ([SPEC, 7], {}, "`specs` (=7) must be a `Spec`, the name of a preset, or several of them"),
        ("digit", {}, "unknown preset 'digit'; did you mean digits?"),
        (["digits", "digits"], {}, "one experiment is named twice"),
        ([], {}, "there is nothing to run: name at least one algebra"),
        ([SPEC, SPEC], {}, "one experiment is named twice"),
        (SPEC, {"device": "foo"}, "unknown device 'foo'; known: auto, cpu, cuda, cuda:N"),
        (SPEC, {"device": "meta"}, "unknown device 'meta'; known: auto, cpu, cuda, cuda:N"),
        pytest.param(SPEC, {"device": "cuda"}, "device 'cuda' is not here: torch ", marks=cuda),
        pytest.param(SPEC, {"device": "cuda:7"}, "device 'cuda:7' is not here: torch ", marks=cuda),
        (replace(SPEC, model=ModelSpec(name="lenet-9")), {}, "unknown model 'lenet-9'; did you mean lenet-12"),
        (
            replace(SPEC, data=DataSpec(name="letters")),
            {},
            "unknown data set 'letters'; ",
        ),
        (tiny_spec("octonion"), {}, "(=12) must be divisible by 8 for algebra 'octonion'"),
        (replace(SPEC, model=ModelSpec(name="vgg-16")), {}, "images of 8×8 are too small for vgg-16: it needs 32×32"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(specs, arguments, sentence, tmp_path):
    with pytest.raises(UserError, match=re.escape(sentence)) as caught:
        execution.run(specs, **{"trials": 1, "out": tmp_path / "runs", "device": "cpu", **arguments})
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_missing_data_are_one_sentence_and_write_nothing(tmp_path):
    spec = presets.get("resnet18-imagenet64")
    with pytest.raises(UserError, match=r"^imagenet64 is not in .*nowhere .* is missing") as caught:
        execution.run(spec, trials=1, out=tmp_path / "runs", device="cpu", data_dir=tmp_path / "nowhere")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_another_process_works_on_is_refused(tmp_path):
    store = RunStore.create(tmp_path, SPEC)
    with store.lock("run"), pytest.raises(UserError, match=r"^another process is working on .*tiny-real-\w+; wait for it"):
        execution.run(SPEC, trials=1, out=tmp_path, device="cpu")
    assert store.rows(0) == []


def test_one_core_is_one_worker(monkeypatch):
    monkeypatch.setattr(execution.pool.os, "sched_getaffinity", lambda pid: {3, 5, 8}, raising=False)
    assert execution.default_workers(torch.device("cpu")) == 3
    assert execution.default_workers(torch.device("cuda")) == 1


def test_a_step_to_rewind_to_lies_within_the_training():
    spec = replace(SPEC, prune=PruneSpec(rewind="step", rewind_to=24))
    with pytest.raises(UserError, match=r"^`prune\.rewind_to` \(=24\) must be below the 24 steps of a training$"):
        check(spec)
    check(replace(spec, prune=PruneSpec(rewind="step", rewind_to=23)))


def test_there_is_a_learning_rate_to_fine_tune_with():
    spec = replace(SPEC, train=replace(SPEC.train, cosine_steps=23), prune=PruneSpec(rewind="fine-tune"))
    with pytest.raises(UserError, match=r"^`prune\.rewind` \(='fine-tune'\) must be another where the last of 24 steps has"):
        check(spec)
    check(replace(spec, train=replace(spec.train, cosine_steps=24)))
    check(replace(spec, prune=PruneSpec(rewind="continue")))


def test_the_name_of_a_preset_is_its_real_and_its_quaternion_network():
    both = [presets.get("digits", algebra=algebra) for algebra in ("real", "quaternion")]
    assert local.specs_of("digits") == local.specs_of(["digits"]) == both
    assert local.specs_of(["digits", SPEC]) == [*both, SPEC]
    assert local.specs_of(SPEC) == local.specs_of((SPEC,)) == [SPEC]
