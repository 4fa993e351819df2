"""The user's code on machines that do not see its folder: sent with a trial, and imported if it has the run's digests."""

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

from fourfold.execution.jobs import Trial
from fourfold.execution.ray.parcels import Files
from fourfold.record.files import write_atomically
from fourfold.record.importing import digest_of, source_file

PREFIX = "code/"
"""Of the names that files of code have in a parcel."""


def pack(trial: Trial) -> Files:
    """Return the files of the user's code that a trial names, as its trust has them, by paths from the folder of the code.

    Those of installed packages, and those that are named by an absolute path, must be on every machine.
    """
    trust, files = trial.spec.trust, {}
    for source, digest in trust.digests if trust else ():
        located = source_file(source, Path(trust.folder)) if trust else None
        if located is not None and digest_of(located[1]) == digest:
            files[f"{PREFIX}{located[0]}"] = located[1].read_bytes()
    return files


def unpack(trial: Trial, files: Files) -> Trial:
    """Return a trial whose code is found on this machine: where it lay on the other one, or in a folder for what was sent."""
    sent = {name.removeprefix(PREFIX): content for name, content in files.items() if name.startswith(PREFIX)}
    trust = trial.spec.trust
    if trust is None or not sent or all(_is_there(Path(trust.folder, name), content) for name, content in sent.items()):
        return trial
    digest = hashlib.sha256(b"".join(name.encode() + content for name, content in sorted(sent.items())))
    folder = Path(tempfile.gettempdir()) / f"fourfold-code-{digest.hexdigest()[:16]}"
    for name, content in sent.items():
        if not _is_there(folder / name, content):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / name, content)
    spec = trial.spec.trusted(replace(trust, folder=str(folder)))
    return replace(trial, spec=spec, job=replace(trial.job, specs=(spec,)))


def _is_there(file: Path, content: bytes) -> bool:
    return digest_of(file) == hashlib.sha256(content).hexdigest()
