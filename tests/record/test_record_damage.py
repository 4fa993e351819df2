"""Lines and files that somebody has damaged are one sentence that names them; what is taken can be reported."""

import copy
import json
import math
import os

import pytest
from record_samples import make_row, make_spec

from fourfold.record import Connectivity, ConnectivityRow, OverlapRow, Row, RunStore, Spec, UserError
from fourfold.record.inspection import inspect

ROW = make_row(data="a" * 64)
CONNECTIVITY = ConnectivityRow(
    run=ROW.run,
    trial=0,
    level=0,
    fraction_of_real=0.5,
    mask="0" * 64,
    connectivity=Connectivity(step=0, positions=(0.0, 1.0), errors=(10.0, 11.0), losses=(0.1, 0.2)),
    provenance=ROW.provenance,
)
OVERLAP = OverlapRow(run=ROW.run, level=1, trials=(0, 1), fraction_of_real=0.5, both=3, either=5, expected=2.0, deviation=1.0)
LINES = {"row": ROW, "connectivity": CONNECTIVITY, "overlap": OVERLAP}

OTHERS = (None, "x", True, -1, -0.5, 0, 2.5, 10**400, math.nan, math.inf, -math.inf, [], [1], [[0, 0]], {}, {"x": None})


def is_refused(kind, value):
    """Whether a line is refused, in one sentence; one that is not comes back whole."""
    text = json.dumps(value)
    try:
        row = kind.from_line(text, "file:1")
    except UserError:
        with pytest.raises(UserError, match=r"^file:1 is no.*$"):
            kind.from_line(text, "file:1")
        return True
    assert kind.from_line(row.to_line()) == row
    return False


def places(value, path=()):
    """The path of every value in a JSON object."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def with_other(value, path, other):
    changed = copy.deepcopy(value)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = other
    return changed


@pytest.mark.parametrize("kind", LINES)
def test_a_value_of_another_type_or_beyond_all_bounds_is_one_sentence_or_a_whole_row(kind):
    line = LINES[kind]
    value = json.loads(line.to_line())
    refused = 0
    for path in places(value):
        for other in OTHERS:
            refused += is_refused(type(line), with_other(value, path, other))
    assert refused > 8 * len(list(places(value)))


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "-Infinity"])
def test_a_number_that_is_infinite_or_none_is_refused_however_it_is_written(kind, number):
    """JSON has no infinity, but numbers that are larger than any float."""
    line = LINES[kind]
    value = json.loads(line.to_line())
    for path in places(value):
        inner = value
        for key in path:
            inner = inner[key]
        if type(inner) is float:
            text = json.dumps(with_other(value, path, "HERE")).replace('"HERE"', number)
            with pytest.raises(UserError, match=r"^file:1 is no"):
                type(line).from_line(text, "file:1")


@pytest.mark.parametrize("kind", LINES)
def test_a_line_without_one_of_its_values_is_one_sentence_or_a_whole_row(kind):
    line = LINES[kind]
    value = json.loads(line.to_line())
    for path in places(value):
        changed = copy.deepcopy(value)
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        is_refused(type(line), changed)


@pytest.mark.parametrize(
    "changes",
    [
        {"top1": math.nan},
        {"top1": 101},
        {"layers": {}},
        {"layers": {"fc1": [0, 0]}},
        {"layers": {"fc1": [3, 2]}},
        {"level": -3},
        {"level": 2.5},
        {"trial": -1},
        {"control": "../x"},
        {"fraction_of_real": 0},
        {"parameters_real": 0},
        {"epochs": [{"epoch": 1, "train_loss": 1, "top1": math.nan, "loss": 1}]},
    ],
    ids=str,
)
def test_numbers_that_no_level_has_are_refused(changes):
    with pytest.raises(UserError, match=r"^file:1 is not a row of fourfold \("):
        Row.from_line(json.dumps(json.loads(ROW.to_line()) | changes), "file:1")


def test_files_of_names_that_are_almost_those_of_trials_are_not_ours(tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    for name in ("rows-007", "rows-\u0663", f"rows-{'9' * 200}", "rows-0-nonsense", "rows-01-inverted", "rows--1"):
        (store.path / f"{name}.jsonl").write_text(ROW.to_line() + "\n")
    (store.path / "failed-\u0663.json").write_text("{}")
    assert (store.trials(), store.controls()) == ([], [])


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "[]",
        "{}",
        '{"level": "x"}',
        '{"level": NaN, "reason": 1}',
        DEEP,
        "\udcff",
        '{"level": 1e300, "reason": "x"}',
        '{"level": 1, "reason": ["x"]}',
        '{"level": -1, "reason": "x"}',
    ],
)
def test_a_failure_that_cannot_be_read_is_one_sentence(text, tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    (store.path / "failed-0.json").write_text(text, errors="surrogateescape")
    with pytest.raises(UserError, match=r"failed-0\.json does not say how the trial failed \(.*\); delete it to try again$"):
        store.failure(0)


def test_the_failure_of_another_trial_control_or_run_ends_nothing(tmp_path):
    store, other = RunStore.create(tmp_path, make_spec()), RunStore.create(tmp_path, make_spec(preset="another"))
    store.fail(0, 1, "nan")
    store.fail(1, 1, "nan", "inverted")
    other.fail(1, 1, "nan")
    copy = store.path / "failed-1.json"
    for one in ("failed-0.json", "failed-1-inverted.json", f"../{other.path.name}/failed-1.json"):
        copy.write_bytes((store.path / one).read_bytes())
        with pytest.raises(UserError, match=r"failed-1\.json does not say how the trial failed \(.*expected that of "):
            store.failure(1)
        assert [finding.file for finding in inspect(store) if finding.wrong] == ["failed-1.json"]
    copy.write_text('{"trial": 1, "level": 1, "reason": "nan"}')  # as the first edition wrote it
    assert store.failure(1) == store.failure(0) == store.failure(1, "inverted") == "level 1: nan"


@pytest.mark.timeout(20)  # a pipe that is read never ends
@pytest.mark.parametrize("name", ["spec.json", "rows-0.jsonl", "connectivity-0.jsonl", "overlaps.jsonl"])
@pytest.mark.parametrize("how", ["deep", "a pipe", "a folder", "not text"])
def test_a_file_that_is_none_of_ours_is_one_sentence(name, how, tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    file = store.path / name
    file.unlink(missing_ok=True)
    if how == "a pipe":
        os.mkfifo(file)
    elif how == "a folder":
        file.mkdir()
    else:
        file.write_bytes(DEEP.encode() + b"\n" if how == "deep" else b"\xff\xfe\n")
    with pytest.raises(UserError) as caught:
        (store.spec(), store.rows(0), store.connectivity(0), store.overlaps())
    assert str(file) in str(caught.value)
    assert len(str(caught.value)) < 21_000


@pytest.mark.parametrize("levels", [[0, 1, 1], [0, 2], [1, 0], [1]])
def test_rows_are_those_of_their_levels(levels, tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    (store.path / "rows-0.jsonl").write_text("".join(make_row(level=level).to_line() + "\n" for level in levels))
    number = next(place for place, level in enumerate(levels) if place != level)
    expected = rf"rows-0\.jsonl:{number + 1}: expected the row of level {number}, found that of level {levels[number]}; remove"
    with pytest.raises(UserError, match=expected):
        store.rows(0)


@pytest.mark.parametrize("changes", [{"run": "sample-real-00000000"}, {"trial": 1}, {"control": "inverted"}])
def test_rows_of_another_run_trial_or_control_are_refused(changes, tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    (store.path / "rows-0.jsonl").write_text(make_row(**changes).to_line() + "\n")
    expected = rf"rows-0\.jsonl:1: expected a row of ticket of trial 0 of {make_spec().id}, found one of"
    with pytest.raises(UserError, match=expected):
        store.rows(0)


def test_a_level_of_a_control_is_there_once(tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    (store.path / "rows-0-inverted.jsonl").write_text(2 * (make_row(control="inverted").to_line() + "\n"))
    with pytest.raises(UserError, match=r"rows-0-inverted\.jsonl:2: expected each level once, found level 0 again"):
        store.control_rows(0, "inverted")


def test_files_of_other_names_are_not_ours(tmp_path):
    store = RunStore.create(tmp_path, make_spec())
    for kind in ("states", "weights"):
        (store.path / kind).mkdir()
        for name in ("0-x", "0-3 (1)", "0-", "0-1-inverted", "00-1"):
            (store.path / kind / f"{name}.safetensors").touch()
    store.drop_states(0, before=9)
    assert len(list((store.path / "states").iterdir())) == 5
    assert store.kept_levels(0) == []


@pytest.mark.parametrize("preset", ["../x", "/x", "a/b", ".hidden", "-x", "a" * 101, "ü", "a b", "a\\b"])
def test_a_run_lies_in_the_folder_that_it_is_put_into(preset, tmp_path):
    spec = Spec(**{**vars(make_spec()), "preset": preset})
    with pytest.raises(UserError, match=r"^`spec.preset` \(=.*\) must be at most 100 letters"):
        RunStore.create(tmp_path / "runs", spec)
    assert list(tmp_path.iterdir()) == []
