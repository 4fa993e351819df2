"""Errors that pass through code of the user's: one sentence with the file and line."""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fourfold.parts import named
from fourfold.parts.process_state import as_it_was
from fourfold.record import Spec, UserError
from fourfold.record.code_errors import UserCodeError, line_in, user_error
from fourfold.record.errors import LostFileError


@contextmanager
def user_code(spec: Spec, expected: str) -> Iterator[None]:
    """Turn an error that passes through the user's code, or comes of it, into one sentence with its file and line."""
    try:
        with as_it_was():
            yield
    except Exception as error:
        cause = error.__cause__ if isinstance(error, UserError) else error
        files = _files_of(spec) if isinstance(error, UserError) else []
        if cause is None or any(str(file) in str(error) for file in files):  # which says already where it was
            raise
        if message := explained(cause, spec, expected, anywhere=cause is error):
            raise message from error
        raise


@contextmanager
def in_a_trial(spec: Spec) -> Iterator[None]:
    """Turn a mistake of the user's code that shows in a trial alone into an error of that trial: others may do without it."""
    try:
        yield
    except UserError as error:
        files = [] if isinstance(error, UserCodeError | LostFileError) else _files_of(spec)
        if not files:
            raise
        where = "" if any(str(file) in str(error) for file in files) else f"{files[0]}: "
        raise UserCodeError(f"{where}{error}") from error


def explained(
    error: BaseException, spec: Spec, expected: str = "code that runs", *, anywhere: bool = False
) -> UserError | None:
    """Return the sentence for an error that passed through the user's code; None if it did not.

    Args:
        error: The error.
        spec: Which names the code.
        expected: What the code was asked for.
        anywhere: Whether an error elsewhere is the user's too, such as one of torch's layers that the code has put together.
    """
    if isinstance(error, UserError):
        return None
    for file in _files_of(spec):
        if line_in(error, file):
            return user_error(error, file, expected)
    if anywhere and (files := _files_of(spec)):
        return user_error(error, files[0], expected)
    return None


_files: dict[str, list[Path]] = {}
"""Of the user's code, by run, as they were found last: one may be edited or renamed before its code fails."""


def _files_of(spec: Spec) -> list[Path]:
    if spec.trust is not None:
        with contextlib.suppress(UserError):
            _files[spec.id] = named.code_files(spec)
    return _files.get(spec.id, []) if spec.trust else []
