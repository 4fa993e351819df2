"""The lottery-ticket loop: train, prune the smallest weights, rewind to the start, train again.

A level needs nothing but the spec, the trial number and its mask, so doing it again gives the same row, and running a
trial that was interrupted is the same as running it at all.
"""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import nn

from fourfold import algebra, data, models, pruning
from fourfold.lottery.seeds import derive_seed
from fourfold.nn import named_weights
from fourfold.record import Epoch, Provenance, Row, RunStore, Spec
from fourfold.record.store import Arrays
from fourfold.train import TrainingFailedError, describe_device, train, versions

OnRow = Callable[[Row], None]

OnEpoch = Callable[[int, Epoch], None]
"""Called with the level and each point of its training curve."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A spec with all that its trials share: the images on the device and the sizes of both networks."""

    spec: Spec
    splits: data.Splits
    sizes: models.Sizes
    sizes_real: models.Sizes
    """Of the real twin."""
    device: torch.device

    @classmethod
    def prepare(cls, spec: Spec, data_dir: Path | None, device: torch.device, *, download: bool = True) -> "Experiment":
        """Load the data and measure the networks.

        Raises:
            UserError: unknown names, sizes that do not fit, missing or broken data.
        """
        images = data.load(spec.data.name, data_dir, download=download)
        return cls(
            spec=spec,
            splits=data.prepare(images, spec.inputs, algebra.get(spec.model.algebra).n, device),
            sizes=measure(spec),
            sizes_real=measure(spec.real_twin),
            device=device,
        )


def build(spec: Spec, seed: int | None = None, device: torch.device | str = "cpu") -> nn.Module:
    """Return the spec's network, drawn from a seed."""
    info, n = data.info(spec.data.name), algebra.get(spec.model.algebra).n
    return models.build(
        spec.model.name,
        algebra=spec.model.algebra,
        num_classes=info.num_classes,
        shape=data.input_channels(spec.inputs, info, n),
        head=spec.model.head,
        init=spec.model.init,
        seed=seed,
        learned_from=info.channels if spec.inputs.encoding == "learned" else None,
        device=device,
    )


def input_shape(spec: Spec) -> tuple[int, int, int]:
    """Return channels, height and width of the images in the spec's batches."""
    info = data.info(spec.data.name)
    channels, height, width = data.input_channels(spec.inputs, info, algebra.get(spec.model.algebra).n)
    return (info.channels if spec.inputs.encoding == "learned" else channels), height, width


def measure(spec: Spec) -> models.Sizes:
    """Return the sizes of the spec's network.

    Raises:
        UserError: unknown names, or sizes that do not fit each other.
    """
    return models.measure(build(spec, device="meta"), input_shape(spec))


def run_trial(
    experiment: Experiment,
    store: RunStore,
    trial: int,
    on_row: OnRow = lambda row: None,
    on_epoch: OnEpoch = lambda level, epoch: None,
    keep: Collection[int] = (),
) -> None:
    """Run the levels of a trial that are not yet on disk, until its spec says stop; of levels in `keep`, keep the weights."""
    while not store.finished(trial) and store.failure(trial) is None:
        level = len(store.rows(trial))

        def on_trained(state: Arrays, level: int = level) -> None:
            if level in keep:
                store.save_weights(trial, level, state)

        try:
            row, successor = run_level(
                experiment, trial, level, store.mask(trial, level) if level else None, on_epoch, on_trained
            )
        except TrainingFailedError as failure:
            store.fail(trial, level, str(failure))
            return
        store.save_mask(trial, level + 1, successor)
        store.append(row)
        on_row(row)


def load_trained(store: RunStore, trial: int, level: int) -> nn.Module:
    """Return the trained network of a level whose weights were kept, in evaluation mode on the CPU.

    Raises:
        UserError: its weights were not kept, or a file is damaged.
    """
    network = build(store.spec(), derive_seed(trial, "weights"))
    weights = named_weights(network)
    masks = pruning.unpack(store.mask(trial, level), weights) if level else pruning.dense(weights)
    pruning.expand_(network.state_dict(), store.weights(trial, level), masks)
    return network.eval()


def run_level(
    experiment: Experiment,
    trial: int,
    level: int,
    packed: Arrays | None,
    on_epoch: OnEpoch = lambda level, epoch: None,
    on_trained: Callable[[Arrays], None] = lambda state: None,
) -> tuple[Row, Arrays]:
    """Rewind to the trial's start, train under the level's mask, and return the row and the next level's mask.

    Args:
        experiment: What all trials share.
        trial: The seed of everything random.
        level: How often the network was pruned.
        packed: The bits of the level's mask; None keeps everything.
        on_epoch: Called after every epoch; it may raise to give up.
        on_trained: Called with the trained state, pruned weights left out.

    Raises:
        TrainingFailedError: the loss became nan or infinite.
    """
    start = time.perf_counter()
    spec = experiment.spec
    network = build(spec, derive_seed(trial, "weights")).to(experiment.device)
    weights = named_weights(network)
    masks = pruning.unpack(packed, weights) if packed else pruning.dense(weights)
    pruning.apply_(weights, masks)
    trained = train(
        network,
        experiment.splits,
        spec.train,
        seed_of_epoch=lambda epoch: derive_seed(trial, "images", level, epoch),
        weights=weights,
        masks=masks,
        on_epoch=lambda epoch: on_epoch(level, epoch),
    )
    on_trained(pruning.compress(network.state_dict(), masks))
    successor = pruning.magnitude(weights, masks, spec.prune.density(level + 1), spec.prune.scope)

    kept = {name.removesuffix(".weight"): count for name, count in pruning.kept(masks).items()}
    sizes, num_weights = experiment.sizes, sum(kept.values())
    parameters = sizes.parameters - sizes.weights + num_weights
    statistics = sum(b.numel() for name, b in network.named_buffers() if not name.endswith("num_batches_tracked"))
    row = Row(
        run=spec.id,
        preset=spec.preset,
        dataset=spec.data.name,
        model=models.canonical_name(spec.model.name),
        algebra=spec.model.algebra,
        trial=trial,
        level=level,
        control="ticket",
        weights=num_weights,
        weights_total=sizes.weights,
        density=num_weights / sizes.weights,
        parameters=parameters,
        parameters_total=sizes.parameters,
        parameters_real=experiment.sizes_real.parameters,
        fraction_of_real=parameters / experiment.sizes_real.parameters,
        macs=sizes.kept_macs(kept),
        macs_dense=sizes.macs,
        macs_real=experiment.sizes_real.macs,
        stored_bytes=pruning.stored_bytes(masks, sizes.parameters - sizes.weights + statistics),
        top1=trained.test.top1,
        top5=trained.test.top5,
        loss=trained.test.loss,
        train_loss=trained.epochs[-1].train_loss,
        steps=trained.steps,
        layers={layer.name: (kept[layer.name], layer.weights) for layer in sizes.layers if layer.weights},
        epochs=trained.epochs,
        mask=pruning.fingerprint(pruning.pack(masks)),
        provenance=Provenance(
            seconds=round(time.perf_counter() - start, 3),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            device=describe_device(experiment.device),
            versions=versions() | ({"compiler": trained.compiler} if trained.compiler else {}),
        ),
    )
    return row, pruning.pack(successor)
