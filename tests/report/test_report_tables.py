"""Tables against the rows, and sentences that say what the rows say and no more."""

import csv
import io

import numpy as np
import pytest
import synthetic_runs as synthetic

from fourfold.record import Row
from fourfold.report import Experiment, Stat, experiments_of_rows, level_table, sentences, summary_table
from fourfold.report._differences import differences
from fourfold.report.gap_tables import OPERATING_POINTS, gap_records, gap_table, survival_table
from fourfold.report.gaps import gap_at, read, survival
from fourfold.report.tables import level_records, summary_records, to_csv
from fourfold.report.words import (
    accuracy,
    count,
    crossing_interval,
    gap,
    gap_interval,
    percent,
    seconds,
    size,
    size_ranges,
    trials,
)


def rows(algebra: str, trials: int = 3, levels: int = 16) -> list[Row]:
    spec = synthetic.spec(algebra)
    return [synthetic.row(spec, trial, level) for trial in range(trials) for level in range(levels)]


def experiment(*parts: list[Row]) -> Experiment:
    (found,) = experiments_of_rows([row for part in parts for row in part])
    return found


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(1, "100 %"), (0.9994, "99.9 %"), (0.2511, "25.1 %"), (0.0999, "9.99 %"), (0.00602, "0.602 %"), (0.00012345, "0.0123 %")],
)
def test_percent_has_three_digits(fraction: float, text: str) -> None:
    assert percent(fraction) == text


def test_counts_and_sizes_and_times() -> None:
    assert [count(value) for value in (0, 999, 1000, 12_345, 999_600, 2_425_024)] == [
        "0",
        "999",
        "1.00 k",
        "12.3 k",
        "1.00 M",
        "2.43 M",
    ]
    assert [size(value) for value in (12, 9_700_000)] == ["12 B", "9.70 MB"]
    assert [seconds(value) for value in (2.34, 59, 61, 7500)] == ["2.3 s", "59 s", "1 min", "2 h 05 min"]
    assert (gap(-0.5), gap(2)) == ("−0.50", "+2.00")
    assert (trials(3, 3), trials(2, 3)) == ("3", "2 of 3")
    assert accuracy(Stat(mean=82.341, std=None, n=1)) == "82.34"
    assert accuracy(Stat(mean=82.341, std=0.456, n=2)) == "82.34 ± 0.46"


def test_the_level_table_says_what_the_rows_say() -> None:
    ours, real = rows("quaternion"), rows("real")
    table = level_table(experiment(ours, real))
    assert len(table.rows) == 32
    line = dict(zip(table.columns, table.rows[16 + 3], strict=True))
    third = [row for row in ours if row.level == 3]
    top1 = [row.top1 for row in third]
    assert line == {
        "Network": "Quaternion",
        "Level": "3",
        "Density": percent(third[0].density),
        "Fraction of real": percent(third[0].fraction_of_real),
        "Weights kept": f"{third[0].weights:,}",
        "Stored": size(float(np.mean([row.stored_bytes for row in third]))),
        "MACs": count(third[0].macs),
        "Top-1 (%)": f"{np.mean(top1):.2f} ± {np.std(top1, ddof=1):.2f}",
        "Trials": "3",
        "Gap, same level": gap(np.mean(top1) - np.mean([row.top1 for row in real if row.level == 3])),
        "Gap, same fraction": line["Gap, same fraction"],
    }
    x = [row.fraction_of_real for row in real if row.trial == 0][::-1]
    y = [np.mean([row.top1 for row in real if row.level == level]) for level in range(16)][::-1]
    expected = np.mean(top1) - np.interp(np.log(third[0].fraction_of_real), np.log(x), y)
    assert line["Gap, same fraction"] == gap(expected)
    assert table.rows[0][-2:] == ("–", "–")
    assert table.rows[-1][-1] == "–"  # the real curve does not reach that far


def test_a_level_that_fewer_trials_reached_says_so() -> None:
    some = [row for row in rows("real", levels=4) if row.trial < 2 or row.level < 3]
    assert [line[8] for line in level_table(experiment(some)).rows] == ["3", "3", "3", "2 of 3"]


def test_csv_keeps_all_digits_and_leaves_missing_cells_empty() -> None:
    one = experiment(rows("quaternion", trials=1, levels=2))
    read = list(csv.DictReader(io.StringIO(to_csv(level_records(one)))))
    assert [float(line["fraction_of_real"]) for line in read] == [p.fraction_of_real for p in one.curves[0].points]
    assert [float(line["top1_mean"]) for line in read] == [p.top1.mean for p in one.curves[0].points]
    assert {(line["top1_std"], line["top5_mean"], line["gap_to_real_same_level"]) for line in read} == {("", "", "")}
    assert to_csv([]) == ""


def test_the_summary_says_dense_interpolated_and_where_a_difference_is_shown() -> None:
    found = experiment(rows("real"), rows("quaternion"))
    real, quaternion = summary_records(found)
    assert real["dense_top1_mean"] == pytest.approx(np.mean([row.top1 for row in rows("real") if row.level == 0]))
    assert quaternion["dense_fraction_of_real"] == rows("quaternion")[0].fraction_of_real
    assert real["overtakes_real_at_fraction_interpolated"] is None
    crossing = quaternion["overtakes_real_at_fraction_interpolated"]
    assert isinstance(crossing, float)
    assert 0.1 < crossing < 0.16
    cells = dict(zip(summary_table(found).columns, summary_table(found).rows[1], strict=True))
    shown = differences(found.curves[1], found.curves[0])
    assert shown is not None
    assert shown.ahead is not None
    assert shown.behind is not None
    for word, side in (("ahead of", shown.ahead), ("behind", shown.behind)):
        cell = f"{size_ranges(side)}: {gap_interval(side.gap, with_unit=False)} at {percent(side.at)}"
        assert cells[f"Shown {word} real at"] == cell
        assert f"{gap_interval(side.gap)} at {percent(side.at)}" in sentences(found)[0]
        prefix = f"shown_{word.replace(' ', '_')}_real"
        assert quaternion[f"{prefix}_at"] == size_ranges(side)
        assert quaternion[f"{prefix}_largest_gap_mean"] == side.gap.mean
        assert quaternion[f"{prefix}_largest_gap_low_95"] == side.gap.low
    assert shown.ahead.at < crossing < shown.behind.at
    assert cells["Within 1 point of dense real"] == "never"
    assert cells["At 3 % of real"] == f"{quaternion['top1_at_3_percent_interpolated']:.2f}"


def test_what_was_not_run_or_measured_is_never_a_number() -> None:
    alone = summary_table(experiment(rows("quaternion", levels=3)))
    assert alone.rows[1] == ("Real", *["not run"] * 9)
    cells = dict(zip(alone.columns, alone.rows[0], strict=True))
    assert cells["At 3 % of real"] == "–"
    assert (
        cells["Shown ahead of real at"] == cells["Shown behind real at"] == cells["Within 1 point of dense real"] == "not run"
    )
    assert level_table(experiment(rows("quaternion", levels=3))).rows[0][-2:] == ("not run", "not run")


def test_markdown_escapes_what_would_end_a_cell() -> None:
    spec = synthetic.spec("real")
    control = [synthetic.row(spec, 0, 0, control="a|b*<i>")]
    text = level_table(experiment(rows("real", levels=1), control)).to_markdown()
    lines = text.splitlines()
    assert lines[0] == "### Levels"
    assert r"| Real, a\|b\*\<i\> | 0 | 100 % |" in text
    assert lines[3].count("---") == 11


def test_the_gap_at_the_smallest_target_is_of_the_trials_that_reached_it_with_both() -> None:
    some = [row for row in rows("quaternion") if row.trial < 2 or row.level < 3]
    found = experiment(rows("real"), some)
    real, quaternion = found.curves
    expected = gap_at(quaternion.traces, real.traces, 0.125)
    assert expected is not None
    assert expected.trials == 2
    sentence = next(sentence for sentence in sentences(found) if sentence.startswith("At 12.5 %"))
    assert f"a gap of {gap_interval(expected)} (2 trials, interpolated)." in sentence
    ours, theirs = (np.mean([read(trace, 0.125) for trace in curve.traces if trace.trial < 2]) for curve in (quaternion, real))
    assert f"Quaternion {ours:.2f} %, real {theirs:.2f} %" in sentence


def test_single_trials_are_never_called_means() -> None:
    said = sentences(experiment(rows("real", trials=1), rows("quaternion", trials=1)))
    assert said[0].startswith("One trial only, which shows no difference: ")
    assert "(one trial each, interpolated)" in said[-1]
    assert not any("means" in sentence for sentence in said)


def test_without_a_partner_nothing_is_compared() -> None:
    assert sentences(experiment(rows("real", levels=2)))[-1] == "No other algebra was run, so there is nothing to compare with."
    assert (
        sentences(experiment(rows("quaternion", levels=2)))[-1]
        == "The real twin was not run, so there is nothing to compare with."
    )
    empty = Experiment(preset="p", dataset="d", model="m", curves=(), published=(), rows=())
    assert sentences(empty) == ["No level of a ticket has finished yet."]


def test_gaps_are_said_at_operating_points_of_three_sizes_with_intervals() -> None:
    found = experiment(rows("real"), rows("quaternion"))
    real, quaternion = found.curves
    table = gap_table(found)
    assert table is not None
    assert table.columns[3:] == ("Equal parameters", "Equal stored bytes", "Equal MACs")
    lines = {line[2]: line for line in table.rows}
    assert list(lines) == [percent(at) for at in OPERATING_POINTS if percent(at) in lines]
    expected = gap_at(quaternion.traces, real.traces, 0.125)
    assert expected is not None
    assert expected.low is not None
    assert expected.high is not None
    assert lines["12.5 %"][3] == f"{gap(expected.mean)} [{gap(expected.low)}, {gap(expected.high)}]"
    stored = gap_at(quaternion.traces, real.traces, 0.125 * real.points[0].stored_bytes, "stored_bytes")
    macs = gap_at(quaternion.traces, real.traces, 0.125 * real.macs_real, "macs")
    records = [record for record in gap_records(found) if record["fraction_of_dense_real"] == 0.125]
    assert {record["equal"]: record["gap_mean"] for record in records} == {
        "fraction_of_real": expected.mean,
        "stored_bytes": stored and stored.mean,
        "macs": macs and macs.mean,
    }
    assert lines["100 %"][3:5] == ("–", "–")  # the quaternion network starts at a quarter of the parameters
    alone = gap_table(experiment(rows("real", trials=1), rows("quaternion", trials=1)))
    assert alone is not None
    assert alone.rows[-1][3].endswith(" (1 trial)")
    assert gap_table(experiment(rows("real"))) is None


def test_tickets_are_held_against_their_controls() -> None:
    control = [
        synthetic.row(synthetic.spec("quaternion"), trial, level, control="random-init")
        for trial in range(3)
        for level in (4, 8)
    ]
    table = gap_table(experiment(rows("real"), rows("quaternion"), control))
    assert table is not None
    against = [line for line in table.rows if line[1] == "Quaternion, random init"]
    assert against
    assert all(line[3].startswith("+") for line in against if line[3] != "–")  # a control of these runs has 20 % less


def test_compression_is_said_in_bytes_and_macs() -> None:
    found = experiment(rows("real"), rows("quaternion"))
    table = survival_table(found)
    assert table is not None
    assert [line[:2] for line in table.rows] == [
        (name, points) for name in ("Real", "Quaternion") for points in ("1", "2", "5")
    ]
    line = dict(zip(table.columns, table.rows[2], strict=True))
    real = found.curves[0]
    sure = survival(real.traces, 5)
    assert sure is not None
    assert line["At fraction of real"] == f"{percent(sure.at)} {crossing_interval(sure)}"
    last = [point for point in real.points if point.fraction_of_real >= sure.at][-1]
    assert line["Smaller"] == f"{real.points[0].stored_bytes / last.stored_bytes:.1f} ×"
    assert (line["MACs before"], line["Fewer"]) == (count(last.macs), f"{real.macs_real / last.macs:.1f} ×")
    short = survival_table(experiment(rows("real", levels=2)))
    assert short is not None
    assert short.rows[0][2].startswith("below ")
