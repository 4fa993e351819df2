"""Figures: what is drawn is what the CSV says, and the files are what they claim to be."""

import csv
import dataclasses
import itertools
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import synthetic_runs as synthetic
from matplotlib.figure import Figure
from matplotlib.text import Text

from fourfold.report import Experiment, experiments_of_rows
from fourfold.report._findings import findings
from fourfold.report.figures import _cell, draw, draw_heat, png, svg
from fourfold.report.finding_figures import draw_finding
from fourfold.report.plots import accuracy_plots, control_plots, layer_plot, training_plots
from fourfold.report.scales import log_ticks, tick
from fourfold.report.words import MACS_CAPTION, percent


def read(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_line_drawn_is_in_the_csv_number_by_number(experiment: Experiment, built: Path) -> None:
    plots = [*accuracy_plots(experiment), *training_plots(experiment)]
    assert [plot.name for plot in plots] == [
        "accuracy-log",
        "accuracy-linear",
        "accuracy-macs",
        "training-dense",
        "training-levels-real",
        "training-levels-quaternion",
    ]
    for plot in plots:
        lines = {line.get_label(): line for line in draw(plot).axes[0].lines if not str(line.get_label()).startswith("_")}
        records = read(built / "figures" / f"conv4-cifar10-{plot.name}.csv")
        assert set(lines) == {record["series"] for record in records}
        for label, line in lines.items():
            mine = [record for record in records if record["series"] == label]
            assert [float(record[plot.quantity]) for record in mine] == list(line.get_xdata())
            assert [float(record["top1"]) for record in mine] == list(line.get_ydata())


def test_error_bars_are_the_sample_standard_deviations(experiment: Experiment) -> None:
    plot = accuracy_plots(experiment)[0]
    figure = draw(plot)
    bars = [bar for container in figure.axes[0].containers for bar in container.lines[2]]
    ours = [series for series in plot.series if not series.published]
    assert len(bars) == len(ours) == 2
    for bar, series in zip(bars, ours, strict=True):
        for segment, x, y, std in zip(bar.get_segments(), series.x, series.y, series.std, strict=True):
            assert np.allclose(segment, [[x, y - std], [x, y + std]])


def test_published_curves_lie_behind_dashed_and_labelled(experiment: Experiment) -> None:
    lines = {line.get_label(): line for line in draw(accuracy_plots(experiment)[0]).axes[0].lines}
    for algebra in ("Real", "Quaternion"):
        published, ours = lines[f"{algebra}, published, paper 1 (5 trials)"], lines[algebra]
        assert published.get_zorder() < ours.get_zorder()
        assert published.is_dashed()
        assert not ours.is_dashed()
        assert published.get_color() == ours.get_color()
        assert published.get_alpha() < 1


def test_fewer_trials_are_hollow_and_the_caption_says_so(experiment: Experiment) -> None:
    plot = accuracy_plots(experiment)[0]
    axes = draw(plot).axes[0]
    (hollow,) = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    quaternion = next(curve for curve in experiment.tickets if curve.algebra == "quaternion")
    assert list(hollow.get_xdata()) == [point.fraction_of_real for point in quaternion.points if point.top1.n < 3]
    assert len(hollow.get_xdata()) == 2
    assert "Hollow markers: fewer trials" in plot.note


def test_captions_that_compare_weights_say_four_times_the_macs(experiment: Experiment) -> None:
    log, linear, macs = accuracy_plots(experiment)
    for plot in (log, linear):
        assert MACS_CAPTION in plot.note
        assert any(MACS_CAPTION in " ".join(text.get_text().split()) for text in draw(plot).texts)
    assert "MACs" in macs.x_label


def test_controls_have_a_plot_of_their_own_beside_the_ticket_of_their_run() -> None:
    specs = [synthetic.spec(algebra) for algebra in ("real", "quaternion", "complex")]
    rows = [synthetic.row(spec, 0, level) for spec in specs for level in (0, 1)]
    rows += [synthetic.row(specs[1], 0, 1, control=control) for control in ("random-init", "inverted")]
    rows += [
        dataclasses.replace(synthetic.row(specs[1], 0, 1, control="equal-macs"), algebra="real"),
        synthetic.row(specs[0], 0, 1, control="inverted"),
    ]
    (found,) = experiments_of_rows(rows)
    labels = {plot.name: [series.label for series in plot.series] for plot in control_plots(found)}
    assert labels == {
        "controls-real": ["Real", "Real, inverted"],
        "controls-quaternion": ["Quaternion", "Real, equal macs", "Quaternion, inverted", "Quaternion, random init"],
    }
    for plot in accuracy_plots(found):
        assert {series.label for series in plot.series if not series.published} == {"Real", "Quaternion", "Complex"}


def test_controls_alone_are_drawn_where_there_are_no_tickets() -> None:
    (found,) = experiments_of_rows([synthetic.row(synthetic.spec("real"), 0, 1, control="inverted")])
    assert control_plots(found) == []
    assert [series.label for series in accuracy_plots(found)[2].series] == ["Real, inverted"]


def test_dense_is_left_on_every_scale(experiment: Experiment) -> None:
    for plot in accuracy_plots(experiment):
        axes = draw(plot).axes[0]
        left, right = axes.get_xlim()
        assert left > right
        assert axes.get_xscale() == ("log" if plot.logarithmic else "linear")
        assert left > max(max(series.x) for series in plot.series)


def extent(text: Text, renderer: Any) -> Any:
    """The box of a text, without the thread of an annotation."""
    return Text.get_window_extent(text, renderer)


def inside_and_apart(figure: Figure) -> None:
    """Fail where words lie outside of the figure, or the words beside lines or the labels of an axis on each other."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    page = figure.bbox
    texts = [text for text in figure.texts if text.get_text()]
    for axes in figure.axes:
        left, right = sorted(axes.get_xlim())
        labels = [label for label in axes.get_xticklabels() if left <= label.get_position()[0] <= right]
        ordered = sorted((label.get_window_extent(renderer) for label in labels), key=lambda box: box.x0)
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(ordered))
        beside = [text for text in axes.texts if text.get_fontweight() == "bold"]
        boxes = sorted((extent(text, renderer) for text in beside), key=lambda box: box.y0)
        assert all(a.y1 <= b.y0 + 1 for a, b in itertools.pairwise(boxes))
        assert not axes.get_legend()
        texts += [axes.xaxis.label, axes.yaxis.label, *labels, *beside]
    for text in texts:
        box = extent(text, renderer)
        if text.get_text() and box.width:
            assert box.x0 >= -1, text
            assert box.x1 <= page.x1 + 1, text
            assert box.y0 >= -1, text
            assert box.y1 <= page.y1 + 1, text
    assert not figure.legends


def test_nothing_is_clipped_and_no_words_overlap(experiment: Experiment) -> None:
    heat = layer_plot(experiment)
    assert heat is not None
    plots = (*accuracy_plots(experiment), *training_plots(experiment))
    for figure in [*(draw(plot) for plot in plots), draw_heat(heat), *map(draw_finding, findings(experiment))]:
        inside_and_apart(figure)


BUDGETS = [
    f"{algebra} (score {score}, budget {budget})"
    for algebra in ("Real", "Quaternion")
    for score, budget in (("magnitude", "weights"), ("magnitude", "macs"), ("fisher", "weights"), ("fisher", "macs"))
]


@pytest.mark.parametrize(
    "labels", [["Real", "Complex", "Quaternion", "PHM"], BUDGETS, [f"a control, number {n}" for n in range(17)]]
)
def test_many_and_long_words_beside_lines_stay_apart_and_on_the_page(experiment: Experiment, labels: list[str]) -> None:
    plot = accuracy_plots(experiment)[0]
    series = tuple(dataclasses.replace(plot.series[0], published=False, words=label) for label in labels)
    figure = draw(dataclasses.replace(plot, series=series))
    inside_and_apart(figure)
    words = [" ".join(text.get_text().split()) for text in figure.axes[0].texts]
    assert words == labels


def test_the_layers_figure_shows_the_densities_of_its_csv(experiment: Experiment, built: Path) -> None:
    heat = layer_plot(experiment)
    assert heat is not None
    records = read(built / "figures" / "conv4-cifar10-layers.csv")
    for axes, curve in zip(draw_heat(heat).axes, experiment.tickets, strict=True):
        image = axes.images[0].get_array()
        assert image is not None
        mine = {(r["layer"], int(r["level"])): float(r["density"]) for r in records if r["run"] == curve.run}
        assert len(mine) == 49
        for row, layer in enumerate(curve.layers):
            for level in range(7):
                assert image[row, level] == mine[layer, level]


def test_without_room_for_numbers_the_layers_have_a_scale() -> None:
    spec = synthetic.spec("real")
    for levels, numbers in ((30, 7 * 30), (31, 0)):
        (found,) = experiments_of_rows([synthetic.row(spec, 0, level) for level in range(levels)])
        heat = layer_plot(found)
        assert heat is not None
        figure = draw_heat(heat)
        assert len(figure.axes[-1].texts) == numbers
        assert [axes.get_label() for axes in figure.axes].count("scale") == (not numbers)


def test_a_layer_that_is_gone_and_a_network_that_is_gone_can_be_drawn() -> None:
    spec = synthetic.spec("real")
    rows = [synthetic.row(spec, 0, level) for level in range(2)]
    gone = dataclasses.replace(rows[1], macs=0, layers={name: (0, total) for name, (_, total) in rows[1].layers.items()})
    (found,) = experiments_of_rows([rows[0], gone])
    heat = layer_plot(found)
    assert heat is not None
    assert png(draw_heat(heat)).startswith(b"\x89PNG")
    macs = accuracy_plots(found)[2]
    assert [series.levels for series in macs.series] == [(0,)]
    assert png(draw(macs)).startswith(b"\x89PNG")


def test_files_are_wellformed_sharp_and_complete(built: Path) -> None:
    names = {file.stem for file in (built / "figures").iterdir()}
    assert len(names) == 8 + 7
    for name in names:
        root = ElementTree.parse(built / "figures" / f"{name}.svg").getroot()
        assert root.tag.endswith("svg")
        head = (built / "figures" / f"{name}.png").read_bytes()[:24]
        assert head.startswith(b"\x89PNG")
        wide = name == "conv4-cifar10-verdict"  # two panels
        assert int.from_bytes(head[16:20], "big") == (1600 if wide else 1152)  # 10 or 7.2 inches at 160 dots an inch
        assert (built / "figures" / f"{name}.csv").stat().st_size > 0


def test_a_name_with_dollars_is_no_formula() -> None:
    spec = synthetic.spec("real", preset=synthetic.EVIL)
    (found,) = experiments_of_rows([synthetic.row(spec, 0, 0)])
    assert svg(draw(accuracy_plots(found)[0])).startswith(b"<?xml")


def test_matplotlib_is_left_as_it_was(experiment: Experiment) -> None:
    with mpl.rc_context({"font.size": 5.0, "svg.hashsalt": "mine"}):
        before = dict(mpl.rcParams)
        figure = draw(accuracy_plots(experiment)[0])
        assert len(svg(figure)) > len(png(figure)) / 10
        assert dict(mpl.rcParams) == before


def test_only_what_is_gone_is_zero() -> None:
    assert [_cell(value) for value in (1, 0.0996, 0.0994, 0.004, 0.0005, 0.00001, 0)] == [
        "100",
        "10",
        "9.9",
        ".4",
        ".05",
        "<.01",
        "0",
    ]


def test_ticks_are_few_and_plain() -> None:
    assert log_ticks(0.02, 1.1) == pytest.approx([0.02, 0.05, 0.1, 0.2, 0.5, 1])
    assert len(log_ticks(1e-6, 1)) <= 11
    assert [tick(percent, value) for value in (1, 0.5, 0.05, 0.002)] == ["100 %", "50 %", "5 %", "0.2 %"]
