"""`fourfold export`."""

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from fourfold.cli.arguments import Flag, Maybe
from fourfold.cli.code import trusting
from fourfold.cli.streams import say
from fourfold.cli.tickets import calibration_images, own_calibration, program_of
from fourfold.cli.verifying import check_target, test_images, verify_c
from fourfold.data.datasets import DATASETS
from fourfold.record import RunStore, UserError, find_runs
from fourfold.record.errors import unknown

if TYPE_CHECKING:
    from torch import nn

    from fourfold.deploy import Program

TARGETS = ("artifact", "c", "web", "onnx", "torch", "pt2")
COMPILED = ("c", "web")
COMPILED_VALUES = ("fp32", "int8")
"""What C and pages can compute in."""


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    level: int,
    trial: int = 0,
    to: str = "artifact",
    out: Maybe[Path] = None,
    values: str = "fp32",
    entropy: Flag = False,
    ranges: str = "max",
    kernels: str = "auto",
    data_dir: Maybe[Path] = None,
    code: Maybe[Path] = None,
    trust_code: Flag = False,
    verify: Annotated[tuple[int, ...] | None, tyro.conf.arg(metavar="[N]", help_behavior_hint="")] = None,
) -> None:
    """Write the trained network of a run's level in a form that others can run.

    The level's weights must have been kept: `fourfold run … --keep LEVEL`. Artifacts and C of data of your own begin with what
    the network sees, normalised and encoded, but those of images in bytes, which are encoded as built-in ones.

    Args:
        run: A run's folder, or the id of one in ./runs.
        level: The level, 0 being the dense network.
        trial: The trial.
        to: artifact is one small file (docs/artifact.md), c one .c and one .h, web an HTML page that classifies images in any
            browser, offline, and takes clang and lld; onnx is dense, torch the state dict of the network that `fourfold.models`
            builds, as safetensors, and pt2 a torch.export program, which torch loads without fourfold and without the network's
            code.
        out: The file, or for c the folder, to write; default: named by run, trial and level.
        values: Of an artifact's weights; int8 takes ranges from training images, where they lie here. Of c and web: fp32, or
            int8, for which the training images must lie here.
        entropy: Code an artifact's masks and small values by their frequencies: smaller, and slower to read.
        ranges: Of int8 arithmetic, by the training images' values; percentile is that of 99.99 %.
        kernels: Of int8 convolutions in c, on AVX-512 with VNNI; auto is, for each layer, the one that should be fastest. All
            give the same bits.
        data_dir: Where data sets lie; default $FOURFOLD_DATA, else the cache.
        code: The file of your own code that the run names, such as roads.py.
        trust_code: Import the code that the run names, from the current folder, whatever it is.
        verify: Of an artifact or c: compile the C here, run the test images (or the first N of them) through it and through
            the numpy reference, and print whether they agree, the accuracy of each, and bytes of flash and RAM. Ends with
            status 1 where they do not.
    """
    if to not in TARGETS:
        raise unknown("target", to, TARGETS)
    if to != "artifact" and (values not in (COMPILED_VALUES if to in COMPILED else ("fp32",)) or entropy):
        except_int8 = ", but for `--values int8`," if to in COMPILED else ""
        raise UserError(
            f"`--values` (={values!r}) and `--entropy` must be left out with `--to {to}`{except_int8}: they shape an artifact"
        )
    if kernels != "auto" and to != "c":
        raise UserError(f"`--kernels` (={kernels!r}) cannot be combined with `--to {to}`: only C is generated for it")
    check_target(verify, to)
    (store,) = trusting([_find(run)], code, trust_code)
    store.check_kept(trial, level)
    name = re.sub(r"[^A-Za-z0-9._-]+|^\.+", "-", f"{store.spec().id}-{trial}-{level}")  # a stranger's run has any name

    from fourfold import lottery

    network = lottery.load_trained(store, trial, level)
    if to == "torch":
        path = out or Path(f"{name}-torch.safetensors")
        _write_state(network, path)
        say(_written(path))
        return
    if to == "pt2":
        path = out or Path(f"{name}.pt2")
        lottery.export_torch(network, path, lottery.example_of(store))
        say(_written(path))
        return
    from fourfold import deploy, parts

    program = program_of(store, network, trial, level)
    dataset = store.spec().data.name
    row = next((row for row in store.rows(trial) if row.level == level), None)
    if row is not None and row.data is not None and dataset not in DATASETS:
        store.check_data(parts.load(store.spec()).digest, [trial])
    images = _calibration(store, data_dir, row.data if row else None) if values == "int8" else None
    tests = None if verify is None else test_images(verify, store, data_dir, row.data if row else None)
    if to == "onnx":
        path = out or Path(f"{name}.onnx")
        deploy.to_onnx(program, path)
        say(_written(path))
    elif to in COMPILED:
        if values == "int8" and images is None:
            raise UserError(f"`--values int8` must have images to calibrate with: {dataset} is not here; --data-dir says where")
        stored = _as_stored(program, values, images, ranges)
        if to == "web":
            say(_written(deploy.to_web(stored, out or Path(f"{name}.html"))))
            _print_movement(stored)
            return
        folder = out or Path(f"{name}-c")
        for file in deploy.to_c(stored, folder, kernels=kernels):
            say(_written(file))
        _print_movement(stored)
        if tests:
            verify_c(stored, folder, tests)
    else:
        path = out or Path(f"{name}.safetensors")
        packed = deploy.pack(program, path, values=values, entropy=entropy, calibrate=images, ranges=ranges)
        say(_written(path))
        _print_movement(packed)
        if values == "int8" and images is None:
            say(f"without ranges for int8 arithmetic: {dataset} is not here; --data-dir says where it is")
        if tests:
            verify_c(deploy.read(path), None, tests)


def _calibration(store: RunStore, data_dir: Path | None, trained_on: str | None) -> object:
    """Return training items to calibrate with; None where the data set is not here."""
    dataset = store.spec().data.name
    return calibration_images(dataset, data_dir, trained_on) if dataset in DATASETS else own_calibration(store)


def _print_movement(packed: "Program") -> None:
    """Print how far rounding moved the logits, where `pack` has compared them."""
    if "logits moved" in packed.provenance:
        say(f"logits moved by {packed.provenance['logits moved']}")


def _as_stored(program: "Program", values: str, images: object, ranges: str) -> "Program":
    """Return a program with the values that an artifact of it would hold, so that both compute the same."""
    from fourfold import deploy

    with tempfile.TemporaryDirectory() as folder:
        return deploy.pack(program, Path(folder) / "network.safetensors", values=values, calibrate=images, ranges=ranges)


def _find(run: str) -> RunStore:
    """Return the one run that a folder holds, or that has an id."""
    path = next((path for path in (Path(run), Path("runs") / run) if path.exists()), None)
    if path is None:
        raise UserError(f"there is no run {run!r}; name a run's folder, or the id of one in ./runs (`fourfold status`)")
    stores = find_runs(path)
    if len(stores) != 1:
        raise UserError(f"{path}: expected one run, found {len(stores)}; `fourfold status {path}` lists them")
    return stores[0]


def _write_state(network: "nn.Module", path: Path) -> None:
    import safetensors.torch

    from fourfold.record.files import write_atomically

    try:
        write_atomically(path, safetensors.torch.save({name: t.contiguous() for name, t in network.state_dict().items()}))
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror})") from error


def _written(path: Path) -> str:
    return f"wrote {path} ({path.stat().st_size:,} bytes)"
