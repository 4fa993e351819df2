"""What a comparison or a whole experiment comes to, in one line; only intervals that exclude zero are called a difference."""

from dataclasses import dataclass
from typing import Literal

from fourfold.report._comparisons import Comparison, comparisons
from fourfold.report._curves import ALGEBRAS, Curve
from fourfold.report._differences import Differences, Side
from fourfold.report._experiments import Experiment
from fourfold.report.wording import network_words, variant_words
from fourfold.report.words import gap, gap_interval, percent

Kind = Literal["ahead", "behind", "both", "none", "one-trial", "nothing"]

KIND_WORDS: dict[Kind, str] = {
    "ahead": "ahead",
    "behind": "behind",
    "both": "ahead and behind",
    "none": "no difference shown",
    "one-trial": "one trial",
    "nothing": "nothing to compare",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One line that can stand above a figure."""

    kind: Kind
    text: str
    trials: int = 0
    """Paired trials; of networks that are compared with none, their own."""


def kind_of(differences: Differences | None) -> Kind:
    """Return what differences come to, in a word."""
    if differences is None:
        return "nothing"
    if differences.trials == 1:
        return "one-trial"
    if differences.ahead is not None:
        return "ahead" if differences.behind is None else "both"
    return "none" if differences.behind is None else "behind"


def verdict_on(one: Comparison, *, macs: bool = False) -> Verdict:
    """Return the verdict on one network and its real twin, at equal parameters or at equal MACs."""
    differences = one.by_macs if macs else one.by_parameters
    kind = kind_of(differences)
    of = "the real network's MACs" if macs else "the real parameters"
    name = ALGEBRAS.get(one.curve.algebra, one.curve.algebra)
    if differences is None:
        most = one.curve.most_trials
        return Verdict(kind=kind, text=f"{name} and real have no size in common yet", trials=most)
    share = one.curve.macs_real if macs else 1.0
    if kind == "one-trial":
        return Verdict(kind=kind, text=f"One trial shows no difference: {_mostly(differences, name)}", trials=1)
    if kind == "none":
        span = f"from {percent(differences.sizes[0] / share)} to {percent(differences.sizes[-1] / share)} of {of}"
        return Verdict(
            kind=kind, text=f"No difference shown between {_within(name)} and real {span}", trials=differences.trials
        )
    sides = sorted(
        ((word, side) for word, side in (("ahead of real", differences.ahead), ("behind real", differences.behind)) if side),
        key=lambda one: -abs(one[1].gap.mean),
    )
    parts = [f"{word} by {_size_of_gap(side, one.curve)} at {percent(side.at / share)}" for word, side in sides]
    parts[0] += f" of {of}"
    return Verdict(kind=kind, text=f"{name} is {', and '.join(parts)}", trials=differences.trials)


def main_comparison(experiment: Experiment) -> Comparison | None:
    """Return the comparison that an overview shows: of quaternions if there is one, the largest shown difference of those."""
    return min(comparisons(experiment), key=_rank, default=None)


def verdict(experiment: Experiment, *, macs: bool = False) -> Verdict:
    """Return the verdict on an experiment: on its one comparison, or on how many of its variants differ."""
    twins = comparisons(experiment)
    if not twins:
        most = max((curve.most_trials for curve in experiment.curves), default=0)
        return Verdict(kind="nothing", text=_nothing(experiment), trials=most)
    if len(twins) == 1:
        return verdict_on(twins[0], macs=macs)
    return verdict_on_variants(experiment, macs=macs)


def verdict_on_variants(experiment: Experiment, *, macs: bool = False) -> Verdict:
    """Return in which of several variants a network is shown to be ahead of its real twin, and in which behind."""
    twins = comparisons(experiment)
    kinds = [(one, kind_of(one.by_macs if macs else one.by_parameters)) for one in twins]
    trials = max((one.by_parameters.trials for one in twins if one.by_parameters), default=0)
    where = " at equal MACs" if macs else ""
    ahead = [one for one, kind in kinds if kind in ("ahead", "both")]
    behind = [one for one, kind in kinds if kind in ("behind", "both")]
    if trials <= 1:
        return Verdict(kind="one-trial", text="One trial of each variant shows no difference", trials=trials)
    if not ahead and not behind:
        return Verdict(kind="none", text=f"No difference to real shown in any of {len(twins)} variants{where}", trials=trials)
    kind: Kind = "both" if ahead and behind else "ahead" if ahead else "behind"
    sides = [(word, side) for word, side in (("ahead of", ahead), ("behind", behind)) if side]
    algebras = dict.fromkeys(ALGEBRAS.get(one.curve.algebra, one.curve.algebra) for one in twins)
    if len(algebras) > 1:
        parts = [
            f"{_and([heading(one, experiment) for one in side], first=not number)} {_are(side)} {word} real"
            f"{where if not number else ''} at {'other' if number else 'some'} sizes"
            for number, (word, side) in enumerate(sides)
        ]
        return Verdict(kind=kind, text="; ".join(parts), trials=trials)
    parts = [
        f"{word} real{where if not number else ''} at {'other' if number else 'some'} sizes in "
        f"{_which(side, twins, experiment)}"
        for number, (word, side) in enumerate(sides)
    ]
    return Verdict(kind=kind, text=f"{next(iter(algebras))} is {', and '.join(parts)}", trials=trials)


def largest_gap(one: Comparison) -> str:
    """Return the largest gap that is shown, with its interval and size; empty where none is."""
    sides = [] if one.by_parameters is None else [side for side in (one.by_parameters.ahead, one.by_parameters.behind) if side]
    if not sides:
        return ""
    side = max(sides, key=lambda side: abs(side.gap.mean))
    return f"{gap_interval(side.gap, one.curve.metric)} at {percent(side.at)}"


def heading(one: Comparison, experiment: Experiment) -> str:
    """Return what tells a comparison from the others of its experiment: the algebra, the settings, or both."""
    twins = comparisons(experiment)
    algebras = {other.curve.algebra for other in twins}
    if len(algebras) == 1:
        return variant_words(one.curve, experiment) or ALGEBRAS.get(one.curve.algebra, one.curve.algebra)
    return network_words(one.curve, experiment)


def _within(name: str) -> str:
    """Return a name as it is written within a sentence."""
    return name if name.isupper() else name.lower()


def _rank(one: Comparison) -> tuple[bool, bool, float]:
    sides = [] if one.by_parameters is None else [side for side in (one.by_parameters.ahead, one.by_parameters.behind) if side]
    largest = max((abs(side.gap.mean) for side in sides), default=0.0)
    return one.curve.algebra != "quaternion", not sides, -largest


def _which(side: list[Comparison], twins: tuple[Comparison, ...], experiment: Experiment) -> str:
    if len(side) == len(twins):
        return f"all {len(twins)} variants" if len(twins) > 2 else "both variants"
    names = "; ".join(heading(one, experiment) for one in side)
    return f"{len(side)} of {len(twins)} variants{f' ({names})' if len(names) <= 60 else ''}"


def _and(names: list[str], *, first: bool) -> str:
    """Return names with commas and an `and`, the first as a sentence begins."""
    names = [name if first and index == 0 else _within(name) for index, name in enumerate(names)]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _are(side: list[Comparison]) -> str:
    return "is" if len(side) == 1 else "are"


def _size_of_gap(side: Side, curve: Curve) -> str:
    """Return such as `4.25 points [1.67, 6.83]`: which way is better has been said."""
    difference, metric = side.gap, curve.metric
    unit = "points" if metric.is_percent else metric.unit
    turn = -1 if difference.mean < 0 else 1
    ends = sorted(turn * end for end in (difference.low, difference.high) if end is not None)
    texts = [gap(value, metric).removeprefix("+") for value in (turn * difference.mean, *ends)]
    return f"{texts[0]} {unit}".rstrip() + (f" [{texts[1]}, {texts[2]}]" if ends else "")


def _mostly(differences: Differences, name: str) -> str:
    count = len(differences.sizes)
    if differences.ahead_at == differences.behind_at:
        return (
            f"{_within(name)} is ahead of real at {differences.ahead_at} of {count} sizes and behind at {differences.behind_at}"
        )
    word, at = (
        ("ahead of", differences.ahead_at)
        if differences.ahead_at > differences.behind_at
        else ("behind", differences.behind_at)
    )
    return f"{_within(name)} is {word} real at {at} of {count} {'size' if count == 1 else 'sizes'}"


def _nothing(experiment: Experiment) -> str:
    if not experiment.tickets:
        return "No level of a ticket has finished yet"
    if all(curve.algebra == "real" for curve in experiment.tickets):
        return "Only the real network was run"
    if any(curve.algebra == "real" for curve in experiment.tickets):
        return "Several real networks were run, none of them the twin"
    return "The real twin was not run"
