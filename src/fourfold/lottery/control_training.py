"""How a level of a control is trained: the ticket's network under another mask, a narrower one, or the real network."""

from dataclasses import replace
from time import perf_counter

from torch import nn

from fourfold import parts, pruning
from fourfold.lottery import rewinding
from fourfold.lottery.control_masks import MASKS, masks_of_groups
from fourfold.lottery.levels import Experiment
from fourfold.lottery.recovery import Recovery, check_same, tell_nobody, tell_once_more
from fourfold.lottery.rewinding import Begin
from fourfold.lottery.rows import mask_of_level, promised
from fourfold.lottery.seeds import derive_seed
from fourfold.lottery.training import OnEpoch, Round
from fourfold.nn import named_weights
from fourfold.parts import build, measure, splits_of
from fourfold.pruning import Masks, units_of
from fourfold.record import Row, RunStore, Spec, UserError
from fourfold.record.arrays import Arrays
from fourfold.record.errors import LostFileError
from fourfold.train.saving import Saving


def same_network(
    experiment: Experiment,
    store: RunStore,
    trial: int,
    control: str,
    level: int,
    on_epoch: OnEpoch,
    saving: Saving | None,
    recovery: Recovery,
) -> Row:
    """Train the ticket's network under another mask, or from other weights."""
    started, spec = perf_counter(), experiment.spec
    seed = derive_seed(trial, f"control-{control}", level)
    network = build(spec, seed if control == "random-init" else derive_seed(trial, "weights")).to(experiment.device)
    weights = named_weights(network)

    def masks_of(of_level: int) -> Masks:
        return pruning.unpack(recovery.mask(of_level), weights) if of_level else pruning.dense(weights)

    masks = masks_of(level)
    if control in MASKS:
        masks = masks_of_groups(
            MASKS[control],
            spec,
            network,
            masks,
            seed,
            before=lambda: map(masks_of, range(level)),
        )
    begin = Begin(train=spec.train)
    if level and control != "random-init" and spec.prune.rewind != "start":
        _, state = recovery.needs(len(store.rows(trial)))  # the point to rewind to passes from level to level
        begin = rewinding.begin(spec, network, masks, state, experiment.steps_per_epoch)
    this = _round(experiment, trial, level, network, masks, on_epoch, saving, control, started)
    return this.row(this.train(begin))


def _round(
    experiment: Experiment,
    trial: int,
    level: int,
    network: nn.Module,
    masks: Masks,
    on_epoch: OnEpoch,
    saving: Saving | None,
    control: str,
    started: float,
) -> Round:
    """Return a control's level, to which nothing passes from the level before."""
    return Round(
        experiment=experiment,
        trial=trial,
        level=level,
        network=network,
        masks=masks,
        carried=None,
        on_epoch=on_epoch,
        saving=saving,
        control=control,
        started=started,
    )


def small_width(spec: Spec, weights: int) -> float:
    """Return the width factor, in steps of 1/1024, whose dense network has the number of weights nearest to `weights`."""
    low, high = 1, 1024
    while low < high:  # the narrowest with at least as many
        middle = (low + high) // 2
        if measure(spec, width=middle / 1024).weights >= weights:
            high = middle
        else:
            low = middle + 1
    candidates = [low / 1024, max(1, low - 1) / 1024]
    return min(candidates, key=lambda width: abs(measure(spec, width=width).weights - weights))


def small_dense(
    experiment: Experiment, store: RunStore, trial: int, level: int, on_epoch: OnEpoch, saving: Saving | None
) -> Row:
    """Train the narrower network that has as many weights as the ticket."""
    started, spec = perf_counter(), experiment.spec
    width = small_width(spec, store.rows(trial)[level].weights)
    small = replace(experiment, sizes=measure(spec, width=width))
    network = build(spec, derive_seed(trial, "weights"), width=width).to(experiment.device)
    masks = pruning.dense(named_weights(network))
    this = _round(small, trial, level, network, masks, on_epoch, saving, "small-dense", started)
    return this.row(this.train(Begin(train=spec.train)))


def real_experiment(experiment: Experiment) -> Experiment:
    """Return the experiment of the real twin, on the same images.

    Raises:
        UserError: the images have changed since the run began.
    """
    twin = experiment.spec.real_twin
    images = parts.load(twin, experiment.data_dir, download=False)
    if experiment.data not in (None, images.digest):
        raise UserError(f"the {twin.data.name} data have changed since this run began: run the same command again")
    splits = splits_of(images, twin, experiment.device)
    return replace(experiment, spec=twin, splits=splits, sizes=experiment.sizes_real)


def equal_macs(twin: Experiment, store: RunStore, trial: int, level: int, on_epoch: OnEpoch, saving: Saving | None) -> Row:
    """Train the real network under its own mask of as many MACs as the ticket has, and leave the next level's mask."""
    packed = _own_mask(twin, store, trial, level, on_epoch, saving) if level else None
    row, successor = _train_equal_macs(twin, store, trial, level, packed, on_epoch, saving)
    if successor is not None:
        store.save_mask(trial, level + 1, successor, "equal-macs")
    return row


def equal_macs_mask(experiment: Experiment, store: RunStore, trial: int, level: int) -> Arrays:
    """Return the mask of a level of `equal-macs`, bit-packed; where it is lost, it is made again by training.

    Raises:
        UserError: training does not give the mask that the rows name.
    """
    return _own_mask(real_experiment(experiment), store, trial, level, lambda level, epoch: None, None)


def _own_mask(twin: Experiment, store: RunStore, trial: int, level: int, on_epoch: OnEpoch, saving: Saving | None) -> Arrays:
    """Return the mask of a level of `equal-macs`; where it is lost, what the level before leaves when it is trained again."""
    rows = {row.level: row for row in store.control_rows(trial, "equal-macs")}
    before = rows.get(level - 1)
    digest = rows[level].mask if level in rows else before.promised.mask if before and before.promised else None
    try:
        return mask_of_level(store, trial, level, twin.sizes, "equal-macs", digest=digest)
    except LostFileError as error:
        if before is None:
            raise
        lost = error
    tell_once_more(saving.tell if saving else tell_nobody, lost, level - 1, level - 1, "equal-macs")
    earlier = _own_mask(twin, store, trial, level - 1, on_epoch, saving) if level > 1 else None
    row, successor = _train_equal_macs(twin, store, trial, level - 1, earlier, on_epoch, saving and saving.off)
    assert successor is not None
    check_same(row.same_result(before) if digest is None else pruning.fingerprint(successor) == digest, before, lost)
    store.save_mask(trial, level, successor, "equal-macs")
    return successor


def _train_equal_macs(
    twin: Experiment,
    store: RunStore,
    trial: int,
    level: int,
    packed: Arrays | None,
    on_epoch: OnEpoch,
    saving: Saving | None,
) -> tuple[Row, Arrays | None]:
    """Train the real network under a mask; return its row, and the next level's mask if the ticket has such a level."""
    started = perf_counter()
    network = build(twin.spec, derive_seed(trial, "weights")).to(twin.device)
    weights = named_weights(network)
    masks = pruning.unpack(packed, weights) if packed is not None else pruning.dense(weights)
    this = _round(twin, trial, level, network, masks, on_epoch, saving, "equal-macs", started)
    trained = this.train(Begin(train=twin.spec.train))
    rows = store.rows(trial)
    successor = None
    if level + 1 < len(rows):
        units = units_of(network, twin.spec.prune.unit)
        scores, macs = pruning.magnitude_scores(weights, units), rows[level + 1].macs
        successor = pruning.pack(pruning.select_macs(scores, masks, macs, twin.sizes.macs_per_weight, units, per_mac=False))
    return replace(this.row(trained), run=store.spec().id, promised=promised(successor, {})), successor
