"""`study` asks its question of a preset, resumes, and says what it leaves out."""

import re

import pytest
from cli_samples import call, tree

QUICK = ("--trials", "2", "--epochs", "1", "--prune-fraction", "0.7", "--max-level", "1", "--workers", "1")


def test_without_a_name_the_studies_are_listed(here):
    ended = call("study")
    assert ended.code == 0
    named = [line.split()[0] for line in ended.out.splitlines()]
    assert named == ["units", "budgets", "starts", "learning-rates", "norms", "precisions", "algebras"]
    assert not tree(here)


@pytest.mark.slow
def test_variants_are_run_once_and_stand_side_by_side(here):
    ended = call("study", "algebras", *QUICK)
    assert (ended.code, ended.err) == (0, "")
    assert "without octonion: `out_features` (=300) must be divisible by 8" in ended.out
    assert "with epochs 1, prune_fraction 0.7, max_level 1, for every variant" in ended.out
    assert " left with 1 trial at a time" in ended.out
    table = ended.out.partition("digits-algebras: at equal parameters")[2].partition("digits-algebras: at equal MACs")[0]
    assert [line.split()[0] for line in table.splitlines()[2:] if line[:1].isalpha()] == [
        "Quaternion",
        "Real",
        "Complex",
        "PHM",
    ]
    assert (here / "runs" / "digits-algebras-report" / "index.html").exists()
    assert len(list((here / "runs").glob("digits-algebras-*/rows-1.jsonl"))) == 4
    again = call("study", "algebras", *QUICK)
    assert (again.code, "level 0:" in again.out) == (0, False)
    assert again.out.partition("digits-algebras: at equal parameters")[2].startswith(table)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("units", *QUICK), ["quaternion (unit weight)", "quaternion (unit element)", "real"]),
        (("norms", "--base", "digits-resnet8", *QUICK), ["quaternion", "quaternion (norm whitening)", "real"]),
    ],
)
def test_a_plan_names_the_variants_and_tells_how_long_they_take(here, words, names):
    ended = call("study", *words, "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    _, _, heading, *lines, total = ended.out.splitlines()
    assert "2 trials of each, 70 % of the remaining weights pruned a level" in heading
    assert [re.split(r" {2,}", line.strip())[0] for line in lines] == names
    assert len({line.index(" weights (") for line in lines}) == 1  # one below the other
    assert re.fullmatch(r"  about \d+ (s|min) left with 1 trial at a time", total)
    assert not tree(here)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nothing",), "unknown study 'nothing'; known: algebras, budgets, learning-rates, norms, precisions, starts, units"),
        (("norms",), "`norm` (='whitening') needs a network with batch norm; lenet-300-100 has none"),
        (("units", "--base", "nothing"), "unknown preset 'nothing'"),
        (("units", "--trials", "0"), "`trials` (=0) must be at least 1"),
        (("units", "--epochs", "0"), "`train.epochs` (=0) must be"),
        (("units", "--base", "conv2-cifar10-early-stopping"), "`base` (='conv2-cifar10-early-stopping') must have no early"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(here, words, sentence):
    ended = call("study", *words)
    assert ended.code == 2
    assert ended.err.startswith(f"fourfold: {sentence}")
    assert not tree(here)
