"""`Finding`: what became of a file of a run, and what `fourfold check --repair` does about it."""

from dataclasses import dataclass
from typing import Literal

from fourfold.record.rows import TICKET

State = Literal["ok", "damaged", "missing", "foreign"]

TRAINED_AGAIN = "--repair trains it again"
CUT = "--repair keeps the lines before it, and the same command runs the rest"
MOVED = "--repair moves it aside"
DROPPED = "--repair removes it"
WRITTEN = "the command that began the run writes it again"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What became of a file of a run."""

    file: str
    """Its path below the run's folder."""
    state: State
    what: str = ""
    """What is wrong with it."""
    remedy: str = ""
    """What `fourfold check --repair` does."""
    kind: str = ""
    """`spec`, or one of those by which files are named: `rows`, `masks`, …"""
    trial: int = 0
    level: int = 0
    control: str = TICKET
    line: int = 0
    """The first bad one of a file of lines, from 1."""

    @property
    def mendable(self) -> bool:
        """Whether there is something to do about it: a torn line is not wrong, and may be removed."""
        return bool(self.remedy)

    @property
    def wrong(self) -> bool:
        """Whether it must be mended; files of other names harm nothing."""
        return self.state in ("damaged", "missing")


def ok(file: str) -> Finding:
    """Return the finding for a file that is what was written."""
    return Finding(file=file, state="ok")


def damaged(file: str, what: str, remedy: str, kind: str, trial: int = 0, level: int = 0, control: str = TICKET) -> Finding:
    """Return the finding for a file that is not."""
    return Finding(file=file, state="damaged", what=what, remedy=remedy, kind=kind, trial=trial, level=level, control=control)
