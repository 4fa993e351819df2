"""`fourfold check`."""

import contextlib
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from fourfold.cli.arguments import Flag, Maybe
from fourfold.cli.code import trusting
from fourfold.cli.printing import count, make_console
from fourfold.cli.streams import say
from fourfold.record import RunStore, UserError, find_runs
from fourfold.record.findings import Finding
from fourfold.record.folders import name_of
from fourfold.record.inspection import inspect
from fourfold.record.text import shortened

STATES = ("ok", "damaged", "missing", "foreign")


def command(
    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN…")] = (Path("runs"),),
    repair: Flag = False,
    device: str = "auto",
    data_dir: Maybe[Path] = None,
    code: Maybe[Path] = None,
    trust_code: Flag = False,
) -> None:
    """Read every file of runs, and compare it with what their rows say of it.

    A file is ok, damaged, missing (a row promises it), or foreign: fourfold writes none of its name, and leaves it alone. Ends
    with exit code 1 if a file is damaged or missing.

    Args:
        runs: Folders of runs, or folders that hold them.
        repair: Make masks, states and kept weights again by training, and move aside, to `damaged/` in the run's folder, what
            cannot be made again. The command that ran the rows runs again those that are gone.
        device: Where to train: auto (CUDA where there is one), cpu, cuda or cuda:N.
        data_dir: Where data sets lie; default $FOURFOLD_DATA, else the cache.
        code: The file of your own code that the run names, such as roads.py, for --repair.
        trust_code: With --repair, import the code that the run names, from the current folder, whatever it is.
    """
    unread: list[str] = []
    stores = find_runs(*runs, without_spec=True, unread=unread)
    if not stores and not unread:
        raise UserError(f"there are no runs in {', '.join(map(str, runs))}; `fourfold run digits` makes one")
    findings_of = {store.path: inspect(store) for store in stores}
    if repair and any(finding.mendable for findings in findings_of.values() for finding in findings):
        for store in trusting(stores, code, trust_code):
            _repair(store, findings_of[store.path], device, data_dir)
        unread.clear()
        stores = find_runs(*runs, without_spec=True, unread=unread)  # a run of which nothing is left is gone
        findings_of = {store.path: inspect(store) for store in stores}
    _print(findings_of)
    for sentence in unread:
        say(f"fourfold: {shortened(sentence)}", sys.stderr)
    wrong = sum(finding.wrong for findings in findings_of.values() for finding in findings)
    if wrong:
        remedy = "see above" if repair else "`fourfold check --repair` mends what can be mended"
        say(f"fourfold: {count(wrong, 'file')} of {count(len(findings_of), 'run')} damaged or missing; {remedy}", sys.stderr)
    if wrong or unread:
        sys.exit(1)


def _repair(store: RunStore, findings: list[Finding], device: str, data_dir: Path | None) -> None:
    if not any(finding.mendable for finding in findings):
        return

    from fourfold.execution._repair import repair
    from fourfold.lottery import Experiment
    from fourfold.train import resolve_device, single_thread

    def prepare() -> Experiment:
        return Experiment.prepare(store.spec(), data_dir, resolve_device(device), download=False)

    with single_thread():  # as the workers that made the files
        repair(store, findings, prepare, lambda sentence: say(shortened(sentence), sys.stderr))
    if any(finding.kind == "spec" and finding.wrong for finding in findings):
        say(f"{store.path / 'spec.json'} is missing: {_command_for(store)} writes it again", sys.stderr)


def _command_for(store: RunStore) -> str:
    """Return the command that writes the spec of a run again, as far as the folder's name and its rows tell it."""
    from fourfold import presets

    name = name_of(store.path)
    trials = f" --trials {max(store.trials(), default=0) + 1}"
    out = "" if store.path.parent == Path("runs") else f" --out {shlex.quote(str(store.path.parent))}"
    if parts := re.fullmatch(r"(.+)-([a-z]+)-[0-9a-f]{8}", name):
        preset, algebra = parts[1], parts[2]
        for protocol in ("text", "released"):
            with contextlib.suppress(UserError):
                if presets.get(preset, algebra=algebra, protocol=protocol).id == name:
                    named = "" if protocol == "text" else f" --protocol {protocol}"
                    return f"`fourfold run {preset} --algebra {algebra}{named}{trials}{out}`"
        if preset in presets.PRESETS:
            return (
                f"`fourfold run {preset} --algebra {algebra}{trials}{out}`, with the other options that the run was begun with,"
            )
    return f"the `fourfold run …{trials}{out}` that began {name}, with the same options,"


def _print(findings_of: dict[Path, list[Finding]]) -> None:
    """Print a line a run, and then one for each file that is not ok."""
    console = make_console(soft_wrap=False)
    runs = Table("run", box=None, pad_edge=False, header_style="bold")
    for state in STATES:
        runs.add_column(state, justify="right")
    others = Table("file", "state", "what", "remedy", box=None, pad_edge=False, header_style="bold")
    for path, findings in findings_of.items():
        runs.add_row(path.name, *(str(sum(finding.state == state for finding in findings)) for state in STATES))
        for finding in findings:
            if finding.state != "ok" or finding.what:
                others.add_row(str(path / finding.file), finding.state, shortened(finding.what), finding.remedy)
    for table in (runs, others):
        if table.row_count:
            full_width = console.measure(table, options=console.options.update(width=10_000)).maximum
            console.width = console.width if console.is_terminal else full_width
            console.print(table)
            console.print()
