"""The row of a trained level: sizes, accuracy and where they come from, and the mask that it tells of."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from fourfold import models, pruning, tasks
from fourfold.pruning import Masks
from fourfold.record import TICKET, TOP1, Metric, Promised, Provenance, Row, RunStore
from fourfold.record.arrays import Arrays, digest_of
from fourfold.record.errors import LostFileError
from fourfold.record.rows import MOST_CONFUSED, PerClass
from fourfold.train import Evaluation, Ranks, Trained, describe_device, versions
from fourfold.train.evaluation import measure
from fourfold.train.memory_format import laid_out
from fourfold.train.precision import computing

if TYPE_CHECKING:
    from fourfold.lottery.levels import Experiment


def make_row(
    experiment: "Experiment",
    trial: int,
    level: int,
    network: nn.Module,
    masks: Masks,
    trained: Trained,
    seconds: float,
    control: str = TICKET,
) -> Row:
    """Return the row of a network that was trained under masks.

    Args:
        experiment: Its spec and sizes are those of the network.
        trial: The trial.
        level: The level.
        network: The trained network.
        masks: What is kept of it.
        trained: What came of the training.
        seconds: Wall time of the level.
        control: The control that it is.
    """
    spec, sizes = experiment.spec, experiment.sizes
    by_key = pruning.kept(masks)
    kept = {layer.name: by_key[layer.weight_key] for layer in sizes.layers if layer.weights}
    num_weights = sum(kept.values())
    parameters = sizes.parameters - sizes.weights + num_weights
    statistics = sum(b.numel() for name, b in network.named_buffers() if not name.endswith("num_batches_tracked"))
    return Row(
        run=spec.id,
        preset=spec.preset,
        dataset=spec.data.name,
        model=models.canonical_name(spec.model.name) if models.is_known(spec.model.name) else spec.model.name,
        algebra=spec.model.algebra,
        trial=trial,
        level=level,
        control=control,
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
        **_measured(experiment.task.metric, trained.test),
        train_loss=trained.epochs[-1].train_loss,
        steps=trained.steps,
        layers={layer.name: (kept[layer.name], layer.weights) for layer in sizes.layers if layer.weights},
        epochs=trained.epochs,
        validation=trained.validation.metrics[experiment.task.metric.name] if trained.validation else None,
        mask=pruning.fingerprint(pruning.pack(masks)),
        data=experiment.data,
        per_class=_per_class(experiment, network),
        provenance=Provenance(
            seconds=round(seconds, 3),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            device=f"{_of(experiment.ranks)}{describe_device(experiment.device)}",
            versions=versions() | ({"compiler": trained.compiler} if trained.compiler else {}),
            engine=trained.engine,
            memory_format=trained.memory_format,
            precision=spec.train.precision or "float32",
            code=dict(experiment.code) or None,
        ),
    )


def promised(successor: Arrays | None, carried: Arrays) -> Promised | None:
    """Return what a row says of what its level leaves to the next one; None where it leaves nothing."""
    if successor is None and not carried:
        return None
    return Promised(
        mask=None if successor is None else pruning.fingerprint(successor), state=digest_of(carried) if carried else None
    )


def made_by(row: Row) -> str:
    """Return the versions and the device that made a row."""
    return ", ".join([*(f"{name} {version}" for name, version in row.provenance.versions.items()), row.provenance.device])


def _measured(metric: Metric, test: Evaluation) -> dict[str, Any]:
    """Return the fields of a row that say what was measured on the test set."""
    if metric != TOP1:
        return {"loss": test.loss, "metrics": test.metrics, "metric": metric}
    return {"top1": test.metrics["top1"], "top5": test.metrics.get("top5"), "loss": test.loss, "metrics": test.metrics}


_OF_CLASSES = (tasks.ConfusionMeter, tasks.MultilabelMeter, tasks.DetectionMeter)
"""Meters that tell what came out for each class."""


def _per_class(experiment: "Experiment", network: nn.Module) -> PerClass | None:
    """Return what came out for each class of the user's own data; None for built-in data sets and tasks that have none.

    It is measured in one more evaluation: the counts of engines are sums.
    """
    meter, splits, precision = experiment.task.meter(), experiment.splits, experiment.spec.train.precision
    if splits.source is None or not isinstance(meter, _OF_CLASSES):
        return None
    with computing(precision, experiment.device), laid_out(network, splits, precision) as batches:
        measure(network, batches.test, meter)
    values, matrix = meter.per_class(), None
    if isinstance(meter, tasks.ConfusionMeter) and len(values) <= MOST_CONFUSED:
        matrix = tuple(tuple(counts) for counts in meter.confusion_matrix().tolist())
    names = splits.classes if len(splits.classes) == len(values) else map(str, range(len(values)))
    return PerClass(names=tuple(names), values=tuple(values), confusion=matrix)


def mask_of_row(store: RunStore, row: Row) -> Arrays:
    """Return the mask on disk of a level that has its row, bit-packed; the dense level has none.

    Raises:
        LostFileError: it is missing or damaged, or another one than the level was trained under.
    """
    layers = {f"{name}.weight": total for name, (_, total) in row.layers.items()}  # these names are the longest
    return store.mask(row.trial, row.level, digest=row.mask, most_bytes=_mask_bytes(layers))


def sizes_in_mask(row: Row, mask: Arrays) -> dict[str, int]:
    """Return how many weights each array of a row's mask is of, by its name.

    A row names layers, and of one with several weights, such as an LSTM, the weights.
    """
    return {name if name in mask else f"{name}.weight".removeprefix("."): size for name, (_, size) in row.layers.items()}


def mask_of_level(
    store: RunStore, trial: int, level: int, sizes: models.Sizes, control: str = TICKET, *, digest: str | None = None
) -> Arrays:
    """Return the mask on disk that a level is to be trained under, bit-packed.

    Args:
        store: The run.
        trial: The trial.
        level: The level.
        sizes: Of its network.
        control: The control whose mask it is.
        digest: SHA-256 that the row of the level before has promised, or the level's own has; None takes any.

    Raises:
        LostFileError: it is missing or damaged, another than was promised, or of another network.
    """
    layers = {layer.weight_key: layer.weights for layer in sizes.layers if layer.weights}
    mask = store.mask(trial, level, control, digest=digest, most_bytes=_mask_bytes(layers))
    of = f"the mask of level {level} of trial {trial} in {store.path}"
    expected = {name: (-(-weights // 8),) for name, weights in layers.items()}
    if {name: bits.shape for name, bits in mask.items()} != expected or any(bits.dtype.str != "|u1" for bits in mask.values()):
        raise LostFileError(f"{of} is not one of its network: it has other names, types or lengths", store.path)
    if not any(bits.any() for bits in mask.values()):
        raise LostFileError(f"{of} keeps no weight", store.path)
    return mask


def _mask_bytes(layers: Mapping[str, int]) -> int:
    """Return how long the file of a mask may be: its bits, and for each layer its name and sizes in the header."""
    return sum(-(-weights // 8) + 8 * len(name) + 512 for name, weights in layers.items()) + 4096


def masks_of_row(store: RunStore, row: Row, weights: Mapping[str, Tensor]) -> Masks:
    """Return what `mask_of_row` does as masks of the weights; those of the dense level keep everything."""
    return pruning.unpack(mask_of_row(store, row), weights) if row.level else pruning.dense(weights)


def all_rows(stores: Sequence[RunStore], trials: int, controls: Sequence[str]) -> list[Row]:
    """Return the rows of some runs' trials, those of the controls last."""
    tickets = [row for store in stores for trial in range(trials) for row in store.rows(trial)]
    return tickets + [
        row for store in stores for control in controls for trial in range(trials) for row in store.control_rows(trial, control)
    ]


def _of(ranks: Ranks) -> str:
    """Return how many processes trained a row, and in how many parts; nothing for one alone."""
    return "" if ranks.alone else f"{ranks.world} rank{'s' if ranks.world > 1 else ''}, {ranks.parts} parts, "
