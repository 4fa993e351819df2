"""The files of a run that several processes work on together: rank 0 alone reads and writes them."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from fourfold.record import Row, RunStore
from fourfold.record.checkpoints import CheckpointFolder
from fourfold.record.folders import LARGEST_TEXT
from fourfold.train import Ranks


class SharedStore(RunStore):
    """What rank 0 reads reaches all ranks, and what it writes is what all have come to: machines need not share a disk.

    All ranks call the same methods in the same order.

    Args:
        path: The run's folder on the machine of rank 0.
        ranks: The processes.
    """

    def __init__(self, path: Path, ranks: Ranks) -> None:
        super().__init__(path)
        self._ranks = ranks

    def append(self, row: Row) -> None:
        """Write a row to disk, if all ranks have come to the same."""
        self._ranks.agree(f"row of level {row.level}", json.dumps(row.result(), sort_keys=True).encode())
        if self._ranks.first:
            super().append(row)

    def kept_levels(self, trial: int) -> list[int]:
        """Return the levels of a trial whose weights were kept, in order."""
        levels = super().kept_levels(trial) if self._ranks.first else []
        return [int(level) for level in json.loads(self._ranks.from_first(json.dumps(levels).encode()))]

    def drop_states(self, trial: int, before: int) -> None:
        """Remove the states of a trial's levels before one whose own state is there."""
        if self._ranks.first:
            super().drop_states(trial, before)

    @property
    def checkpoints(self) -> CheckpointFolder:
        """The checkpoints of the levels that are being trained; rank 0 alone writes them."""
        return CheckpointFolder(self.path / "checkpoints", self._read, writes=self._ranks.first)

    @contextlib.contextmanager
    def lock(self, name: str, wait_seconds: float = 0) -> Iterator[None]:
        """Hold the run (or one trial of it) alone."""
        with super().lock(name, wait_seconds) if self._ranks.first else contextlib.nullcontext():
            yield

    def sweep(self) -> None:
        """Remove what writes that a crash cut short have left."""
        if self._ranks.first:
            RunStore(self.path).sweep()  # which reads, and the others do not

    def _read(self, file: Path, most_bytes: int = LARGEST_TEXT) -> bytes:
        content = _ABSENT
        if self._ranks.first:
            try:
                content = _PRESENT + super()._read(file, most_bytes)
            except FileNotFoundError:
                pass
            except OSError as error:  # sent to all ranks, as all continue from it
                content = _UNREADABLE + str(error.strerror or error).encode()
        content = self._ranks.from_first(content)
        if content == _ABSENT:
            raise FileNotFoundError(f"there is no {file}")
        if content.startswith(_UNREADABLE):
            raise OSError(content.removeprefix(_UNREADABLE).decode())
        return content.removeprefix(_PRESENT)

    def _write(self, file: Path, content: bytes) -> None:
        self._ranks.agree(f"file {file.parent.name}/{file.name}", content)
        if self._ranks.first:
            super()._write(file, content)


_ABSENT, _PRESENT, _UNREADABLE = b"", b"+", b"-"
