"""How a command is asked to stop: by Ctrl-C, and by SIGTERM and SIGINT from elsewhere, in the background too."""

import contextlib
import signal
import threading
from collections.abc import Iterator

from fourfold.record import launched


@contextlib.contextmanager
def stoppable(received: list[int]) -> Iterator[None]:
    """Let SIGTERM do in a block what Ctrl-C does, and SIGINT too where a shell lets its background commands ignore it.

    A run then ends at its next step and saves where it is: by `kill`, by a batch system that takes its machine back, and with
    the script that began it. Under torchrun, which has its own ways, and in other threads nothing is changed.

    Args:
        received: Gets the number of each SIGTERM that comes.
    """
    if threading.current_thread() is not threading.main_thread() or launched():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        received.append(number)
        signal.raise_signal(signal.SIGINT)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if before[signal.SIGINT] == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if before[signal.SIGTERM] == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that was not set from Python cannot be put there again
                signal.signal(number, handler)
