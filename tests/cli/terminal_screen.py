"""A command in a pseudo-terminal of 24 × 80, and what its screen shows after each piece of output."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn
from unittest import mock

from cli_samples import save_nothing

from fourfold.cli import main

HEIGHT, WIDTH = 24, 80
TOKEN = re.compile(r"\x1b\[[?]?([0-9;]*)([A-Za-z])|\x1b.|([\r\n\b])|([^\x1b\r\n\b]+)", re.DOTALL)
PATIENCE_SECONDS = 120


class Screen:
    """The lines of a terminal: as much of its control codes as rich writes."""

    def __init__(self) -> None:
        self.lines = [""] * HEIGHT
        self._row = self._column = 0

    def write(self, text: str) -> None:
        for code in TOKEN.finditer(text):
            number, command, control, plain = code.groups()
            if command == "A":
                self._row = max(0, self._row - int(number or 1))
            elif command == "K":
                line = self.lines[self._row]
                self.lines[self._row] = "" if number == "2" else line[: self._column]
            elif command == "J":
                self.lines[self._row :] = [self.lines[self._row][: self._column]] + [""] * (HEIGHT - self._row - 1)
            elif control == "\r":
                self._column = 0
            elif control == "\n":
                self._new_line()
            for letter in plain or "":
                if self._column == WIDTH:
                    self._new_line()
                line = self.lines[self._row].ljust(self._column)
                self.lines[self._row] = line[: self._column] + letter + line[self._column + 1 :]
                self._column += 1

    def _new_line(self) -> None:
        self._column = 0
        if self._row == HEIGHT - 1:
            self.lines = [*self.lines[1:], ""]
        else:
            self._row += 1

    @property
    def shown(self) -> list[str]:
        """The lines down to the last one with text."""
        lines = [line.rstrip() for line in self.lines]
        while lines and not lines[-1]:
            lines.pop()
        return lines


def _run(words: list[str], folder: Path) -> NoReturn:
    """Run a command in a forked process, which has imported all that it takes; its figures have no content."""
    code = 1
    try:
        os.chdir(folder)
        os.environ.update(TERM="xterm-256color")
        for name in ("COLUMNS", "LINES", "FOURFOLD_DATA"):
            os.environ.pop(name, None)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        time.sleep(0.2)  # until the size is set
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        with mock.patch("matplotlib.figure.Figure.savefig", save_nothing):
            main(words)
        code = 0
    except SystemExit as ending:
        code = int(ending.code or 0)
    finally:
        sys.stdout.flush()
        os._exit(code)


class Terminal:
    """A command in a terminal of its own, forked from the test's process."""

    def __init__(self, *words: object, folder: Path) -> None:
        self.screen, self.output = Screen(), ""
        self.pid, self._file = pty.fork()
        if self.pid == 0:
            _run([str(word) for word in words], folder)
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))

    def screens(self) -> Iterator[list[str]]:
        """Yield the lines of the screen after each piece of output, until the command has ended."""
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            if not select.select([self._file], [], [], 1)[0]:
                continue
            try:
                piece = os.read(self._file, 2**16)
            except OSError:
                return
            if not piece:
                return
            text = piece.decode(errors="replace")
            self.output += text
            self.screen.write(text)
            yield self.screen.shown
        raise TimeoutError(self.output)

    def interrupt(self) -> None:
        """Type Ctrl-C."""
        os.write(self._file, b"\x03")

    def wait(self) -> int:
        """Return the exit code."""
        with contextlib.suppress(OSError):
            for _ in self.screens():
                pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
