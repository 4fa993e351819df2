"""Every mistake is one sentence on standard error, exit code 2, and nothing on disk has changed."""

import json
import re

import pytest
import torch
from cli_samples import call, tree

from fourfold.record import RunStore

pytestmark = pytest.mark.usefixtures("quick_plan")

ALGEBRAS = r"known: complex, octonion, phm, quaternion, real"
MISTAKES = [
    ("rum digits", r"unknown command 'rum'; did you mean run\? `fourfold --help` describes all"),
    ("run digit", r"unknown preset 'digit'; did you mean digits\? `fourfold presets` describes them"),
    ("run digits --algebra kwaternion", rf"unknown model algebra 'kwaternion'; did you mean quaternion\? {ALGEBRAS}"),
    ("run digits --algebra", r"there is nothing to run: name at least one algebra"),
    ("run digits --algebra real real", r"one experiment is named twice"),
    ("run digits --algebra octonion", r"`out_features` \(=300\) must be divisible by 8 for algebra 'octonion'"),
    (
        "run lenet-12-mnist --algebra octonion",
        r"`data\.encoding` \(='pixels'\) needs a width that is a multiple of 8, but mnist is 28 .*",
    ),
    ("run digits --trials 0", r"`trials` \(=0\) must be at least 1"),
    ("run digits --trials -1", r"`trials` \(=-1\) must be at least 1"),
    ("run digits --workers -1", r"`workers` \(=-1\) must be at least 0"),
    ("run digits --device foo", r"unknown device 'foo'; known: auto, cpu, cuda, cuda:N"),
    ("run digits --device meta", r"unknown device 'meta'; known: auto, cpu, cuda, cuda:N"),
    ("run digits --device cuda:99", r"device 'cuda:99' is not here: torch \S+ sees .*; use --device cpu or auto"),
    ("run digits --learning-rate nan", r"`train\.learning_rate` \(=nan\) must lie in \(0, 100\)"),
    ("run digits --learning-rate 0", r"`train\.learning_rate` \(=0\.0\) must lie in \(0, 100\)"),
    ("run digits --learning-rate -1e-3", r"`train\.learning_rate` \(=-0\.001\) must lie in \(0, 100\)"),
    ("run digits --learning-rate 1e9", r"`train\.learning_rate` \(=1000000000\.0\) must lie in \(0, 100\)"),
    ("run digits --prune-fraction 1", r"`prune\.fraction` \(=1\.0\) must lie in \[0\.001, 1\)"),
    ("run digits --prune-fraction nan", r"`prune\.fraction` \(=nan\) must lie in \[0\.001, 1\)"),
    ("run digits --prune-fraction 20", r"`prune\.fraction` \(=20\.0\) must lie in \[0\.001, 1\)"),
    (
        "run digits --set prune.score",
        r"`--set` \(='prune\.score'\) must be a field and its value, such as prune\.score=synflow",
    ),
    ("run digits --set prune.score=", r"`--set` \(='prune\.score='\) must be a field and its value, .*"),
    ("run digits --set prune.scor=snip", r"unknown field of a spec 'prune\.scor'; did you mean prune\.score .*\?"),
    ("run digits --set prune.score=snap", r"`prune\.score` \(='snap'\) must be .*snip.*"),
    ("run digits --set train.epochs=2 --set train.epochs=3", r"`--set` names train\.epochs twice"),
    ("run digits --set train.epochs=2 --epochs 3", r"`--epochs` \(=3\) cannot be combined with `--set train\.epochs`"),
    ("run digits --set data.classes=3 --classes 2", r"`--classes` cannot be combined with `--set data\.classes`: both set it"),
    ("run digits --set model.algebra=complex", r"`model\.algebra` must be left out of `--set`: --algebra sets it"),
    (
        "run digits --set model.name=lenet-12",
        r"`model\.name` \(='lenet-12'\) must come with `--set preset=NAME`: it makes another experiment",
    ),
    ("run digits --set preset=conv4-cifar10", r"`preset` \(='conv4-cifar10'\) must be a name that no preset has"),
    ("run digits --set prune.rewind=epoch", r"`prune\.rewind_to` .*"),
    ("run digits --epochs 0", r"`train\.epochs` \(=0\) must be an integer of at least 1"),
    ("run digits --max-level -1", r"`stop\.max_level` \(=-1\) must be an integer of at least 0"),
    ("run", r"`PRESET` must be given; `fourfold run --help` describes all options"),
    ("run digits --nonsense 3", r"unknown option --nonsense; `fourfold run --help` describes all options"),
    ("run digits --trials x", r"`--trials` \(='x'\) must be an integer; `fourfold run --help` describes all options"),
    ("presets extra", r"unknown preset 'extra'; `fourfold presets` describes them"),
    ("run digits --epochs 9999999999", r"`train\.epochs` \(=9999999999\) must be at most 1,000,000,000"),
    ("run digits --prune-fraction 1e-17", r"`prune\.fraction` \(=1e-17\) must lie in \[0\.001, 1\)"),
    ("run digits --keep -1", r"`--keep` \(=-1\) must be levels such as 0 3 6, or all"),
    ("run digits --max-level 2 --keep 0 3", r"`keep` \(=\[0, 3\]\) names a level after the last one, 2"),
    (
        "run digits --max-level 2 --controls inverted --control-levels 0 3",
        r"`control_levels` \(=\[0, 3\]\) names a level after the last one, 2",
    ),
    ("run digits --budget=", r"`--budget` \(=''\) must not be empty"),
    ("run digits --budget 9", r"`--budget` \(='9'\) must have a unit: 9s, 9m or 9h"),
    ("run digits --trails 3", r"unknown option --trails; did you mean --trials\? `fourfold run --help` describes all options"),
    ("--verison", r"unknown option --verison; did you mean --version\? options of a command stand after it; .*"),
    ("--trials 3 run digits", r"unknown option --trials; options of a command stand after it; .*"),
    ("bench tran", r"unknown command 'bench tran'; did you mean bench train\? .*"),
    ("run digits --budget soon", r"`--budget` \(='soon'\) must be a duration such as 90s, 9m or 1h30m"),
    ("run digits --budget 0m", r"`--budget` \(='0m'\) must be above 0"),
    ("run digits --budget=-5m", r"`--budget` \(='-5m'\) must be a duration such as 90s, 9m or 1h30m"),
    ("run digits --out taken", r"cannot write the run to taken/digits-real-\w{8} \(Not a directory\); choose another --out"),
    ("run resnet18-imagenet64 --data-dir nowhere", r"imagenet64 is not in nowhere \(.* is missing\); get .*"),
    (
        "sweep digits",
        r"there is nothing to sweep: give a field more than one value, such as --set train\.learning_rate=3e-4,1e-3",
    ),
    ("sweep digits --set train.rate=1,2", r"unknown field of a spec 'train\.rate'; did you mean .*train\.learning_rate.*"),
    ("sweep digits --set train.epochs=1,many", r"`train\.epochs` \(='many'\) must be an integer"),
    ("sweep digits --set train.epochs=1,0", r"`train\.epochs` \(=0\) must be an integer of at least 1"),
    ("sweep digits --set prune.fraction=0.1:0.5", r"`prune\.fraction` is a range, .* add --optuna N, or list its values"),
    ("sweep digits --set train.epochs=1,2 --seed 1", r"`--seed` \(=1\) cannot be combined with a grid: .*; add --optuna N"),
    ("sweep digits --set train.epochs=1:2 --study 0", r"`optuna` \(=0\) must be at least 1 evaluation"),
    ("sweep digits --set train.epochs=1,2 --level -1", r"`stop\.max_level` \(=-1\) must be an integer of at least 0"),
    ("sweep digits --set train.epochs=1,2 --validation 0", r"`validation` \(=0\) must be at least 1 and below 1437: .*"),
    (
        "sweep digits --set train.epochs=1,2 --algebra real real",
        r"`PRESET` \(='digits'\) must name one experiment for each algebra, and names several for one",
    ),
    ("sweep digits --set train.epochs=1,2 --trials 0", r"`trials` \(=0\) must be at least 1"),
    ("sweep digits --set model.name=lenet-12,lenet", r"unknown model 'lenet'; did you mean lenet-12 .*\? .*"),
    ("sweep digits --set train.epochs=1,2 --budget soon", r"`--budget` \(='soon'\) must be a duration such as .*"),
    ("sweep digits --set train.epochs=1,2 --protocol released", r"`protocol` \(='released'\) must be 'text' for digits, .*"),
    ("status nowhere", r"there is no nowhere; name a run's folder or one that holds runs"),
    ("status", r"there is no runs; name a run's folder or one that holds runs"),
    ("status empty", r"there are no runs in empty; `fourfold run digits` makes one"),
    (f"status {'long' * 80}", r"cannot look for runs in (long)+ \(File name too long\)"),
    ("report nowhere", r"there is no nowhere; name a run's folder or one that holds runs"),
    ("report empty --out page", r"there are no runs in empty; .*"),
    ("info conv-9", r"unknown model 'conv-9'; did you mean conv-2 or conv-4 or conv-6\?"),
    ("info conv-2 --algebra real foo", rf"unknown model algebra 'foo'; {ALGEBRAS}"),
    ("info conv-2 --head both", r"unknown model head 'both'; known: algebra, real"),
    ("info conv-2 --classes 0", r"`num_classes` \(=0\) must lie in \[1, 2147483647\]"),
    ("info conv-2 --classes 99999999999999999999", r"`num_classes` \(=9{20}\) must lie in \[1, 2147483647\]"),
    ("info lenet-300-100 --algebra octonion", r".* must be divisible by 8 for algebra 'octonion'"),
    ("info conv-2 --classes 10 --head algebra --algebra quaternion", r"`num_classes` \(=10\) must be divisible by 4 for .*"),
    ("data lst", r"unknown action 'lst'; did you mean list\? known: check, get, list, pack"),
    ("data get", r"`NAME` must be given to `fourfold data get`: a data set of `fourfold data list`"),
    ("data get letters", r"unknown data set 'letters'; known: cifar-10, .*"),
    ("data check letters", r"unknown data set 'letters'; known: cifar-10, .*"),
]


def check_mistake(words, sentence, folder):
    before = tree(folder)
    ended = call(*words)
    assert ended.code == 2
    assert re.fullmatch(f"fourfold: {sentence}\n", ended.err), ended.err
    assert ended.err.count("\n") == 1
    assert tree(folder) == before
    return ended


@pytest.mark.slow
@pytest.mark.parametrize(("command", "sentence"), MISTAKES, ids=[command for command, _ in MISTAKES])
def test_a_mistake_is_one_sentence(command, sentence, here):
    (here / "taken").write_text("not a folder")
    (here / "empty").mkdir()
    check_mistake(command.split(), sentence, here)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_without_one_is_one_sentence(here):
    sentence = r"device 'cuda' is not here: torch \S+ sees no CUDA device; use --device cpu or auto"
    check_mistake(["run", "digits", "--device", "cuda"], sentence, here)


def a_run(folder):
    """The folder of a run that `fourfold run digits --algebra real` would go on with."""
    from fourfold import presets

    return RunStore.create(folder / "runs", presets.get("digits"))


GO_ON = ["run", "digits", "--algebra", "real", "--trials", "1"]


def test_a_run_of_another_spec_version_is_one_sentence(here):
    file = a_run(here).path / "spec.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"spec_version": 99}))
    sentence = r"runs/digits-real-\w+/spec\.json was written with spec version 99, this fourfold reads version \d+; use the .*"
    check_mistake(GO_ON, sentence, here)


def test_a_run_of_another_spec_is_one_sentence(here):
    file = a_run(here).path / "spec.json"
    value = json.loads(file.read_text())
    value["train"]["epochs"] += 1
    file.write_text(json.dumps(value))
    check_mistake(GO_ON, r"runs/\S+spec\.json holds another experiment than digits-real-\w+; move it away or .*", here)


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_damaged_spec_is_one_sentence(text, here):
    (a_run(here).path / "spec.json").write_text(text)
    check_mistake(["report"], r"runs/\S+spec\.json cannot be read as a spec \(.*\); the `fourfold run` that began .*", here)


def test_a_damaged_row_is_one_sentence(here):
    (a_run(here).path / "rows-0.jsonl").write_text('{"run": 1}\n')
    check_mistake(GO_ON, r"runs/\S+rows-0\.jsonl:1 is not a row of fourfold \(.*\); remove that line .*", here)
    check_mistake(["report"], r"runs/\S+rows-0\.jsonl:1 is not a row of fourfold \(.*\); remove that line .*", here)


def test_a_run_that_another_process_works_on_is_one_sentence(here):
    store = a_run(here)
    with store.lock("run"):
        sentence = r"another process is working on runs/digits-real-\w+; wait for it, or use another --out"
        check_mistake(GO_ON, sentence, here)
