"""What a sweep has found: a table, and what is to be said of it."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from fourfold.cli.live import short
from fourfold.cli.printing import WIDTH, make_console
from fourfold.tuning.sweep import Outcome, Space, at_the_edge, ranked


def print_result(found: Mapping[str, Sequence[Outcome]], space: Space, points: int) -> None:
    """Print each algebra's best setting and its runner-up, whether the best is at an edge, and what is not done yet.

    Args:
        found: The outcomes that are there, by algebra.
        space: What was tried.
        points: Points that the sweep has in each algebra.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("algebra", "", *space, "held out ± std (trials)", "test", "run"):
        table.add_column(column, no_wrap=True)
    for algebra, outcomes in found.items():
        for place, outcome in zip(("best", "second"), ranked(outcomes), strict=False):
            spread = "" if outcome.std is None else f" ± {outcome.std:.2f}"
            test = f"{sum(outcome.test) / len(outcome.test):.2f}" if place == "best" and outcome.test else ""
            values = [short(value) for value in outcome.settings.values()]
            accuracy = f"{outcome.mean:.2f}{spread} ({len(outcome.validation)})"
            table.add_row(algebra, place, *values, accuracy, test, outcome.spec.id)
    console = make_console(WIDTH)
    console.print()
    console.print(table)
    for algebra, outcomes in found.items():
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
    failed = sum(outcome.num_failed for outcome in outcomes)
    if failed:
        sentences.append(f"{failed} trials failed and count as 0 %")
    if len(outcomes) < points:
        sentences.append(f"{len(outcomes)} of {points} points are done; the same command resumes")
    return sentences
