"""How this process was started: alone, or as one of several that a launcher such as torchrun started. No torch."""

import os
from dataclasses import dataclass

from fourfold.record.errors import UserError

_NAMES = {"rank": "RANK", "world": "WORLD_SIZE", "local_rank": "LOCAL_RANK"}


@dataclass(frozen=True, kw_only=True)
class Launch:
    """This process among those that the launcher started."""

    rank: int
    """From 0; rank 0 writes and speaks for all."""
    world: int
    """How many processes there are."""
    local_rank: int
    """From 0 on each machine: its GPU."""


def launched() -> Launch | None:
    """Return this process's place among those that a launcher started, or None if it was started alone.

    Raises:
        UserError: the launcher's environment variables contradict each other.
    """
    values = {field: os.environ.get(name) for field, name in _NAMES.items()}
    if None in values.values():
        return None
    try:
        launch = Launch(**{field: int(value or "") for field, value in values.items()})
    except ValueError:
        launch = None
    if launch is None or not (0 <= launch.local_rank <= launch.rank < launch.world):
        settings = ", ".join(f"{_NAMES[field]}={value}" for field, value in values.items())
        raise UserError(f"the environment says {settings}: a launcher such as torchrun sets RANK below WORLD_SIZE, from 0 up")
    return launch
