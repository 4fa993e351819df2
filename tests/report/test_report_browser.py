"""The page in a real browser: it draws, its switches switch, and it fits a phone, light and dark."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from test_report_findings import study
from test_report_order import FULL, SINGLE

import fourfold.report as report
from fourfold.report.page import pages
from headless_browser import Page

pytestmark = pytest.mark.slow  # a browser starts in seconds


@pytest.fixture
def page(browser_page: Page, conv4: Path) -> Page:
    """The page of Conv-4, opened afresh at 1400 pixels, its charts to explore unfolded."""
    browser_page.troubles.clear()
    browser_page.requests.clear()
    browser_page.open(conv4, width=1400)
    unfold(browser_page)
    return browser_page


@pytest.fixture
def conv4(built: Path) -> Path:
    return built / "experiments" / "conv4-cifar10.html"


@pytest.fixture
def at() -> str:
    """The selector of the charts to explore."""
    return "#explore"


def unfold(page: Page) -> None:
    page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    page.settle()


def drawn(page: Page, at: str, chart: str = "accuracy") -> dict[str, Any]:
    """Return what a chart shows."""
    found = page.run(
        f"""(() => {{
          const plot = document.querySelector('{at} [data-chart={chart}] .plot'), all = (q) => [...plot.querySelectorAll(q)];
          return {{ lines: all('path.series').map((p) => p.getAttribute('d')), bands: all('path.band').length,
            marks: all('g path[transform]').length, hollow: all('g path.hollow').length,
            ticks: all('text:not(.title)').map((t) => t.textContent), titles: all('.title').map((t) => t.textContent),
            tip: plot.querySelector('.tip').hidden ? null : plot.querySelector('.tip').innerText,
            live: plot.querySelector('[aria-live]').textContent }};
        }})()"""
    )
    assert isinstance(found, dict)
    return found


def test_it_draws_without_a_word_on_the_console_or_a_request(page: Page, at: str, conv4: Path) -> None:
    shown = drawn(page, at)
    assert (len(shown["lines"]), shown["bands"], shown["marks"], shown["hollow"]) == (4, 2, 14, 2)
    assert "100 %" in shown["ticks"]
    assert len(drawn(page, at, "training")["lines"]) == 4  # two networks at the middle level, and at level 0
    assert drawn(page, at, "layers")["marks"] == 14
    assert page.troubles == []
    assert page.requests == [conv4.resolve().as_uri()]


def test_points_lie_where_the_numbers_say(page: Page, at: str, experiment: report.Experiment) -> None:
    real = drawn(page, at)["lines"][2]
    xy = [tuple(map(float, pair.split())) for pair in real.removeprefix("M").split("L")]
    points = experiment.tickets[0].points
    # On a log axis equal ratios are equal lengths, and a percentage point is the same length everywhere.
    a, b, c = 0, 3, 6
    ratio = math.log(points[a].fraction_of_real / points[b].fraction_of_real) / math.log(
        points[a].fraction_of_real / points[c].fraction_of_real
    )
    assert (xy[b][0] - xy[a][0]) / (xy[c][0] - xy[a][0]) == pytest.approx(ratio, abs=2e-3)
    rise = (points[a].top1.mean - points[b].top1.mean) / (points[a].top1.mean - points[c].top1.mean)
    assert (xy[b][1] - xy[a][1]) / (xy[c][1] - xy[a][1]) == pytest.approx(rise, abs=0.05)
    assert xy[0][0] < xy[-1][0]  # dense left


@pytest.mark.parametrize("axis", ["fraction-linear", "macs", "bytes"])
def test_a_click_on_an_axis_changes_the_chart(page: Page, at: str, axis: str) -> None:
    before = drawn(page, at)
    page.click(f"{at} [value={axis}]")
    after = drawn(page, at)
    assert after["lines"] != before["lines"]
    assert after["titles"] != before["titles"]
    only_ours = axis != "fraction-linear"
    assert len(after["lines"]) == (2 if only_ours else 4)
    assert page.run(f"document.querySelector('{at} [value=published]').disabled") is only_ours
    note = page.run(f"document.querySelector('{at} .axis-note').textContent")
    assert ("Published curves are given by fraction of real only." in note) is only_ours
    page.click(f"{at} [value=fraction-log]")
    assert drawn(page, at)["lines"] == before["lines"]
    assert page.troubles == []


def test_the_best_points_can_be_looked_at_closely(page: Page, at: str) -> None:
    def rise(line: str) -> float:
        y = [float(pair.split()[1]) for pair in line.removeprefix("M").split("L")]
        return y[-1] - y[0]

    before = drawn(page, at)
    page.click(f"{at} [name$=span][value='2']")
    after = drawn(page, at)
    assert rise(after["lines"][2]) > 4 * rise(before["lines"][2])
    assert "Only what is within 2 percentage points of the best is in sight." in page.run(
        f"document.querySelector('{at} .axis-note').textContent"
    )
    page.run(f"document.querySelector('{at} .plot').focus()")
    page.press("ArrowRight", 39)
    page.press("ArrowDown", 40)
    assert drawn(page, at)["live"].startswith("Quaternion: Level 0,")  # out of sight, and read all the same
    assert page.run(f"document.querySelector('{at} .ring').getAttribute('visibility')") == "hidden"
    page.click(f"{at} [name$=span][value=all]")
    assert drawn(page, at)["lines"] == before["lines"]
    assert page.troubles == []


def test_clicks_hide_and_show_curves_bands_and_published(page: Page, at: str) -> None:
    page.click(f"{at} [value=published]")
    assert len(drawn(page, at)["lines"]) == 2
    page.click(f"{at} [value=bands]")
    assert drawn(page, at)["bands"] == 0
    page.click(f"{at} [value=curve-1]")
    shown = drawn(page, at)
    assert (len(shown["lines"]), shown["marks"], shown["hollow"]) == (1, 7, 0)
    page.click(f"{at} [value=curve-0]")
    shown = drawn(page, at)
    assert (shown["lines"], shown["ticks"]) == ([], ["Nothing is switched on."])
    for value in ("curve-0", "curve-1", "bands", "published"):
        page.click(f"{at} [value={value}]")
    shown = drawn(page, at)
    assert (len(shown["lines"]), shown["bands"]) == (4, 2)
    assert page.troubles == []


def test_the_mouse_reads_a_point(page: Page, at: str, experiment: report.Experiment) -> None:
    assert drawn(page, at)["tip"] is None
    page.hover(f"{at} [data-chart=accuracy] g path.hollow")
    tip = drawn(page, at)["tip"].replace("\N{NO-BREAK SPACE}", " ")
    cells = dict(zip(report.level_table(experiment).columns, report.level_table(experiment).rows[7 + 5], strict=True))
    lines = [line for line in tip.splitlines() if line]
    assert lines[0] == "Quaternion"
    assert dict(zip(lines[1::2], lines[2::2], strict=True)) == {
        "Level": "5",
        "Density": cells["Density"],
        "Fraction of real": cells["Fraction of real"],
        "Top-1": f"{cells['Top-1 (%)']} %",
        "Trials": "2 of 3",
        "MACs": cells["MACs"],
        "Stored": cells["Stored"],
        "Weights": cells["Weights kept"],
    }
    page.hover("h1")
    assert drawn(page, at)["tip"] is None


def test_the_keyboard_reads_points_and_works_the_switches(page: Page, at: str) -> None:
    page.run(f"document.querySelector('{at} [name$=axis]:checked').focus()")
    page.press("ArrowRight", 39)
    assert drawn(page, at)["titles"][0].startswith("Trainable parameters as a fraction of the real twin's (linear")
    page.run(f"document.querySelector('{at} [value=published]').focus()")
    page.press("Tab", 9)
    assert page.run("document.activeElement.className") == "plot tall"
    first = drawn(page, at)["live"]
    assert first.startswith("Real: Level 0, Density 100 %, Fraction of real 100 %, Top-1 8")
    for _ in range(4):
        page.press("ArrowRight", 39)
    page.press("ArrowLeft", 37)
    assert drawn(page, at)["live"].startswith("Real: Level 3,")
    page.press("ArrowDown", 40)
    assert drawn(page, at)["live"].startswith("Quaternion: Level 0,")  # the nearest by size
    page.press("ArrowDown", 40)
    assert drawn(page, at)["live"].startswith("Real, published, paper 1 (5 trials): Fraction of real")
    page.press("Escape", 27)
    assert drawn(page, at)["tip"] is None
    assert page.troubles == []


def test_the_slider_chooses_the_level(page: Page, at: str, experiment: report.Experiment) -> None:
    middle = drawn(page, at, "training")["lines"]
    layers = drawn(page, at, "layers")["lines"]
    page.run(f"document.querySelector('{at} input[type=range]').focus()")
    page.press("End", 35)
    assert page.run(f"document.querySelector('{at} output').textContent").startswith("6 (density 2")
    last = drawn(page, at, "training")["lines"]
    assert len(last) == len(middle) == 4  # level 0 stays
    assert last[2:] != middle[2:]
    assert drawn(page, at, "layers")["lines"] != layers
    page.press("Home", 36)
    assert len(drawn(page, at, "training")["lines"]) == 2
    assert len({y for line in drawn(page, at, "layers")["lines"] for y in re.findall(r" ([\d.]+)", line)}) == 1
    assert page.troubles == []


def test_the_theme_follows_the_system_and_the_button(page: Page, built: Path) -> None:
    def ground() -> str:
        return str(page.run("getComputedStyle(document.body).backgroundColor"))

    for file in ("experiments/conv4-cifar10.html", "index.html"):
        page.open(built / file)
        assert (ground(), page.run("document.querySelector('#theme').textContent")) == ("rgb(246, 246, 243)", "Dark theme")
        page.click("#theme")
        assert (ground(), page.run("document.querySelector('#theme').textContent")) == ("rgb(18, 20, 23)", "Light theme")
    page.open(built / "index.html", dark=True)
    assert ground() == "rgb(18, 20, 23)"
    page.click("#theme")
    assert ground() == "rgb(246, 246, 243)"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with gaps and intervals: a pair that differs, a pair of one trial, and a study of two variants."""
    folder = tmp_path_factory.mktemp("shown")
    (folder / "experiments").mkdir()
    for path, text in pages([FULL, SINGLE, study("units")]).items():
        (folder / path).write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["", "lenet-300-100-mnist", "digits-units"])
@pytest.mark.parametrize(("width", "dark"), [(360, False), (390, True), (768, False), (1280, True)])
def test_it_fits_and_reads_at_every_width_light_and_dark(
    browser_page: Page, shown: Path, name: str, width: int, dark: bool
) -> None:
    file = f"experiments/{name}.html" if name else "index.html"
    browser_page.troubles.clear()
    browser_page.open(shown / file, width=width, height=844, dark=dark, touch=width < 500)
    assert browser_page.run("document.documentElement.scrollWidth") == width
    assert browser_page.run(BUTTONS) == 1  # the theme's
    unfold(browser_page)
    found = browser_page.run(MEASURE)
    assert found["page"] <= width, json.dumps(found["wide"])
    assert found["wide"] == []
    assert found["outside"] == []
    assert found["overlap"] == []
    assert min(found["contrast"].values()) >= 4.5, found["contrast"]
    assert min(found["lines"]) >= 3, found["lines"]
    assert browser_page.troubles == []


def test_the_overview_leads_to_every_page_and_back_by_keyboard(browser_page: Page, built: Path) -> None:
    browser_page.troubles.clear()
    browser_page.requests.clear()
    browser_page.open(built / "index.html")
    links = browser_page.run("[...document.querySelectorAll('.who a')].map((a) => a.href)")
    assert len(links) == 2
    height = browser_page.run("document.documentElement.scrollHeight")
    assert height < 1600
    browser_page.run("document.querySelector('.who a').focus()")
    browser_page.press("Enter", 13)
    browser_page.run("new Promise((done) => setTimeout(done, 300))")
    assert browser_page.run("location.href") == links[0]
    assert browser_page.run("document.querySelector('.brand a').href") == (built / "index.html").resolve().as_uri()
    assert browser_page.troubles == []
    assert all(request.startswith("file://") for request in browser_page.requests)


def test_a_finger_reads_a_point_below_the_chart(browser_page: Page, conv4: Path, at: str) -> None:
    browser_page.troubles.clear()
    browser_page.open(conv4, width=360, height=800, touch=True)
    unfold(browser_page)
    browser_page.tap(f"{at} [data-chart=accuracy] g path.hollow")
    assert drawn(browser_page, at)["tip"].startswith("Quaternion")
    gap = browser_page.run(
        f"(p => p.querySelector('.tip').getBoundingClientRect().top - p.getBoundingClientRect().bottom)"
        f"(document.querySelector('{at} [data-chart=accuracy] .plot'))"
    )
    assert gap >= 0
    assert browser_page.troubles == []


def test_without_scripts_figures_and_tables_are_there(browser_page: Page, built: Path) -> None:
    browser_page.open(built / "experiments" / "conv4-cifar10.html", scripts=False)
    assert browser_page.run("document.querySelector('noscript').innerText").startswith("Charts to explore need JavaScript")
    assert browser_page.run("document.querySelector('#explore').offsetHeight") == 0
    assert browser_page.run("[...document.querySelectorAll('svg.panel')].map((s) => s.clientHeight > 100)") == [True, True]
    assert browser_page.run("document.querySelectorAll('tbody tr').length") > 20
    browser_page.open(built / "index.html", scripts=False)
    assert browser_page.run("document.querySelectorAll('.row .says').length") == 2


BUTTONS = """[...document.querySelectorAll('button, nav a, input, select')].filter((e) => {
  const b = e.getBoundingClientRect();
  return e.checkVisibility() && b.top < innerHeight && b.bottom > 0;
}).length"""

MEASURE = """(() => {
  const view = document.documentElement.clientWidth, box = (e) => e.getBoundingClientRect();
  const all = (q, from = document) => [...from.querySelectorAll(q)], wide = [], outside = [], overlap = [];
  for (const e of all('body *'))
    if (!e.closest('.scroll, .skip, .sr, svg, .overview .head') && box(e).right > view + 1) wide.push(e.className || e.tagName);
  for (const svg of all('.plot > svg')) {
    const card = box(svg.closest('.card')), texts = all('text', svg).map((t) => [box(t), t.textContent, t]);
    for (const [b, text] of texts)
      if (b.left < card.left || b.right > card.right || b.bottom > box(svg).bottom + 2) outside.push(text);
    const flat = texts.filter(([b, text, t]) => !t.hasAttribute('transform'));
    flat.forEach(([a, one], i) => flat.slice(i + 1).forEach(([b, other]) => {
      const beside = a.left >= b.right || b.left >= a.right, above = a.top + 2 >= b.bottom || b.top + 2 >= a.bottom;
      if (!beside && !above) overlap.push(`${one} | ${other}`);
    }));
  }
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const luminance = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [x, y] = [luminance(one), luminance(other)].sort((p, q) => q - p);
    return (x + 0.05) / (y + 0.05);
  };
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (colour !== 'rgba(0, 0, 0, 0)') return colour;
    }
    return 'white';
  };
  const contrast = {}, note = (name, value) => { contrast[name] = Math.min(contrast[name] ?? 99, value); };
  const words = ['h1', '.sub', '.findings li', '.note', 'legend', '.option', 'td', 'thead th', 'code', '.warning li',
    'footer p', 'button', '.row small', '.row b', '.row a', '.verdict', '.claim'];
  for (const q of words) for (const e of all(q)) note(q, ratio(getComputedStyle(e).color, behind(e)));
  for (const e of all('.panel text')) note('panel', ratio(getComputedStyle(e).fill, behind(e.closest('.card'))));
  for (const e of all('.plot text')) note('chart', ratio(getComputedStyle(e).fill, behind(e.closest('.plot'))));
  const drawn = all('.plot path.series[opacity="1"], .panel .line:not(.pub), .spark .line');
  const lines = drawn.map((e) => ratio(getComputedStyle(e).stroke, behind(e.closest('div'))));
  for (const svg of all('svg.panel')) {
    const card = box(svg.closest('.card')), texts = all('text', svg).map((t) => [box(t), t.textContent]);
    for (const [b, text] of texts) if (b.left < card.left || b.right > card.right) outside.push(text);
  }
  return { page: document.documentElement.scrollWidth, wide, outside, overlap, contrast, lines };
})()"""
