"""`fourfold pack`."""

import sys
from pathlib import Path
from typing import Annotated

import tyro

from fourfold.cli.arguments import Flag
from fourfold.cli.printing import count
from fourfold.cli.streams import say
from fourfold.record import UserError, find_runs
from fourfold.record.packed_runs import pack_run, unpack_run
from fourfold.record.text import shortened


def command(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN…")] = (Path("runs"),),
    unpack: Flag = False,
) -> None:
    """Compress the rows of runs to a fifth; every command reads them as before.

    A trial that continues is unpacked by itself. Runs that another process works on, and files with a damaged or torn line, are
    left as they are, with a sentence.

    Args:
        runs: Folders of runs, or folders that hold them.
        unpack: Write the rows as plain JSON lines again.
    """
    stores = find_runs(*runs)
    if not stores:
        raise UserError(f"there are no runs in {', '.join(map(str, runs))}; `fourfold run digits` makes one")
    left, files, before, after = 0, 0, 0, 0
    for store in stores:
        try:
            with store.lock("run"):
                sizes = unpack_run(store) if unpack else pack_run(store)
        except UserError as error:
            say(f"fourfold: {shortened(str(error))}", sys.stderr)
            left += 1
            continue
        files += len(sizes)
        before, after = before + sum(size for size, _ in sizes), after + sum(size for _, size in sizes)
    done = "unpacked" if unpack else "packed"
    say(f"{done} {count(files, 'file')} of {count(len(stores) - left, 'run')}: {before / 1e6:.1f} MB to {after / 1e6:.1f} MB")
    if left:
        sys.exit(1)
