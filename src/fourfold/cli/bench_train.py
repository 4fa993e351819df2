"""`fourfold bench train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.progress import Progress
from rich.table import Table

from fourfold.cli.arguments import Maybe
from fourfold.cli.changes import changed
from fourfold.cli.duration import format_duration
from fourfold.cli.experiments import specs_for
from fourfold.cli.printing import WIDTH, make_console

if TYPE_CHECKING:
    from fourfold.timing.throughput import Spread

PEAKS = ("of peak MACs", "of copied bytes")


def command(
    presets: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PRESET…")] = ("digits",),
    algebra: Maybe[tuple[str, ...]] = None,
    density: float = 1.0,
    rounds: int = 5,
    precision: Maybe[str] = None,
    device: str = "auto",
    data_dir: Maybe[Path] = None,
) -> None:
    """Measure how fast levels are trained, one trial on one thread, beside the plain PyTorch loop with a `DataLoader`.

    The plain loop is measured twice: in float32 as everybody writes it first, and at its best, with images in channels last and
    products in bf16 where the processor multiplies it.

    Every round takes ours, the plain loop and the processor's limits in turn: a product of two matrices (1024 x 1024, on a GPU
    8192 x 8192) and a copy (64 MiB, on a GPU 1 GiB). Medians are printed, with quartiles of the ratio. Both loops evaluate test
    images in proportion.

    Args:
        presets: Experiments of `fourfold presets`, or of your own, such as roads.py.
        algebra: Algebras to measure; default real and quaternion, or what a file with several experiments names.
        density: Kept weights / weights; below 1 by magnitude of the initial weights.
        rounds: Rounds of about two seconds and what the plain loop takes.
        precision: Of ours and of the matrix product, tf32 on a GPU alone; default as the preset.
        device: auto (CUDA where there is one), cpu, cuda or cuda:N.
        data_dir: Where data sets lie; default $FOURFOLD_DATA, else the cache, with download.
    """
    from fourfold import timing
    from fourfold.train import describe_device, resolve_device, single_thread, versions

    named = [spec for preset in presets for spec in specs_for(preset, algebra, "text", {})]
    specs = [changed(spec, {"precision": precision}) for spec in named]
    console = make_console(WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("preset", "algebra"):
        table.add_column(title, no_wrap=True)
    for title in ("images/s", *("plain loop", "ratio (quartiles)", "at its best", "ratio (quartiles)"), "a level", *PEAKS):
        table.add_column(title, justify="right", no_wrap=True)
    place = resolve_device(device)
    with single_thread():
        about = ", ".join(f"{name} {number}" for name, number in versions().items())
        console.print(f"{describe_device(place)}, {about}; density {100 * density:g} %, {rounds} rounds")
        measured = timing.measure_throughput(specs, density=density, rounds=rounds, device=place, data_dir=data_dir)
        with Progress(console=console, transient=True) as progress:
            for speed in progress.track(measured, total=len(specs), description="measuring"):
                table.add_row(
                    speed.spec.preset,
                    speed.spec.model.algebra,
                    f"{speed.ours.median:,.0f}",
                    f"{speed.plain.median:,.0f}",
                    _quartiles(speed.ratio),
                    f"{speed.best.median:,.0f}",
                    _quartiles(speed.ratio_to_best),
                    format_duration(speed.level_seconds),
                    f"{100 * speed.operations:.1f} %",
                    f"{100 * speed.transfer:.1f} %",
                )
    console.print(table)


def _quartiles(ratio: "Spread") -> str:
    return f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})"
