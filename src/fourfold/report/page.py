"""Pages for people: an overview of all experiments, and one self-contained page for each. Words, tables and figures are in
their HTML; a script of their own adds charts to explore."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from fourfold.report._experiments import Experiment
from fourfold.report._sections import sections
from fourfold.report.claims import NOTE, Judged, count_sentence, decided_first, ours_in_words, theirs_in_words
from fourfold.report.evidence import UNDECIDED
from fourfold.report.names import slugs
from fourfold.report.order import shows_a_difference, strongest_first
from fourfold.report.overview import COLUMNS, entries
from fourfold.report.published import about
from fourfold.report.verdicts import verdict
from fourfold.report.wording import basis_words
from fourfold.report.words import MACS_NOTE

FOLDER = "experiments"
"""Where the pages of experiments lie, beside the overview."""


def pages(experiments: Sequence[Experiment], judged: Sequence[Judged] = ()) -> dict[str, str]:
    """Return the HTML of every page by its path, `index.html` first: the strongest evidence first, with claims if any were
    judged. A report of one experiment is that experiment's page.

    The same experiments give the same pages, in whatever order they come.
    """
    by_name = sorted(experiments, key=lambda one: (one.preset, one.dataset, one.model, one.metric.name, one.metric.label))
    names = dict(zip(map(id, by_name), slugs(by_name), strict=True))
    ordered = strongest_first(by_name)
    claims = _claims(judged)
    if len(ordered) == 1:
        return {"index.html": _experiment_page(ordered[0], claims, home=None)}
    paths = [f"{FOLDER}/{names[id(one)]}.html" for one in ordered]
    index = _template("index.html.jinja").render(
        **_frame(ordered), entries=entries(ordered, paths), columns=[column for column, _, _ in COLUMNS], **claims
    )
    return {"index.html": index} | {
        path: _experiment_page(one, _claims(()), home="../index.html") for path, one in zip(paths, ordered, strict=True)
    }


def _experiment_page(experiment: Experiment, claims: dict[str, Any], home: str | None) -> str:
    return _template("experiment.html.jinja").render(
        **_frame([experiment]),
        **claims,
        home=home,
        preset=experiment.preset,
        title=experiment.title,
        basis=basis_words(experiment),
        verdict=verdict(experiment),
        shown=shows_a_difference(experiment),
        sections=sections(experiment),
        published_about=about() if experiment.published else None,
    )


def _frame(experiments: Sequence[Experiment]) -> dict[str, Any]:
    """Return what every page has: its style, its scripts, and how many rows it is made of."""
    rows = [row for experiment in experiments for row in experiment.rows]
    return {
        "style": _asset("page.css"),
        "theme": _asset("theme.js"),
        "scripts": [_asset("chart.js"), _asset("page.js")],
        "macs_note": MACS_NOTE,
        "levels": len(rows),
        "runs": len({row.run for row in rows}),
        "finished": max((row.provenance.finished for row in rows), default=""),
    }


def _claims(judged: Sequence[Judged]) -> dict[str, Any]:
    """Return claims in three parts: decided by rows, with rows that do not decide, and without rows."""
    ordered = decided_first(judged)
    return {
        "claims": [
            ("Decided by the rows here", [one for one in ordered if one.ours.verdict != UNDECIDED]),
            ("With rows that do not decide", [one for one in ordered if one.ours.verdict == UNDECIDED and one.basis]),
            ("Without rows here", [one for one in ordered if one.ours.verdict == UNDECIDED and not one.basis]),
        ]
        if judged
        else None,
        "claims_note": NOTE,
        "claims_count": count_sentence(judged),
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("fourfold.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # `tojson` escapes <, >, & and ', so that nothing in a name can end the script element it lies in.
    environment.filters |= {"unbroken": _unbroken, "ours": ours_in_words, "theirs": theirs_in_words}
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment


def _template(name: str) -> Template:
    return _environment().get_template(name)


@cache
def _asset(name: str) -> Markup:
    """Return a file of ours as it is; nothing in it comes from a run."""
    return Markup(files("fourfold.report").joinpath("templates", name).read_text(encoding="utf-8"))


def _unbroken(text: str) -> str:
    """Keep a number together with its unit and its spread at the end of a line."""
    for sign in (" ±", "± ", " %"):
        text = text.replace(sign, sign.replace(" ", "\N{NO-BREAK SPACE}"))
    return text
