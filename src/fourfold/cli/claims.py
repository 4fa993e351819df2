"""`fourfold claims`."""

import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from fourfold.cli.printing import WIDTH, make_console


def command(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN…")] = (Path("runs"),),
    out: Path = Path("report"),
) -> None:
    """Judge the papers' claims by the rows there are, and write the report on them.

    A table names each claim, what our rows say of it, and the command that makes the rows it lacks. Every claim is also in
    claims.md, claims.csv and claims.json.

    Args:
        runs: Folders of runs, or folders that hold them; `results` has the committed ones.
        out: Where to write.
    """
    from fourfold import report
    from fourfold.report.claims import count_sentence, ours_in_words, theirs_in_words

    written = report.write_report(runs, out, every_claim=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("claim", "our rows", "what they say", "their data", "command for more rows"):
        table.add_column(column)
    for one in written.judged:
        table.add_row(one.name, one.verdict, ours_in_words(one), theirs_in_words(one), one.command or "")
    console = make_console(None if sys.stdout.isatty() else WIDTH)
    console.print(table)
    console.print(f"\n{count_sentence(written.judged)}\nclaims  {out / 'claims.md'}\npage    {written.page}")
