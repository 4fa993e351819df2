"""Errors for a level whose weights were asked for and were not kept."""

from typing import TYPE_CHECKING

from fourfold.record.errors import UserError

if TYPE_CHECKING:
    from fourfold.record.store import RunStore


def check_kept(store: "RunStore", trial: int, level: int) -> None:
    """Raise `UserError` unless a level has its row and its weights were kept; see `RunStore.check_kept`."""
    if level < 0:
        raise UserError(f"`level` (={level}) must be at least 0, the dense network")
    rows, failure = store.rows(trial), store.failure(trial)
    of = f"level {level} of trial {trial} in {store.path}"
    if level >= len(rows) and failure:
        raise UserError(f"{of} was never run: the trial failed at {failure}")
    if not rows:
        known = ", ".join(str(other) for other in store.trials() if store.rows(other)) or "none"
        raise UserError(f"{of} was never run, nor any other of that trial; trials with levels: {known}")
    if level >= len(rows) and store.finished(trial):
        raise UserError(f"{of} was never run: the trial ended after level {len(rows) - 1}")
    if level >= len(rows):
        raise UserError(
            f"{of} was not run to its end yet: the last one was level {len(rows) - 1}; the same command runs the rest"
        )
    kept = store.kept_levels(trial)
    if level not in kept:
        instead = f"only those of {', '.join(map(str, kept))} were" if kept else "none were"
        raise UserError(
            f"the weights of {of} were not kept ({instead}); the command that ran it, with `--keep {level}`, "
            "trains it again and keeps them"
        )
