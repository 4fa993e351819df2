"""What the lines of a run's files must be: rows of their run, trial, control and level, each once."""

from pathlib import Path

from fourfold.record.journal import read_entries
from fourfold.record.row_sense import contradiction
from fourfold.record.rows import TICKET, Row
from fourfold.record.spec import Spec
from fourfold.record.stability import ConnectivityRow, OverlapRow


def read_rows(
    file: Path, content: bytes, run: str, trial: int, control: str = TICKET, *, spec: Spec | None = None
) -> list[Row]:
    """Return the rows of a trial, or of one of its controls, in the order of the file.

    Args:
        file: The file.
        content: Its content.
        run: Id of the run.
        trial: The trial.
        control: The control.
        spec: Of the run; None where it is lost.

    Raises:
        BadLineError: a row is damaged, is there twice, belongs elsewhere, is of another mask than the one before promised, or
            says what no level of the run can have come to.
    """

    def misplaced(row: Row, before: list[Row]) -> tuple[str, str] | None:
        if (row.run, row.trial, row.control) != (run, trial, control):
            actual = f"one of {row.control} of trial {row.trial} of {row.run}"
            return f"a row of {control} of trial {trial} of {run}", actual
        if control == TICKET and row.level != len(before):
            return f"the row of level {len(before)}", f"that of level {row.level}"
        if any(row.level == other.level for other in before):
            return "each level once", f"level {row.level} again"
        previous = before[-1] if before and control == TICKET else None
        promised = previous.promised if previous else None
        if promised is not None and promised.mask not in (None, row.mask):
            return f"the row of the mask {promised.mask[:8]} that the row before promised", f"that of {row.mask[:8]}"
        return contradiction(row, previous, spec)

    return read_entries(file, content, Row, misplaced)


def read_connectivity(file: Path, content: bytes, run: str, trial: int) -> list[ConnectivityRow]:
    """Return what was measured of a trial's levels, in the order of the file; the arguments are those of `read_rows`.

    Raises:
        BadLineError: a line is damaged, is there twice, or belongs elsewhere.
    """

    def misplaced(row: ConnectivityRow, before: list[ConnectivityRow]) -> tuple[str, str] | None:
        if (row.run, row.trial) != (run, trial):
            return f"a line of trial {trial} of {run}", f"one of trial {row.trial} of {row.run}"
        if (row.level, row.connectivity.step) in [(other.level, other.connectivity.step) for other in before]:
            return "each level and step once", f"level {row.level} and step {row.connectivity.step} again"
        return None

    return read_entries(file, content, ConnectivityRow, misplaced)


def read_overlaps(file: Path, content: bytes, run: str) -> list[OverlapRow]:
    """Return how much the trials' masks agree; the arguments are those of `read_rows`.

    Raises:
        BadLineError: a line is damaged, or belongs elsewhere.
    """

    def misplaced(row: OverlapRow, before: list[OverlapRow]) -> tuple[str, str] | None:
        return (f"a line of {run}", f"one of {row.run}") if row.run != run else None

    return read_entries(file, content, OverlapRow, misplaced)
