"""Which settings cannot be combined, one rule a line, each with its reason: a strategy's rules stand together."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fourfold.record.errors import UserError

SCORED_AT_START = frozenset({"snip", "grasp", "synflow"})
"""Scores that are taken of the network before training, as their papers do; the others of what a level was trained to."""

KEEPS_TRAINED = frozenset({"weights", "learning-rate", "fine-tune", "continue"})
"""Ways to continue with something that the level before was trained to."""

Is = Callable[[Any], bool]
"""Whether a rule speaks of a value."""


def one_of(*values: Any) -> Is:
    """Return whether a value is one of some."""
    return lambda value: value in values


def other_than(*values: Any) -> Is:
    """Return whether a value is none of some."""
    return lambda value: value not in values


def any_of(*names: str) -> Is:
    """Return whether a list holds one of some names, or anything where none are given."""
    return lambda value: not {*names}.isdisjoint(value) if names else bool(value)


def is_set(value: Any) -> bool:
    """Return whether a setting is there at all."""
    return value is not None


@dataclass(frozen=True)
class Rule:
    """Two settings that cannot be combined."""

    name: str
    """Of the one that an error blames, such as `prune.rewind`."""
    values: Is
    other: str
    other_values: Is
    reason: str


SELECTION = (
    Rule("prune.scope", one_of("component"), "prune.unit", other_than("weight"), "it joins components"),
    Rule("prune.scope", other_than("global"), "prune.budget", one_of("macs"), "it divides MACs over the whole network"),
    Rule("prune.score", one_of("grasp"), "prune.budget", one_of("macs"), "the score may be negative"),
)

AT_START = (
    Rule("prune.schedule", one_of("gradual"), "prune.score", one_of(*SCORED_AT_START), "the score is of the start"),
    Rule("prune.rewind", other_than("start"), "prune.score", one_of(*SCORED_AT_START), "the score is of the start"),
)
"""Scores that are taken before training."""

GRADUAL = (Rule("prune.rewind", other_than("start"), "prune.schedule", one_of("gradual"), "every level starts dense"),)

CONTINUED_SEARCH = (
    Rule("prune.schedule", other_than("iterative"), "prune.search", one_of("continue"), "it finds each mask from the last"),
    Rule("prune.rewind", other_than("start"), "prune.search", one_of("continue"), "each level's own network starts anew"),
    Rule("prune.score", one_of(*SCORED_AT_START), "prune.search", one_of("continue"), "it prunes what was trained"),
)

PRUNING = (*SELECTION, *AT_START, *GRADUAL, *CONTINUED_SEARCH)
"""Within a `PruneSpec`."""

EARLY_STOPPING = tuple(
    Rule(f"prune.{name}", one_of(*values), "train.early_stopping", is_set, "it moves the end of training")
    for name, values in (("schedule", ("gradual",)), ("rewind", ("step", "epoch", "continue")), ("search", ("continue",)))
)

WHOLE = (
    *EARLY_STOPPING,
    Rule("train.ema", is_set, "train.early_stopping", is_set, "both choose the weights"),
    Rule("prune.score", one_of("synflow"), "model.algebra", one_of("phm"), "the algebra has no signs to drop"),
)
"""Between the parts of a `Spec`."""

CONTROLLED = (
    Rule("controls", any_of(), "prune.rewind", one_of(*KEEPS_TRAINED), "other masks have no trained weights to continue with"),
    Rule("controls", any_of(), "prune.schedule", one_of("gradual"), "a level has no mask before it is trained"),
    Rule("controls", any_of("equal-macs"), "prune.skip", is_set, "equal-macs ranks all layers"),
    Rule("controls", any_of("equal-macs"), "prune.layer_fractions", is_set, "equal-macs ranks all layers"),
)
"""Between a `Spec` and the controls of its levels."""


def check_combinations(rules: Iterable[Rule], read: Callable[[str], Any]) -> None:
    """Check settings against rules.

    Args:
        rules: Such as `PRUNING`.
        read: Returns the value of a setting by the name that rules have for it.

    Raises:
        UserError: two settings cannot be combined.
    """
    for rule in rules:
        value, other = read(rule.name), read(rule.other)
        if rule.values(value) and rule.other_values(other):
            raise UserError(f"`{rule.name}` (={value!r}) cannot be combined with `{rule.other}` (={other!r}): {rule.reason}")
