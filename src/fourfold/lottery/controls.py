"""Controls: baselines of a ticket. They branch off the levels of a trial on disk, and repeat none of them.

A control is trained as the ticket's level was, on the same images in the same order, and gives a row of its own.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from operator import attrgetter

from fourfold import parts
from fourfold.lottery.control_training import equal_macs, real_experiment, same_network, small_dense
from fourfold.lottery.levels import Experiment, OnRow, recovery_of
from fourfold.record import CONTROLS, TICKET, Epoch, RunStore, Spec, UserError
from fourfold.record.combinations import CONTROLLED, check_combinations
from fourfold.record.errors import unknown
from fourfold.train import TrainingFailedError
from fourfold.train.saving import Saving

CHAINED = frozenset({"equal-macs"})
"""Controls whose mask comes from their own level before, so that all levels up to the last one asked for are run."""

OTHERS_WHEN_DENSE = frozenset({"random-init", "equal-macs"})
"""Controls that differ from the dense level, of which nothing is pruned; the others are that level."""

OnControlEpoch = Callable[[str, int, Epoch], None]
"""Called with the control, the level and each point of its training curve."""


def check_controls(specs: Collection[Spec], controls: Collection[str], levels: Collection[int] | None) -> None:
    """Raise `UserError` for controls that are unknown or make no sense for the specs."""
    for control in controls:
        if control not in CONTROLS:
            raise unknown("control", control, CONTROLS)
    if levels is not None and any(level < 0 for level in levels):
        raise UserError(f"`control_levels` (={list(levels)}) must be levels, from 0 (dense) up")
    for spec in specs:
        if "small-dense" in controls and parts.is_own_model(spec):
            raise UserError(
                f"`controls` (=['small-dense']) cannot be combined with `model.name` (={spec.model.name!r}): it has no width"
            )
        check_combinations(CONTROLLED, partial(_setting, spec, controls))
    if "equal-macs" in controls and all(spec.model.algebra == "real" for spec in specs):
        raise UserError(
            "`controls` (=['equal-macs']) cannot be combined with `model.algebra` (='real') alone: it is the real network"
        )


def _setting(spec: Spec, controls: Collection[str], name: str) -> object:
    """Return a setting by the name that rules have for it."""
    return [*controls] if name == "controls" else attrgetter(name)(spec)


def controls_left(
    store: RunStore, trial: int, controls: Collection[str], levels: Collection[int] | None
) -> list[tuple[str, int]]:
    """Return the controls and levels of a trial that are not on disk; none before the trial has ended.

    Args:
        store: The run.
        trial: The trial.
        controls: Names; `equal-macs` is left out for the real network.
        levels: Levels asked for; None means all.
    """
    if not store.finished(trial) and store.failure(trial) is None:
        return []
    done = {
        control: {row.level for row in store.control_rows(trial, control)}
        for control in controls
        if store.failure(trial, control) is None
    }
    pairs = controls_of(store.spec(), len(store.rows(trial)), controls, levels)
    return [(control, level) for control, level in pairs if control in done and level not in done[control]]


def controls_of(spec: Spec, there: int, controls: Collection[str], levels: Collection[int] | None) -> list[tuple[str, int]]:
    """Return the controls and levels of a trial that has levels 0 to `there` − 1; the others as in `controls_left`."""
    pairs = []
    for control in controls:
        if control == "equal-macs" and spec.model.algebra == "real":
            continue
        chosen_levels = [level for level in range(there) if levels is None or level in levels]
        if control in CHAINED and chosen_levels:
            chosen_levels = list(range(max(chosen_levels) + 1))
        pairs += [(control, level) for level in chosen_levels]
    return pairs


def is_ticket(control: str, level: int) -> bool:
    """Whether a control is the same network under the same mask as its ticket, whose row it is then given."""
    return level == 0 and control not in OTHERS_WHEN_DENSE


def run_controls(
    experiment: Experiment,
    store: RunStore,
    trial: int,
    controls: Collection[str],
    levels: Collection[int] | None = None,
    on_row: OnRow = lambda row: None,
    on_epoch: OnControlEpoch = lambda control, level, epoch: None,
    saving: Saving | None = None,
) -> None:
    """Run the controls of a trial's levels that are not on disk yet; the arguments are those of `controls_left`.

    A control that was interrupted resumes from its checkpoint, if `saving` has one.

    Raises:
        UserError: the trial's rows are of other data than the experiment's, or a file is missing or damaged.
        OutOfTimeError: a training was ended by a deadline or a person.
    """
    if experiment.data is not None:
        store.check_data(experiment.data, [trial])
    twin: Experiment | None = None
    recovery = recovery_of(experiment, store, trial, partial(on_epoch, TICKET), saving)
    for control, level in controls_left(store, trial, controls, levels):
        if store.failure(trial, control) is not None:
            continue
        on_epoch_of_control = partial(on_epoch, control)
        try:
            if is_ticket(control, level):
                row = replace(store.rows(trial)[level], control=control, promised=None)
            elif control == "equal-macs":
                twin = twin or real_experiment(experiment)
                row = equal_macs(twin, store, trial, level, on_epoch_of_control, saving)
            elif control == "small-dense":
                row = small_dense(experiment, store, trial, level, on_epoch_of_control, saving)
            else:
                row = same_network(experiment, store, trial, control, level, on_epoch_of_control, saving, recovery)
        except TrainingFailedError as failure:
            store.fail(trial, level, str(failure), control)
            store.checkpoints.drop(trial, level, control)
            continue
        store.append(row)
        store.checkpoints.drop(trial, level, control)
        on_row(row)
