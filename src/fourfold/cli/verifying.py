"""`fourfold export --verify`: the test set through Python and through the C, and what came out."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from fourfold.cli.printing import make_console
from fourfold.cli.streams import say
from fourfold.cli.tickets import own_test_set, test_set
from fourfold.data.datasets import DATASETS
from fourfold.record import RunStore, UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fourfold.deploy import Program
    from fourfold.deploy.verification import Proof

TARGETS = ("artifact", "c")
"""What `--verify` knows: what becomes C."""


def check_target(verify: tuple[int, ...] | None, to: str) -> None:
    """Raise `UserError` where `--verify` is given what it does not know."""
    if verify is None:
        return
    if to not in TARGETS:
        raise UserError(f"`--verify` cannot be combined with `--to` (={to}): only {' and '.join(TARGETS)} become C")
    if len(verify) > 1 or min(verify, default=1) < 1:
        raise UserError(f"`--verify` (={' '.join(map(str, verify))}) must be one number of images, at least 1, or none for all")


def test_images(
    verify: tuple[int, ...], store: RunStore, data_dir: Path | None, trained_on: str | None
) -> "tuple[NDArray[np.uint8], NDArray[np.int64]]":
    """Return the test images and labels to verify with, once it is clear that there is a compiler, too.

    Raises:
        UserError: no test images or no compiler.
    """
    from fourfold.native import NoCompilerError, run_compiler

    try:
        run_compiler("--version")
    except NoCompilerError as error:
        raise UserError(f"`--verify` must have a C compiler: {error}") from error
    dataset = store.spec().data.name
    tests = test_set(dataset, data_dir, trained_on) if dataset in DATASETS else own_test_set(store)
    if tests is None:
        raise UserError(f"`--verify` must have the test images: {dataset} is not here; --data-dir says where it is")
    images, labels = tests
    most = verify[0] if verify else len(images)
    return images[:most], labels[:most]


def verify_c(program: "Program", folder: Path | None, tests: "tuple[NDArray[np.uint8], NDArray[np.int64]]") -> None:
    """Print whether the C of a program computes what it does, and end with status 1 where it does not.

    Args:
        program: As it was written.
        folder: That holds its C; None where it was not written as C.
        tests: Images and labels.
    """
    from fourfold.deploy import to_c
    from fourfold.deploy.verification import verify
    from fourfold.native import NoCompilerError

    with tempfile.TemporaryDirectory() as scratch:
        try:
            proof = verify(program, folder or to_c(program, scratch)[0].parent, *tests)
        except NoCompilerError as error:
            raise UserError(f"cannot compile the C ({error})") from error
    say(proof.compiler)
    make_console().print(_table(proof))
    if not proof.agrees:
        say("fourfold: the C does not compute what the network does; please report it with the exported file", sys.stderr)
        sys.exit(1)


def _table(proof: "Proof") -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    equal = f"{proof.equal:,} of {proof.images:,}"
    rows = {"test images": f"{proof.images:,}", "logits equal bit for bit": equal}
    if not proof.exact:
        rows["largest difference of a logit"] = f"{proof.difference:.2g} (allowed {proof.allowed:.2g})"
    rows |= {
        "top-1 in Python": f"{proof.reference_top1:.2f} %",
        "top-1 in C": f"{proof.c_top1:.2f} %",
        "flash, code and constants": _bytes(proof.flash),
        "RAM, arena": _bytes(proof.arena),
        "RAM, stack": _bytes(proof.stack),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _bytes(size: int | None) -> str:
    return "not known" if size is None else f"{size:,} bytes"
