"""The files of a run: `spec.json`, `rows-<trial>.jsonl`, `masks/…`, `states/…`, `checkpoints/…`, and `weights/…` if asked for.

A level exists once its row is there. Its successor's mask is written first, so what a level needs is always on disk:
the spec, the trial number, one bit-packed mask and, where weights pass from level to level, one state. Nothing written is
ever changed, but a state is removed when its successor's row is there, and a line that a crash tore off is dropped by the
next writer. A level that is being trained has a checkpoint, which is replaced by later ones and removed when its row is there.
Controls have rows of their own, `rows-<trial>-<control>.jsonl`, in the order in which they were run, and so
has what `fourfold stability` measures, `connectivity-<trial>.jsonl` and `overlaps.jsonl`. Files of lines may be packed
(`fourfold.record.packing`): they are read as they are, and unpacked before a line is written.
"""

import contextlib
import copy
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from fourfold.record.array_files import ArrayFiles, ending, place_of
from fourfold.record.arrays import LARGEST_ARRAYS, Arrays, ArraysError, most_bytes, unpack
from fourfold.record.checkpoints import CheckpointFolder
from fourfold.record.checks import check_file_name
from fourfold.record.errors import UserError
from fourfold.record.failures import failure_line, read_failure
from fourfold.record.files import append_line, make_folder, write_atomically
from fourfold.record.folders import LARGEST_TEXT, move_aside, runs_named
from fourfold.record.journal import sealed, sealed_lines, whole_lines
from fourfold.record.kept_levels import check_kept
from fourfold.record.locks import HeldLocks
from fourfold.record.packing import packed_form, read_either, unpack_lines
from fourfold.record.reading import READING_ERRORS
from fourfold.record.references import Trust
from fourfold.record.row_files import read_connectivity, read_overlaps, read_rows
from fourfold.record.row_sense import contradiction
from fourfold.record.rows import CONTROLS, TICKET, Row
from fourfold.record.same_run import check_code, check_data, code_of_last_row
from fourfold.record.spec import Spec
from fourfold.record.spec_file import SpecFile
from fourfold.record.stability import ConnectivityRow, OverlapRow

TRIAL = r"0|[1-9][0-9]{0,17}"
"""The number of a trial as files have it: in no other digits, and without zeros before it."""

_MEND = "`fourfold check --repair` moves it aside"

__all__ = ["Arrays", "RunStore"]


class RunStore(ArrayFiles):
    """One run's folder below `out`: reads anything, writes one level at a time."""

    _trust: Trust | None = None
    """Permission to import the code that the spec names; none unless `trusted` was asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._held = HeldLocks(path)
        self._spec_file = SpecFile(path, self._read)

    @classmethod
    def create(
        cls,
        out: Path,
        spec: Spec,
        data: str | None = None,
        code: Mapping[str, str] | None = None,
        *,
        accept_changed_code: bool = False,
        tell: Callable[[str], None] = lambda sentence: None,
    ) -> "RunStore":
        """Return the store of `spec` below `out`, made if it is not there.

        A spec that is lost or damaged is written again: the folder's name proves that it is this one.

        Args:
            out: The folder of the runs.
            spec: What decides the run's id.
            data: SHA-256 of the images and labels that it will be trained and tested on, as its rows have it.
            code: SHA-256 of each file of the user's code, as its rows have them.
            accept_changed_code: Whether a run is resumed with other code than it was started with.
            tell: Called with a sentence when a spec is written again.

        Raises:
            UserError: the folder cannot be written, or holds a run of another spec or version, or of other data.
        """
        check_file_name("spec.preset", spec.preset)
        store = cls.expecting(out, spec)
        file = store.path / "spec.json"
        if lost := store._spec_file.lost():
            if others := runs_named(store.path) - {spec.id}:
                raise UserError(
                    f"{store.path}: expected rows of {spec.id}, found those of {min(others)}; "
                    "move them away or choose another --out"
                )
        elif os.path.lexists(file) and store.spec() != spec:
            raise UserError(f"{file} holds another experiment than {spec.id}; move it away or choose another --out")
        if lost or os.path.lexists(file):
            if data is not None:
                store.check_data(data)
            if code and not accept_changed_code:
                store.check_code(code)
            if not lost:
                store._spec_file.expected = None
                return store
            if os.path.lexists(file):
                place = move_aside(store.path, file.name)
                tell(f"{file} {lost.what}: it was moved to {place.relative_to(store.path)} and is written again")
            else:
                tell(f"{file} is missing: it is written again")
        try:
            make_folder(store.path, parents=True)
            store._spec_file.write(spec, data, code)
        except OSError as error:
            raise UserError(f"cannot write the run to {store.path} ({error.strerror}); choose another --out") from error
        store._spec_file.expected = None
        return store

    @classmethod
    def expecting(cls, out: Path, spec: Spec) -> "RunStore":
        """Return the store of `spec` below `out`, of which nothing need be there; a lost `spec.json` is no loss to it."""
        store = cls(out / spec.id)
        store._spec_file.expected = spec.trusted(None)
        return store

    def spec(self) -> Spec:
        """Return the spec that the run was started with.

        Raises:
            LostSpecError: it is missing or damaged.
            UserError: it is of another version, or was altered: the folder and its rows have the name of another.
        """
        spec = self._spec_file.spec()
        return spec if self._trust is None else spec.trusted(self._trust.expecting(self.code() | code_of_last_row(self)))

    def _id(self) -> str:
        """Return the run's id, which its rows name."""
        return self._spec_file.spec().id

    def trusted(self, trust: Trust) -> "RunStore":
        """Return the same run with permission to import the code that its spec names, as it was when it was last run."""
        store = copy.copy(self)
        store._trust = trust
        return store

    def data(self) -> str | None:
        """Return the SHA-256 of the images and labels that the run was started with; None in older runs."""
        return self._spec_file.data()

    def code(self) -> dict[str, str]:
        """Return the SHA-256 of each file of user code that the run was started with; empty where there is none.

        Raises:
            UserError: it is damaged.
        """
        return self._spec_file.code()

    def check_code(self, code: Mapping[str, str]) -> None:
        """Check that a run is resumed with the code that it was started with, or that was accepted since.

        Args:
            code: SHA-256 of each file that is here.

        Raises:
            UserError: neither the run nor its last row knows this code.
        """
        check_code(self, code)

    def check_data(self, data: str, trials: Iterable[int] | None = None) -> None:
        """Check that a run is resumed with the images and labels that it was started with.

        Args:
            data: SHA-256 of those that are here. What is on disk and does not name its own is taken to be of them.
            trials: Trials whose rows are looked at; None means all, with their controls and what else was measured of them.

        Raises:
            UserError: something on disk was trained or measured on others.
        """
        check_data(self, self._spec_file.spec().data.name, data, trials)

    def trials(self) -> list[int]:
        """Return the trials that have rows or failed, in order."""
        names = (
            re.fullmatch(rf"(?:rows-({TRIAL})\.jsonl(?:\.xz)?|failed-({TRIAL})\.json)", file.name)
            for file in self.path.iterdir()
        )
        return sorted({int(name[1] or name[2]) for name in names if name})

    def rows(self, trial: int) -> list[Row]:
        """Return a trial's rows, level by level; a line torn off by a crash is left out.

        Raises:
            UserError: a row is damaged, or is not that of its place.
        """
        return self._read_rows(trial, TICKET)

    def controls(self) -> list[tuple[int, str]]:
        """Return the trials and names of the controls that have rows, in order."""
        names = (re.fullmatch(rf"rows-({TRIAL})-([a-z-]+)\.jsonl(?:\.xz)?", file.name) for file in self.path.iterdir())
        return sorted({(int(name[1]), name[2]) for name in names if name and name[2] in CONTROLS})

    def control_rows(self, trial: int, control: str) -> list[Row]:
        """Return the rows of a trial's control by level; a line torn off by a crash is left out.

        Raises:
            UserError: a row is damaged, is there twice, or belongs into another file.
        """
        return sorted(self._read_rows(trial, control), key=lambda row: row.level)

    def connectivity(self, trial: int) -> list[ConnectivityRow]:
        """Return what is known of the connectivity of a trial's levels; a line torn off by a crash is left out."""
        file, content = self._content(self._connectivity_file(trial))
        rows = read_connectivity(file, content, self._id(), trial) if content else []
        return sorted(rows, key=lambda row: (row.level, row.connectivity.step))

    def append_connectivity(self, row: ConnectivityRow) -> None:
        """Write the connectivity of a level to disk before returning.

        Raises:
            UserError: it is there already, or another process may be writing.
        """
        self._held.check()
        there = RunStore(self.path)
        if any((row.level, row.connectivity.step) == (o.level, o.connectivity.step) for o in there.connectivity(row.trial)):
            raise self._written_already(self._connectivity_file(row.trial), row.level)
        there._append_line(self._connectivity_file(row.trial), row.to_line())

    def overlaps(self) -> list[OverlapRow]:
        """Return how much the trials' masks agree, as it was last found."""
        file, content = self._content(self.path / "overlaps.jsonl")
        return read_overlaps(file, content, self._id()) if content else []

    def save_overlaps(self, rows: Iterable[OverlapRow]) -> None:
        """Write how much the trials' masks agree, in place of what was known."""
        lines = sealed_lines([row.to_line() for row in rows])
        file = self.path / "overlaps.jsonl"
        write_atomically(file, "".join(line + "\n" for line in lines).encode())
        packed_form(file).unlink(missing_ok=True)

    def _read_rows(self, trial: int, control: str) -> list[Row]:
        """Return the rows of a file in its order."""
        file, content = self._content(self._rows_file(trial, control))
        return read_rows(file, content, self._id(), trial, control, spec=self._spec_file.spec()) if content else []

    def finished(self, trial: int) -> bool:
        """Whether a trial has all its levels; one that failed has not."""
        rows = self.rows(trial)
        if not rows:
            return False
        layers = {name: total for name, (_, total) in rows[0].layers.items()}
        return self.spec().finished([row.value for row in rows], rows[0].weights_total, layers, rows[0].metric)

    def append(self, row: Row) -> None:
        """Write a row, of a level or of a control, to disk before returning.

        Raises:
            UserError: it is not the next one or makes no sense, or another process may be writing.
        """
        self._held.check()
        file, there = self._rows_file(row.trial, row.control), RunStore(self.path)
        rows = there._read_rows(row.trial, row.control)
        if any(row.level == other.level for other in rows):
            raise self._written_already(file, row.level)
        if row.control == TICKET and row.level != len(rows):
            raise UserError(f"{file}: expected the row of level {len(rows)} to follow, found that of level {row.level}")
        if wrong := contradiction(row, rows[-1] if rows and row.control == TICKET else None, there._spec_file.spec()):
            raise UserError(f"{file}: expected {wrong[0]}, found {wrong[1]}")
        there._append_line(file, row.to_line())

    def _append_line(self, file: Path, line: str) -> None:
        try:
            unpack_lines(file, LARGEST_TEXT)
        except OSError as error:
            raise UserError(f"{packed_form(file)} cannot be unpacked ({error}); {_MEND}") from error
        before = whole_lines(*self._content(file))
        append_line(file, sealed(line, before[-1] if before else None))

    @staticmethod
    def _written_already(file: Path, level: int) -> UserError:
        return UserError(
            f"{file}: expected no row of level {level} yet, found one: another process writes this run; "
            "end one of them, and run the same command again"
        )

    def weights(self, trial: int, level: int) -> Arrays:
        """Return what `level` was trained to, pruned weights left out.

        Raises:
            UserError: it was not kept, is damaged, or longer than the weights of the trial's network can be.
        """
        file = self._arrays_file("weights", trial, level)
        if not os.path.lexists(file):
            self.check_kept(trial, level)
        rows = self.rows(trial)
        try:
            content = self._read(file, most_bytes(rows[0].parameters_total) if rows else LARGEST_ARRAYS)
            return unpack(content, place=place_of(self._id(), trial, level))
        except (OSError, ArraysError) as error:
            raise UserError(f"{file} cannot be read ({error}); `fourfold check --repair {self.path}` makes it again") from error

    def check_kept(self, trial: int, level: int) -> None:
        """Check that a level has its row, and that its weights were kept.

        Raises:
            UserError: it was never run, or its weights were not kept.
        """
        check_kept(self, trial, level)

    @property
    def checkpoints(self) -> CheckpointFolder:
        """The checkpoints of the levels that are being trained."""
        return CheckpointFolder(self.path / "checkpoints", self._read)

    def fail(self, trial: int, level: int, reason: str, control: str = TICKET) -> None:
        """Record that a level failed for good (such as a loss that became nan)."""
        place = {"run": self._id(), "trial": trial, "control": control}
        self._write(self._failure_file(trial, control), failure_line(place, level, reason))

    def failure(self, trial: int, control: str = TICKET) -> str | None:
        """Return how a trial failed, such as `level 3: the loss became nan`, or None."""
        file, place = self._failure_file(trial, control), {"trial": trial, "control": control}
        try:
            content = self._read(file)
            with contextlib.suppress(UserError):  # whose spec is lost
                place["run"] = self._id()
            return read_failure(content, place)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, *READING_ERRORS) as error:
            raise UserError(f"{file} does not say how the trial failed ({error!r}); delete it to try again") from error

    @contextlib.contextmanager
    def lock(self, name: str, wait_seconds: float = 0) -> Iterator[None]:
        """Hold the run (or one trial of it) alone; the lock dies with its process.

        Raises:
            UserError: another process holds it.
        """
        with self._held.hold(name, wait_seconds):
            yield

    def locked(self, name: str) -> bool:
        """Whether another process holds the lock of that name; nothing is written to find out."""
        return self._held.is_held_elsewhere(name)

    def sweep(self) -> None:
        """Remove what a crash has left: parts of files, and checkpoints and states of levels with rows.

        For who holds the run's lock.
        """
        for left in self.path.rglob(".*.part"):
            with contextlib.suppress(OSError):  # a folder of such a name is not ours, and harmless
                left.unlink()
        for training in self.checkpoints.positions():
            rows = (
                self.rows(training.trial) if training.control == TICKET else self.control_rows(training.trial, training.control)
            )
            if any(row.level == training.level for row in rows):
                self.checkpoints.drop(training.trial, training.level, training.control)
        for trial in self.trials():  # of those that are done, too, which are not run again
            if len(self._levels_in("states", trial)) > 1:
                self.drop_states(trial, before=len(self.rows(trial)))

    def _content(self, file: Path) -> tuple[Path, bytes]:
        """Return which form of a file of lines is there, and its content; one that is not there has none."""
        try:
            return read_either(file, LARGEST_TEXT, self._read)
        except (FileNotFoundError, NotADirectoryError):
            return file, b""
        except OSError as error:
            there = file if file.exists() or not packed_form(file).exists() else packed_form(file)
            raise UserError(f"{there} cannot be read ({error})") from error

    def _rows_file(self, trial: int, control: str = TICKET) -> Path:
        return self.path / f"rows-{trial}{ending(control)}.jsonl"

    def _connectivity_file(self, trial: int) -> Path:
        return self.path / f"connectivity-{trial}.jsonl"

    def _failure_file(self, trial: int, control: str = TICKET) -> Path:
        return self.path / f"failed-{trial}{ending(control)}.json"
