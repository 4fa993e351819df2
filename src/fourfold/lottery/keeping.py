"""Keeping the weights of levels that are done: they are trained again, as weights are a function of spec, seed and mask."""

from collections.abc import Callable, Collection

from fourfold.record import Row, RunStore
from fourfold.record.store import Arrays

TrainAgain = Callable[[Row], tuple[Row, Arrays]]
"""Trains the level of a row again, and returns its new row and its trained state without the pruned weights."""

OnKept = Callable[[int, str], None]
"""Called with a level that was trained again, and what became of it in words."""


def not_kept(store: RunStore, trial: int, keep: Collection[int]) -> list[int]:
    """Return the levels in `keep` that a trial has done without keeping their weights, in order."""
    if not keep:
        return []
    done, kept = len(store.rows(trial)), store.kept_levels(trial)
    return sorted(level for level in set(keep) if level < done and level not in kept)


def keep_done(store: RunStore, trial: int, keep: Collection[int], train_again: TrainAgain, on_kept: OnKept) -> None:
    """Train levels again that are done and shall be kept; weights that do not give the level's row are not kept."""
    rows = store.rows(trial)
    for level in not_kept(store, trial, keep):
        row = rows[level]
        again, state = train_again(row)
        if again.same_result(row):
            store.save_weights(trial, level, state)
            on_kept(level, "trained again, and its weights kept")
        else:
            by = ", ".join([*(f"{name} {version}" for name, version in row.provenance.versions.items()), row.provenance.device])
            on_kept(
                level,
                f"its weights are not kept: trained again, it has a top-1 of {again.top1:.2f} % and another row than that on "
                f"disk ({row.top1:.2f} %), which was made by {by}",
            )
