"""Every setting of a `Spec` is checked, and the sentence says which, its value and what would be right."""

import contextlib
import dataclasses
import itertools
import re
from typing import get_args

import pytest
from record_samples import make_spec

from fourfold.record import DataSpec, EarlyStopping, ModelSpec, PruneSpec, Spec, StopSpec, TrainSpec, UserError
from fourfold.record.prune_spec import Budget, Rewind, Schedule, Scope, Score, Search, Unit
from fourfold.record.train_spec import OPTIMIZERS

NAN, INFINITY = float("nan"), float("inf")

COUNTS = [
    (DataSpec, "data.crop", 1, {"name": "digits"}),
    (DataSpec, "data.validation", 0, {"name": "digits"}),
    (EarlyStopping, "early_stopping.every", 1, {}),
    (EarlyStopping, "early_stopping.patience", 1, {}),
    (TrainSpec, "train.batch_size", 1, {}),
    (TrainSpec, "train.epochs", 1, {}),
    (TrainSpec, "train.warmup_steps", 0, {}),
    (TrainSpec, "train.cosine_steps", 1, {}),
    (PruneSpec, "prune.score_images", 1, {}),
    (PruneSpec, "prune.rewind_to", 1, {"rewind": "step"}),
    (StopSpec, "stop.levels", 1, {}),
    (StopSpec, "stop.max_level", 0, {}),
]

RANGES = [
    (TrainSpec, "train.learning_rate", "(0, 100)", [0, -1e-3, 100, NAN, INFINITY]),
    (TrainSpec, "train.momentum", "[0, 1)", [-0.1, 1, NAN, INFINITY]),
    (TrainSpec, "train.weight_decay", "[0, 1)", [-1e-9, 1.0, NAN, INFINITY]),
    (TrainSpec, "train.decay", "(0, 1]", [0, 1.1, NAN, -INFINITY]),
    (PruneSpec, "prune.fraction", "[0.001, 1)", [0, 1e-12, 1, -0.2, NAN, INFINITY]),
    (ModelSpec, "model.init_scale", "(0, 10000)", [0, -1, NAN, INFINITY]),
    (ModelSpec, "model.init_scale_linear", "(0, 10000)", [0, NAN]),
    (StopSpec, "stop.accuracy", "[0, 100]", [-1, 100.1, NAN, INFINITY]),
]

CHOICES = [
    (DataSpec, "encoding", "data encoding", "grey, learned, none, pixels, zero", {"name": "digits"}),
    (DataSpec, "normalization", "data normalization", "dataset, imagenet", {"name": "digits"}),
    (ModelSpec, "algebra", "model algebra", "complex, octonion, phm, quaternion, real", {"name": "lenet-12"}),
    (ModelSpec, "head", "model head", "algebra, real", {"name": "lenet-12"}),
    (ModelSpec, "init", "model init", "glorot, he, torch", {"name": "lenet-12"}),
    (TrainSpec, "optimizer", "train optimizer", ", ".join(sorted(OPTIMIZERS)), {}),
    (PruneSpec, "scope", "prune scope", "component, erk, global, layer", {}),
    (PruneSpec, "score", "prune score", "fisher, gradient, grasp, magnitude, random, snip, synflow, taylor", {}),
    (PruneSpec, "unit", "prune unit", "element, row, weight", {}),
    (PruneSpec, "budget", "prune budget", "macs, weights", {}),
    (PruneSpec, "schedule", "prune schedule", "gradual, iterative, one-shot", {}),
    (PruneSpec, "rewind", "prune rewind", "continue, epoch, fine-tune, learning-rate, start, step, weights", {}),
    (PruneSpec, "search", "prune search", "continue, ticket", {}),
]


@pytest.mark.parametrize(("owner", "name", "low", "needed"), COUNTS)
@pytest.mark.parametrize("value", ["low - 1", 2.0, NAN, True, "3"])
def test_counts_are_whole_numbers_from_their_lowest(owner, name, low, needed, value):
    value = low - 1 if value == "low - 1" else value
    sentence = re.escape(f"`{name}` (={value!r}) must be an integer of at least {low}")
    with pytest.raises(UserError, match=f"^{sentence}$"):
        owner(**needed, **{name.split(".")[1]: value})


@pytest.mark.parametrize(("owner", "name", "low", "needed"), COUNTS)
def test_counts_may_be_their_lowest(owner, name, low, needed):
    field = name.split(".")[1]
    assert getattr(owner(**needed, **{field: low}), field) == low


@pytest.mark.parametrize(
    ("owner", "name", "bounds", "value"),
    [(owner, name, bounds, value) for owner, name, bounds, values in RANGES for value in values],
)
def test_numbers_lie_in_their_range(owner, name, bounds, value):
    with pytest.raises(UserError, match=f"^{re.escape(f'`{name}` (={value!r}) must lie in {bounds}')}$"):
        owner(**({"name": "lenet-12"} if owner is ModelSpec else {}), **{name.split(".")[1]: value})


@pytest.mark.parametrize(
    ("owner", "settings"),
    [
        (TrainSpec, {"momentum": 0}),
        (TrainSpec, {"weight_decay": 0}),
        (TrainSpec, {"decay": 1}),
        (StopSpec, {"accuracy": 0}),
        (StopSpec, {"accuracy": 100}),
        (DataSpec, {"name": "digits", "crop": None}),
        (StopSpec, {"max_level": None}),
    ],
)
def test_closed_bounds_and_off_are_allowed(owner, settings):
    made = owner(**settings)
    assert all(getattr(made, name) == value for name, value in settings.items())


@pytest.mark.parametrize(("owner", "name", "kind", "known", "needed"), CHOICES)
@pytest.mark.parametrize("value", ["nonsense", "Real", "", None, True])
def test_choices_are_listed_when_one_is_unknown(owner, name, kind, known, needed, value):
    with pytest.raises(
        UserError, match=f"^unknown {kind} {re.escape(repr(str(value)))};( did you mean .*\\?)? known: {known}$"
    ):
        owner(**needed, **{name: value})


def test_nesterov_needs_momentum():
    with pytest.raises(UserError, match=r"^`train\.nesterov` \(=True\) needs `train\.momentum` \(=0\) above 0$"):
        TrainSpec(optimizer="sgd", nesterov=True)
    assert TrainSpec(optimizer="sgd", nesterov=True, momentum=0.9).nesterov


@pytest.mark.parametrize("milestones", [(12, 10), (10, 10), (1, 3, 2)])
def test_milestones_increase(milestones):
    with pytest.raises(UserError, match=r"^`train\.milestones` \(=\(.*\)\) must be increasing epochs$"):
        TrainSpec(milestones=milestones)


def test_early_stopping_needs_validation_images():
    early = TrainSpec(early_stopping=EarlyStopping())
    with pytest.raises(UserError, match=r"^`train\.early_stopping` needs `data\.validation` \(=0\) images to look at$"):
        make_spec(train=early)
    assert make_spec(train=early, data=DataSpec(name="digits", validation=1)).data.validation == 1


def test_synflow_wants_an_algebra_that_has_signs():
    learned, synflow = ModelSpec(name="lenet-12", algebra="phm"), PruneSpec(score="synflow")
    with pytest.raises(
        UserError, match=r"^`prune\.score` \(='synflow'\) cannot be combined with `model\.algebra` \(='phm'\): the algebra"
    ):
        make_spec(model=learned, prune=synflow)
    assert make_spec(model=ModelSpec(name="lenet-12", algebra="quaternion"), prune=synflow).prune == synflow
    assert make_spec(model=learned, prune=PruneSpec(score="snip")).model == learned


@pytest.mark.parametrize("owner", [DataSpec, ModelSpec, EarlyStopping, TrainSpec, PruneSpec, StopSpec, Spec])
def test_settings_are_frozen_and_named(owner):
    with pytest.raises(TypeError, match="positional"):
        owner("digits")
    assert owner.__dataclass_params__.frozen


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"scope": "component", "unit": "element"}, ("scope", "unit")),
        ({"scope": "erk", "budget": "macs"}, ("scope", "budget")),
        ({"score": "grasp", "budget": "macs"}, ("score", "budget")),
        ({"schedule": "gradual", "score": "snip"}, ("schedule", "score")),
        ({"rewind": "continue", "score": "synflow"}, ("rewind", "score")),
        ({"rewind": "weights", "schedule": "gradual"}, ("rewind", "schedule")),
        ({"rewind": "fine-tune", "search": "continue"}, ("rewind", "search")),
        ({"schedule": "one-shot", "search": "continue"}, ("schedule", "search")),
        ({"score": "snip", "search": "continue"}, ("score", "search")),
    ],
)
def test_contradictions_within_pruning_name_both_settings(settings, names):
    one, other = names
    sentence = f"`prune.{one}` (={settings[one]!r}) cannot be combined with `prune.{other}` (={settings[other]!r}): "
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}") as caught:
        PruneSpec(**settings)
    assert "\n" not in str(caught.value)


def test_so_many_combinations_make_sense():
    """Counted before the rules were one table; `PruneSpec` has 8,064 ways to choose weights and go from level to level."""
    fields = {"score": Score, "unit": Unit, "scope": Scope, "budget": Budget, "schedule": Schedule, "rewind": Rewind}
    found = 0
    for values in itertools.product(*map(get_args, (*fields.values(), Search))):
        settings = dict(zip((*fields, "search"), values, strict=True))
        with contextlib.suppress(UserError):
            PruneSpec(**settings, rewind_to=1 if settings["rewind"] in ("step", "epoch") else None)
            found += 1
    assert found == 1112


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"rewind": "step"}, "`prune.rewind_to` (=None) must be the step that `prune.rewind` (='step') means"),
        ({"rewind": "epoch"}, "`prune.rewind_to` (=None) must be the epoch that `prune.rewind` (='epoch') means"),
        ({"rewind_to": 3}, "`prune.rewind_to` (=3) must be None for `prune.rewind` (='start')"),
    ],
)
def test_contradictions_within_pruning_are_one_sentence(settings, sentence):
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}") as caught:
        PruneSpec(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"schedule": "gradual"},
        {"rewind": "step", "rewind_to": 3},
        {"rewind": "epoch", "rewind_to": 1},
        {"rewind": "continue"},
        {"search": "continue"},
    ],
)
def test_early_stopping_goes_with_nothing_that_counts_on_the_end(settings):
    prune, data = PruneSpec(**settings), DataSpec(name="digits", validation=9)
    expected = r"^`prune\.\w+` \(='[a-z-]+'\) cannot be combined with `train\.early_stopping` \(=EarlyStopping.*\): it moves"
    with pytest.raises(UserError, match=expected):
        make_spec(prune=prune, data=data, train=TrainSpec(early_stopping=EarlyStopping()))
    assert make_spec(prune=prune).prune == prune


def test_an_epoch_to_rewind_to_leaves_some():
    train = TrainSpec(epochs=5)
    with pytest.raises(UserError, match=r"^`prune\.rewind_to` \(=5\) must be below `train\.epochs` \(=5\) to leave some$"):
        make_spec(train=train, prune=PruneSpec(rewind="epoch", rewind_to=5))
    assert make_spec(train=train, prune=PruneSpec(rewind="epoch", rewind_to=4))


def test_milestones_and_a_cosine_exclude_each_other():
    with pytest.raises(UserError, match=r"^`train\.milestones` \(=\(3,\)\) must be \(\) with `train\.cosine_steps` \(=9\)$"):
        TrainSpec(milestones=(3,), cosine_steps=9)


def test_the_learning_rate_of_a_step():
    steps = TrainSpec(learning_rate=0.8, milestones=(2, 3), decay=0.5)
    assert [steps.rate(10 * epoch, epoch) for epoch in range(4)] == [0.8, 0.8, 0.4, 0.2]
    cosine = TrainSpec(learning_rate=0.8, warmup_steps=4, cosine_steps=10)
    assert [cosine.rate(step, 0) for step in range(5)] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert [cosine.rate(4 + step, 0) for step in (5, 10, 15, 20)] == pytest.approx([0.4, 0, 0.4, 0.8])


JUNK = [None, 3, "lenet-12", [], {}, TrainSpec]


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("name", ["data", "model", "train", "prune", "stop", "task"])
def test_a_part_of_a_spec_is_its_settings_and_nothing_else(name, junk):
    with pytest.raises(UserError, match=rf"^`spec\.{name}` \(=.* must be of type "):
        dataclasses.replace(make_spec(), **{name: junk})
    with pytest.raises(UserError, match="spec"):
        Spec.from_json(make_spec().to_json() | {name: junk if isinstance(junk, int | str | list | dict) else None})


@pytest.mark.parametrize("junk", JUNK[1:])
def test_so_are_what_may_be_left_out(junk):
    with pytest.raises(UserError, match=r"^`spec\.trust` \(=.* must be of type Trust$"):
        dataclasses.replace(make_spec(), trust=junk)
    with pytest.raises(UserError, match=r"^`train\.early_stopping` \(=.* must be of type EarlyStopping$"):
        TrainSpec(early_stopping=junk)
