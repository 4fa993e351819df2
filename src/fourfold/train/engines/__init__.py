"""The engines that can train a network, behind one protocol, and the choice of the fastest.

To add one, write a class with the methods of `Engine` and put it into `ENGINES` before those that it is faster than. What it
cannot do it says in one place, `declines`.
"""

import sys
from collections.abc import Sequence

from fourfold.record import UserError
from fourfold.train.engines.cuda_graph import CudaGraph
from fourfold.train.engines.distributed import Distributed
from fourfold.train.engines.eager import Eager
from fourfold.train.engines.engine import DeclinedError, Engine, Loss, Setup, Split
from fourfold.train.engines.native import Native

__all__ = [
    "ENGINES",
    "CudaGraph",
    "DeclinedError",
    "Distributed",
    "Eager",
    "Engine",
    "Loss",
    "Native",
    "Setup",
    "Split",
    "choose_engine",
    "start_engine",
]

ENGINES: tuple[type[Engine], ...] = (Distributed, Native, CudaGraph, Eager)
"""The fastest first: the first that does not decline a training runs it."""


def choose_engine(setup: Setup, engines: Sequence[type[Engine]] = ENGINES) -> type[Engine]:
    """Return the first engine that does not decline a training.

    Raises:
        UserError: all decline it; the message says why.
    """
    reasons = []
    for engine in engines:
        reason = engine.declines(setup)
        if reason is None:
            return engine
        reasons.append(f"{engine.name}: {reason}")
    raise UserError(f"no engine can train this network: {'; '.join(reasons)}")


def start_engine(setup: Setup, engines: Sequence[type[Engine]] = ENGINES) -> Engine:
    """Return the engine that runs a training; one that cannot after all says so on standard error, and the next is asked.

    Raises:
        UserError: all decline it.
    """
    engine = choose_engine(setup, engines)
    try:
        return engine(setup)
    except DeclinedError as reason:
        print(reason, file=sys.stderr)
        return start_engine(setup, engines[engines.index(engine) + 1 :])
