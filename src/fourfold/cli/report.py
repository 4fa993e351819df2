"""`fourfold report`."""

from pathlib import Path
from typing import Annotated

import tyro

from fourfold.cli.streams import say


def command(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN…")] = (Path("runs"),),
    out: Path = Path("report"),
) -> None:
    """Turn runs into figures (PNG, SVG, CSV), tables and one HTML page that opens from disk.

    Args:
        runs: Folders of runs, or folders that hold them; `results` has the committed ones.
        out: Where to write.
    """
    from fourfold import report

    page = report.build(runs, out)
    say(f"wrote {page}, and figures and tables beside it")
