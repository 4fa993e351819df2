"""What is wrong with the files of a run: each is read as a whole, and compared with what the rows say of it.

Nothing is trained and nothing written. A run whose rows alone were copied is whole: masks that no folder has are not missed.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from fourfold.record.array_files import place_of
from fourfold.record.arrays import Arrays, ArraysError, digest_of, mask_digest, most_bytes, unpack
from fourfold.record.checkpoints import Training, UnusableCheckpointError, verify
from fourfold.record.errors import LostSpecError, UserError
from fourfold.record.examples import EXAMPLE_TRIAL, MOST_BYTES, Examples
from fourfold.record.files import read_file
from fourfold.record.findings import CUT, DROPPED, MOVED, TRAINED_AGAIN, WRITTEN, Finding, damaged, ok
from fourfold.record.folders import ASIDE, FOLDERS, LARGEST_TEXT, name_of, runs_named
from fourfold.record.journal import BadLineError, is_torn, lines_before
from fourfold.record.packing import PACKED, decompressed, is_packed, plain_form
from fourfold.record.row_files import read_connectivity, read_overlaps, read_rows
from fourfold.record.rows import CONTROLS, TICKET, Row
from fourfold.record.spec import Spec
from fourfold.record.store import RunStore

_LARGEST_OF_NO_ROWS = 2**32
"""Bytes of a file of arrays of a trial that has no rows, by which its network would be known."""

_OVERLAPS = ("overlaps.jsonl", f"overlaps.jsonl{PACKED}")

_ID = re.compile(r"[A-Za-z0-9._-]+-[a-z]+-[0-9a-f]{8}")
"""Ids of runs, by which their folders go."""

_NAMES = {
    "rows": re.compile(r"rows-(0|[1-9]\d*)(?:-([a-z-]+))?\.jsonl(?:\.xz)?"),
    "connectivity": re.compile(r"connectivity-(0|[1-9]\d*)\.jsonl(?:\.xz)?"),
    "failed": re.compile(r"failed-(0|[1-9]\d*)(?:-([a-z-]+))?\.json"),
    "masks": re.compile(r"masks/(0|[1-9]\d*)-([1-9]\d*)(?:-(equal-macs))?\.safetensors"),
    "states": re.compile(r"states/(0|[1-9]\d*)-([1-9]\d*)\.safetensors"),
    "weights": re.compile(r"weights/(0|[1-9]\d*)-(0|[1-9]\d*)\.safetensors"),
    "examples": re.compile(rf"examples/({EXAMPLE_TRIAL})-(0|[1-9]\d*)\.safetensors"),
    "checkpoints": re.compile(r"checkpoints/([^/]+)\.safetensors"),
    "passing": re.compile(r"\.run\.lock|\.trial-\d+\.lock|(?:.*/)?\.[^/]*\.part"),
}
"""Paths of the files of a run; those that pass are locks, and what a crash left of a file."""


def inspect(store: RunStore) -> list[Finding]:
    """Return what became of every file of a run, by path.

    Raises:
        UserError: the folder cannot be listed.
    """
    return sorted(_Inspection(store).findings(), key=lambda finding: finding.file)


class _Inspection:
    def __init__(self, store: RunStore) -> None:
        self._store, self._path = store, store.path
        self._rows: dict[tuple[int, str], list[Row]] = {}
        """Those that are whole, by trial and control."""
        self._spec_known: Spec | None = None
        try:
            self._spec_known = store.spec()
            self._run, self._gradual = self._spec_known.id, self._spec_known.prune.schedule == "gradual"
        except UserError:  # the folder's name is the run's id, unless somebody has renamed the folder
            name, named = name_of(store.path), runs_named(store.path)
            self._run, self._gradual = name if name in named or len(named) != 1 else min(named), False

    def findings(self) -> Iterator[Finding]:
        """Yield what became of the files, rows first: others are compared with them."""
        names = self._listed()
        matched = {
            name: (kind, match) for name in names for kind, pattern in _NAMES.items() if (match := pattern.fullmatch(name))
        }
        yield self._spec()
        for name, (kind, match) in matched.items():
            if kind == "rows":
                yield self._rows_file(name, int(match[1]), match[2] or TICKET)
        for name, (kind, match) in matched.items():
            if kind not in ("rows", "passing"):
                yield self._other(name, kind, match)
        for name in names:
            if name in FOLDERS:
                yield damaged(name, "it is not a folder", MOVED, "folder")
            elif name not in matched and name not in ("spec.json", *_OVERLAPS):
                yield Finding(file=name, state="foreign", what="no file of a run has this name")
        for name in (name for name in _OVERLAPS if name in names):
            yield self._lines(name, "overlaps", lambda file, content: read_overlaps(file, content, self._run))
        yield from self._missing(set(names))

    def _listed(self) -> list[str]:
        """Return the paths below the folder of all files, and of folders that have the name of a file."""
        try:
            return sorted(self._walk(self._path, ""))
        except OSError as error:
            raise UserError(f"cannot list {self._path} ({error.strerror})") from error

    def _walk(self, folder: Path, above: str) -> Iterator[str]:
        """Yield what lies in a folder; of linked folders, as when a run is read, those of a run alone are entered."""
        for entry in folder.iterdir():
            name = f"{above}{entry.name}"
            entered = entry.is_dir() and (name in FOLDERS or not entry.is_symlink()) and not _is_name_of_file(name)
            if entered and name != ASIDE:
                yield from self._walk(entry, f"{name}/")
            elif name != ASIDE:
                yield name

    def _spec(self) -> Finding:
        file, what, named = self._path / "spec.json", "", name_of(self._path)
        if not os.path.lexists(file):
            return Finding(file=file.name, state="missing", what="every run has one", remedy=WRITTEN, kind="spec")
        try:
            spec_id = self._store.spec().id
            self._store.data()
            self._store.code()
        except LostSpecError as lost:
            what = lost.what
        except UserError as error:
            what = str(error).removeprefix(f"{file}").lstrip(": ").partition("; ")[0]
        else:
            if spec_id != named and not runs_named(self._path) and _ID.fullmatch(named):
                what = f"expected the spec of {named}, found that of {spec_id}"
        return damaged(file.name, what, f"{MOVED}, and {WRITTEN}", "spec") if what else ok(file.name)

    def _rows_file(self, name: str, trial: int, control: str) -> Finding:
        if control != TICKET and control not in CONTROLS:
            return Finding(file=name, state="foreign", what=f"there is no control {control!r}")

        def read(file: Path, content: bytes) -> list[Row]:
            return read_rows(file, content, self._run, trial, control, spec=self._spec_known)

        return self._lines(name, "rows", read, trial, control, whole=self._rows)

    def _lines(
        self,
        name: str,
        kind: str,
        read: Callable[[Path, bytes], list[Row]] | Callable[[Path, bytes], object],
        trial: int = 0,
        control: str = TICKET,
        whole: dict[tuple[int, str], list[Row]] | None = None,
    ) -> Finding:
        """Return what became of a file of lines; those before a bad one go into `whole`."""
        file = self._path / name
        bad: BadLineError | None = None
        try:
            content = read_file(file, LARGEST_TEXT)
            if is_packed(file):
                content = decompressed(content, LARGEST_TEXT)
                if os.path.lexists(plain_form(file)):
                    return self._beside(name, content, kind, trial)
        except OSError as error:
            return Finding(
                file=name, state="damaged", what=f"it cannot be read ({error})", remedy=MOVED, kind=kind, trial=trial
            )
        try:
            rows = read(file, content)
        except BadLineError as error:
            bad = error
            rows = read(file, lines_before(content, bad.number))
        if whole is not None and isinstance(rows, list):
            whole[trial, control] = rows
        if bad is None:
            return self._end_of(name, content, kind, trial, control)
        what = str(bad).removeprefix(f"{file}:").rpartition("; ")[0]
        return replace(damaged(name, f"line {what}", CUT, kind, trial, control=control), line=bad.number)

    def _beside(self, name: str, content: bytes, kind: str, trial: int) -> Finding:
        """Return what a packed file is whose plain form is there, too: what counts is that."""
        plain = plain_form(self._path / name)
        try:
            same = read_file(plain, LARGEST_TEXT).startswith(content)
        except OSError:
            same = True  # the plain one is reported by itself
        if same:
            return Finding(file=name, state="ok", what=f"{plain.name} counts, which the next line that is written leaves alone")
        return damaged(name, f"expected what {plain.name} holds, found other lines", MOVED, kind, trial)

    @staticmethod
    def _end_of(name: str, content: bytes, kind: str, trial: int, control: str) -> Finding:
        """Return what a file of whole lines ends in."""
        end = content[content.rfind(b"\n") + 1 :]
        if not end:
            return ok(name)
        torn = is_torn(end)
        what = "it ends in a torn line, which the next run drops" if torn else f"it ends in {len(end)} bytes that are no line"
        line = content.count(b"\n") + 1
        finding = replace(damaged(name, what, DROPPED, kind, trial, control=control), line=line)
        return replace(finding, state="ok") if torn else finding

    def _other(self, name: str, kind: str, match: "re.Match[str]") -> Finding:
        if kind == "connectivity":
            trial = int(match[1])
            return self._lines(name, kind, lambda file, content: read_connectivity(file, content, self._run, trial), trial)
        if kind == "failed":
            return self._failed(name, int(match[1]), match[2] or TICKET)
        if kind == "checkpoints":
            return self._checkpoint(name, Training.of(match[1]))
        trial, level = int(match[1]), int(match[2])
        control = (match[3] if kind == "masks" else None) or TICKET
        levels = len(self._rows.get((trial, control), ()))
        if kind == "states" and level < levels:  # after a power loss it may hold anything
            return Finding(file=name, state="ok", what="its level has its row, and the next run removes it")
        expected: tuple[str | None, Callable[[Arrays], str]] = (None, digest_of)
        if kind == "masks":
            expected = self._promised_mask(trial, level, control), mask_digest
        elif kind == "states":
            expected = self._promised_state(trial, level), digest_of
        longest = MOST_BYTES if kind == "examples" else self._most_bytes(trial)
        place = place_of(self._run, trial, level)
        what = self._damage(self._path / name, longest, place, *expected, read=Examples.of if kind == "examples" else None)
        if what is None:
            return ok(name)
        needed = {"weights": level < levels, "examples": level < levels, "masks": level <= levels, "states": level == levels}[
            kind
        ]
        return damaged(name, what, TRAINED_AGAIN if needed else MOVED, kind, trial, level, control)

    def _most_bytes(self, trial: int) -> int:
        """Return how long the files of a trial's arrays may be."""
        rows = self._rows.get((trial, TICKET), ())
        return most_bytes(max(rows[0].parameters_total, rows[0].parameters_real)) if rows else _LARGEST_OF_NO_ROWS

    def _damage(
        self,
        file: Path,
        longest: int,
        place: str,
        expected: str | None,
        digest: Callable[[Arrays], str],
        read: Callable[[Arrays], object] | None = None,
    ) -> str | None:
        try:
            arrays = unpack(read_file(file, longest), place=place)
            if read is not None:
                read(arrays)
        except (OSError, ArraysError) as error:
            return f"it cannot be read ({error})"
        if expected is not None and digest(arrays) != expected:
            return f"expected the SHA-256 {expected[:8]} of its row, found {digest(arrays)[:8]}"
        return None

    def _promised_mask(self, trial: int, level: int, control: str) -> str | None:
        """Return the SHA-256 of a mask; None where no row names it."""
        rows = {row.level: row for row in self._rows.get((trial, control), ())}
        if level in rows:
            return rows[level].mask
        before = rows.get(level - 1)
        return before.promised.mask if before and before.promised else None

    def _promised_state(self, trial: int, level: int) -> str | None:
        rows = self._rows.get((trial, TICKET), ())
        before = rows[level - 1] if 0 < level <= len(rows) else None
        return before.promised.state if before and before.promised else None

    def _failed(self, name: str, trial: int, control: str) -> Finding:
        try:
            self._store.failure(trial, control)
        except UserError as error:
            what = str(error).removeprefix(f"{self._path / name} ").rpartition("; ")[0]
            return Finding(
                file=name, state="damaged", what=f"it {what}", remedy=MOVED, kind="failed", trial=trial, control=control
            )
        return Finding(file=name, state="ok")

    def _checkpoint(self, name: str, training: Training | None) -> Finding:
        if training is None:
            return Finding(file=name, state="foreign", what="no checkpoint has this name")
        file = self._path / name
        try:
            identity = verify(read_file(file, self._most_bytes(training.trial)), name)
            owner = Training(*(identity[field] for field in ("trial", "level", "control", "stage")))
            what = "" if owner == training and identity["spec"] == self._run else f"it is of {owner.name} of {identity['spec']}"
        except UnusableCheckpointError as error:
            what = str(error).removeprefix(f"{name}: ")
        except (OSError, KeyError) as error:
            what = f"it cannot be read ({error})"
        return damaged(name, what, f"{MOVED}; its level starts over", "checkpoints", training.trial) if what else ok(name)

    def _missing(self, names: set[str]) -> Iterator[Finding]:
        """Yield the masks and states that rows promise, of a run that has folders of them."""
        expected: dict[str, tuple[str, int, int, str]] = {}
        for (trial, control), rows in self._rows.items():
            if control not in (TICKET, "equal-macs") or not any(row.promised or self._gradual for row in rows):
                continue
            for row in rows:
                ending = "" if control == TICKET else f"-{control}"
                if row.promised and row.promised.mask:
                    expected[f"masks/{trial}-{row.level + 1}{ending}.safetensors"] = ("masks", trial, row.level + 1, control)
                if self._gradual and row.level and control == TICKET:
                    expected[f"masks/{trial}-{row.level}.safetensors"] = ("masks", trial, row.level, control)
            last = rows[-1]
            if control == TICKET and last.promised and last.promised.state:
                expected[f"states/{trial}-{len(rows)}.safetensors"] = ("states", trial, len(rows), control)
        if not any((self._path / folder).is_dir() for folder in ("masks", "states")):
            return
        for name in sorted(expected.keys() - names):
            kind, trial, level, control = expected[name]
            yield Finding(
                file=name,
                state="missing",
                what="a row promises it",
                remedy=TRAINED_AGAIN,
                kind=kind,
                trial=trial,
                level=level,
                control=control,
            )


def _is_name_of_file(name: str) -> bool:
    """Whether a file of a run may have a name: a folder that has it is in its way."""
    return name in ("spec.json", *_OVERLAPS) or any(
        pattern.fullmatch(name) for kind, pattern in _NAMES.items() if kind != "passing"
    )
