"""A row is one line of JSON and comes back to the last bit."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_samples import make_row

from fourfold.record import CONTROLS, Epoch, Provenance, Row, UserError

numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**62)
FLOATS = ("density", "fraction_of_real", "top1", "loss", "train_loss")
percents = st.floats(0, 100)
epochs = st.builds(Epoch, epoch=st.integers(1, 2**62), train_loss=numbers, top1=numbers, loss=numbers)


@st.composite
def layers(draw):
    """Kept and all weights of some layers; each has some."""
    totals = draw(st.dictionaries(st.text(max_size=5), st.integers(1, 2**62), min_size=1, max_size=3))
    return {name: (draw(st.integers(0, total)), total) for name, total in totals.items()}


rows = st.builds(
    Row,
    **dict.fromkeys(("run", "preset", "dataset", "model", "algebra", "mask"), st.text(max_size=9)),
    control=st.sampled_from(["ticket", *CONTROLS]),
    **dict.fromkeys(("loss", "train_loss"), numbers),
    density=st.floats(0, 1),
    fraction_of_real=st.floats(0, exclude_min=True, allow_infinity=False),
    top1=percents,
    **dict.fromkeys(("trial", "level", "weights", "weights_total", "parameters", "parameters_total"), counts),
    **dict.fromkeys(("macs", "macs_dense", "macs_real", "stored_bytes", "steps"), counts),
    parameters_real=st.integers(1, 2**62),
    top5=st.none() | percents,
    validation=st.none() | numbers,
    layers=layers(),
    epochs=st.lists(
        st.builds(Epoch, epoch=st.integers(1, 2**62), train_loss=numbers, top1=numbers, loss=numbers), max_size=3
    ).map(tuple),
    provenance=st.builds(
        Provenance,
        seconds=numbers,
        finished=st.text(max_size=9),
        device=st.text(max_size=9),
        versions=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    ),
)


@settings(derandomize=True, deadline=None)
@given(rows)
def test_a_line_gives_the_same_row_back(row):
    line = row.to_line()
    assert len(line.splitlines()) == 1
    assert line.isascii()
    assert Row.from_line(line) == row


@pytest.mark.parametrize("name", [*FLOATS, "top5", "validation"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none_are_not_written(name, value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        make_row(**{name: value}).to_line()


def test_a_training_curve_with_nan_is_not_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        make_row(epochs=(Epoch(epoch=1, train_loss=float("nan"), top1=1.0, loss=1.0),)).to_line()


def test_rows_from_before_the_field_have_no_validation_accuracy():
    value = json.loads(make_row(validation=81.5).to_line())
    assert Row.from_line(json.dumps(value)).validation == 81.5
    del value["validation"]
    assert Row.from_line(json.dumps(value)) == make_row()
    assert make_row().validation is None


def test_rows_from_before_the_field_do_not_name_their_data():
    named = make_row(data="a" * 64)
    value = json.loads(named.to_line())
    assert Row.from_line(json.dumps(value)) == named
    del value["data"]
    assert Row.from_line(json.dumps(value)) == make_row()
    assert make_row().data is None


def test_rows_say_the_same_unless_both_name_their_data_and_they_are_others():
    row, one, other = make_row(), make_row(data="a" * 64), make_row(data="b" * 64)
    assert all(first.same_result(second) for first, second in ((row, row), (row, one), (other, row), (one, one)))
    assert not one.same_result(other)
    assert not row.same_result(make_row(data="a" * 64, top1=1.0))


def test_fields_of_a_later_version_are_ignored():
    row = make_row()
    value = json.loads(row.to_line()) | {"energy": 3}
    assert Row.from_line(json.dumps(value)) == row


REQUIRED = [
    field.name
    for field in dataclasses.fields(Row)
    if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_field_is_one_sentence(name):
    value = json.loads(make_row().to_line())
    del value[name]
    with pytest.raises(UserError, match=rf"^rows-0\.jsonl:3 is not a row of fourfold \(.*'{name}'.*\)$") as caught:
        Row.from_line(json.dumps(value), "rows-0.jsonl:3")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("line", ["", "{", "[]", "3", "null", '{"run": "a"}', make_row().to_line()[:-1]])
def test_anything_else_is_not_a_row(line):
    with pytest.raises(UserError, match=r"^here is not a row of fourfold \("):
        Row.from_line(line, "here")


def test_the_result_is_all_but_the_provenance():
    row = make_row()
    other = Provenance(seconds=9, finished="later", device="cuda", versions={})
    assert dataclasses.replace(row, provenance=other).result() == row.result()
    names = [field.name for field in dataclasses.fields(Row)]
    assert list(row.result()) == [name for name in names if name != "provenance"]
    assert dataclasses.replace(row, top1=row.top1 + 1e-12).result() != row.result()
