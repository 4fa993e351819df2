"""A small transformer on a text, and an LSTM that recalls: levels by every unit, controls and stop rules of bits per byte."""

import math

import pytest
import torch

import fourfold as ff
from fourfold import lottery, presets
from fourfold.data import named
from fourfold.data.sequences import _copy_memory
from fourfold.nn import named_weights
from fourfold.record import RunStore, UserError, with_fields


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "fox.txt"
    path.write_text("the quick brown fox jumps over the lazy dog. " * 120)
    return path


def tiny(text, algebra="quaternion", **settings):
    settings = {"train.batch_size": 8, "train.learning_rate": 5e-3} | settings
    return presets.new(
        "fox",
        data=str(text),
        model="gpt",
        task="language",
        algebra=algebra,
        epochs=2,
        fraction=0.5,
        max_level=1,
        settings=settings,
    )


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["weight", "element", "row"])
def test_levels_and_controls_have_bits_in_their_rows(text, tmp_path, unit):
    spec = tiny(text, **{"prune.unit": unit, "prune.rewind": "epoch", "prune.rewind_to": 1})
    controls = ["random-init", "shuffled-layer", "small-dense"]
    rows = ff.run(spec, trials=1, out=tmp_path, workers=0, controls=controls, keep=[1])
    tickets = [row for row in rows if row.control == "ticket"]
    assert [row.level for row in tickets] == [0, 1]
    assert {row.control for row in rows} == {"ticket", *controls}
    for row in rows:
        assert row.metric.name == "bpc"
        assert row.metrics["bpc"] == pytest.approx(row.loss / math.log(2), rel=1e-3)
        assert 0 < row.metrics["bpc"] < 8.5
    assert tickets[1].weights <= 0.52 * tickets[0].weights
    network = lottery.load_trained(RunStore(tmp_path / spec.id), 0, 1)
    assert sum(int(weight.count_nonzero()) for weight in named_weights(network).values()) == tickets[1].weights
    outputs = network.eval()(torch.zeros(1, 1, dtype=torch.int64))
    assert outputs.shape == (1, 256, 1)


@pytest.mark.slow
def test_the_stop_rule_ends_a_trial_of_too_many_bits(text, tmp_path):
    spec = tiny(text, **{"train.epochs": 1, "stop.metric": 0.001, "stop.levels": 1, "stop.max_level": 3})
    assert [row.level for row in ff.run(spec, trials=1, out=tmp_path, workers=0)] == [0]


def test_networks_and_tasks_that_do_not_fit_are_one_sentence(text, tmp_path):
    for changes, message in (
        ({"model.name": "conv-2"}, r"`model.name` \(='conv-2'\) cannot be combined with `data.name`.*takes images"),
        ({"task.name": "multilabel"}, "whose targets are of kind 'label map'"),
    ):
        with pytest.raises(UserError, match=message):
            ff.run(with_fields(tiny(text), changes), trials=1, out=tmp_path, workers=0)
    digits = presets.new("digits-gpt", data="digits", model="gpt")
    with pytest.raises(UserError, match=r"`model.name` \(='gpt'\) cannot be combined with `data.name`.*takes tokens"):
        ff.run(digits, trials=1, out=tmp_path, workers=0)


def test_the_preset_of_copy_memory_runs_on_few_series(tmp_path, monkeypatch):
    few = _copy_memory.copy_memory(length=2, delay=1, train=32, test=16)
    monkeypatch.setattr(_copy_memory, "load_copy_memory", lambda directory: few)
    assert named.READERS["copy-memory"].endswith("copy_memory:load_copy_memory")
    for algebra in ("real", "quaternion"):
        spec = with_fields(
            presets.get("lstm-copy-memory", algebra=algebra),
            {"train.epochs": 1, "stop.max_level": 1, "prune.unit": "element" if algebra == "quaternion" else "weight"},
        )
        rows = ff.run(spec, trials=1, out=tmp_path, data_dir=tmp_path, workers=0)
        assert [row.level for row in rows] == [0, 1]
        assert rows[0].metric.name == "top1"
        assert 0 < rows[0].loss < 4
