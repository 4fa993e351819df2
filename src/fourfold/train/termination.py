"""SIGTERM, which the launcher sends to all ranks when one has ended: a rank ends soon, wherever it waits for the others."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

DEAF_SECONDS = 10.0
"""How long the main thread may take to hear of SIGTERM: torchrun kills ranks after 30 seconds, without a word."""


class TerminatedError(BaseException):
    """The launcher wants this process to end."""


@contextlib.contextmanager
def at_termination(act: "signal.Handlers | Callable[..., None]") -> Iterator[None]:
    """Say what SIGTERM does, if this is the main thread; after an error it stays as it is then."""
    if not _in_main():
        yield
        return
    before = signal.signal(signal.SIGTERM, act)
    yield
    signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def ending_though_deaf(last_words: str) -> Iterator[None]:
    """End this process some seconds after SIGTERM if the main thread hears nothing.

    Python calls handlers between its own instructions alone, and a rank may wait outside of Python for one that is gone: gloo
    does not notice every death.

    Args:
        last_words: What to write to standard error then.
    """
    if not _in_main():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    left = threading.Event()

    def watch() -> None:
        while number := os.read(reader, 1):
            if number[0] == signal.SIGTERM and not left.wait(DEAF_SECONDS):
                os.write(2, f"{last_words}\n".encode())
                os._exit(2)
        os.close(reader)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        os.close(writer)


def raise_terminated(*_: object) -> NoReturn:
    """Raise `TerminatedError`: a handler of SIGTERM."""
    ignore_termination()
    raise TerminatedError


def ignore_termination() -> None:
    """Let SIGTERM do nothing from now on, if this is the main thread."""
    if _in_main():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _in_main() -> bool:
    return threading.current_thread() is threading.main_thread()
