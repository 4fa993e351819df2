"""`fourfold bench deploy`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from fourfold.cli.arguments import AnyNumber, Maybe
from fourfold.cli.printing import make_console
from fourfold.cli.tickets import calibration_images, test_set
from fourfold.record import UserError

if TYPE_CHECKING:
    from fourfold.deploy import Program
    from fourfold.report.tables import Record

OURS = "fourfold "
"""What the names of our contenders begin with; then comes what they compute in."""


def command(
    artifacts: Annotated[AnyNumber[Path], tyro.conf.Positional, tyro.conf.arg(metavar="ARTIFACT…")],
    threads: int = 1,
    batch: tuple[int, ...] = (1, 32),
    rounds: int = 9,
    images: int = 10_000,
    data_dir: Maybe[Path] = None,
    out: Maybe[Path] = None,
) -> None:
    """Measure artifacts beside onnxruntime and OpenVINO, in float32 and int8, in turn and with the same threads.

    One table: accuracy on the test images, where the data set lies here, and in brackets that which was measured when the
    network was trained; for each batch the median time of a call, and onnxruntime's float32 time over it with quartiles over
    the rounds; what a device must store (our compiled code with its weights; for the others the model, and beside it the
    runtime's libraries); and the peak of memory for one image (ours: working memory, code and weights; others': what a process
    that loads and runs the model takes beyond one that only imports the library).

    Args:
        artifacts: Files that `fourfold export` wrote.
        threads: Of every runtime.
        batch: Images of a call; several are measured one after the other.
        rounds: Each times all runtimes in turn.
        images: Test images that accuracy is measured on; all where there are no more, none with 0.
        data_dir: Where data sets lie; default $FOURFOLD_DATA, else the cache.
        out: A folder for the numbers (deploy.csv) and a plot of accuracy against bytes, MACs and latency (deploy.png and
            deploy.svg).
    """
    from fourfold.deploy import artifact
    from fourfold.native import compiler
    from fourfold.train import describe_device, resolve_device, versions

    if not artifacts:
        raise UserError("`artifacts` (=none) must be at least one file; `fourfold export` writes them")
    if threads < 1 or rounds < 1 or not batch or min(batch) < 1:
        raise UserError(f"`threads` (={threads}), `batch` (={batch}) and `rounds` (={rounds}) must be at least 1")
    if images < 0:
        raise UserError(f"`images` (={images}) must be at least 0")
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    console = make_console(250)
    named = [f"{name} {version}" for name, version in versions().items()]
    device = ", ".join([describe_device(resolve_device("cpu")), *named, compiler(), f"threads: {threads}"])
    console.print(device)
    records: list[Record] = []
    notices: list[str] = []
    for path in artifacts:
        records += _measured(path, artifact.read(path), threads, batch, rounds, images, data_dir, notices)
    for sentence in dict.fromkeys(notices):
        console.print(sentence)
    console.print(_table(records, batch))
    if out is not None:
        for line in _write(out, records, batch[0], device):
            console.print(line)


def _measured(
    path: Path,
    program: "Program",
    threads: int,
    batch: tuple[int, ...],
    rounds: int,
    images: int,
    data_dir: Path | None,
    notices: list[str],
) -> "list[Record]":
    """Return a record a runtime of one artifact, and append to `notices` what could not be measured."""
    from fourfold.deploy.bench import benchmark

    dataset = program.provenance.get("dataset") if program.encoding else None
    trained_on = program.provenance.get("data")
    tests = test_set(dataset, data_dir, trained_on) if dataset and images else None
    calibration = calibration_images(dataset, data_dir, trained_on) if dataset else None
    if images and dataset is None:
        notices.append(f"accuracy of {path} is not measured: it does not name its data set, as those of `fourfold export` do")
    elif images and tests is None:
        notices.append(f"accuracy of {path} is not measured: {dataset} is not here; --data-dir says where it is")
    runtimes, missing = benchmark.contenders(program, threads=threads, images=calibration)
    notices += missing
    times = [benchmark.measure(runtimes, benchmark.noise(program, size), rounds=rounds) for size in batch]
    algebra = program.provenance.get("algebra", "")
    records: list[Record] = []
    for name, runtime in runtimes.items():
        top1 = None if tests is None else benchmark.accuracy(runtime, program, tests[0][:images], tests[1][:images])
        record: Record = {"artifact": str(path), "algebra": algebra, "runtime": name, "top1": top1}
        record |= {"trained_top1": program.provenance.get("top1"), "macs": benchmark.macs(program)}
        record |= {"model_bytes": runtime.model_bytes, "library_bytes": runtime.runtime_bytes, "peak_bytes": runtime.peak_bytes}
        for size, measured in zip(batch, times, strict=True):
            low, middle, high = measured[name].ratios
            record |= {f"seconds_{size}": measured[name].seconds, f"ratio_{size}": middle}
            record |= {f"ratio_low_{size}": low, f"ratio_high_{size}": high}
        records.append(record)
    return records


def _table(records: "list[Record]", batch: tuple[int, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns = ["artifact", "runtime", "top-1 % (trained)"]
    for size in batch:
        columns += [f"µs, batch {size}", "× onnxruntime", "quartiles"]
    for column in (*columns, "model kB", "libraries kB", "peak kB"):
        table.add_column(column, justify="left" if column in ("artifact", "runtime") else "right", no_wrap=True)
    before = None
    for record in records:
        path, trained = str(record["artifact"]), record["trained_top1"]
        top1 = "" if record["top1"] is None else f"{record['top1']:.2f}" + (f" ({trained})" if trained else "")
        row = [Path(path).name if path != before else "", str(record["runtime"]), top1]
        for size in batch:
            row += [f"{1e6 * float(record[f'seconds_{size}'] or 0):,.0f}", f"{record[f'ratio_{size}']:.2f}"]
            row += [f"{record[f'ratio_low_{size}']:.2f}–{record[f'ratio_high_{size}']:.2f}"]
        for key in ("model_bytes", "library_bytes", "peak_bytes"):
            row += ["" if record[key] is None else f"{float(record[key] or 0) / 1e3:,.0f}"]
        table.add_row(*row)
        before = path
    return table


def _write(out: Path, records: "list[Record]", size: int, device: str) -> list[str]:
    """Write the numbers, and the picture if there are accuracies; return what was written, in lines."""
    from fourfold.record.files import write_atomically
    from fourfold.report.figures import png, svg
    from fourfold.report.fronts import Deployed, draw_fronts
    from fourfold.report.tables import to_csv

    points = [
        Deployed(
            algebra=str(record["algebra"]),
            numbers=str(record["runtime"]).removeprefix(OURS),
            top1=float(record["top1"]),
            stored_bytes=int(record["model_bytes"] or 0),
            macs=int(record["macs"] or 0),
            seconds=float(record[f"seconds_{size}"] or 0),
        )
        for record in records
        if str(record["runtime"]).startswith(OURS) and record["top1"] is not None
    ]
    files = {"deploy.csv": to_csv(records).encode()}
    if points:
        note = f"{device}. A call takes {size} {'image' if size == 1 else 'images'}; int8 is calibrated with training images."
        figure = draw_fronts(points, "Deployed networks: accuracy against bytes, MACs and latency", note)
        files |= {"deploy.png": png(figure), "deploy.svg": svg(figure)}
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_atomically(out / name, content)
    except OSError as error:
        raise UserError(f"cannot write {out} ({error.strerror})") from error
    lines = [f"wrote {out / name}" for name in files]
    return lines if points else [*lines, "there is no picture without accuracies"]
