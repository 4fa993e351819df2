"""`fourfold check` reads everything and trains nothing, and `--repair` mends what it can.

All committed results (ten seconds):

    FOURFOLD_SWEEP=1 pytest tests/cli/test_cli_check.py
"""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_samples import call, make_run, tiny_preset

from fourfold import lottery
from fourfold.record import RunStore
from fourfold.record.journal import sealed_lines
from fourfold.train import single_thread

RESULTS = Path(__file__).parents[2] / "results"
COMMITTED = RESULTS if "FOURFOLD_SWEEP" in os.environ else RESULTS / "lenet-300-100-mnist-released-real-57b4b5e7"

TELL = """
import sys
from fourfold.cli import main
try:
    main(sys.argv[1:])
finally:
    print(sorted({"torch", "sklearn", "scipy", "matplotlib"} & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.skipif(not RESULTS.exists(), reason="results are not part of a source distribution")
def test_committed_results_are_whole_and_no_torch_is_needed_to_see_it():
    ended = subprocess.run([sys.executable, "-c", TELL, "check", COMMITTED], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "[]\n")
    first, *lines = (line.split() for line in ended.stdout.splitlines() if line.strip())
    assert first == ["run", "ok", "damaged", "missing", "foreign"]
    assert all(line[2:] == ["0", "0", "0"] and int(line[1]) >= 2 for line in lines)
    assert len(lines) == len([*COMMITTED.rglob("spec.json")])


@pytest.fixture
def store(tmp_path) -> RunStore:
    spec = tiny_preset()
    run = RunStore.create(tmp_path, spec)
    with single_thread():
        lottery.run_trial(lottery.Experiment.prepare(spec, None, torch.device("cpu")), run, 0)
    return run


def test_what_is_wrong_is_shown_mended_and_then_gone(store):
    assert call("check", store.path).code == 0
    mask = store.path / "masks" / "0-2.safetensors"
    content = mask.read_bytes()
    mask.write_bytes(content[:-1])
    (store.path / "failed-0.json").write_text("{")
    (store.path / "masks" / "0-3.safetensors").unlink()
    (store.path / "notes.txt").write_text("mine")
    ended = call("check", store.path)
    assert ended.code == 1
    assert ended.err == "fourfold: 3 files of 1 run damaged or missing; `fourfold check --repair` mends what can be mended\n"
    shown = {line.split()[0].rpartition("/")[2]: line.split()[1] for line in ended.out.splitlines()[3:] if line.strip()}
    assert {name: state for name, state in shown.items() if "." in name} == {
        "failed-0.json": "damaged",
        "0-2.safetensors": "damaged",
        "0-3.safetensors": "missing",
        "notes.txt": "foreign",
    }
    ended = call("check", "--repair", store.path)
    assert ended.code == 0
    assert [line.rpartition("/")[2] for line in ended.err.splitlines()] == [
        "failed-0.json",
        "0-2.safetensors was made again by training",
        "0-3.safetensors was made again by training",
    ]
    assert mask.read_bytes() == content
    assert (store.path / "damaged" / "failed-0.json").read_text() == "{"
    assert call("check", store.path).code == 0


def test_a_damaged_row_is_cut_off_and_the_rest_is_run_again(tmp_path):
    store = make_run(tmp_path, "real", {0: 3, 1: 1})
    file = store.path / "rows-0.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[0], lines[1].replace("0.5", "0.6", 1), lines[2]]))
    ended = call("check", tmp_path)
    assert ended.code == 1
    assert "line 2: expected the line of its SHA-256" in ended.out
    ended = call("check", tmp_path, "--repair")
    assert ended.code == 0
    assert "now ends before line 2, and lies as it was in damaged/: the same command runs the rest again" in ended.err
    assert file.read_text() == lines[0]
    assert (store.path / "damaged" / "rows-0.jsonl").read_text().endswith(lines[2])


def test_a_folder_without_runs_is_one_sentence(tmp_path):
    ended = call("check", tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("fourfold: there are no runs in ")


FORGED = {
    "more weights than the network": lambda row, dense: row | {"weights": 10**6},
    "weights that grow": lambda row, dense: row | dense,
    "a density of other counts": lambda row, dense: row | {"density": 0.9},
    "another level": lambda row, dense: row | {"level": 3},
    "a metric that is NaN": lambda row, dense: row | {"top1": math.nan},
    "a loss that is infinite": lambda row, dense: row | {"loss": math.inf},
}


@pytest.mark.parametrize("what", FORGED)
def test_a_row_that_was_sealed_again_is_seen_if_it_makes_no_sense(what, store):
    file = store.path / "rows-0.jsonl"
    whole = file.read_bytes()
    rows = [json.loads(line) for line in whole.splitlines()]
    for row in rows:
        del row["previous"], row["sha256"]
    counts = ("weights", "density", "parameters", "fraction_of_real", "macs", "layers")
    rows[2] = FORGED[what](rows[2], {name: rows[0][name] for name in counts})
    lines = sealed_lines([json.dumps(row, separators=(",", ":")) for row in rows])
    file.write_text("".join(f"{line}\n" for line in lines))
    ended = call("check", store.path)
    assert ended.code == 1
    assert re.search(r"rows-0\.jsonl +damaged +line 3\b", ended.out), ended.out
    assert call("check", "--repair", store.path).code == 0
    assert file.read_bytes() == b"".join(whole.splitlines(keepends=True)[:2])
    assert call("check", store.path).code == 0
