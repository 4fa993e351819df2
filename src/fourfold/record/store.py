"""The files of a run: `spec.json`, `rows-<trial>.jsonl`, `masks/…`, `states/…`, `checkpoints/…`, and `weights/…` if asked for.

A level exists once its row is there. Its successor's mask is written first, so what a level needs is always on disk:
the spec, the trial number, one bit-packed mask and, where weights pass from level to level, one state. Nothing written is
ever changed, but a state is removed when its successor's row is there, and a line that a crash tore off is dropped by the
next writer. A level that is being trained has a checkpoint, which is replaced by later ones and removed when its row is there.
Controls have rows of their own, `rows-<trial>-<control>.jsonl`, in the order in which they were run, and so
has what `fourfold stability` measures, `connectivity-<trial>.jsonl` and `overlaps.jsonl`.
"""

import contextlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from fourfold.record.checkpoints import CheckpointFolder
from fourfold.record.checks import check_file_name
from fourfold.record.errors import UserError
from fourfold.record.files import append_line, write_atomically
from fourfold.record.reading import READING_ERRORS, parse_object
from fourfold.record.references import changed as changed_code
from fourfold.record.rows import TICKET, Row
from fourfold.record.spec import Spec
from fourfold.record.stability import ConnectivityRow, OverlapRow

if TYPE_CHECKING:
    import numpy as np

DATA = "data_sha256"
"""What `spec.json` has beside the spec: the SHA-256 of the images and labels, which are no part of the run's id."""

CODE = "code_sha256"
"""And that of each file of the user's code that the spec names, where it names any."""

Arrays = dict[str, "np.ndarray"]
"""Arrays by name. Masks are uint8, eight weights a byte, first weight in the highest bit."""


class RunStore:
    """One run's folder below `out`: reads anything, writes one level at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(
        cls,
        out: Path,
        spec: Spec,
        data: str | None = None,
        code: Mapping[str, str] | None = None,
        *,
        accept_changed_code: bool = False,
    ) -> "RunStore":
        """Return the store of `spec` below `out`, made if it is not there.

        Args:
            out: The folder of the runs.
            spec: What decides the run's id.
            data: SHA-256 of the images and labels that it will be trained and tested on, as its rows have it.
            code: SHA-256 of each file of the user's code, as its rows have them.
            accept_changed_code: Whether a run goes on with other code than it was started with.

        Raises:
            UserError: the folder cannot be written, or holds a run of another spec or version, or of other data.
        """
        check_file_name("spec.preset", spec.preset)
        store = cls(out / spec.id)
        file = store.path / "spec.json"
        if file.exists():
            if store.spec() != spec:
                raise UserError(f"{file} holds another experiment than {spec.id}; move it away or choose another --out")
            if data is not None:
                store.check_data(data)
            if code and not accept_changed_code:
                store.check_code(code)
            return store
        try:
            store.path.mkdir(parents=True, exist_ok=True)
            value = spec.to_json() | ({} if data is None else {DATA: data}) | ({CODE: dict(code)} if code else {})
            write_atomically(file, (json.dumps(value, indent=1) + "\n").encode())
        except OSError as error:
            raise UserError(f"cannot write the run to {store.path} ({error.strerror}); choose another --out") from error
        return store

    def spec(self) -> Spec:
        """Return the spec that the run was started with."""
        value = {name: content for name, content in self._spec_json().items() if name not in (DATA, CODE)}
        return Spec.from_json(value, source=str(self.path / "spec.json"))

    def data(self) -> str | None:
        """Return the SHA-256 of the images and labels that the run was started with; None in older runs."""
        found = self._spec_json().get(DATA)
        return found if isinstance(found, str) else None

    def code(self) -> dict[str, str]:
        """Return the SHA-256 of each file of user code that the run was started with; empty where there is none.

        Raises:
            UserError: it is damaged.
        """
        found = self._spec_json().get(CODE, {})
        if not isinstance(found, dict) or not all(isinstance(digest, str) for digest in found.values()):
            raise UserError(f"{self.path / 'spec.json'}: expected `{CODE}` to be digests by file, found {found!r}")
        return found

    def check_code(self, code: Mapping[str, str]) -> None:
        """Check that a run goes on with the code that it was started with, or that was accepted since.

        Args:
            code: SHA-256 of each file that is here.

        Raises:
            UserError: neither the run nor its last row knows this code.
        """
        started, last = self.code(), self._last_code()
        for source, digest in code.items():
            known = [digests[source] for digests in (started, last) if source in digests]
            if known and digest not in known:
                raise changed_code(source, known[-1], digest)

    def _last_code(self) -> dict[str, str]:
        """Return the code of the row that was written last."""
        rows = [row for trial in self.trials() for row in self.rows(trial)[-1:] if row.provenance.code]
        newest = max(rows, key=lambda row: row.provenance.finished, default=None)
        return (newest.provenance.code if newest else None) or {}

    def check_data(self, data: str, trials: Iterable[int] | None = None) -> None:
        """Check that a run goes on with the images and labels that it was started with.

        Args:
            data: SHA-256 of those that are here. What is on disk and does not name its own is taken to be of them.
            trials: Trials whose rows are looked at; None means all, with their controls and what else was measured of them.

        Raises:
            UserError: something on disk was trained or measured on others.
        """
        for found, what in self._data_named(trials):
            if found not in (None, data):
                raise UserError(
                    f"{what} in {self.path} is of other {self.spec().data.name} data (SHA-256 {found[:8]}) than those that are "
                    f"here ({data[:8]}); name the folder that has them with --data-dir, or start afresh with another --out"
                )

    def _data_named(self, trials: Iterable[int] | None) -> Iterator[tuple[str | None, str]]:
        """Yield which data the parts of a run say that they are of, and which part that is."""
        yield self.data(), "the run"
        for trial in self.trials() if trials is None else trials:
            yield from ((row.data, f"level {row.level} of trial {trial}") for row in self.rows(trial))
        if trials is None:
            for trial, control in self.controls():
                yield from ((row.data, f"{control} of trial {trial}") for row in self.control_rows(trial, control))
            for trial in self.trials():
                yield from ((row.data, f"the connectivity of trial {trial}") for row in self.connectivity(trial))

    def _spec_json(self) -> dict[str, Any]:
        file = self.path / "spec.json"
        try:
            return parse_object(self._read(file).decode())
        except (OSError, ValueError) as error:
            raise UserError(f"{file} cannot be read as a spec ({error})") from error

    def trials(self) -> list[int]:
        """Return the trials that have rows or failed, in order."""
        names = (re.fullmatch(r"(?:rows-(\d+)\.jsonl|failed-(\d+)\.json)", file.name) for file in self.path.iterdir())
        return sorted({int(name[1] or name[2]) for name in names if name})

    def rows(self, trial: int) -> list[Row]:
        """Return a trial's rows, level by level; a line torn off by a crash is left out.

        Raises:
            UserError: a row is damaged, or is not that of its place.
        """
        rows = self._read_rows(trial, TICKET)
        for level, row in enumerate(rows):
            if row.level != level:
                raise UserError(
                    f"{self._rows_file(trial)}:{level + 1} is the row of level {row.level}, where that of level {level} "
                    "belongs; take out what was copied there, or remove the file and run the trial again"
                )
        return rows

    def controls(self) -> list[tuple[int, str]]:
        """Return the trials and names of the controls that have rows, in order."""
        names = (re.fullmatch(r"rows-(\d+)-([a-z-]+)\.jsonl", file.name) for file in self.path.iterdir())
        return sorted((int(name[1]), name[2]) for name in names if name)

    def control_rows(self, trial: int, control: str) -> list[Row]:
        """Return the rows of a trial's control by level; a line torn off by a crash is left out.

        Raises:
            UserError: a row is damaged, or is there twice.
        """
        rows = sorted(self._read_rows(trial, control), key=lambda row: row.level)
        for row, after in itertools.pairwise(rows):
            if row.level == after.level:
                raise UserError(f"{self._rows_file(trial, control)} has level {row.level} twice; take one of its rows out")
        return rows

    def connectivity(self, trial: int) -> list[ConnectivityRow]:
        """Return what is known of the connectivity of a trial's levels; a line torn off by a crash is left out."""
        rows = [ConnectivityRow.from_line(*line) for line in self._lines(self._connectivity_file(trial))]
        return sorted(rows, key=lambda row: (row.level, row.connectivity.step))

    def append_connectivity(self, row: ConnectivityRow) -> None:
        """Write the connectivity of a level to disk before returning."""
        append_line(self._connectivity_file(row.trial), row.to_line())

    def overlaps(self) -> list[OverlapRow]:
        """Return how much the trials' masks agree, as it was last found."""
        return [OverlapRow.from_line(*line) for line in self._lines(self.path / "overlaps.jsonl")]

    def save_overlaps(self, rows: Iterable[OverlapRow]) -> None:
        """Write how much the trials' masks agree, in place of what was known."""
        write_atomically(self.path / "overlaps.jsonl", "".join(row.to_line() + "\n" for row in rows).encode())

    def _read_rows(self, trial: int, control: str) -> list[Row]:
        lines = self._lines(self._rows_file(trial, control))
        rows = [Row.from_line(*line) for line in lines]
        for row, (_, place) in zip(rows, lines, strict=True):
            if (row.trial, row.control) != (trial, control):
                raise UserError(f"{place} is a row of {row.control} of trial {row.trial}, which belongs into another file")
        return rows

    def finished(self, trial: int) -> bool:
        """Whether a trial has all its levels; one that failed has not."""
        rows = self.rows(trial)
        if not rows:
            return False
        layers = {name: total for name, (_, total) in rows[0].layers.items()}
        return self.spec().finished([row.value for row in rows], rows[0].weights_total, layers, rows[0].metric)

    def append(self, row: Row) -> None:
        """Write a row, of a level or of a control, to disk before returning."""
        append_line(self._rows_file(row.trial, row.control), row.to_line())

    def save_mask(self, trial: int, level: int, masks: Arrays, control: str = TICKET) -> None:
        """Write the bit-packed mask that `level` is trained under."""
        self._save(self._arrays_file("masks", trial, level, control), masks)

    def mask(self, trial: int, level: int, control: str = TICKET) -> Arrays:
        """Return the bit-packed mask that `level` is trained under.

        Raises:
            UserError: it is missing or damaged.
        """
        return self._load(self._arrays_file("masks", trial, level, control), f"without that mask trial {trial} cannot go on")

    def has_mask(self, trial: int, level: int) -> bool:
        """Whether a level's mask is on disk; rows that were copied without their masks have none."""
        return self._arrays_file("masks", trial, level).is_file()

    def save_state(self, trial: int, level: int, arrays: Arrays) -> None:
        """Write what `level` needs of the levels before it, beside its mask."""
        self._save(self._arrays_file("states", trial, level), arrays)

    def state(self, trial: int, level: int) -> Arrays:
        """Return what `level` needs of the levels before it.

        Raises:
            UserError: it is missing or damaged.
        """
        return self._load(self._arrays_file("states", trial, level), f"without that state trial {trial} cannot go on")

    def drop_states(self, trial: int, before: int) -> None:
        """Remove the states of a trial's levels before one whose own state is there."""
        for level in self._levels_in("states", trial):
            if level < before:
                self._arrays_file("states", trial, level).unlink(missing_ok=True)

    def save_weights(self, trial: int, level: int, arrays: Arrays) -> None:
        """Write what `level` was trained to, pruned weights left out."""
        self._save(self._arrays_file("weights", trial, level), arrays)

    def weights(self, trial: int, level: int) -> Arrays:
        """Return what `level` was trained to, pruned weights left out.

        Raises:
            UserError: it was not kept, or is damaged.
        """
        return self._load(self._arrays_file("weights", trial, level), "the run keeps the weights of levels named by --keep")

    def kept_levels(self, trial: int) -> list[int]:
        """Return the levels of a trial whose weights were kept, in order."""
        return self._levels_in("weights", trial)

    def _levels_in(self, kind: str, trial: int) -> list[int]:
        """Return the levels of a trial that have a file in a folder, in order; files of other names are not ours."""
        files = (self.path / kind).glob(f"{trial}-*.safetensors")
        return sorted(int(name[1]) for file in files if (name := re.fullmatch(rf"{trial}-(\d+)\.safetensors", file.name)))

    @property
    def checkpoints(self) -> CheckpointFolder:
        """The checkpoints of the levels that are being trained."""
        return CheckpointFolder(self.path / "checkpoints", self._read)

    def fail(self, trial: int, level: int, reason: str, control: str = TICKET) -> None:
        """Record that a level failed for good (such as a loss that became nan)."""
        text = json.dumps({"trial": trial, "level": level, "reason": reason})
        self._write(self._failure_file(trial, control), (text + "\n").encode())

    def failure(self, trial: int, control: str = TICKET) -> str | None:
        """Return how a trial failed, such as `level 3: the loss became nan`, or None."""
        file = self._failure_file(trial, control)
        try:
            value = parse_object(self._read(file).decode())
            return f"level {int(value['level'])}: {value['reason']}"
        except FileNotFoundError:
            return None
        except (OSError, *READING_ERRORS) as error:
            raise UserError(f"{file} does not say how the trial failed ({error!r}); delete it to try again") from error

    @contextlib.contextmanager
    def lock(self, name: str, wait_seconds: float = 0) -> Iterator[None]:
        """Hold the run (or one trial of it) alone; the lock dies with its process.

        Raises:
            UserError: another process holds it.
        """
        lock = FileLock(self._lock_file(name))
        try:
            lock.acquire(timeout=wait_seconds)
        except Timeout:
            raise UserError(f"another process is working on {self.path}; wait for it, or use another --out") from None
        except OSError as error:
            raise UserError(f"cannot write to {self.path} ({error.strerror}); choose another --out") from error
        try:
            yield
        finally:
            lock.release()

    def locked(self, name: str) -> bool:
        """Whether another process holds the lock of that name; nothing is written to find out."""
        if not self._lock_file(name).exists():
            return False
        lock = FileLock(self._lock_file(name))
        try:
            with lock.acquire(timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return False

    def sweep(self) -> None:
        """Remove what a crash has left: parts of files, and checkpoints of levels with rows; for who holds the run's lock."""
        for left in self.path.rglob(".*.part"):
            left.unlink(missing_ok=True)
        for training in self.checkpoints.positions():
            rows = (
                self.rows(training.trial) if training.control == TICKET else self.control_rows(training.trial, training.control)
            )
            if any(row.level == training.level for row in rows):
                self.checkpoints.drop(training.trial, training.level, training.control)

    def _lines(self, file: Path) -> list[tuple[str, str]]:
        """Return the whole lines of a file, each with where it stands; a file that is not there has none."""
        try:
            whole = self._read(file).rpartition(b"\n")[0].decode(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file} cannot be read ({error})") from error
        return [(line, f"{file}:{number}") for number, line in enumerate(whole.splitlines(), 1)]

    def _read(self, file: Path) -> bytes:
        if file.exists() and not file.is_file():
            raise OSError("it is not a file")  # reading a pipe would wait for ever
        return file.read_bytes()

    def _write(self, file: Path, content: bytes) -> None:
        file.parent.mkdir(exist_ok=True)
        write_atomically(file, content)

    def _save(self, file: Path, arrays: Arrays) -> None:
        import safetensors.numpy  # with numpy, which most commands do without

        self._write(file, safetensors.numpy.save(arrays))

    def _load(self, file: Path, consequence: str) -> Arrays:
        import safetensors.numpy

        try:
            return safetensors.numpy.load(self._read(file))
        except (OSError, safetensors.SafetensorError) as error:
            raise UserError(f"{file} cannot be read ({error}); {consequence}") from error

    def _lock_file(self, name: str) -> Path:
        return self.path / f".{name}.lock"

    def _rows_file(self, trial: int, control: str = TICKET) -> Path:
        return self.path / f"rows-{trial}{_ending(control)}.jsonl"

    def _connectivity_file(self, trial: int) -> Path:
        return self.path / f"connectivity-{trial}.jsonl"

    def _arrays_file(self, kind: str, trial: int, level: int, control: str = TICKET) -> Path:
        return self.path / kind / f"{trial}-{level}{_ending(control)}.safetensors"

    def _failure_file(self, trial: int, control: str = TICKET) -> Path:
        return self.path / f"failed-{trial}{_ending(control)}.json"


def _ending(control: str) -> str:
    """Return what the names of a control's files have more than those of its ticket."""
    return "" if control == TICKET else f"-{control}"


def find_runs(*paths: Path) -> list[RunStore]:
    """Return every run at or below the paths, ordered by path.

    Raises:
        UserError: a path does not exist, or cannot be read.
    """
    found: set[Path] = set()
    for path in paths:
        try:
            if not path.exists():
                raise UserError(f"there is no {path}; name a run's folder or one that holds runs")
            if path.is_dir():
                next(path.iterdir(), None)  # a folder that may not be read has no runs for `rglob`, and says nothing
            found.update(file.parent for file in path.rglob("spec.json"))
        except OSError as error:
            raise UserError(f"cannot look for runs in {path} ({error.strerror})") from error
    return [RunStore(path) for path in sorted(found)]
