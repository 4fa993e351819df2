"""Downloads of the official files, each compared with its official checksum before it gets its name."""

import sys
import tarfile
import tempfile
from pathlib import Path

from fourfold.data.archives import unpack_archives
from fourfold.data.datasets import info
from fourfold.data.official import SOURCES, OfficialFile, Source
from fourfold.data.places import absence, data_directory, find
from fourfold.record.errors import UserError

TIMEOUT = 30.0
"""Seconds without an answer after which a server counts as gone."""


def download(name: str, directory: Path | None = None, base_url: str | None = None, progress: bool | None = None) -> list[Path]:
    """Download what a data set lacks and return the new files; a file that is there is never touched.

    Args:
        name: a key of `DATASETS`.
        directory: where to put the files; else `$FOURFOLD_DATA`, else the user's cache directory.
        base_url: a mirror to take the files from instead of the official address.
        progress: whether to draw a progress bar; None means if standard error is a terminal.

    Raises:
        UserError: the name is unknown, the data set asks for a registration, the server cannot be reached or gives other
            bytes than the official ones, or the files cannot be written.
    """
    info(name)
    directory = data_directory(directory)
    if name not in SOURCES:
        return []
    source = SOURCES[name]
    unpacked = unpack_archives(name, directory)
    absent = [file for file in source.files if find(file, directory) is None]
    if not absent:
        return unpacked
    url = base_url or source.url
    if url is None:
        raise UserError(absence(name, directory, absent[0].name))
    url = url.rstrip("/") + "/"
    bar = sys.stderr.isatty() if progress is None else progress
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if source.archive is None:
            homes = [directory / file.folders[0] for file in absent]
            return [_retrieve(url, file.name, file.md5, home, home, bar) for file, home in zip(absent, homes, strict=True)]
        return unpacked + _unpack(url, source, absent, directory, bar)
    except OSError as error:
        raise UserError(f"cannot write to {directory} ({error.strerror or error}); choose another --data-dir") from error


def _retrieve(url: str, file: str, md5: str | None, folder: Path, home: Path, progress: bool) -> Path:
    """Download one file into `folder`; it gets its name only once its checksum is right.

    Where that fails, the sentence names the folder `home`, in which the file would be found, and which is there then.
    """
    import pooch  # imports requests: only where there is something to download
    import requests

    pooch.get_logger().setLevel("WARNING")
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=TIMEOUT)
    by_hand = f"try again later, or put {file} into {home} by hand"
    home.mkdir(parents=True, exist_ok=True)
    try:
        return Path(pooch.retrieve(url + file, f"md5:{md5}", fname=file, path=folder, downloader=downloader))
    except requests.RequestException as error:
        answer = f"answer {error.response.status_code}" if error.response is not None else type(error).__name__
        raise UserError(f"{url}{file} cannot be downloaded ({answer}); {by_hand}") from error
    except ValueError as error:
        raise UserError(f"{url}{file} does not have the official checksum {md5}; {by_hand}") from error


def _unpack(url: str, source: Source, absent: list[OfficialFile], directory: Path, progress: bool) -> list[Path]:
    """Download the archive of a data set and move the absent files to their folder; nothing else in it is unpacked."""
    assert source.archive is not None
    members = [f"{file.folders[0]}/{file.name}" for file in absent]
    with tempfile.TemporaryDirectory(dir=directory, prefix=".download-") as name:
        scratch = Path(name)
        path = _retrieve(url, source.archive, source.archive_md5, scratch, directory, progress)
        try:
            with tarfile.open(path) as archive:
                for member in members:
                    archive.extract(member, scratch, filter="data")
        except (tarfile.TarError, KeyError, EOFError) as error:
            raise UserError(f"{url}{source.archive} does not hold {', '.join(members)} as it should ({error})") from error
        for member in members:
            if (scratch / member).is_symlink() or not (scratch / member).is_file():
                raise UserError(f"{url}{source.archive} does not hold {member} as a file, as it should")
        for member in members:
            (directory / member).parent.mkdir(exist_ok=True)
            (scratch / member).replace(directory / member)
    return [directory / member for member in members]
