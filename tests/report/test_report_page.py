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
from fourfold.report.claims import count_sentence, judge
from fourfold.report.experiments import experiments
from fourfold.report.gap_tables import all_tables
from fourfold.report.page import page
from fourfold.report.runs import Run


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


@pytest.fixture(scope="module")
def text(built: Path) -> str:
    return (built / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


def test_nothing_is_fetched(text: str, read: Reader) -> None:
    assert (
        re.findall(r"https?://[^\s\"'<)]+", text.replace("http://www.w3.org/2000/svg", "")) == []
    )  # a namespace is no request
    assert "@import" not in text
    assert "url(http" not in text
    assert not set(read.tags) & {"img", "iframe", "object", "embed", "audio", "video"}
    assert "default-src 'none'" in text
    assert all(target.startswith(("#", "data:,", "experiment-", "claims")) for target in read.targets)


def test_a_name_cannot_break_out(text: str, read: Reader) -> None:
    assert synthetic.EVIL not in text
    assert html.escape(synthetic.EVIL, quote=True).replace("&#x27;", "&#39;") in text
    assert synthetic.EVIL in read.text
    assert read.tags.count("script") == text.count("</script>") == 3
    data = json.loads(read.scripts[0])
    assert synthetic.EVIL not in read.scripts[0]
    assert "<" not in read.scripts[0]
    assert len(data) == 2


def test_a_label_in_the_embedded_numbers_cannot_break_out() -> None:
    spec = synthetic.spec("real")
    (found,) = report.experiments_of_rows([synthetic.row(spec, 0, 0, control="</script><script>alert(1)</script>")])
    reader = Reader()
    reader.feed(page([found]))
    assert reader.tags.count("script") == 3
    assert "alert(1)" in json.loads(reader.scripts[0])[0]["curves"][0]["label"]


def test_links_and_labels_lead_somewhere(read: Reader) -> None:
    assert len(read.ids) == len(set(read.ids))
    for target in read.targets:
        if target != "data:,":
            assert target.removeprefix("#") in read.ids


def test_tables_failures_and_how_it_was_run_need_no_script(text: str, read: Reader, experiment: report.Experiment) -> None:
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
    for one in judged:
        assert f"{one.claim.says} Paper {one.claim.paper}, {one.claim.place};" in shown
    assert count_sentence(judged) in shown
    assert "four times the multiply-accumulates (MACs)" in shown
    assert "finished 2026-01-07 12:00 UTC" in shown
    assert "sparsity" not in text.lower()
    assert "FLOP" not in text


def test_the_embedded_numbers_are_the_curves(read: Reader, experiment: report.Experiment) -> None:
    data = next(one for one in json.loads(read.scripts[0]) if len(one["curves"]) == 2)
    for curve, shown in zip(experiment.curves, data["curves"], strict=True):
        assert (shown["run"], shown["most"]) == (curve.run, 3)
        assert [point["n"] for point in shown["points"]] == [point.top1.n for point in curve.points]
        for point, one in zip(curve.points, shown["points"], strict=True):
            assert one["top1"] == pytest.approx(point.top1.mean, abs=0.001)
            assert one["std"] == pytest.approx(point.top1.std, abs=0.001)
            assert one["fraction"] == pytest.approx(point.fraction_of_real, rel=1e-3)
            assert one["macs"] == round(point.macs)
            assert one["bytes"] == round(point.stored_bytes)
        assert shown["training"][1]["top1"] == [round(stat.mean, 2) for stat in curve.training[1].top1]
    assert [len(curve["points"]) for curve in data["published"]] == [20, 18]


def test_what_runs_change_of_their_preset_stands_under_its_name() -> None:
    preset = presets.get("conv2-cifar10")
    short = replace(preset, train=replace(preset.train, epochs=2))
    for of, told in ((preset, "Conv-2 on CIFAR-10"), (short, "Conv-2 on CIFAR-10, with train.epochs 2 (not 40)")):
        (found,) = experiments([Run(id=of.id, spec=of, rows=(synthetic.row(of, 0, 0),), failures={})])
        assert f'<p class="sub">{told}</p>' in page([found])


def test_six_presets_of_twenty_levels_stay_below_a_megabyte_and_a_half() -> None:
    rows = []
    for number in range(6):
        for algebra in ("real", "quaternion"):
            spec = synthetic.spec(algebra, preset=f"digits-{number}", epochs=40)
            rows += [synthetic.row(spec, trial, level) for trial in range(2) for level in range(20)]
    assert len(page(report.experiments_of_rows(rows)).encode()) < 1_000_000
