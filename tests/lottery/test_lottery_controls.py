"""Controls: each differs from its ticket in the one thing that it is named for, and is run once whatever interrupts it."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold import execution, lottery, pruning
from fourfold.lottery import control_masks, controls, derive_seed, levels, training
from fourfold.lottery.control_training import small_width
from fourfold.nn import named_weights
from fourfold.parts import measure
from fourfold.pruning import Units, kept
from fourfold.record import CONTROLS, TICKET, PruneSpec, RunStore, StopSpec, UserError
from fourfold.train import TrainingFailedError, single_thread, train
from lottery_samples import Trainer, prepared, results, run_alone, tiny_spec, trains_nothing

SPEC = replace(tiny_spec("quaternion", levels=4), prune=PruneSpec(fraction=0.4, rewind="step", rewind_to=5))
WIDE = replace(SPEC, model=replace(SPEC.model, name="lenet-300-100"))


def masks_at(density: float, seed: int) -> tuple[pruning.Masks, Units]:
    weights = named_weights(levels.build(SPEC, seed))
    units = Units(dimensions={"fc1.weight": 4})
    scores = pruning.random_scores(weights, units, torch.Generator().manual_seed(seed))
    return pruning.select(scores, pruning.dense(weights), density), units


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.floats(0, 1), st.integers(0, 99), st.sampled_from(sorted(control_masks.MASKS)))
def test_masks_of_controls_keep_as_many_weights_and_are_drawn_from_the_generator(density, seed, control):
    masks, units = masks_at(density, seed)
    made = control_masks.MASKS[control](masks, units, generator(seed), [pruning.dense(masks)])
    again = control_masks.MASKS[control](masks, units, generator(seed), [pruning.dense(masks)])
    assert sum(kept(made).values()) == sum(kept(masks).values())
    assert all(torch.equal(made[name], again[name]) and made[name].shape == masks[name].shape for name in masks)
    if control in ("shuffled-layer", "random-layer"):
        assert kept(made) == kept(masks)


@pytest.mark.parametrize("unit", ["element", "row"])
@pytest.mark.parametrize("control", control_masks.MASKS)
@pytest.mark.parametrize("density", [0.15, 0.4, 0.7])
def test_masks_of_controls_are_made_of_the_units_that_the_ticket_prunes(density, control, unit):
    network = levels.build(WIDE, 0)
    weights, units = named_weights(network), pruning.units_of(network, unit)
    ticket = pruning.select(pruning.random_scores(weights, units, generator()), pruning.dense(weights), density, units)
    made, other = (control_masks.MASKS[control](ticket, units, generator(seed), [pruning.dense(weights)]) for seed in (1, 2))
    for name, mask in made.items():
        parts = units.split(name, mask)
        assert torch.equal(parts.any(1), parts.all(1))
        assert name not in units.untouched or torch.equal(mask, ticket[name])
        if control in ("shuffled-layer", "random-layer"):
            assert kept(made)[name] == kept(ticket)[name]
    first = "fc1.weight"
    assert not torch.equal(made[first], ticket[first])
    assert not torch.equal(made[first], other[first])
    largest = max(units.split(name, mask).shape[1] for name, mask in ticket.items() if name not in units.untouched)
    assert sum(kept(made).values()) == pytest.approx(sum(kept(ticket).values()), abs=largest * len(ticket))


def test_controls_of_a_run_that_prunes_rows_prune_rows(tmp_path):
    spec = replace(WIDE, prune=PruneSpec(fraction=0.5, unit="row"), stop=StopSpec(accuracy=0, max_level=1))
    store = run_alone(spec, tmp_path)
    with single_thread():
        lottery.run_controls(prepared(spec), store, 0, [*control_masks.MASKS, "equal-macs"])
    for control in (*control_masks.MASKS, "equal-macs"):
        row = store.control_rows(0, control)[1]
        (_, first), (_, second), (_, output) = row.layers.items()
        assert output[0] == output[1]  # of every class
        assert first[1] == (19200 if control == "equal-macs" else 4800)
        assert 0 < second[0] < second[1]
        assert (first[0] % 64, second[0] % 300) == (0, 0)  # rows of four numbers of 16, of 75; of 64 and 300 real weights


def test_a_shuffled_layer_keeps_the_patterns_of_its_numbers():
    masks, units = masks_at(0.4, 0)
    made = control_masks.shuffled_in_layers(masks, units, generator(), [])
    patterns = [sorted(map(tuple, m["fc1.weight"].reshape(4, -1).t().tolist())) for m in (masks, made)]
    assert patterns[0] == patterns[1]
    assert not torch.equal(masks["fc1.weight"], made["fc1.weight"])
    random = control_masks.random_in_layers(masks, units, generator(7), [])
    assert sorted(map(tuple, random["fc1.weight"].reshape(4, -1).t().tolist())) != patterns[0]


def test_global_shuffling_and_erk_move_weights_between_layers():
    masks = {"a": torch.ones(10, 30, dtype=torch.bool), "b": torch.zeros(20, 20, dtype=torch.bool)}
    shuffled = kept(control_masks.shuffled_everywhere(masks, Units(), generator(), []))
    assert shuffled["a"] == pytest.approx(300 * 300 / 700, abs=40)
    found = kept(control_masks.random_erdos_renyi(masks, Units(), generator(), []))
    assert (found["a"], found["b"]) == (150, 150)  # both have 40 rows and columns
    by_rows = kept(control_masks.shuffled_everywhere(masks, Units(unit="row"), generator(), []))
    assert sum(by_rows.values()) == pytest.approx(300, abs=15)
    assert by_rows["b"] > 0


def test_an_inverted_mask_keeps_what_was_pruned_first():
    flat = torch.arange(20)
    history = [{"a": flat >= cut} for cut in (0, 8, 13)]  # 8, then 5, then 3 go
    now = {"a": flat >= 16}  # four are left
    for seed in range(8):  # one alone may draw them by chance
        made = control_masks.inverted(now, Units(), generator(seed), iter(history))["a"]
        assert int(made.sum()) == 4
        assert not made[8:].any()
    most = control_masks.inverted({"a": flat >= 8}, Units(), generator(), history[:1])["a"]  # level 1: twelve are kept
    assert most[:8].all()
    assert int(most.sum()) == 12


@pytest.mark.parametrize("algebra", ["real", "quaternion"])
@pytest.mark.parametrize("weights", [888, 500, 120, 20])
def test_a_small_network_has_the_nearest_number_of_weights(algebra, weights):
    spec = tiny_spec(algebra)
    sizes = [measure(spec, width=width / 12).weights for width in range(1, 13)]
    found = measure(spec, width=small_width(spec, weights)).weights
    assert found == min(sizes, key=lambda size: abs(size - weights))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A trial and all its controls, with what training was given."""
    store = RunStore.create(tmp_path_factory.mktemp("controls"), SPEC)
    trainer, rows = Trainer(), []
    with single_thread():
        lottery.run_trial(prepared(SPEC), store, 0)
        lottery.run_controls(replace(prepared(SPEC), trainer=trainer), store, 0, list(CONTROLS), (0, 2), rows.append)
    return store, rows, [*zip(trainer.before, trainer.named, strict=True)]


def test_every_control_has_the_levels_asked_for_and_chains_those_before(ran):
    store, rows, _ = ran
    for control in CONTROLS:
        expected = [0, 1, 2] if control == "equal-macs" else [0, 2]
        assert [row.level for row in store.control_rows(0, control)] == expected
    assert {row.control for row in rows} == set(CONTROLS)
    assert all((row.run, row.trial) == (SPEC.id, 0) for row in rows)
    assert [row.level for row in store.rows(0)] == [0, 1, 2, 3]


def test_rows_of_controls_are_measured_as_those_of_tickets(ran):
    store, rows, _ = ran
    tickets = store.rows(0)
    for row in rows:
        ticket = tickets[row.level]
        if row.control == "equal-macs":
            assert row.algebra == "real"
            assert ticket.macs - 1 <= row.macs <= ticket.macs
            assert (row.weights_total, row.parameters_total) == (888, 910)
        elif row.control == "small-dense":
            assert row.density == 1
            assert abs(row.weights - ticket.weights) < 20
        else:
            assert row.weights == ticket.weights
            assert (row.mask == ticket.mask) == (row.control == "random-init" or row.level == 0)


def test_controls_start_where_their_ticket_does_but_for_what_they_are_named_for(ran):
    store, rows, seen = ran
    weights = named_weights(levels.build(SPEC, 0))
    point = {name.removeprefix("point/"): value for name, value in store.state(0, 4).items()}
    initial = levels.build(SPEC, derive_seed(0, "weights")).state_dict()
    trained = [row for row in rows if row.level or row.control in ("random-init", "equal-macs")]
    for row, (state, named) in zip(trained, seen, strict=True):
        rewound = row.level > 0 and row.control in control_masks.MASKS
        assert named["first_step"] == (5 if rewound else 0)
        assert [named["seed_of_epoch"](epoch) for epoch in (0, 1)] == [derive_seed(0, "images", row.level, e) for e in (0, 1)]
        assert row.steps == 24 - named["first_step"]
        if row.control in control_masks.MASKS:
            mask = named["masks"]["fc1.weight"]
            start = torch.from_numpy(point["fc1.weight"]) if rewound else initial["fc1.weight"]
            assert torch.equal(state["fc1.weight"], torch.where(mask, start, 0))
        if row.control == "random-init":
            assert not torch.equal(state["fc1.bias"], initial["fc1.bias"])
            if row.level:
                ticket = pruning.unpack(store.mask(0, row.level), weights)
                assert torch.equal(named["masks"]["fc1.weight"], ticket["fc1.weight"])


def test_controls_that_differ_from_nothing_are_given_the_row_of_the_dense_level(ran):
    store, rows, _ = ran
    dense = {row.control: replace(row, control=TICKET) for row in rows if row.level == 0}
    same = {control for control, row in dense.items() if row == replace(store.rows(0)[0], promised=None)}
    assert same == set(CONTROLS) - {"random-init", "equal-macs"}


@pytest.mark.parametrize("control", [*control_masks.MASKS, "small-dense"])
def test_trained_again_they_would_have_come_to_the_same(tmp_path, monkeypatch, control):
    spec = replace(SPEC, prune=PruneSpec(fraction=0.4))
    store = RunStore.create(tmp_path, spec)
    monkeypatch.setattr(controls, "is_ticket", lambda *_: False)
    trained, train = [], training.Round.train

    def counting(this, begin):
        trained.append(this.control)
        return train(this, begin)

    monkeypatch.setattr(training.Round, "train", counting)
    with single_thread():
        lottery.run_trial(prepared(spec), store, 0)
        lottery.run_controls(prepared(spec), store, 0, [control], [0])
    (row,) = store.control_rows(0, control)
    assert trained.count(control) == 1
    assert {**row.result(), "control": TICKET} == replace(store.rows(0)[0], promised=None).result()


def test_masks_of_equal_macs_shrink_by_magnitude(ran):
    store, _, _ = ran
    real = named_weights(levels.build(SPEC.real_twin, 0))
    masks = [pruning.unpack(store.mask(0, level, "equal-macs"), real) for level in (1, 2, 3)]
    for one, other in itertools.pairwise(masks):
        assert all(bool((other[name] <= one[name]).all()) for name in one)


def test_controls_on_disk_are_not_run_again_and_the_rest_goes_on(ran, tmp_path):
    store, _, _ = ran
    other = RunStore.create(tmp_path, SPEC)
    with single_thread():
        lottery.run_trial(prepared(SPEC), other, 0)
        names = ["random-layer", "equal-macs"]
        for _ in range(3):  # dies after every row
            with pytest.raises(KeyboardInterrupt):
                lottery.run_controls(
                    prepared(SPEC), other, 0, names, (0, 2), lambda row: (_ for _ in ()).throw(KeyboardInterrupt)
                )
        lottery.run_controls(prepared(SPEC), other, 0, names, (0, 2))
        for name in names:
            assert results(other.control_rows(0, name)) == results(store.control_rows(0, name))
        lottery.run_controls(replace(prepared(SPEC), trainer=trains_nothing), other, 0, names, (0, 2))
    assert controls.controls_left(other, 0, names, (0, 3)) == [("random-layer", 3), ("equal-macs", 3)]
    assert controls.controls_left(other, 0, ["inverted"], None) == [("inverted", level) for level in range(4)]


def test_controls_wait_for_the_end_of_the_trial(tmp_path):
    store = RunStore.create(tmp_path, SPEC)
    assert controls.controls_left(store, 0, ["inverted"], None) == []


def test_an_inverted_mask_is_made_from_all_levels_before(tmp_path, monkeypatch):
    seen = []

    def record(masks, units, generator, before):
        seen.append([*before])
        return masks

    store = RunStore.create(tmp_path, SPEC)
    monkeypatch.setitem(control_masks.MASKS, "inverted", record)
    with single_thread():
        lottery.run_trial(prepared(SPEC), store, 0)
        lottery.run_controls(prepared(SPEC), store, 0, ["inverted"], [3])
    (before,) = seen
    found = [pruning.fingerprint(pruning.pack(masks)) for masks in before]
    assert found == [row.mask for row in store.rows(0)[:3]]


def test_a_control_that_fails_leaves_the_others(ran, tmp_path):
    spec = tiny_spec("quaternion", levels=2)
    store = RunStore.create(tmp_path, spec)
    count = []

    def fail_first(*arguments, **named):
        count.append(1)
        if len(count) == 1:
            raise TrainingFailedError("the loss became nan in epoch 1")
        return train(*arguments, **named)

    with single_thread():
        lottery.run_trial(prepared(spec), store, 0)
        lottery.run_controls(replace(prepared(spec), trainer=fail_first), store, 0, ["random-layer", "inverted"])
    assert store.failure(0, "random-layer") == "level 1: the loss became nan in epoch 1"
    assert [row.level for row in store.control_rows(0, "random-layer")] == [0]
    assert [row.level for row in store.control_rows(0, "inverted")] == [0, 1]
    assert store.failure(0) is None
    assert controls.controls_left(store, 0, ["random-layer"], None) == []


@pytest.mark.parametrize(
    ("specs", "names", "wanted", "sentence"),
    [
        (
            [SPEC],
            ["random"],
            None,
            r"unknown control 'random'; did you mean .*random-init.*\? known: equal-macs, erk-random, inverted",
        ),
        ([SPEC], ["inverted"], [-1], r"`control_levels` \(=\[-1\]\) must be levels, from 0"),
        (
            [tiny_spec("real")],
            ["equal-macs"],
            None,
            r"`controls` \(=\['equal-macs'\]\) cannot be combined with `model.algebra` \(='real'\) alone",
        ),
        (
            [replace(SPEC, prune=PruneSpec(rewind="continue"))],
            ["inverted"],
            None,
            r".* cannot be combined with `prune.rewind` \(='continue'\)",
        ),
        (
            [replace(SPEC, prune=PruneSpec(schedule="gradual"))],
            ["inverted"],
            None,
            r".* cannot be combined with `prune.schedule` \(='gradual'\)",
        ),
    ],
)
def test_mistakes_are_one_sentence(specs, names, wanted, sentence):
    with pytest.raises(UserError, match=f"^{sentence}"):
        controls.check_controls(specs, names, wanted)


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.slow
def test_workers_run_controls_after_their_trials(tmp_path):
    spec, events = tiny_spec("quaternion", levels=2), []
    named = {"trials": 1, "out": tmp_path, "device": "cpu", "workers": 1}
    execution.run(spec, **named)
    rows = execution.run(spec, controls=["inverted", "equal-macs"], control_levels=[1], on_event=events.append, **named)
    assert [(row.control, row.level) for row in rows] == [
        ("ticket", 0),
        ("ticket", 1),
        ("inverted", 1),
        ("equal-macs", 0),
        ("equal-macs", 1),
    ]
    assert [(e.control, e.level) for e in events if e.kind == "epoch"] == [
        ("inverted", 1),
        ("equal-macs", 0),
        ("equal-macs", 1),
    ]
    assert [event.kind for event in events][-1] == "finished"
    events.clear()
    execution.run(spec, controls=["inverted", "equal-macs"], control_levels=[1], on_event=events.append, **named)
    assert events == []


def test_layers_that_are_left_out_stay_and_those_of_their_own_keep_their_weights(tmp_path):
    prune = PruneSpec(fraction=0.4, skip=("fc1",), layer_fractions=("fc3:0.1",))
    spec = replace(WIDE, prune=prune, stop=StopSpec(accuracy=0, max_level=2))
    store, experiment = RunStore.create(tmp_path, spec), prepared(spec)
    levels.run_trial(experiment, store, 0)
    rows, totals = store.rows(0), {name: total for name, (_, total) in store.rows(0)[0].layers.items()}
    assert [row.level for row in rows] == [0, 1, 2]
    for row in rows:
        assert row.layers["fc1"][0] == totals["fc1"]
        assert row.layers["fc3"][0] == round(0.9**row.level * totals["fc3"])
        assert row.layers["fc2"][0] == round(0.6**row.level * totals["fc2"])
    others = [control for control in CONTROLS if control not in ("equal-macs", "small-dense")]
    controls.run_controls(experiment, store, 0, others, [2])
    for control in others:
        (row,) = store.control_rows(0, control)
        assert row.layers == rows[2].layers
        assert row.mask == rows[2].mask or control != "random-init"
    with pytest.raises(UserError, match=r"cannot be combined with `prune\.(skip|layer_fractions)`"):
        controls.check_controls([spec], ["equal-macs"], None)
    with pytest.raises(UserError, match=r"^`skip` \(='fc9'\) names no module of the model; its layers: fc1, fc2, fc3"):
        execution.run(replace(spec, prune=PruneSpec(skip=("fc9",))), out=tmp_path)


def test_gradual_pruning_prunes_layers_of_their_own_to_their_own_density(tmp_path):
    prune = PruneSpec(fraction=0.4, schedule="gradual", skip=("fc1",), layer_fractions=("fc3:0.1",))
    spec = replace(WIDE, prune=prune, stop=StopSpec(accuracy=0, max_level=1))
    store = RunStore.create(tmp_path, spec)
    levels.run_trial(prepared(spec), store, 0)
    kept_of = {name: kept / total for name, (kept, total) in store.rows(0)[1].layers.items()}
    assert kept_of["fc1"] == 1
    assert kept_of["fc2"] == pytest.approx(0.6, abs=1e-3)
    assert kept_of["fc3"] == pytest.approx(0.9, abs=1e-3)
