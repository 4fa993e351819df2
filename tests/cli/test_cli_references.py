"""Every command × every kind of reference: what takes a preset takes the user's own, however it is named."""

import sys
from pathlib import Path

import own_experiment
import pytest
from cli_samples import call, tiny_preset

from fourfold import presets
from fourfold.record import find_runs
from fourfold.report import paper_figures
from fourfold.timing import throughput

KINDS = ("built-in", *own_experiment.PRESET)
HERE = ("--workers", 0)


@pytest.fixture(params=KINDS)
def preset(request, here, quick_plan, monkeypatch):
    """The name of an experiment in the current folder."""
    monkeypatch.setattr(throughput, "SECONDS_PER_ROUND", 0.01)
    monkeypatch.setattr(paper_figures, "TRIALS", {1: 1, 2: 1})
    monkeypatch.setitem(presets.PRESETS, "tiny", tiny_preset)
    monkeypatch.setenv("PYTHONPATH", f"{here}:{':'.join(filter(None, sys.path))}")
    monkeypatch.setattr(sys, "path", [*sys.path, str(here)])
    yield "tiny" if request.param == "built-in" else own_experiment.write(here, request.param)
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_package"]:
        del sys.modules[name]


COMMANDS = {
    "run": ("run", "PRESET", "--trials", 1, "--max-level", 1, *HERE),
    "run again": ("run", "PRESET", "--trials", 1, "--max-level", 1, "--keep", 1, *HERE),
    "run with controls": ("run", "PRESET", "--trials", 1, "--max-level", 1, "--controls", "random-init", *HERE),
    "dry run": ("run", "PRESET", "--trials", 9, "--dry-run"),
    "info": ("info", "MODEL"),
    "presets": ("presets", "PRESET"),
    "sweep": ("sweep", "PRESET", "--set", "train.learning_rate=1e-3,1e-2", "--trials", 1, "--algebra", "real", *HERE),
    "study": ("study", "starts", "--base", "PRESET", "--trials", 1, "--max-level", 1, *HERE),
    "bench train": ("bench", "train", "PRESET", "--algebra", "real", "--rounds", 2),
    "reproduce": ("reproduce", "PRESET", "--scale", 0.5, *HERE),
    "forecast": ("reproduce", "PRESET", "--dry-run"),
    "data list": ("data", "list"),
    "status": ("status",),
    "report": ("report", "runs"),
    "check": ("check", "runs"),
    "claims": ("reproduce", "claims", "runs"),
}
"""Words of each, in an order in which they need one another."""

OF_A_RUN = {
    "torch": ("export", "RUN", "--level", 1, "--to", "torch"),
    "program": ("export", "RUN", "--level", 1, "--to", "pt2"),
    "c": ("export", "RUN", "--level", 1, "--to", "c"),
    "artifact": ("export", "RUN", "--level", 1),
    "stability": ("stability", "RUN", "--points", 3, "--workers", 1),
}
"""Commands that build the network of a run: they are given its code."""


@pytest.mark.slow
def test_every_command_takes_every_kind_of_reference(preset):
    for what, words in COMMANDS.items():
        model = "lenet-12" if preset == "tiny" else preset
        named = [{"PRESET": preset, "MODEL": model}.get(word, word) for word in words]
        ended = call(*named)
        assert ended.code == 0, (what, ended.err, ended.out)
    stores = [store for store in find_runs(Path("runs")) if store.kept_levels(0) and store.spec().model.algebra == "quaternion"]
    (store,) = stores
    assert {row.level for row in store.rows(0)} == {0, 1}
    trust = () if preset == "tiny" else ("--trust-code",)
    for what, words in OF_A_RUN.items():
        named = [store.path if word == "RUN" else word for word in words]
        if trust:
            assert call(*named).code == 2
        ended = call(*named, *trust)
        assert ended.code == 0, (what, ended.err, ended.out)
    line = store.connectivity(0)[0]
    assert line.metric == store.rows(0)[0].metric
    if trust:
        assert line.metric.name == "rmse"
        assert " rmse" in ended.out


def test_packages_name_experiments_and_data_that_are_listed_and_not_imported(here, monkeypatch):
    own_experiment.write(here, "entry point")
    (here / "own_package" / "own.py").write_text("raise SystemExit(3)\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(here)])
    assert "own-experiment: own_package.own:experiment, of an installed package" in call("presets").out
    assert "own-data: own_package.own:data" in call("data", "list").out
    ended = call("run", "own-experimend")
    assert "did you mean own-experiment?" in ended.err


def test_sets_of_the_users_own_are_listed(here):
    own_experiment.write(here, "file")
    ended = call("data", "list", "own.py")
    assert ended.code == 0, ended.err
    assert "own.py:data" in ended.out
    assert "own.py, " not in ended.out
    assert "must be left out of `fourfold data list`" in call("data", "list", "digits").err


def test_another_function_of_the_file_may_be_the_experiment(here, quick_plan):
    own_experiment.write(here, "file")
    code = (here / "own.py").read_text()
    (here / "own.py").write_text(f"{code}\ndef both():\n    return [experiment(), ff.presets.get('digits')]\n")
    assert "tiny" not in call("presets", "own.py:both").out
    assert call("presets", "own.py:both").out.count("digits") > 1
    assert "must be one experiment, and names several" in call("study", "starts", "--base", "own.py:both").err
    assert "expected `bot`, found no such name; did you mean 'both'?" in call("run", "own.py:bot").err
