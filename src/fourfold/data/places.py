"""Where the files of a data set lie."""

import os
from pathlib import Path

from fourfold.data.datasets import DATASETS, DataInfo
from fourfold.data.official import SOURCES, OfficialFile
from fourfold.data.shards import is_packed, packed_folder
from fourfold.record.errors import UserError

ENVIRONMENT = "FOURFOLD_DATA"
"""The environment variable that names the data directory."""


def data_directory(directory: Path | None = None) -> Path:
    """Return the data directory: `directory`, else `$FOURFOLD_DATA`, else the user's cache directory."""
    if directory is not None:
        return directory.expanduser()
    if os.environ.get(ENVIRONMENT):
        return Path(os.environ[ENVIRONMENT]).expanduser()
    import pooch  # imports requests: not for `--help`

    return Path(pooch.os_cache("fourfold"))


def find(file: OfficialFile, directory: Path) -> Path | None:
    """Return where a file lies below the data directory, gzipped or not, or None if it is not there."""
    # A gzipped file is preferred: it carries a checksum of its own, which reading it verifies.
    names = (file.name, file.name.removesuffix(".gz"))
    for folder in file.folders:
        for name in names:
            if (directory / folder / name).is_file():
                return directory / folder / name
    return None


def missing(name: str, directory: Path) -> list[OfficialFile]:
    """Return the files with images or labels that a data set lacks below the data directory; none if it is packed."""
    if name not in SOURCES or is_packed(name, directory):
        return []
    return [file for file in SOURCES[name].files if file.role != "names" and find(file, directory) is None]


def where(name: str, directory: Path | None = None) -> Path | None:
    """Return the folder that holds all files of a data set, or None if one is not there; digits lies nowhere."""
    directory = data_directory(directory)
    if name not in SOURCES or missing(name, directory):
        return None
    if is_packed(name, directory):
        return packed_folder(name, directory)
    first = find(SOURCES[name].files[0], directory)
    return first.parent if first else None


def require(name: str, directory: Path | None = None) -> None:
    """Raise `UserError` if a data set is not below the data directory; nothing is read or downloaded."""
    directory = data_directory(directory)
    if absent := missing(name, directory):
        raise UserError(absence(name, directory, absent[0].name))


def absence(name: str, directory: Path, file: str) -> str:
    """Return the sentence for a data set of which `file` is missing."""
    source = SOURCES[name]
    remedy = source.elsewhere.format(directory=directory) if source.url is None else f"`fourfold data get {name}` downloads it"
    return f"{name} is not in {directory} ({file} is missing); {remedy}, or name the folder that holds it with --data-dir"


def listing(directory: Path | None = None) -> list[tuple[DataInfo, str]]:
    """Return every data set with where it is found, such as a folder, `part of scikit-learn` or `not here`."""
    return [
        (about, "part of scikit-learn" if name not in SOURCES else str(where(name, directory) or "not here"))
        for name, about in DATASETS.items()
    ]
