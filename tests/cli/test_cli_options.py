"""What help says of options: each in one panel, with its choices; and what earlier versions took is still taken."""

import importlib
import re

import pytest
from cli_samples import call

from fourfold import models, presets, tasks
from fourfold.cli import COMMANDS, choices, data, export, new, panels
from fourfold.cli.options import description_of, options_of
from fourfold.cli.parsing import parse
from fourfold.deploy.artifact.values import VALUES
from fourfold.execution.tracking import TRACKERS
from fourfold.presets.released import PROTOCOLS


def command_of(name):
    return importlib.import_module(f"fourfold.cli.{name.replace(' ', '_')}").command


ALL = {name: options_of(command_of(name)) for name in COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_in_one_panel_and_is_described(name):
    options = [option for option in ALL[name] if not option.positional]
    members = [option.name for panel in panels.panels_of(name, options).values() for option in panel]
    assert sorted(members) == sorted(option.name for option in options)
    assert [option.name for option in ALL[name] if not option.text.endswith(".")] == []
    assert description_of(command_of(name))


def test_the_tables_name_only_options_that_there_are():
    names = {option.name for options in ALL.values() for option in options}
    listed = {word.split()[-1] for panel in panels.PANELS.values() for word in panel}
    listed |= {word.split()[-1] for table in (choices.CHOICES, choices.WORDS, choices._NAMES) for word in table}
    assert listed <= names


def test_options_of_commands_that_train_have_a_panel_of_their_own():
    for name in ("run", "sweep", "study", "reproduce"):
        assert "Options" not in panels.panels_of(name, ALL[name])


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("--protocol", PROTOCOLS),
        ("--task", tasks.registry.TASKS),
        ("--to", export.TARGETS),
        ("--track", TRACKERS),
        ("--values", VALUES),
        ("data ACTION", data.ACTIONS),
        ("new --task", new.TASKS),
    ],
)
def test_choices_are_those_that_are_checked(name, known):
    assert sorted(choices.CHOICES[name]) == sorted(known)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_all_choices_and_fits_80_columns(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = call(*name.split(), "--help").out
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    flat = " ".join(text.split())
    for option in ALL[name]:
        if known := choices.choices_of(name, option.name):
            assert f"[{', '.join(known)}]" in flat


@pytest.mark.parametrize(("words", "usage"), [
    ("run", "[options] PRESET"),
    ("presets", "[options] [FILE]"),
    ("status", "[RUN…]"),
    ("data", "[options] [ACTION] [NAME]"),
    ("export", "[options] --level LEVEL RUN"),
    ("predict", "[options] ARTIFACT IMAGE…"),
])  # fmt: skip
def test_optional_arguments_look_optional(words, usage):
    usage = usage.replace("[options] [FILE]", "[FILE]")
    assert call(words, "--help").out.splitlines()[0] == f"Usage: fourfold {words} {usage}"


EARLIER = [
    "run conv4-cifar10 --trials 3 --prune-fraction 0.488 --max-level 6 --precision bf16 --out r --data-dir D --budget 170m",
    "run mine.py --set prune.score=synflow --set data.crop=2 --algebra real phm --controls inverted --control-levels 0 3",
    "run classify --data photos/ --model resnet-20 --task classification --size 32 --bad-images skip --keep 3 4 --track wandb",
    "run digits --executor ray --address h:1 --gpus-per-trial 0.5 --memory-per-trial 2 --workers 0 --checkpoint off",
    "run digits --accept-changed-code --dry-run --epochs=3 --learning_rate 1e-3 --classes 1 2 --parts 2 --track-dir t",
    "run digits --learning-rate -1e-3 --max-level -1 --protocol released",
    "new mine.py --task custom",
    "sweep digits --set a=1,2 --study 20 --seed 3 --validation 100 --level 2",
    "sweep digits --optuna 20",
    "study units --base digits --trials 2 --epochs 1 --prune-fraction .5 --max-level 2",
    "status a b",
    "report a b --out page",
    "stability a --steps 0 10 --levels 1 2 --points 3 --budget 9m --code roads.py",
    "reproduce p1-fig4c --scale 0.1",
    "reproduce claims runs other --out page",
    "check runs --repair --trust-code",
    "export run --level 3 --trial 1 --to c --out x --values int8 --entropy --ranges mse --verify",
    "export run --level 3 --verify 100",
    "predict a.safetensors x.png y.png --top 2 --resize fit",
    "bench deploy a b --threads 2 --batch 1 8 --rounds 3 --images 10",
    "bench train digits --algebra real --density .1 --rounds 2",
    "info conv-4 --algebra real --classes 10 --head algebra --tables",
    "data get mnist --data-dir D",
]


@pytest.mark.parametrize("line", EARLIER)
def test_what_earlier_versions_took_is_taken(line):
    words = line.split()
    length = 2 if " ".join(words[:2]) in COMMANDS else 1
    name = " ".join(words[:length])
    parsed = parse(command_of(name), f"fourfold {name}", words[length:])
    assert parsed.func is command_of(name)


def test_hidden_names_are_no_words_of_help():
    for name in ("sweep", "reproduce"):
        assert not re.search(r"--study|claims", call(name, "--help").out)


@pytest.mark.parametrize("name", ["--base", "MODEL", "STUDY", "data NAME", "reproduce NAME"])
def test_names_that_completion_offers_are_the_known_ones(name):
    command, _, argument = name.rpartition(" ")
    known = {"--base": presets.PRESETS, "MODEL": models.MODELS, "STUDY": presets.studies.STUDIES}
    offered = choices.completions_of(command, argument)
    assert offered
    assert set(known.get(name, ())) <= set(offered)
