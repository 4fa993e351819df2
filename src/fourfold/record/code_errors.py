"""What code of the user's raises, as one sentence with its file and line."""

from collections.abc import Callable
from inspect import unwrap
from pathlib import Path
from typing import Any

from fourfold.record.errors import UserError
from fourfold.record.text import first_line, shortened

_SHOWN = 200
"""Characters of an error in user code that a message shows."""


class UserCodeError(UserError):
    """What code of the user's has raised; it ends one trial, and others may do without it."""


class in_code:  # noqa: N801 - a context manager, used as a function
    """Turn what code of the user's raises into one sentence with its file and line.

    Args:
        file: Where the code is.
        expected: What it was asked for.
    """

    def __init__(self, file: Path, expected: str) -> None:
        self._file, self._expected = file, expected

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, KeyboardInterrupt | GeneratorExit | MemoryError | UserError):
            return
        raise user_error(error, self._file, self._expected) from error


def user_error(error: BaseException, file: Path, expected: str) -> UserCodeError:
    """Return what an error in user code comes to: file, line, what was expected, and what it says."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return UserCodeError(f"{file}:{error.lineno}: expected Python code, found a syntax error ({error.msg})")
    reason, place = first_line(error), line_in(error, file)
    message = f"{type(error).__name__}: {reason}" if reason else type(error).__name__
    return UserCodeError(f"{file}{place}: expected {expected}, found {shortened(message, _SHOWN)}")


def line_in(error: BaseException, file: Path) -> str:
    """Return `:LINE`, the innermost line of a file that an error passed through; nothing if it passed through none."""
    line, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return line


def line_of(function: Callable[..., Any]) -> str:
    """Return `:LINE` of a function's definition; nothing where it has none."""
    code = getattr(unwrap(function), "__code__", None)
    return f":{code.co_firstlineno}" if code is not None else ""
