"""`new`: an experiment of one's own."""

from collections.abc import Mapping
from typing import cast

from fourfold.record import DataSpec, ModelSpec, PruneSpec, Spec, StopSpec, TaskSpec, TrainSpec, Trust, Value, with_fields
from fourfold.record.checks import check_file_name
from fourfold.record.spec import AlgebraName


def new(
    name: str,
    *,
    data: str,
    model: str,
    task: str = "classification",
    algebra: str = "real",
    epochs: int = 20,
    batch_size: int = 64,
    optimizer: str = "adam",
    learning_rate: float = 1e-3,
    fraction: float = 0.3,
    max_level: int | None = None,
    settings: Mapping[str, Value] | None = None,
) -> Spec:
    """Return the spec of an experiment with a network, data and a task of one's own, each by name.

    A name is built in (`conv-4`, `cifar-10`, `classification`), that of an entry point of an installed package, or code:
    `roads.py:net`, a file and a name in it, or `mypackage.roads:net`.

    Args:
        name: What the experiment goes by in tables and figures.
        data: A data set, a function that returns what `fourfold.data.from_arrays`, `from_folder` or `from_datasets` return, a
            folder of class folders (with a slash: `photos/`), or an .npz file.
        model: A network, or a function of `(algebra, inputs, outputs)` that returns a torch.nn.Module; one of torch's layers
            alone is converted to the algebra.
        task: What the network is asked, or a class or function without arguments that returns a `fourfold.tasks.Task`.
        algebra: Of the network; `fourfold run` sets it to each that it compares.
        epochs: Passes over the training items.
        batch_size: Items a step.
        optimizer: adam, sgd, or another of torch.optim.
        learning_rate: Step size at the start.
        fraction: Part of the remaining weights that each level removes.
        max_level: The last level; None ends by the metric, or when no weight is left.
        settings: Other fields of the spec by name, such as `{"train.schedule": "cosine", "stop.metric": 0.5}`.

    Raises:
        UserError: a name or a value that cannot be.
    """
    check_file_name("name", name)
    spec = Spec(
        preset=name,
        data=DataSpec(name=data),
        model=ModelSpec(name=model, algebra=cast("AlgebraName", algebra)),
        task=TaskSpec(name=task),
        train=TrainSpec(epochs=epochs, batch_size=batch_size, optimizer=optimizer, learning_rate=learning_rate),
        prune=PruneSpec(fraction=fraction),
        stop=StopSpec(max_level=max_level),
        trust=Trust(),
    )
    return with_fields(spec, settings or {})
