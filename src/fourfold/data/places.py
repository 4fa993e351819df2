"""Where the files of a data set lie."""

import os
from pathlib import Path

from fourfold.data.datasets import DATASETS, DataInfo
from fourfold.data.official import SOURCES, Archive, OfficialFile, Source
from fourfold.data.shards import is_file, is_packed, packed_folder
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
    """Return where a file lies below the data directory, gzipped or not, or None if it is not there.

    Raises:
        UserError: the directory cannot be looked into.
    """
    # A gzipped file is preferred: it carries a checksum of its own, which reading it verifies.
    names = (file.name, file.name.removesuffix(".gz"))
    for folder in file.folders:
        for name in names:
            if is_file(directory / folder / name):
                return directory / folder / name
    return None


def find_archive(archive: Archive, source: Source, directory: Path) -> Path | None:
    """Return where an official archive lies: in the data directory, or in a folder in which its files belong."""
    for folder in dict.fromkeys((".", *(folder for file in source.files for folder in file.folders))):
        if is_file(directory / folder / archive.name):
            return directory / folder / archive.name
    return None


def archives_here(name: str, directory: Path) -> list[Path]:
    """Return the official archives that hold what a data set lacks below the data directory; none if one is not there."""
    roles = {file.role for file in missing(name, directory)}
    source = SOURCES.get(name)
    archives = [archive for archive in source.archives if roles & set(archive.roles)] if source else []
    files = [find_archive(archive, SOURCES[name], directory) for archive in archives]
    return [path for path in files if path is not None] if None not in files else []


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
    """Raise `UserError` if neither a data set nor its archives are below the data directory; nothing is read or downloaded."""
    directory = data_directory(directory)
    if (absent := missing(name, directory)) and not archives_here(name, directory):
        raise UserError(absence(name, directory, absent[0].name))


def absence(name: str, directory: Path, file: str) -> str:
    """Return the sentence for a data set of which `file` is missing."""
    source = SOURCES[name]
    remedy = source.elsewhere.format(directory=directory) if source.url is None else f"`fourfold data get {name}` downloads it"
    return f"{name} is not in {directory} ({file} is missing); {remedy}, or name the folder that holds it with --data-dir"


def listing(directory: Path | None = None) -> list[tuple[DataInfo, str]]:
    """Return every data set with where it is found, such as a folder, an archive, `part of scikit-learn` or `not here`."""
    return [(about, _state_of(name, data_directory(directory))) for name, about in DATASETS.items()]


def _state_of(name: str, directory: Path) -> str:
    if name not in SOURCES:
        return "part of scikit-learn"
    if folder := where(name, directory):
        return str(folder)
    archives = archives_here(name, directory)
    return f"in {', '.join(map(str, archives))}" if archives else "not here"
