"""What a sweep has found: a table, and what is to be said of it."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from fourfold.cli.event_text import short
from fourfold.cli.printing import WIDTH, make_console
from fourfold.record import TOP1
from fourfold.tuning.space import Space
from fourfold.tuning.sweep import Outcome, at_the_edge, ranked, worst_of


def print_result(by_algebra: Mapping[str, Sequence[Outcome]], space: Space, points: int) -> None:
    """Print each algebra's best setting and its runner-up, whether the best is at an edge, and what is not done yet.

    Args:
        by_algebra: The outcomes that are there, by algebra.
        space: What was tried.
        points: Points that the sweep has in each algebra.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    metric = next((outcome.metric for outcomes in by_algebra.values() for outcome in outcomes), TOP1)
    named = "" if metric == TOP1 else f"{metric.label}, "
    for column in ("algebra", "", *space, f"{named}held out ± std (trials)", "test", "run"):
        table.add_column(column, no_wrap=True)
    for algebra, outcomes in by_algebra.items():
        for place, outcome in zip(("best", "second"), ranked(outcomes), strict=False):
            number = outcome.metric.number
            spread = "" if outcome.std is None else f" ± {number(outcome.std)}"
            test = number(sum(outcome.test) / len(outcome.test)) if place == "best" and outcome.test else ""
            values = [short(value) for value in outcome.settings.values()]
            held_out = f"{number(outcome.mean)}{spread} ({len(outcome.validation)})"
            table.add_row(algebra, place, *values, held_out, test, outcome.spec.id)
    console = make_console(WIDTH)
    console.print()
    console.print(table)
    for algebra, outcomes in by_algebra.items():
        for sentence in _sentences(outcomes, space, points):
            console.print(f"{algebra}: {sentence}")


def _sentences(outcomes: Sequence[Outcome], space: Space, points: int) -> list[str]:
    sentences = []
    if outcomes:
        best = ranked(outcomes)[0]
        edges = at_the_edge(best, space)
        sentences += [
            f"the best {name} ({short(best.settings[name])}) is the {edge} that was tried, so a better one may lie beyond it"
            for name, edge in edges.items()
        ]
        if not edges:
            sentences.append("the best setting lies at no edge of what was tried")
        ties = sum(outcome.mean == best.mean for outcome in ranked(outcomes)) - 1
        if ties:
            others = "another setting is" if ties == 1 else f"{ties} other settings are"
            sentences.append(
                f"{others} as good ({best.metric.text(best.mean)} of the held-out images): the first that was tried is called "
                "the best"
            )
    failed = sum(outcome.num_failed for outcome in outcomes)
    if failed:
        worst = worst_of(outcomes[0].metric)
        counted = "count as 0 %" if worst == 0 else "put their settings last"
        sentences.append(f"{failed} trials failed and {counted}")
    if len(outcomes) < points:
        sentences.append(f"{len(outcomes)} of {points} points are done; the same command resumes")
    return sentences
