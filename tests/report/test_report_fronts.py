"""Pareto fronts of deployed networks, and the picture of them."""

import itertools
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fourfold.report.figures import png, svg
from fourfold.report.fronts import QUANTITIES, Deployed, draw_fronts, front

POINT = Deployed(algebra="real", numbers="float32", top1=90.0, stored_bytes=1000, macs=10**6, seconds=1e-4)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=1, max_size=12))
def test_a_front_holds_what_nothing_beats(pairs):
    points = [replace(POINT, top1=float(top1), macs=macs) for top1, macs in pairs]
    best = front(points, "macs")
    assert all(a.macs < b.macs and a.top1 < b.top1 for a, b in itertools.pairwise(best))
    for point in points:
        assert any(other.macs <= point.macs and other.top1 >= point.top1 for other in best)
    assert all(point in points for point in best)


def test_the_picture_has_a_panel_a_quantity_and_a_front_an_algebra():
    real = [replace(POINT, stored_bytes=1000 * 2**k, macs=10**5 * 2**k, seconds=1e-5 * 2**k, top1=90.0 + k) for k in range(3)]
    points = real + [replace(point, algebra="quaternion", numbers="int8", top1=point.top1 - 1) for point in real]
    figure = draw_fronts(points, "title", "note " * 60)
    assert [axes.get_xlabel() for axes in figure.axes] == list(QUANTITIES.values())
    for axes in figure.axes:
        drawn = {line.get_label(): line for line in axes.lines}
        assert set(drawn) == {f"{a}, {kind}" for a, n in (("real", "float32"), ("quaternion", "int8")) for kind in ("front", n)}
        assert drawn["real, front"].get_ydata().tolist() == [90.0, 91.0, 92.0]
        assert drawn["quaternion, int8"].get_markerfacecolor() == "white"
    stored, macs, seconds = ([float(x) for x in axes.lines[0].get_xdata()] for axes in figure.axes)
    assert np.allclose((stored, macs, seconds), ([1, 2, 4], [100, 200, 400], [10, 20, 40]))
    assert png(figure) == png(draw_fronts(points, "title", "note " * 60))
    assert b"<svg" in svg(figure)


def test_one_point_is_drawn():
    assert png(draw_fronts([POINT], "title", "note"))
