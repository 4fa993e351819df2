"""Strips of examples: what files of a run hold is what is drawn, at levels of about equal size."""

import re
from dataclasses import replace

import numpy as np
import pytest
from synthetic_runs import row, spec, write

from fourfold.record import RunStore, TaskSpec, UserError
from fourfold.record.examples import VOID
from fourfold.report._build import build
from fourfold.report._experiments import read_experiments
from fourfold.report.strip_figure import draw_strip
from fourfold.report.strips import VOID_COLOUR, strip_of
from fourfold.report.task_sections import examples_section

ITEMS, HIGH, WIDE, LEVELS = 3, 12, 16, 14


def arrays_of(task, level, seed):
    """The arrays of a level's examples."""
    draw = np.random.default_rng([seed, level])
    if task == "segmentation":
        truth = np.random.default_rng(0).integers(0, 3, (ITEMS, HIGH, WIDE)).astype("u1")
        truth[:, 0] = VOID
        arrays = {"map": draw.integers(0, 3, (ITEMS, HIGH, WIDE)).astype("u1"), "truth.map": truth}
    else:
        corners = np.sort(draw.random((ITEMS, 2, 2, 2)), axis=2).reshape(ITEMS, 2, 4).astype("f4")
        labels = np.array([[0, 1], [1, -1], [-1, -1]], "i2")
        arrays = {"boxes": corners, "labels": labels, "scores": np.full((ITEMS, 2), 0.5, "f4")}
        arrays |= {"truth.boxes": corners, "truth.labels": labels}
    if level:
        return {name: array for name, array in arrays.items() if not name.startswith("truth")}
    return arrays | {"images": np.random.default_rng(1).integers(0, 256, (ITEMS, 3, HIGH, WIDE)).astype("u1")}


@pytest.fixture(params=["segmentation", "detection"])
def runs(request, tmp_path):
    """Real and quaternion runs that have left examples of every level."""
    for seed, algebra in enumerate(("real", "quaternion")):
        of = replace(spec(algebra, preset="roads"), task=TaskSpec(name=request.param))
        store = write(tmp_path, of, 0, 0, [row(of, 0, level) for level in range(LEVELS)])
        for level in range(LEVELS):
            store.save_examples(level, arrays_of(request.param, level, seed))
    return request.param, tmp_path


def test_columns_are_what_the_files_of_the_chosen_levels_hold(runs):
    task, path = runs
    (experiment,) = read_experiments([path])
    strip = strip_of(experiment)
    assert [column.heading.split(" at ")[0] for column in strip.columns] == [
        "Truth", "Real, dense", "Real", "Real", "Quaternion, dense", "Quaternion", "Quaternion",
    ]  # fmt: skip
    for column in strip.columns[1:]:
        level, seed = column.level.point.level, int(column.level.network == "Quaternion")
        arrays = arrays_of(task, level, seed)
        if task == "segmentation":
            np.testing.assert_array_equal(column.map, arrays["map"])
        else:
            np.testing.assert_array_equal(column.boxes.corners, arrays["boxes"])
    records = strip.records()
    if task == "segmentation":
        assert sum(record["pixels"] for record in records) == 7 * ITEMS * HIGH * WIDE
        assert all(record["right"] == record["pixels"] for record in records if record["column"] == "Truth")
        assert (strip.name(VOID), strip.colour(VOID)) == ("void", VOID_COLOUR)
    else:
        assert len(records) == 7 * 3
        assert {record["score"] for record in records} == {None, 0.5}


@pytest.mark.slow
def test_the_page_and_the_figure_draw_them(runs, tmp_path):
    task, path = runs
    (experiment,) = read_experiments([path])
    section = examples_section(experiment)
    assert [len(line) for line in section.values["rows"]] == [8] * ITEMS
    text = "".join(map(str, section.values["rows"][0]))
    assert len(re.findall("data:image/jpeg", text)) == 1
    assert len(re.findall("data:image/png", text)) == (7 if task == "segmentation" else 0)
    assert len(re.findall("<rect", text)) == (0 if task == "segmentation" else 7 * 2)
    figure = draw_strip(strip_of(experiment))
    assert len(figure.axes) == 8 * ITEMS
    assert sum(len(axes.patches) for axes in figure.axes) == (0 if task == "segmentation" else 7 * 3)
    out = build([path], tmp_path / "report").parent
    assert all((out / "figures" / f"roads-examples.{form}").exists() for form in ("png", "svg", "csv"))
    assert "<h2>Examples</h2>" in (out / "index.html").read_text()


def test_runs_without_the_dense_level_s_file_have_no_strip(runs):
    _, path = runs
    for file in path.glob("*/examples/0-0.safetensors"):
        file.unlink()
    (experiment,) = read_experiments([path])
    assert strip_of(experiment) is None
    assert examples_section(experiment) is None


def test_a_damaged_file_is_one_sentence_with_its_remedy(runs):
    _, path = runs
    file = next(path.glob("*real*/examples/0-2.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"0-2\.safetensors cannot be read \(.*\); `fourfold check --repair"):
        read_experiments([path])
    assert RunStore(file.parent.parent).example_levels() == list(range(LEVELS))
