"""`fourfold report`."""

from pathlib import Path
from typing import Annotated

import tyro

from fourfold.cli.streams import say


def command(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN…")] = (Path("runs"),),
    out: Path = Path("report"),
) -> None:
    """Turn runs into figures (PNG, SVG, CSV), tables and HTML pages that open from disk.

    Args:
        runs: Folders of runs, or folders that hold them; `results` has the committed ones.
        out: Where to write.
    """
    from fourfold import report

    for line in report.write_report(runs, out).lines():
        say(line)
