"""`fourfold info`."""

from typing import TYPE_CHECKING, Annotated, cast

import tyro
from rich.console import Console
from rich.table import Table

from fourfold.cli.arguments import Flag, Maybe
from fourfold.cli.experiments import is_own, own_specs
from fourfold.cli.printing import WIDTH, make_console, titled
from fourfold.record import ModelSpec, UserError, with_fields
from fourfold.record.spec import AlgebraName, Head

if TYPE_CHECKING:
    from fourfold import models


_BOTH = ("real", "quaternion")


def command(
    model: Annotated[Maybe[str], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = None,
    algebra: tuple[str, ...] = ("real", "quaternion"),
    classes: Maybe[int] = None,
    head: str = "real",
    tables: Flag = False,
) -> None:
    """Print a model layer by layer: weights, parameters and multiply-accumulates (MACs) for one image.

    Args:
        model: A model's name; or an experiment of your own, such as roads.py; without one, all models are listed.
        algebra: Algebras, which are printed below each other.
        classes: Outputs of the network, of detectors the classes of boxes; default 10, of detectors 20, of texts 256.
        head: The output layer: real as in paper 1, or of the algebra as in paper 2.
        tables: Print the papers' tables of parameters instead.
    """
    for name in algebra:
        named = "any" if model is None or is_own(model) else model
        ModelSpec(name=named, algebra=cast("AlgebraName", name), head=cast("Head", head))  # complains in one sentence
    console = make_console(WIDTH)
    if tables:
        console.print(paper_1_table())
        console.print()
        console.print(paper_2_table())
    elif model is not None and is_own(model):
        _of_file(console, model, algebra)
    elif model is None:
        _all_models(console, algebra)
    else:
        count = _classes(model) if classes is None else classes
        for name, sizes in [(name, _sizes(model, name, count, head)) for name in algebra]:
            _layers(console, model, name, sizes, count)


def _classes(model: str) -> int:
    from fourfold import models

    return models.MODELS[models.canonical_name(model)].num_classes


def _sizes(
    model: str, algebra: str, classes: int = 10, head: str = "real", shape: tuple[int, ...] | None = None
) -> "models.Sizes":
    import torch

    from fourfold import models

    network = models.build(model, algebra=algebra, num_classes=classes, head=head, shape=shape, device="meta")
    about, sides = models.MODELS[models.canonical_name(model)], shape or models.input_shape(model, algebra)
    return models.measure(network, torch.zeros(1, *sides, dtype=torch.int64) if about.tokens else sides)


def _of_file(console: Console, file: str, algebras: tuple[str, ...]) -> None:
    """Print the networks of an experiment of the user's own, and what of them is not counted."""
    from fourfold.parts import input_shape, measure, uncounted

    specs = own_specs(file)
    if len(specs) == 1:
        specs = [with_fields(specs[0], {"model.algebra": name}) for name in algebras]
    for spec in specs:
        sizes = measure(spec)
        title = f"{spec.preset}: {spec.model.name}, {spec.model.algebra}, on {spec.data.name}, input {input_shape(spec)}"
        console.print(titled(title))
        console.print(_table_of(sizes))
        if names := uncounted(spec):
            console.print(f"not counted, and not pruned: {', '.join(names)}, which the network multiplies outside of layers")
        console.print()


def _layers(console: Console, model: str, algebra: str, sizes: "models.Sizes", classes: int) -> None:
    from fourfold import models

    title = models.MODELS[models.canonical_name(model)].title
    console.print(titled(f"{title}, {algebra}, {classes} classes, input {_times(models.input_shape(model, algebra))}"))
    console.print(_table_of(sizes))
    console.print()


def _table_of(sizes: "models.Sizes") -> Table:
    table = _table("layer", "kind", "algebra", "output", "weights", "parameters", "MACs")
    for layer in sizes.layers:
        numbers = (layer.weights, layer.parameters, layer.macs)
        table.add_row(layer.name, layer.kind, layer.algebra, _times(layer.output), *(f"{number:,}" for number in numbers))
    table.add_section()
    table.add_row("total", "", "", "", f"{sizes.weights:,}", f"{sizes.parameters:,}", f"{sizes.macs:,}")
    return table


def _all_models(console: Console, algebras: tuple[str, ...]) -> None:
    from fourfold import models

    table = _table("model", *(f"parameters, {name}" for name in algebras), *(f"MACs, {name}" for name in algebras))
    for model in models.MODELS:
        parameters, macs = [], []
        for algebra in algebras:
            try:
                sizes = _sizes(model, algebra, _classes(model))
                parameters.append(f"{sizes.parameters:,}")
                macs.append(f"{sizes.macs:,}")
            except UserError:  # such as 300 neurons in octonions
                parameters.append("does not divide")
                macs.append("")
        table.add_row(model, *parameters, *macs)
    console.print(table)
    console.print("10 classes, of detectors 20, of texts 256; `fourfold info MODEL` prints a model layer by layer")


def paper_1_table() -> Table:
    """Return paper 1's table 1, computed from the models."""
    table = _table("paper 1, table 1 (10 classes)", *(f"{what}, {name}" for what in ("all", "convolutions") for name in _BOTH))
    for name in ("lenet-300-100", "lenet-12", "conv-2", "conv-4", "conv-6"):
        sizes = [_sizes(name, algebra) for algebra in _BOTH]
        convolutions = [sum(layer.parameters for layer in size.layers if layer.kind.startswith("Conv")) for size in sizes]
        table.add_row(name, *(f"{size.parameters:,}" for size in sizes), *(f"{c:,}" if c else "–" for c in convolutions))
    return table


def paper_2_table() -> Table:
    """Return paper 2's model statistics, computed from the models."""
    table = _table("paper 2, model statistics (1000 classes)", *_BOTH)
    for depth in (18, 34, 50, 101, 152):
        sizes = [_sizes(f"resnet-{depth}", algebra, 1000, "algebra", (4, 64, 64)) for algebra in _BOTH]
        table.add_row(f"resnet-{depth}", *(f"{size.parameters:,}" for size in sizes))
    sizes = [_sizes("yolov1", algebra, 20, "real", (4, 448, 448)) for algebra in _BOTH]
    table.add_row("yolov1 (20 classes of boxes)", *(f"{size.parameters:,}" for size in sizes))
    return table


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="left" if column in ("kind", "algebra", "output") else "right", no_wrap=True)
    return table
