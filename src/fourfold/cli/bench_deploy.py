"""`fourfold bench deploy`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.console import Console
from rich.table import Table

from fourfold.record import UserError

if TYPE_CHECKING:
    from fourfold.deploy import benchmark


def command(
    artifacts: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="ARTIFACT…")],
    threads: int = 1,
    batch: tuple[int, ...] = (1, 32),
    rounds: int = 9,
) -> None:
    """Measure artifacts beside onnxruntime and OpenVINO, in float32 and int8, in turn and with the same threads.

    Medians are printed, and the time of onnxruntime's float32 over each one's, with quartiles over the rounds. What a device
    must store is our compiled code with its weights; for the others it is the model and, in brackets, the runtime's libraries.

    Args:
        artifacts: Files that `fourfold export` wrote.
        threads: Of every runtime.
        batch: Images of a call; several are measured one after the other.
        rounds: Each times all runtimes in turn.
    """
    from fourfold.deploy import artifact, benchmark
    from fourfold.native import compiler
    from fourfold.train import describe_device, resolve_device, versions

    if not artifacts:
        raise UserError("`artifacts` (=none) must be at least one file; `fourfold export` writes them")
    if threads < 1 or rounds < 1 or not batch or min(batch) < 1:
        raise UserError(f"`threads` (={threads}), `batch` (={batch}) and `rounds` (={rounds}) must be at least 1")
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    console = Console(soft_wrap=True, width=200)
    device = describe_device(resolve_device("cpu"))
    console.print(f"{device}, {versions()}, {compiler()}, {threads} {'thread' if threads == 1 else 'threads'}", highlight=False)
    for path in artifacts:
        program = artifact.read(path)
        runtimes, missing = benchmark.contenders(program, threads=threads)
        for sentence in missing:
            console.print(sentence, highlight=False)
        for size in batch:
            measured = benchmark.measure(runtimes, benchmark.noise(program, size), rounds=rounds)
            console.print(f"[bold]{path}, {size} {'image' if size == 1 else 'images'} a call[/bold]", highlight=False)
            console.print(_table(measured))


def _table(measured: "dict[str, benchmark.Measurement]") -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("runtime", "µs a call", "× onnxruntime", "quartiles", "model kB", "libraries kB", "working kB"):
        table.add_column(column, justify="left" if column == "runtime" else "right", no_wrap=True)
    for name, measurement in measured.items():
        low, middle, high = measurement.ratios
        own = measurement.contender
        table.add_row(
            name,
            f"{measurement.seconds * 1e6:,.0f}",
            f"{middle:.2f}",
            f"{low:.2f}–{high:.2f}",
            f"{own.model_bytes / 1e3:,.0f}",
            f"{own.runtime_bytes / 1e3:,.0f}",
            f"{own.memory / 1e3:,.0f}" if own.memory is not None else "",
        )
    return table
