"""Unknown names: the nearest are suggested, short lists are shown, long ones are left to a command."""

import pytest

from fourfold.record.errors import canonical, nearest, unknown

LONG = [f"network-{letter}-{size}" for letter in "abc" for size in (10, 20, 30, 40, 50)]


def test_few_names_are_all_listed():
    assert str(unknown("colour", "yellow", ["red", "blue"])) == "unknown colour 'yellow'; known: blue, red"
    assert str(unknown("colour", "rad", ["red", "blue"])) == "unknown colour 'rad'; did you mean red? known: blue, red"


def test_of_many_names_the_nearest_or_a_hint_is_given():
    hint = "`fourfold presets` describes them"
    assert str(unknown("preset", "sun", LONG, hint)) == f"unknown preset 'sun'; {hint}"
    assert str(unknown("preset", "netwrok-a-10", LONG, hint)).startswith(
        "unknown preset 'netwrok-a-10'; did you mean network-a-10 or "
    )
    assert str(unknown("preset", "netwrok-a-10", LONG, hint)).endswith(f"? {hint}")


def test_many_names_are_listed_where_nothing_else_helps():
    assert str(unknown("preset", "sun", LONG)) == f"unknown preset 'sun'; known: {', '.join(LONG)}"


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize(
    "mistake", [lambda name: name[1:], lambda name: name + "s", lambda name: name[:3] + name[4:], str.upper]
)
def test_one_wrong_letter_is_found(name, mistake):
    assert nearest(mistake(name), LONG)[0] == name


@pytest.mark.parametrize("name", ["Conv4-CIFAR10", "conv4_cifar10", "conv4 cifar10", "conv-4-cifar-10", "conv4-cifar10"])
def test_any_spelling_is_the_same_name(name):
    assert canonical(name, ["digits", "conv4-cifar10"]) == "conv4-cifar10"
    assert canonical("conv4-cifar100", ["conv4-cifar10"]) == "conv4-cifar100"


def test_a_part_of_a_name_is_enough_for_a_suggestion():
    assert nearest("erk", ["erk-random", "inverted"]) == ["erk-random"]
    assert nearest("e", ["erk-random", "inverted"]) == []


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("train.lr", ["train.learning_rate"]),
        ("train.wd", ["train.weight_decay"]),
        ("p1-fig4", ["p1-fig4a", "p1-fig4b", "p1-fig4c"]),
    ],
)
def test_abbreviations_are_understood_and_ties_are_in_order(name, near):
    known = ["train.epochs", "train.ema", "train.learning_rate", "train.weight_decay"]
    known += [f"p1-fig4{letter}" for letter in "fedcba"]
    assert nearest(name, known) == near
