"""Mending a run whose files `fourfold.record.inspection` has found damaged or missing."""

import contextlib
from collections.abc import Callable, Sequence

from fourfold.lottery.control_training import equal_macs_mask
from fourfold.lottery.keeping import keep_done
from fourfold.lottery.levels import Experiment, recovery_of
from fourfold.lottery.recovery import Recovery
from fourfold.lottery.rows import made_by
from fourfold.record import Row, RunStore, UserError
from fourfold.record.arrays import Arrays
from fourfold.record.files import read_file, write_atomically
from fourfold.record.findings import CUT, DROPPED, TRAINED_AGAIN, Finding
from fourfold.record.folders import ASIDE, LARGEST_TEXT, move_aside, place_aside
from fourfold.record.journal import lines_before
from fourfold.record.packing import decompressed, is_packed, plain_form

Say = Callable[[str], None]
"""Called with a sentence for everything that is done."""


def repair(
    store: RunStore, findings: Sequence[Finding], prepare: Callable[[], Experiment], say: Say = lambda sentence: None
) -> None:
    """Mend what is wrong with a run: masks, states and kept weights are trained again, and the rest is moved aside.

    What training does not give as the rows name it is moved aside, too. Rows that are moved aside are run again by the command
    that ran them.

    Args:
        store: The run.
        findings: Of `fourfold.record.inspection.inspect`.
        prepare: Returns the experiment; called once something must be trained.
        say: Called with a sentence for everything that is done.

    Raises:
        UserError: another process works on the run, or its data are not here.
    """
    mendable = [finding for finding in findings if finding.mendable]
    with store.lock("run"):
        for finding in mendable:
            if finding.remedy in (CUT, DROPPED):
                _cut(store, finding, say)
            elif finding.remedy != TRAINED_AGAIN and finding.state != "missing":
                _move_aside(store, finding, say)
        again = [finding for finding in mendable if finding.remedy == TRAINED_AGAIN]
        for finding in again:
            if (store.path / finding.file).is_dir():  # which is in the way of the file
                _move_aside(store, finding, say)
        if again and any(finding.kind == "spec" and finding.wrong for finding in findings):
            files = f"{again[0].file}{f' and {len(again) - 1} more' if len(again) > 1 else ''}"
            say(f"{store.path}: {files} cannot be made again before spec.json is there")
        elif again:
            mender = _Mender(prepare(), store, say)
            for finding in sorted(again, key=lambda finding: (finding.trial, finding.kind == "weights", finding.level)):
                mender.mend(finding)


class _Mender:
    """Trains levels again for what they leave."""

    def __init__(self, experiment: Experiment, store: RunStore, say: Say) -> None:
        self._experiment, self._store, self._say = experiment, store, say
        if experiment.data is not None:
            store.check_data(experiment.data)

    def mend(self, finding: Finding) -> None:
        """Make a file again, or move it aside where that does not come about."""
        try:
            with self._store.lock(f"trial-{finding.trial}"):
                self._make(finding)
        except UserError as error:
            self._say(f"{self._store.path / finding.file} cannot be made again: {error}")
            if finding.state == "damaged" and (self._store.path / finding.file).exists():
                _move_aside(self._store, finding, self._say)
        else:
            self._say(f"{self._store.path / finding.file} was made again by training")

    def _make(self, finding: Finding) -> None:
        store, trial, level = self._store, finding.trial, finding.level
        recovery = recovery_of(self._experiment, store, trial, lambda level, epoch: None, None)
        if finding.kind == "weights":
            self._keep(trial, level)
        elif finding.kind == "examples":
            self._leave_examples(recovery, store.rows(trial)[level])
        elif finding.control != "ticket":
            equal_macs_mask(self._experiment, store, trial, level)
        elif level < len(store.rows(trial)) and finding.kind == "masks":
            recovery.mask(level)
        else:
            recovery.needs(level)

    def _leave_examples(self, recovery: Recovery, row: Row) -> None:
        again = recovery.again(row.level)
        if not again.examples or not again.row.same_result(row):
            raise UserError(
                f"trained again, level {row.level} has another row than that on disk, which was made by {made_by(row)}"
            )
        self._store.save_examples(row.level, again.examples)

    def _keep(self, trial: int, level: int) -> None:
        recovery = recovery_of(self._experiment, self._store, trial, lambda level, epoch: None, None)
        messages: list[str] = []

        def train_again(row: Row) -> tuple[Row, Arrays]:
            state: Arrays = {}
            return recovery.again(row.level, state.update).row, state

        keep_done(self._store, trial, [level], train_again, lambda level, message: messages.append(message))
        with contextlib.suppress(UserError):
            self._store.weights(trial, level)
            return
        raise UserError("; ".join(messages) or f"trial {trial} has no level {level}")


def _cut(store: RunStore, finding: Finding, say: Say) -> None:
    """Keep the lines of a file before the first bad one; the file as it is aside, unless that is a line a crash tore off."""
    there = store.path / finding.file
    content, file = read_file(there, LARGEST_TEXT), plain_form(there)
    if finding.wrong:
        write_atomically(place_aside(store.path, finding.file), content)
    lines = decompressed(content, LARGEST_TEXT) if is_packed(there) else content
    write_atomically(file, lines_before(lines, finding.line))
    if is_packed(there):
        there.unlink()
    if finding.remedy == CUT:
        say(f"{file} now ends before line {finding.line}, and lies as it was in {ASIDE}/: the same command runs the rest again")
    else:
        say(f"{file} now ends after its last whole line{f', and lies as it was in {ASIDE}/' if finding.wrong else ''}")


def _move_aside(store: RunStore, finding: Finding, say: Say) -> None:
    place = move_aside(store.path, finding.file)
    say(f"{store.path / finding.file} was moved to {place.relative_to(store.path)}")
