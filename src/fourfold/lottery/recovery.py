"""What a level needs of those before it: checked by what their rows promise and, where it is lost, made again by training.

A level is a function of the spec, the trial, its mask and its state, so that on a CPU it leaves the same bits however often it
is trained. What comes out is compared with the digest that a row has promised before anything on disk is replaced.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from fourfold import models, pruning
from fourfold.lottery.rows import made_by, mask_of_level, mask_of_row
from fourfold.lottery.strategies import strategy_of
from fourfold.record import TICKET, Row, RunStore, UserError
from fourfold.record.arrays import Arrays, most_bytes
from fourfold.record.errors import LostFileError
from fourfold.train import TrainingFailedError
from fourfold.train.saving import Tell

if TYPE_CHECKING:
    from fourfold.lottery.levels import Level

OnTrained = Callable[[Arrays], None]
"""Called with a trained state, pruned weights left out."""


class TrainLevel(Protocol):
    """Trains a level."""

    def __call__(self, level: int, mask: Arrays | None, carried: Arrays | None, on_trained: OnTrained) -> "Level":
        """Return what came of a level, from its mask and what the level before it has left."""


class Recovery:
    """Gives the levels of a trial what they need.

    Args:
        store: The run.
        trial: The trial.
        sizes: Of the run's network.
        train_level: Trains a level; nothing of it is written.
        tell: Told what is trained again, and why, as events of the kind `notice`.
    """

    def __init__(self, store: RunStore, trial: int, sizes: models.Sizes, train_level: TrainLevel, tell: Tell) -> None:
        self._store, self._trial, self._sizes = store, trial, sizes
        self._train_level, self._tell = train_level, tell
        self._strategy = strategy_of(store.spec())

    def needs(self, level: int) -> tuple[Arrays | None, Arrays | None]:
        """Return the mask and the state of the first level without a row, each None where it needs none.

        Raises:
            UserError: one is lost, and training does not give what was promised.
        """
        if level == 0:
            return None, None
        before = self._store.rows(self._trial)[level - 1]
        try:
            return self._next_mask(before), self._next_state(before)
        except LostFileError as lost:
            reason = lost
        done = self._once_more(level - 1, reason)
        promised = before.promised
        same = done.row.same_result(before) if promised is None else done.row.promised == promised
        check_same(same, before, reason)
        if done.carried:
            self._store.save_state(self._trial, level, done.carried)
        if done.successor is not None:
            self._store.save_mask(self._trial, level, done.successor)
        return done.successor, done.carried or None

    def mask(self, level: int) -> Arrays:
        """Return the mask of a level that has its row and is not the dense one.

        Raises:
            UserError: it is lost, and training does not give that of the row.
        """
        return self._mask(level, None)

    def again(self, level: int, on_trained: OnTrained = lambda state: None) -> "Level":
        """Train a level that has its row again; those before it, too, where it needs what they left."""
        done: Level | None = None
        for earlier in range(level) if self._strategy.needs_state else ():
            mask = self._mask_to_train(earlier, done)
            done = self._train_level(earlier, mask, self._left(done), lambda state: None)
        return self._train_level(level, self._mask_to_train(level, done), self._left(done), on_trained)

    def _mask(self, level: int, before: "Level | None") -> Arrays:
        """Return the mask of a level; `before` is the level before it where that has just been trained again."""
        row = self._store.rows(self._trial)[level]
        try:
            return mask_of_row(self._store, row)
        except LostFileError as lost:
            reason = lost
        if not self._strategy.masks_come_first:
            mask: Arrays | None = self._once_more(level, reason).mask
        else:
            mask = (before or self._once_more(level - 1, reason)).successor
        assert mask is not None
        check_same(pruning.fingerprint(mask) == row.mask, row, reason)
        self._store.save_mask(self._trial, level, mask)
        return mask

    def _mask_to_train(self, level: int, before: "Level | None") -> Arrays | None:
        return None if level == 0 or not self._strategy.masks_come_first else self._mask(level, before)

    @staticmethod
    def _left(before: "Level | None") -> Arrays | None:
        return (before.carried or None) if before else None

    def _once_more(self, level: int, lost: LostFileError) -> "Level":
        """Train a level again to make what is lost."""
        first = 0 if self._strategy.needs_state else level
        tell_once_more(self._tell, lost, first, level)
        try:
            return self.again(level)
        except TrainingFailedError as failure:
            raise UserError(f"{lost.what}; it cannot be made again: {failure}") from failure

    def _next_mask(self, before: Row) -> Arrays | None:
        if not self._strategy.masks_come_first:
            return None
        digest = before.promised.mask if before.promised else None
        return mask_of_level(self._store, self._trial, before.level + 1, self._sizes, digest=digest)

    def _next_state(self, before: Row) -> Arrays | None:
        if not self._strategy.needs_state:
            return None
        digest = before.promised.state if before.promised else None
        most = most_bytes(self._sizes.parameters)
        return self._store.state(self._trial, before.level + 1, digest=digest, most_bytes=most)


def tell_nobody(kind: str, **about: Any) -> None:
    """Ignore what happens."""


def tell_once_more(tell: Tell, lost: LostFileError, first: int, last: int, control: str = TICKET) -> None:
    """Tell which levels are trained again, and why."""
    levels = f"level {last} is" if first == last else f"levels {first} to {last} are"
    tell("notice", control=control, level=last, message=f"{lost.what}; {levels} trained again to make it")


def check_same(same: bool, row: Row, lost: LostFileError) -> None:
    """Raise `UserError` unless training has given what a row names, in place of what is lost."""
    if not same:
        raise UserError(
            f"{lost.what}; trained again, it does not become what the row of level {row.level} of trial {row.trial} names, so "
            f"nothing was replaced: copy it from elsewhere, or run `fourfold check --repair` where the row was made "
            f"({made_by(row)})"
        )
