"""`fourfold presets`."""

from rich.table import Table

from fourfold.cli.printing import WIDTH, make_console


def command() -> None:
    """List the experiments that `fourfold run` knows, with their data, networks and settings."""
    from fourfold.presets.papers import PRESETS

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("preset", "data", "model", "epochs", "batch", "optimiser", "kept a level", "what it is"):
        table.add_column(column, no_wrap=column == "preset")
    for name, preset in PRESETS.items():
        spec = preset()
        train = spec.train
        table.add_row(
            name,
            spec.data.name,
            spec.model.name,
            str(train.epochs),
            str(train.batch_size),
            f"{train.optimizer} {train.learning_rate:g}",
            f"{100 * (1 - spec.prune.fraction):g} %",
            (preset.__doc__ or "").splitlines()[0],
        )
    make_console(WIDTH).print(table)
