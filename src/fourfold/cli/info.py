"""`fourfold info`."""

from typing import Annotated, cast

import tyro
from rich.console import Console
from rich.table import Table

from fourfold.record import ModelSpec, UserError
from fourfold.record.spec import AlgebraName, Head


def command(
    model: Annotated[str | None, tyro.conf.Positional] = None,
    algebra: tuple[str, ...] = ("real", "quaternion"),
    classes: int | None = None,
    head: str = "real",
    tables: bool = False,
) -> None:
    """Print a model layer by layer: weights, parameters and multiply-accumulates (MACs) for one image.

    Args:
        model: A model's name; without one, all models are listed.
        algebra: real, complex, quaternion or octonion; several are printed below each other.
        classes: Outputs of the network; default 10.
        head: Output layer: real (paper 1) or algebra (paper 2).
        tables: Print the papers' tables of parameters instead.
    """
    console = Console(soft_wrap=True, width=200)
    for name in algebra:
        ModelSpec(name=model or "", algebra=cast("AlgebraName", name), head=cast("Head", head))  # complains in one sentence
    if tables:
        _papers(console)
    elif model is None:
        _all_models(console, algebra)
    else:
        for name in algebra:
            _layers(console, model, name, 10 if classes is None else classes, head)


def _layers(console: Console, model: str, algebra: str, classes: int, head: str) -> None:
    from fourfold import models

    shape = models.input_shape(model, algebra)
    network = models.build(model, algebra=algebra, num_classes=classes, head=head, device="meta")
    sizes = models.measure(network, shape)
    table = _table("layer", "kind", "algebra", "output", "weights", "parameters", "MACs")
    for layer in sizes.layers:
        output = "×".join(map(str, layer.output))
        table.add_row(
            layer.name, layer.kind, layer.algebra, output, f"{layer.weights:,}", f"{layer.parameters:,}", f"{layer.macs:,}"
        )
    table.add_section()
    table.add_row("total", "", "", "", f"{sizes.weights:,}", f"{sizes.parameters:,}", f"{sizes.macs:,}")
    title = models.MODELS[models.canonical_name(model)].title
    console.print(f"[bold]{title}, {algebra}, {classes} classes, input {'×'.join(map(str, shape))}[/bold]")
    console.print(table)
    console.print()


def _all_models(console: Console, algebras: tuple[str, ...]) -> None:
    from fourfold import models

    table = _table("model", *(f"parameters, {name}" for name in algebras), *(f"MACs, {name}" for name in algebras))
    for name in models.MODELS:
        sizes: list[models.Sizes | None] = []
        for algebra in algebras:
            try:
                network = models.build(name, algebra=algebra, device="meta")
                sizes.append(models.measure(network, models.input_shape(name, algebra)))
            except UserError:  # such as 300 neurons in octonions
                sizes.append(None)
        table.add_row(
            name,
            *(f"{size.parameters:,}" if size else "does not divide" for size in sizes),
            *(f"{size.macs:,}" if size else "" for size in sizes),
        )
    console.print(table)
    console.print("10 classes; `fourfold info MODEL` prints a model layer by layer")


def _papers(console: Console) -> None:
    from fourfold import models

    def sizes(name: str, algebra: str, classes: int, head: str, shape: tuple[int, int, int] | None) -> models.Sizes:
        network = models.build(name, algebra=algebra, num_classes=classes, head=head, shape=shape, device="meta")
        return models.measure(network, shape or models.input_shape(name, algebra))

    table = _table(
        "paper 1, table 1 (10 classes)", "all, real", "all, quaternion", "convolutions, real", "convolutions, quaternion"
    )
    for name in ("lenet-300-100", "lenet-12", "conv-2", "conv-4", "conv-6"):
        both = [sizes(name, algebra, 10, "real", None) for algebra in ("real", "quaternion")]
        convolutions = [sum(layer.parameters for layer in size.layers if layer.kind.startswith("Conv")) for size in both]
        table.add_row(name, *(f"{s.parameters:,}" for s in both), *(f"{c:,}" if c else "–" for c in convolutions))
    console.print(table)
    console.print()
    table = _table("paper 2, model statistics (1000 classes)", "real", "quaternion")
    for depth in (18, 34, 50, 101, 152):
        both = [sizes(f"resnet-{depth}", algebra, 1000, "algebra", (4, 64, 64)) for algebra in ("real", "quaternion")]
        table.add_row(f"resnet-{depth}", *(f"{s.parameters:,}" for s in both))
    console.print(table)


def _table(first: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="left" if column in ("kind", "algebra", "output") else "right", no_wrap=True)
    return table
