"""What runs on a node of a Ray cluster: a trial, in a folder of the node's own, whose files are sent home level by level.

Nothing here knows of Ray: these are plain functions of strings and bytes, which Ray calls in a worker process.
"""

import json
import platform
import queue
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fourfold import data
from fourfold.execution.jobs import Trial
from fourfold.execution.ray import code, parcels
from fourfold.execution.ray.parcels import Files
from fourfold.execution.serving import Server
from fourfold.record import RunStore, UserError
from fourfold.train import versions

PARCEL_SECONDS = 0.5
"""How often what has happened in a trial is sent: each parcel costs both ends some milliseconds, as long as a small epoch."""

HOME_SECONDS = 180.0
"""From one checkpoint to the next: each is sent home, and may be as large as the network three times over."""

Parcel = list[tuple[str, Files]]
"""Events as lines of JSON, in order, each with the files that it left."""

_SERVER = Server(experiments_kept=1)
"""Ray runs one chain after the other in a process, so that images are loaded once."""


def probe(datasets: list[str], data_dir: str | None, expected: dict[str, str]) -> str | None:
    """Return the sentence that says why trials cannot run on this node, or None if they can.

    Args:
        datasets: Names of those that must be here.
        data_dir: Where they lie; None means `$FOURFOLD_DATA` or the cache directory of this node.
        expected: The driver's versions.
    """
    if disagreement := _disagreement(expected):
        return disagreement
    for name in datasets:
        try:
            data.require(name, Path(data_dir) if data_dir else None)
        except UserError as error:
            return f"on node {platform.node()}, {error}"
    return None


def run_chain(line: str, files: Files, expected: dict[str, str]) -> Iterator[Parcel]:
    """Run a trial and its controls from the files that there are of it; yield now and then what has happened since.

    Args:
        line: The trial, as `Trial.to_line` has it.
        files: As `parcels.pack` and `code.pack` return them.
        expected: The driver's versions.
    """
    task = code.unpack(Trial.from_line(line), files)
    files = {name: content for name, content in files.items() if not name.startswith(code.PREFIX)}
    spec, trial = task.spec, task.number
    if disagreement := _disagreement(expected):  # a node that joined after the others had been probed
        yield [(json.dumps({"event": "error", "run": spec.id, "trial": trial, "message": disagreement}), {})]
        return
    events: queue.SimpleQueue[tuple[str, Files]] = queue.SimpleQueue()
    ended = threading.Event()
    with tempfile.TemporaryDirectory(prefix="fourfold-") as folder:
        store = RunStore.create(Path(folder), spec)
        parcels.unpack(store, files)
        sent = {name: _identity(store.path / name) for name in files}

        def write(event: str) -> None:
            kind = json.loads(event)["event"]
            if kind == "checkpoint":
                new = parcels.checkpoints(store, trial)
            else:
                known = [name for name, identity in sent.items() if _identity(store.path / name) == identity]
                new = {} if kind == "epoch" else parcels.new_files(store, trial, known)  # what was lost and made again, too
                sent.update({name: _identity(store.path / name) for name in new})
            events.put((event, new))

        def work() -> None:
            try:
                _SERVER.serve([replace(task, job=replace(task.job, out=Path(folder), least_seconds=HOME_SECONDS))], write)
            finally:
                ended.set()

        threading.Thread(target=work, daemon=True).start()
        while not ended.wait(PARCEL_SECONDS):
            if parcel := _next_parcel(events):
                yield parcel
        if parcel := _next_parcel(events):
            yield parcel


def _identity(file: Path) -> tuple[int, int, int] | None:
    """Return what tells whether a file is still the one that it was; None where there is none."""
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns, about.st_size


def _next_parcel(events: "queue.SimpleQueue[tuple[str, Files]]") -> Parcel:
    """Take all that is there."""
    return [events.get() for _ in range(events.qsize())]


def _disagreement(expected: dict[str, str]) -> str | None:
    """Return the sentence for a node whose versions are others than the driver's, or None."""
    own = versions()
    for name, version in expected.items():
        if own[name] != version:
            return f"node {platform.node()} has {name} {own[name]} and this machine {version}: install the same on both"
    return None
