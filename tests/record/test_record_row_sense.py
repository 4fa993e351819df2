"""Rows that anybody has sealed again are refused where they say what no level of their run can have come to."""

from dataclasses import replace

import pytest
from record_samples import make_row, make_spec

from fourfold.record import Epoch, PruneSpec, RunStore, Spec, StopSpec, UserError
from fourfold.record.inspection import inspect
from fourfold.record.journal import sealed_lines
from fourfold.record.rows import Row

LAST = 4
SPEC = make_spec(prune=PruneSpec(fraction=0.5), stop=StopSpec(accuracy=0, max_level=LAST))
TOTALS = {"fc1": 768, "fc2": 120}


def level_of(level: int, spec: Spec = SPEC, *, weights: dict[str, int] | None = None, **changes) -> Row:
    """A level of half the weights of the one before, and all that follows from how many each layer keeps."""
    kept = weights or {name: round(total * 0.5**level) for name, total in TOTALS.items()}
    num_weights = sum(kept.values())
    counts = {
        "run": spec.id,
        "weights": num_weights,
        "density": num_weights / 888,
        "parameters": num_weights + 22,
        "fraction_of_real": (num_weights + 22) / 910,
        "macs": num_weights,
        "layers": {name: (kept[name], total) for name, total in TOTALS.items()},
    }
    return make_row(level=level, **(counts | changes))


def forged(out, rows: list[Row], spec: Spec = SPEC, control: str = "ticket") -> RunStore:
    """A run with rows whose chain is whole."""
    store = RunStore.create(out, spec)
    name = "rows-0" if control == "ticket" else f"rows-0-{control}"
    lines = sealed_lines([row.to_line() for row in rows])
    (store.path / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return store


GOOD = [level_of(level) for level in range(4)]
EPOCH = GOOD[0].epochs[0]
SECOND = GOOD[1]

WRONG = {
    "more weights than there are": replace(SECOND, weights=900, layers={"fc1": (768, 768), "fc2": (60, 120)}),
    "more parameters than there are": replace(SECOND, parameters=911, fraction_of_real=911 / 910),
    "more MACs than there are": replace(SECOND, macs=889),
    "layers that keep fewer": replace(SECOND, layers={"fc1": (383, 768), "fc2": (60, 120)}),
    "layers of another network": level_of(1, layers={"fc1": (384, 768), "fc2": (60, 121)}),
    "layers of other names": replace(SECOND, layers={"fc1": (384, 768), "fc3": (60, 120)}),
    "another density": replace(SECOND, density=0.51),
    "another fraction": replace(SECOND, fraction_of_real=0.52),
    "weights that grow": level_of(1, weights={"fc1": 768, "fc2": 120}),
    "another network": replace(SECOND, parameters_total=912),
    "another preset": replace(SECOND, preset="other"),
    "other data": replace(SECOND, dataset="mnist"),
    "another algebra": replace(SECOND, algebra="quaternion"),
    "epochs that go back": replace(SECOND, epochs=(replace(EPOCH, epoch=2), EPOCH)),
    "an epoch twice": replace(SECOND, epochs=(EPOCH, EPOCH)),
    "an accuracy beyond all": replace(SECOND, epochs=(replace(EPOCH, top1=101.0),)),
}
FIRST_IS_LARGER = {"weights that grow": level_of(0, weights={"fc1": 600, "fc2": 120})}


@pytest.mark.parametrize("what", WRONG)
def test_a_sealed_row_that_makes_no_sense_is_one_sentence_that_names_its_line(what, tmp_path):
    store = forged(tmp_path, [FIRST_IS_LARGER.get(what, GOOD[0]), WRONG[what], GOOD[2]])
    with pytest.raises(UserError, match=r"rows-0\.jsonl:2: expected .*, found .*; remove that line and") as raised:
        store.rows(0)
    assert str(raised.value).startswith(str(store.path / "rows-0.jsonl"))
    assert "\n" not in str(raised.value)
    assert [(finding.file, finding.line) for finding in inspect(store) if finding.wrong] == [("rows-0.jsonl", 2)]


@pytest.mark.parametrize("what", sorted(WRONG.keys() - {"weights that grow", "another network"}))
def test_controls_make_sense_alone(what, tmp_path):
    """They may be of another network, such as the real one, and come in any order."""
    of_spec = what.startswith(("another preset", "other data", "another algebra", "layers of other names"))
    row = replace(WRONG[what], control="inverted")
    store = forged(tmp_path, [replace(GOOD[2], control="inverted"), row], control="inverted")
    if of_spec:
        assert len(store.control_rows(0, "inverted")) == 2
    else:
        with pytest.raises(UserError, match=r"rows-0-inverted\.jsonl:2: expected "):
            store.control_rows(0, "inverted")


def test_rows_that_make_sense_are_read(tmp_path):
    store = forged(tmp_path, GOOD)
    assert store.rows(0) == GOOD
    assert not any(finding.wrong for finding in inspect(store))
    store.append(level_of(LAST))
    assert len(store.rows(0)) == LAST + 1


def test_no_level_lies_beyond_the_last_one(tmp_path):
    rows = [*GOOD, level_of(4), level_of(5)]
    with pytest.raises(UserError, match=r":6: expected no level beyond 4, the last one, found level 5"):
        forged(tmp_path, rows).rows(0)


def test_a_row_that_makes_no_sense_is_not_written(tmp_path):
    store = forged(tmp_path, GOOD[:1])
    before = (store.path / "rows-0.jsonl").read_bytes()
    with pytest.raises(UserError, match=r"rows-0\.jsonl: expected the density of 444 of 888 weights, found 0\.51$"):
        store.append(WRONG["another density"])
    assert (store.path / "rows-0.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("prune", "may_grow"),
    [
        (PruneSpec(fraction=0.5, schedule="gradual"), False),
        (PruneSpec(fraction=0.5, schedule="gradual", budget="macs"), True),
        (PruneSpec(fraction=0.5, schedule="gradual", unit="row"), True),
        (PruneSpec(fraction=0.5, budget="macs"), False),
    ],
    ids=str,
)
def test_weights_may_grow_where_a_level_starts_dense_and_counts_something_else(prune, may_grow, tmp_path):
    spec = replace(SPEC, prune=prune)
    rows = [level_of(0, spec, weights={"fc1": 400, "fc2": 100}), level_of(1, spec, weights={"fc1": 402, "fc2": 100})]
    store = forged(tmp_path, rows, spec)
    if may_grow:
        assert store.rows(0) == rows
    else:
        with pytest.raises(UserError, match=r":2: expected at most the 500 weights of the row before, found 502"):
            store.rows(0)


def test_where_the_spec_is_lost_a_row_is_judged_by_itself_and_the_one_before(tmp_path):
    for number, (what, wrong) in enumerate({"density": "another density", "network": "another network"}.items()):
        store = forged(tmp_path / str(number), [GOOD[0], WRONG[wrong]])
        (store.path / "spec.json").unlink()
        assert [(f.file, f.line) for f in inspect(store) if f.wrong and f.kind == "rows"] == [("rows-0.jsonl", 2)], what


def test_macs_may_be_counted_otherwise_by_a_later_version(tmp_path):
    rows = [GOOD[0], replace(SECOND, macs_dense=999, macs_real=1000)]
    assert forged(tmp_path, rows).rows(0) == rows


def test_a_curve_may_skip_epochs(tmp_path):
    epochs = (EPOCH, Epoch(epoch=3, train_loss=0.1, top1=80.0, loss=0.1))
    assert len(forged(tmp_path, [replace(GOOD[0], epochs=epochs)]).rows(0)) == 1
