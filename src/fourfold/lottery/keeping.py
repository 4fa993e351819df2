"""Keeping the weights of levels that are done: they are trained again, as weights are a function of spec, seed and mask."""

from collections.abc import Callable, Collection

from fourfold.lottery.rows import made_by
from fourfold.record import Row, RunStore, UserError
from fourfold.record.store import Arrays

TrainAgain = Callable[[Row], tuple[Row, Arrays]]
"""Trains the level of a row again, and returns its new row and its trained state without the pruned weights."""

OnKept = Callable[[int, str], None]
"""Called with a level that was trained again, and what became of it in words."""


def not_kept(store: RunStore, trial: int, keep: Collection[int]) -> list[int]:
    """Return the levels in `keep` that a trial has done without keeping their weights whole, in order."""
    if not keep:
        return []
    done, kept = len(store.rows(trial)), store.kept_levels(trial)
    return sorted(level for level in set(keep) if level < done and not (level in kept and _is_whole(store, trial, level)))


def _is_whole(store: RunStore, trial: int, level: int) -> bool:
    """Whether the weights of a level can be read and are those that were written."""
    try:
        store.weights(trial, level)
    except UserError:
        return False
    return True


def keep_done(store: RunStore, trial: int, keep: Collection[int], train_again: TrainAgain, on_kept: OnKept) -> None:
    """Train finished levels in `keep` again; weights that do not reproduce the level's row are not kept."""
    rows = store.rows(trial)
    for level in not_kept(store, trial, keep):
        row = rows[level]
        again, state = train_again(row)
        if again.same_result(row):
            store.save_weights(trial, level, state)
            on_kept(level, "trained again, and its weights kept")
        else:
            on_kept(
                level,
                f"its weights are not kept: trained again, it has a {again.metric.short} of {again.metric.text(again.value)} "
                f"and another row than that on disk ({row.metric.text(row.value)}), which was made by {made_by(row)}",
            )
