"""Ctrl-C: the first lets trainings end at their next step and save where they are."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def on_interrupt(stop: Callable[[], None], *, patient: bool = False) -> Iterator[None]:
    """Call `stop` at the first Ctrl-C, in a thread of its own; the next one is a `KeyboardInterrupt`.

    Only in the main thread, and only where nothing else handles the signal.

    Args:
        stop: What to do.
        patient: Whether later ones are ignored: torchrun sends each of them twice, and kills who takes too long.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return

    def handle(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN if patient else signal.default_int_handler)
        threading.Thread(target=stop, daemon=True).start()  # it may need locks that this thread holds

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
