"""Every command that trains has the same flags for where and how long, and all of them reach the run."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from cli_samples import call, tiny_preset, tree
from rich.console import Console

from fourfold import execution, presets
from fourfold.cli.live import follow_sweep
from fourfold.execution import Event
from fourfold.record import Cluster
from fourfold.report.paper_figures import FIGURES, PaperFigure

COMMANDS = {
    "run": ["run", "digits"],
    "sweep": ["sweep", "digits", "--set", "train.epochs=1,2"],
    "study": ["study", "units"],
    "reproduce": ["reproduce", "p0-fig1"],
}
FLAGS = "--device --data-dir --workers --budget --executor --address --gpus-per-trial --memory-per-trial"

every_command = pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
pytestmark = pytest.mark.usefixtures("quick_plan")

TELL = """
import sys
from fourfold.cli import main
try:
    main(sys.argv[1:])
finally:
    print("torch" in sys.modules)
"""


@pytest.fixture(autouse=True)
def _figure(monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "tiny", tiny_preset)
    monkeypatch.setitem(FIGURES, "p0-fig1", PaperFigure(paper=1, shows="a test", presets=("tiny",), pictures=()))


@pytest.fixture
def seen(here, monkeypatch):
    """What a run would have been asked for, and which clusters were greeted."""
    asked = {"greeted": []}
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(Cluster, "greet", lambda self: asked["greeted"].append(self.joined))
    monkeypatch.setattr(execution, "run_job", lambda job, on_event: asked.update(vars(job)) or [])
    return asked


@every_command
def test_help_describes_every_flag(words):
    found = call(words[0], "--help").out.replace(",", " ").split()
    assert [flag for flag in FLAGS.split() if flag not in found] == []


@every_command
def test_every_flag_reaches_the_run(words, seen):
    flags = "--device cuda --data-dir d --workers 3 --budget 1h30m --executor ray --address head:6379 --gpus-per-trial 0.25"
    assert call(*words, *flags.split(), "--memory-per-trial", "2").err == ""
    assert seen["greeted"] == ["head:6379"]
    assert seen["cluster"] == Cluster(address="head:6379", gpus_per_trial=0.25, memory_per_trial=2)
    assert (seen["device"], seen["data_dir"], seen["workers"]) == ("cuda", Path("d"), 3)
    assert 5300 < seen["budget_seconds"] <= 5400


@every_command
def test_without_flags_trials_run_on_this_machine(words, seen):
    assert call(*words).err == ""
    assert seen["greeted"] == []
    assert [seen[name] for name in ("device", "data_dir", "workers", "budget_seconds", "cluster")] == ["auto", *[None] * 4]


@pytest.mark.parametrize("name", ["run", "sweep", "reproduce"])
def test_a_dry_run_needs_no_cluster(name, seen):
    ended = call(*COMMANDS[name], "--dry-run", "--executor", "ray", "--address", "head:6379")
    assert (ended.err, seen) == ("", {"greeted": []})
    assert "1 trial at a time" in ended.out or "1 at a time" in ended.out  # how many it has is not known yet


@pytest.mark.slow
@every_command
def test_a_cluster_that_is_not_there_is_told_before_torch_is_imported(words, here):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    words = [word.replace("p0-fig1", "p1-fig2a") for word in words]
    ended = subprocess.run(
        [sys.executable, "-c", TELL, *words, "--executor", "ray", "--address", address], capture_output=True, text=True
    )
    sentence = f"fourfold: no Ray cluster answers at {address} (Connection refused); `ray start --head` starts one\n"
    assert (ended.returncode, ended.stderr, ended.stdout) == (2, sentence, "False\n")
    assert tree(here) == {}


@pytest.mark.parametrize("words", ["claims", "p1-table1", "--scale 1"])
@pytest.mark.parametrize("flag", ["--executor ray", "--gpus-per-trial 0.5", "--data-dir d"])
def test_what_trains_nothing_takes_no_such_flag(words, flag, here):
    ended = call("reproduce", *words.split(), *flag.split())
    assert ended.code == 2
    assert flag.split()[0] in ended.err
    assert ended.err.count("\n") == 1


def test_a_study_that_joins_its_cluster_again_says_once_what_it_consists_of(capsys):
    (spec,) = [presets.get("digits", algebra="real")]
    with follow_sweep(Console(width=200), [], 1) as take:
        for message in ("2 nodes", "2 nodes", "3 nodes", "2 nodes"):
            take(Event(kind="cluster", spec=spec, message=message))
    assert capsys.readouterr().out.splitlines() == ["2 nodes", "3 nodes", "2 nodes"]
