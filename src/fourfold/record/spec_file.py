"""`spec.json` of a run: the spec, and what stands beside it without being part of the run's id."""

import errno
import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fourfold.record.errors import LostSpecError, UserError
from fourfold.record.files import write_atomically
from fourfold.record.folders import holds_rows_or_masks, name_of, runs_named
from fourfold.record.reading import parse_object
from fourfold.record.spec import SPEC_VERSION, Spec

DATA = "data_sha256"
"""What `spec.json` has beside the spec: the SHA-256 of the images and labels."""

CODE = "code_sha256"
"""And that of each file of the user's code that the spec names, where it names any."""

_LOST = (None, errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""Errors of reading a file that is not there, or is no file; others, such as a missing permission, are no damage."""


class SpecFile:
    """`spec.json` of a run's folder.

    Args:
        folder: The run's.
        read: Returns the content of a file.
    """

    def __init__(self, folder: Path, read: Callable[[Path], bytes]) -> None:
        self.path = folder / "spec.json"
        self.expected: Spec | None = None
        """The spec that the folder's name is of; it stands in where the file is lost."""
        self._read = read

    def spec(self) -> Spec:
        """Return the spec, without permission to import code.

        Raises:
            LostSpecError: it is missing or damaged.
            UserError: it is of another version, or was altered: the folder and its rows have the name of another.
        """
        spec = self._spec()
        name = name_of(self.path.parent)
        if spec.id != name and name in runs_named(self.path.parent):
            raise UserError(
                f"{self.path}: expected the spec of {name}, as the rows beside it, found that of {spec.id}: it was altered, "
                "and the rows were not; `fourfold check --repair` moves it aside, and the same command writes it again"
            )
        return spec

    def data(self) -> str | None:
        """Return the SHA-256 of the images and labels that the run was started with; None in older runs."""
        digest = self._value().get(DATA)
        return digest if isinstance(digest, str) else None

    def code(self) -> dict[str, str]:
        """Return the SHA-256 of each file of user code that the run was started with; empty where there is none.

        Raises:
            UserError: it is damaged.
        """
        digests = self._value().get(CODE, {})
        if not isinstance(digests, dict) or not all(isinstance(digest, str) for digest in digests.values()):
            raise UserError(f"{self.path}: expected `{CODE}` to be digests by file, found {digests!r}")
        return dict(digests)

    def lost(self) -> LostSpecError | None:
        """Return what is wrong with the spec of a folder that had one; None where nothing is, or there is no run yet."""
        try:
            self._on_disk()
        except LostSpecError as error:
            return error if os.path.lexists(self.path) or holds_rows_or_masks(self.path.parent) else None
        return None

    def write(self, spec: Spec, data: str | None, code: Mapping[str, str] | None) -> None:
        """Write the spec and what stands beside it.

        Raises:
            OSError: it cannot be written.
        """
        value = spec.to_json() | ({} if data is None else {DATA: data}) | ({CODE: dict(code)} if code else {})
        write_atomically(self.path, (json.dumps(value, indent=1) + "\n").encode())

    def _value(self) -> Mapping[str, Any]:
        try:
            return self._on_disk()[0]
        except LostSpecError:
            if self.expected is None:
                raise
            return self.expected.to_json()

    def _spec(self) -> Spec:
        try:
            value, spec = self._on_disk()
        except LostSpecError:
            if self.expected is None:
                raise
            return self.expected
        return spec or Spec.from_json(_without_extras(value), source=str(self.path))  # which names the other version

    def _on_disk(self) -> tuple[Mapping[str, Any], Spec | None]:
        """Return what the file holds, and the spec; None where it is one of another version.

        Raises:
            LostSpecError: it is missing or damaged.
            UserError: it cannot be read for another reason.
        """
        try:
            return _parsed(self._read(self.path))
        except OSError as error:
            if error.errno in _LOST:
                raise LostSpecError(self.path, error) from error
            raise UserError(f"{self.path} cannot be read as a spec ({error})") from error
        except ValueError as error:
            raise LostSpecError(self.path, error) from error


@functools.lru_cache(maxsize=16)
def _parsed(content: bytes) -> tuple[Mapping[str, Any], Spec | None]:
    """Return what `SpecFile._on_disk` does; a run reads its file with every row, and parses it once.

    Raises:
        ValueError: it is no spec.
    """
    value = parse_object(content.decode())
    if type(value.get("spec_version")) is not int:
        raise ValueError("it has no spec_version")
    is_ours = value["spec_version"] == SPEC_VERSION
    return value, Spec.from_json(_without_extras(value), source="it") if is_ours else None


def _without_extras(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of `spec.json` is the spec."""
    return {name: part for name, part in value.items() if name not in (DATA, CODE)}
