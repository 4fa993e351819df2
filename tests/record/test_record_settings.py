"""Fields of a spec by their dotted names, and their values from text."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_samples import make_spec

from fourfold.record import DataSpec, EarlyStopping, TrainSpec, UserError, get_field, is_number, parse_value, with_fields
from fourfold.record.settings import field_types


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("train.learning_rate", "3e-4", 3e-4),
        ("train.learning_rate", "1", 1.0),
        ("train.epochs", "12", 12),
        ("train.nesterov", "true", True),
        ("data.flip", "False", False),
        ("data.crop", "none", None),
        ("data.crop", "4", 4),
        ("train.milestones", "10+12", (10, 12)),
        ("train.milestones", "10", (10,)),
        ("train.milestones", "()", ()),
        ("train.early_stopping", "none", None),
        ("train.early_stopping.patience", "3", 3),
        ("model.init_scale_linear", "2.5", 2.5),
        ("prune.score", "snip", "snip"),
        ("prune.skip", "conv1+*.downsample", ("conv1", "*.downsample")),
        ("prune.skip", "none", None),
        ("prune.layer_fractions", "fc3:0.1", ("fc3:0.1",)),
        ("model.name", "lenet-12", "lenet-12"),
    ],
)
def test_texts_become_values_of_the_fields_type(name, text, value):
    found = parse_value(name, text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("train.epochs", "many", r"^`train\.epochs` \(='many'\) must be an integer$"),
        ("train.epochs", "1.5", r"^`train\.epochs` \(='1\.5'\) must be an integer$"),
        ("train.learning_rate", "", r"^`train\.learning_rate` \(=''\) must be a number$"),
        ("train.nesterov", "1", r"^`train\.nesterov` \(='1'\) must be true or false$"),
        ("data.crop", "off", r"^`data\.crop` \(='off'\) must be an integer or none$"),
        ("train.milestones", "10;12", r"must be integers joined by \+, or \(\)$"),
        ("train.early_stopping", "on", r"^`train\.early_stopping` \(='on'\) must be none$"),
        ("prune.score", "best", r"^`prune\.score` \(='best'\) must be erk|fisher or"),
        ("train.rate", "1", r"^unknown field of a spec 'train\.rate'; did you mean .*train\.learning_rate.*\?$"),
        ("train", "1", r"^unknown field of a spec 'train'; did you mean train\."),
    ],
)
def test_other_texts_are_one_sentence(name, text, sentence):
    with pytest.raises(UserError, match=sentence):
        parse_value(name, text)


def test_every_field_of_a_spec_has_a_name():
    def names(part, prefix=""):
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if field.name == "trust":
                continue  # permission to import code is no setting
            if dataclasses.is_dataclass(value):
                yield from names(value, f"{prefix}{field.name}.")
            else:
                yield f"{prefix}{field.name}"

    stopping = make_spec(data=DataSpec(name="digits", validation=9), train=TrainSpec(early_stopping=EarlyStopping()))
    assert set(field_types()) == {*names(make_spec()), *names(stopping)}


@settings(derandomize=True, deadline=None)
@given(st.sampled_from(sorted(field_types())))
def test_what_is_put_in_comes_out_and_nothing_else_changes(name):
    spec = make_spec(data=DataSpec(name="digits", validation=9))
    value = {"train.early_stopping.every": 100, "train.early_stopping.patience": 10}.get(name, get_field(spec, name))
    changed = with_fields(spec, {name: value})
    assert get_field(changed, name) == value
    if name.startswith("train.early_stopping."):
        assert changed.train.early_stopping == EarlyStopping()
        changed = with_fields(changed, {"train.early_stopping": None})
    assert changed == spec


def test_the_spec_itself_refuses_a_value():
    with pytest.raises(UserError, match=r"^`train\.learning_rate` \(=-1\.0\) must lie in \(0, 100\)$"):
        with_fields(make_spec(), {"train.learning_rate": -1.0})
    with pytest.raises(UserError, match=r"^`train\.early_stopping` needs `data\.validation` \(=0\) images"):
        with_fields(make_spec(), {"train.early_stopping.patience": 3})


def test_fields_that_need_each_other_are_set_at_once():
    changed = with_fields(
        make_spec(), {"prune.rewind": "epoch", "prune.rewind_to": 1, "train.early_stopping": None, "train.epochs": 3}
    )
    assert (changed.prune.rewind, changed.prune.rewind_to, changed.train.epochs) == ("epoch", 1, 3)
    with pytest.raises(UserError, match=r"^`prune\.rewind_to`"):
        with_fields(make_spec(), {"prune.rewind": "epoch"})
    early = with_fields(
        make_spec(), {"train.early_stopping.every": 7, "data.validation": 9, "train.early_stopping.patience": 3}
    )
    assert early.train.early_stopping == EarlyStopping(every=7, patience=3)


def test_a_part_and_its_field_are_not_set_together():
    with pytest.raises(UserError, match=r"^`train\.early_stopping` \(=None\) and a field of it cannot both be set$"):
        with_fields(make_spec(), {"train.early_stopping": None, "train.early_stopping.every": 7})


def test_numbers_have_an_order_and_flags_have_none():
    assert [
        is_number(name) for name in ("train.learning_rate", "data.crop", "train.nesterov", "prune.score", "model.name")
    ] == [
        True,
        True,
        False,
        False,
        False,
    ]
