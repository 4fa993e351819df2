"""Trained weights of the levels asked for come back as the network that the row measured."""

from dataclasses import replace

import pytest
import torch

from fourfold import execution, lottery, presets
from fourfold.lottery import levels
from fourfold.lottery.seeds import derive_seed
from fourfold.nn import named_weights
from fourfold.record import DataSpec, EarlyStopping, RunStore, StopSpec, UserError
from fourfold.record.journal import sealed_lines
from fourfold.train import evaluate, single_thread
from lottery_samples import BOTH, Trainer, files, prepared, results, run_alone, tiny_spec, trains_nothing


@pytest.mark.parametrize("algebra", BOTH)
def test_kept_weights_are_the_network_that_the_row_measured(algebra, tmp_path):
    spec = tiny_spec(algebra, levels=3, epochs=3)
    early = replace(spec.train, early_stopping=EarlyStopping(every=5, patience=2))
    spec = replace(spec, data=DataSpec(name="digits", encoding="pixels", validation=137), train=early)
    trainer = Trainer()
    store = run_alone(spec, tmp_path, keep=(0, 2), trial=1, trainer=trainer)
    for level in (0, 2):
        network = lottery.load_trained(store, 1, level)
        assert not network.training
        for name, value in trainer.networks[level].state_dict().items():
            assert torch.equal(network.state_dict()[name], value), name
        found = evaluate(network, prepared(spec).splits.test)
        row = store.rows(1)[level]
        assert (found.top1, found.loss) == (row.top1, row.loss)
        assert sum(int((weight != 0).sum()) for weight in named_weights(network).values()) <= row.weights
    assert sorted(file.name for file in (store.path / "weights").iterdir()) == ["1-0.safetensors", "1-2.safetensors"]


def test_running_statistics_are_kept_too(tmp_path):
    spec = presets.get("digits-resnet8", algebra="quaternion")
    spec = replace(spec, train=replace(spec.train, epochs=1), stop=StopSpec(accuracy=0, max_level=0))
    trainer = Trainer()
    store = run_alone(spec, tmp_path, keep=(0,), trainer=trainer)
    network = lottery.load_trained(store, 0, 0)
    state, fresh = network.state_dict(), levels.build(spec, derive_seed(0, "weights")).state_dict()
    assert state.keys() == fresh.keys() == trainer.networks[0].state_dict().keys()
    assert all(torch.equal(state[name], value) for name, value in trainer.networks[0].state_dict().items())
    statistics = [
        name for name, _ in network.named_buffers() if name.endswith(("running_mean", "running_var", "batches_tracked"))
    ]
    assert len(statistics) == 3 * 9
    assert not any(torch.equal(state[name], fresh[name]) for name in statistics)
    assert evaluate(network, prepared(spec).splits.test).loss == store.rows(0)[0].loss


def test_keeping_weights_changes_no_row_and_no_mask(tmp_path, alone):
    spec = tiny_spec("quaternion")
    store = run_alone(spec, tmp_path, keep=range(5))
    assert results(store.rows(0)) == results(alone(spec).rows(0))
    assert files(store.path / "masks") == files(alone(spec).path / "masks")


def test_weights_that_were_not_kept_are_one_sentence(tmp_path):
    store = run_alone(tiny_spec(levels=2), tmp_path)
    for level, trial, told in (
        (1, 0, r"level 1 of .* were not kept \(none were\); the command that ran it, with `--keep 1`"),
        (9, 0, r"level 9 of .* was never run: the trial ended after level \d"),
        (0, 3, r"level 0 of trial 3 .* was never run, nor any other of that trial; trials with levels: 0$"),
        (-1, 0, r"`level` \(=-1\) must be at least 0"),
    ):
        with pytest.raises(UserError, match=told):
            lottery.load_ticket(store, level, trial)


def test_weights_of_a_level_that_was_not_trained_to_its_end_are_one_sentence(tmp_path, monkeypatch):
    def killed(store, row):
        raise KeyboardInterrupt

    monkeypatch.setattr(RunStore, "append", killed)
    with pytest.raises(KeyboardInterrupt):
        run_alone(tiny_spec(levels=1), tmp_path, keep=(0,))
    store = RunStore.create(tmp_path, tiny_spec(levels=1))
    assert store.kept_levels(0) == [0]
    with pytest.raises(UserError, match=r"level 0 of trial 0 in .* was never run"):
        lottery.load_trained(store, 0, 0)


WAYS = {
    "start": {},
    "a step": {"rewind": "step", "rewind_to": 5},
    "fine-tune": {"rewind": "fine-tune"},
    "continue": {"rewind": "continue"},
    "one-shot": {"schedule": "one-shot"},
    "gradual": {"schedule": "gradual"},
    "a search beside": {"search": "continue"},
}


@pytest.mark.parametrize("way", WAYS)
def test_levels_that_are_done_are_trained_again_and_kept_whatever_passes_between_them(way, tmp_path):
    spec = tiny_spec("quaternion", levels=4, epochs=1)
    spec = replace(spec, prune=replace(spec.prune, **WAYS[way]))
    asked = run_alone(spec, tmp_path / "asked", keep=(0, 2, 3))
    store, told = run_alone(spec, tmp_path / "later"), []
    before = files(store.path)
    with single_thread():
        lottery.run_trial(
            prepared(spec), store, 0, keep=(3, 2, 0, 2), on_kept=lambda level, message: told.append((level, message))
        )
    assert told == [(level, "trained again, and its weights kept") for level in (0, 2, 3)]
    after = files(store.path)
    assert {name: after[name] for name in before} == before
    assert files(store.path / "weights") == files(asked.path / "weights") != {}


def test_what_is_kept_already_is_not_trained_again(tmp_path):
    spec = tiny_spec(levels=2)
    store = run_alone(spec, tmp_path, keep=(1,))
    run_alone(spec, tmp_path, keep=(1, 9), trainer=trains_nothing)
    assert store.kept_levels(0) == [1]


def test_weights_that_do_not_give_the_row_are_not_kept(tmp_path):
    spec, told = tiny_spec(levels=2), []
    store = run_alone(spec, tmp_path)
    first, second = store.rows(0)
    lines = sealed_lines([first.to_line(), replace(second, top1=99.5).to_line()])
    (store.path / "rows-0.jsonl").write_text("".join(f"{line}\n" for line in lines))
    with single_thread():
        lottery.run_trial(prepared(spec), store, 0, keep=[1], on_kept=lambda level, message: told.append(message))
    assert store.kept_levels(0) == []
    (message,) = told
    assert message.startswith("its weights are not kept: trained again, it has a top-1 of ")
    assert "on disk (99.50 %), which was made by fourfold " in message


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.slow
def test_a_run_that_is_done_keeps_levels_in_its_workers(tmp_path):
    spec, told = tiny_spec(levels=2), []
    execution.run(spec, trials=2, out=tmp_path, device="cpu", workers=1)
    execution.run(spec, trials=2, out=tmp_path, device="cpu", workers=1, keep=[1], on_event=told.append)
    assert [(event.trial, event.level) for event in told if event.kind == "kept"] == [(0, 1), (1, 1)]
    store = RunStore(tmp_path / spec.id)
    assert [store.kept_levels(trial) for trial in (0, 1)] == [[1], [1]]
    assert execution.run(spec, trials=2, out=tmp_path, device="cpu", workers=1, keep=[1], on_event=told.clear)
