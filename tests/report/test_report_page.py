"""The page as text: self-contained, escaped, complete, small."""

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import synthetic_runs as synthetic

import fourfold.report as report
from fourfold import presets
from fourfold.record import CONTROLS
from fourfold.report._experiments import experiments
from fourfold.report.claims import count_sentence, judge
from fourfold.report.gap_tables import all_tables
from fourfold.report.page import pages
from fourfold.report.runs import Run
from fourfold.report.wording import control_words


class Reader(HTMLParser):
    """Collects elements, identifiers and the text of script elements."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.scripts: list[str] = []
        self.text = ""
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        self.targets += [str(found[name]) for name in ("href", "src", "for", "aria-labelledby") if found.get(name)]
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data: str) -> None:
        if self._in_script:
            self.scripts[-1] += data
        else:
            self.text += data


def of(text: str) -> Reader:
    """What is in a page."""
    reader = Reader()
    reader.feed(text)
    return reader


@pytest.fixture(scope="module")
def index(built: Path) -> str:
    return (built / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(built: Path) -> str:
    """The page of the Conv-4 experiment."""
    return (built / "experiments" / "conv4-cifar10.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def read(text: str) -> Reader:
    return of(text)


@pytest.fixture(scope="module")
def every(built: Path) -> list[str]:
    return [file.read_text(encoding="utf-8") for file in sorted(built.rglob("*.html"))]


def test_nothing_is_fetched(every: list[str]) -> None:
    assert len(every) == 3
    for text in every:
        outside = re.findall(
            r"https?://[^\s\"'<)]+", text.replace("http://www.w3.org/2000/svg", "")
        )  # a namespace is no request
        assert outside == []
        assert "@import" not in text
        assert "url(http" not in text
        assert not set(of(text).tags) & {"img", "iframe", "object", "embed", "audio", "video"}
        assert "default-src 'none'" in text
        own = ("#", "data:,", "explore", "claims", "says", "experiments/", "../index.html")
        assert all(target.startswith(own) for target in of(text).targets)


def test_a_name_cannot_break_out(every: list[str]) -> None:
    evil = [text for text in every if synthetic.EVIL in of(text).text]
    assert len(evil) == 2  # its own page, and its row of the overview
    for text in every:
        assert synthetic.EVIL not in text
        reader = of(text)
        assert reader.tags.count("script") == text.count("</script>")
        for script in reader.scripts:
            assert synthetic.EVIL not in script
    for text in evil:
        assert html.escape(synthetic.EVIL, quote=True).replace("&#x27;", "&#39;") in text


def test_a_label_in_the_embedded_numbers_cannot_break_out() -> None:
    spec = synthetic.spec("real")
    (found,) = report.experiments_of_rows([synthetic.row(spec, 0, 0, control="</script><script>alert(1)</script>")])
    (text,) = pages([found]).values()
    assert of(text).tags.count("script") == 4
    data = next(script for script in of(text).scripts if "alert(1)" in script)
    assert "<" not in data
    assert "alert(1)" in json.loads(data)[0]["curves"][0]["label"]


def test_links_and_labels_lead_somewhere(built: Path) -> None:
    for file in built.rglob("*.html"):
        reader = of(file.read_text(encoding="utf-8"))
        assert len(reader.ids) == len(set(reader.ids))
        for target in reader.targets:
            if target.endswith(".html"):
                assert (file.parent / target).exists()
            elif target != "data:,":
                assert target.removeprefix("#") in reader.ids


def test_tables_failures_and_how_it_was_run_need_no_script(
    text: str, read: Reader, index: str, experiment: report.Experiment
) -> None:
    shown = " ".join(read.text.split())
    tables = all_tables(experiment)
    assert [table.title for table in tables] == ["Summary", "Gaps", "Compression", "Levels"]
    for table in tables:
        for line in table.rows:
            cells = "".join(f"<td>{cell}</td>" for cell in line[1:])
            assert f'<th scope="row">{line[0]}</th>{cells}' in text
    run = next(run for run in experiment.specs if "quaternion" in run)
    assert f"Trial 2 of {run}, level 5: the loss became nan" in shown
    assert "cpu (2 threads, a test)" in shown
    assert "fourfold 0.1.0, python 3.12.1, torch 2.13.0" in shown
    seconds = sum(row.provenance.seconds for row in experiment.rows if row.run == run)
    assert f"<td>{round(seconds / 60)} min</td>" in text
    assert re.search(r'<tr class="differs"><th scope="row"><code>model.algebra</code> <em>differs</em></th><td>real</td>', text)
    assert text.index("<code>model.algebra</code>") < text.index("<code>preset</code>")  # what differs comes first
    for sentence in report.sentences(experiment):
        assert sentence in read.text.replace("\N{NO-BREAK SPACE}", " ")
    judged = judge([experiment])
    overview = " ".join(of(index).text.split())
    for one in judged:
        assert f"{one.claim.says} Paper {one.claim.paper}, {one.claim.place};" in overview
    assert count_sentence(judged) in overview
    assert "four times the multiply-accumulates (MACs)" in shown
    assert "one finished 2026-01-07 12:00 UTC" in shown
    assert "sparsity" not in text.lower()
    assert "FLOP" not in text


def test_the_embedded_numbers_are_the_curves(read: Reader, experiment: report.Experiment) -> None:
    (data,) = json.loads(next(script for script in read.scripts if script.startswith("[")))
    for curve, shown in zip(experiment.curves, data["curves"], strict=True):
        assert (shown["run"], shown["most"]) == (curve.run, 3)
        points = [dict(zip(data["columns"], point, strict=True)) for point in shown["points"]]
        assert [point["n"] for point in points] == [point.top1.n for point in curve.points]
        for point, one in zip(curve.points, points, strict=True):
            assert one["top1"] == pytest.approx(point.top1.mean, abs=0.001)
            assert one["std"] == pytest.approx(point.top1.std, abs=0.001)
            assert one["fraction"] == pytest.approx(point.fraction_of_real, rel=1e-3)
            assert one["macs"] == round(point.macs)
            assert one["bytes"] == round(point.stored_bytes)
        assert shown["training"][1]["top1"] == [round(stat.mean, 2) for stat in curve.training[1].top1]
    assert [len(curve["points"]) for curve in data["published"]] == [20, 18]


def test_what_runs_change_of_their_preset_stands_under_its_name_in_words() -> None:
    preset = presets.get("conv2-cifar10")
    short = replace(preset, train=replace(preset.train, epochs=2))
    for spec, told in ((preset, "reduced: 1 of 5 trials"), (short, "reduced: 2 epochs instead of 40, 1 of 5 trials")):
        (found,) = experiments([Run(id=spec.id, spec=spec, rows=(synthetic.row(spec, 0, 0),), failures={})])
        (text,) = pages([found]).values()
        assert f"<strong>conv2-cifar10</strong>: Conv-2 on CIFAR-10; 1 trial; {told}." in text


def test_a_report_of_one_experiment_is_its_page_with_its_claims() -> None:
    (found,) = report.experiments_of_rows([synthetic.row(synthetic.spec("real"), 0, level) for level in range(3)])
    judged = judge([found])
    one = pages([found], judged)
    assert list(one) == ["index.html"]
    assert "All experiments" not in one["index.html"]
    assert "Claims of the two papers" in one["index.html"]


def test_ten_experiments_stay_small() -> None:
    rows = []
    for number in range(10):
        for algebra in ("real", "quaternion"):
            spec = synthetic.spec(algebra, preset=f"digits-{number}", epochs=4)
            rows += [synthetic.row(spec, trial, level) for trial in range(2) for level in range(14)]
    found = {path: len(text.encode()) for path, text in pages(report.experiments_of_rows(rows)).items()}
    assert found.pop("index.html") < 200_000 / 4
    assert len(found) == 10
    assert max(found.values()) < 300_000 / 2


def test_a_page_of_many_levels_epochs_and_controls_is_bounded() -> None:
    rows = []
    for algebra in ("real", "quaternion"):
        for level in range(24):
            rows.append(synthetic.row(synthetic.spec(algebra, epochs=80), 0, level))
            short = synthetic.row(synthetic.spec(algebra, epochs=1), 0, level)  # no page shows a control's training
            rows += [replace(short, run=rows[-1].run, control=control) for control in CONTROLS if level]
    (text,) = pages(report.experiments_of_rows(rows)).values()
    assert len(text.encode()) < 300_000
    shown = of(text).text
    assert "random mask, Erdős–Rényi densities" in shown
    for control in CONTROLS:
        assert control_words(control) in shown


@pytest.mark.slow
@pytest.mark.parametrize("trials", [1, 2, 200])
def test_one_trial_or_two_hundred_can_be_read(trials: int) -> None:
    rows = [
        synthetic.row(replace(synthetic.spec(algebra), train=replace(synthetic.spec(algebra).train, epochs=1)), trial, level)
        for algebra in ("real", "quaternion")
        for trial in range(trials)
        for level in range(12)
    ]
    (text,) = pages(report.experiments_of_rows(rows)).values()
    shown = " ".join(of(text).text.split())
    assert ("One trial shows no difference" in shown) is (trials == 1)
    assert f"{trials} {'trial' if trials == 1 else 'paired trials'}" in shown
    assert ("nan" in shown.lower().split()) is False
    assert text.count('class="panel"') == 2


def test_the_page_of_two_networks_with_every_control_at_forty_levels_is_below_300_kilobytes() -> None:
    specs = [synthetic.spec(algebra, epochs=40) for algebra in ("real", "quaternion")]
    rows = {
        of.id: tuple(
            synthetic.row(of, trial, level, control=control)
            for control in ("ticket", *(name for name in CONTROLS if name != "equal-macs" or of.model.algebra != "real"))
            for trial in range(2 if control == "ticket" else 1)
            for level in range(45)
        )
        for of in specs
    }
    found = experiments([Run(id=of.id, spec=of, rows=rows[of.id], failures={}) for of in specs])
    (text,) = pages(found).values()
    assert len(text.encode()) < 300_000
    assert "The first 320 of 765 rows; tables.md and the CSV files have all." in text
    levels = next(table for table in all_tables(found[0]) if table.title == "Levels")
    tickets = [line for line in levels.rows if line[0] in ("Real", "Quaternion")]
    assert levels.rows[: len(tickets)] == tuple(tickets)
