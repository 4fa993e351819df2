"""Downloads of the official files, each compared with its official checksum before it gets its name."""

import re
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from fourfold.data.archives import unpack_archives
from fourfold.data.datasets import info
from fourfold.data.official import NAMED_ARCHIVES, SOURCES, NamedArchive, OfficialFile, Source
from fourfold.data.places import absence, data_directory, find
from fourfold.record.errors import UserError

TIMEOUT = 30.0
"""Seconds without an answer after which a server counts as gone."""

MOST_BYTES = 2**30
"""Of a file: the largest that is downloaded has a quarter of that."""

MOST_SECONDS = 3600.0
"""For a file: a server that sends a byte now and then would never end."""

_BLOCK = 2**16


class _GivenUpError(Exception):
    """A server sends too much, or too slowly."""


def _fetch(url: str, file: str, bar: bool, most_bytes: int, most_seconds: float) -> None:
    """Write what an address gives to a file, within bounds.

    Raises:
        requests.RequestException: the server cannot be reached, or ends too early.
        _GivenUpError: it is beyond a bound.
    """
    import requests
    import urllib3
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn

    end = time.monotonic() + most_seconds
    with requests.get(url, stream=True, timeout=TIMEOUT) as response, Path(file).open("wb") as target:
        response.raise_for_status()
        total = response.headers.get("content-length", "")
        read = getattr(response.raw, "read1", response.raw.read)  # `read1` returns what is there, and `read` waits for a block
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(show_speed=True), DownloadColumn())
        with Progress(*columns, console=Console(stderr=True), disable=not bar) as progress:
            task = progress.add_task(url.rpartition("/")[2], total=int(total) if total.isdecimal() else None)
            try:
                while block := read(_BLOCK, decode_content=True):
                    target.write(block)
                    progress.update(task, advance=len(block))
                    if target.tell() > most_bytes:
                        raise _GivenUpError(f"more than {most_bytes:,} bytes")
                    if time.monotonic() > end:
                        raise _GivenUpError(f"not whole after {most_seconds:g} seconds")
            except urllib3.exceptions.HTTPError as error:
                raise requests.ConnectionError(error) from error


def download(name: str, directory: Path | None = None, base_url: str | None = None, progress: bool | None = None) -> list[Path]:
    """Download what a data set lacks and return the new files; a file that is there is never touched.

    Args:
        name: a key of `DATASETS`, or `voc`.
        directory: where to put the files; else `$FOURFOLD_DATA`, else the user's cache directory.
        base_url: a mirror to take the files from instead of the official address.
        progress: whether to draw a progress bar; None means if standard error is a terminal.

    Raises:
        UserError: the name is unknown, the data set asks for a registration, the server cannot be reached or gives other
            bytes than the official ones, or the files cannot be written.
    """
    directory = data_directory(directory)
    if name in NAMED_ARCHIVES:
        return download_archives(name, directory, base_url, progress)
    info(name)
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


def download_archives(name: str, directory: Path, base_url: str | None = None, progress: bool | None = None) -> list[Path]:
    """Download and unpack what a set of `NAMED_ARCHIVES` lacks, and return the lists that say which images it has.

    An archive that lies in the directory already is unpacked from there, once its checksum is right. Its plain files that are
    wanted are taken, the lists last, so that a set that was interrupted is not taken for whole.

    Raises:
        UserError: as `download`.
    """
    lists = []
    bar = sys.stderr.isatty() if progress is None else progress
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for archive in NAMED_ARCHIVES[name]:
            if (directory / archive.marker).is_file():
                continue
            url = (base_url or archive.url).rstrip("/") + "/"
            with tempfile.TemporaryDirectory(dir=directory, prefix=".download-") as scratch:
                here = directory if (directory / archive.name).is_file() else Path(scratch)
                path = _retrieve(url, archive.name, archive.md5, here, directory, bar, archive.most_bytes)
                _take(path, archive, Path(scratch), directory)
            lists.append(directory / archive.marker)
    except OSError as error:
        raise UserError(f"cannot write to {directory} ({error.strerror or error}); choose another --data-dir") from error
    return lists


def _take(path: Path, archive: NamedArchive, scratch: Path, directory: Path) -> None:
    """Move the wanted files of an archive to their places below the directory."""
    try:
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.isreg() and re.fullmatch(archive.members, member.name)]
            if archive.marker not in {member.name for member in members}:
                raise UserError(f"{path}: expected {archive.marker} in the archive, found none")
            for member in members:
                tar.extract(member, scratch, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{path}: expected a tar archive, found a file that is cut off or damaged ({error})") from error
    for name in sorted((member.name for member in members), key=lambda name: ("ImageSets" in name, name == archive.marker)):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).replace(directory / name)


def _retrieve(
    url: str, file: str, md5: str | None, folder: Path, home: Path, progress: bool, most_bytes: int = MOST_BYTES
) -> Path:
    """Download one file into `folder`; it gets its name only once its checksum is right.

    Where that fails, the sentence names the folder `home`, in which the file would be found, and which is there then.
    """
    import pooch  # imports requests: only where there is something to download
    import requests

    pooch.get_logger().setLevel("WARNING")

    def downloader(address: str, part: str, _: object) -> None:
        _fetch(address, part, progress, most_bytes, MOST_SECONDS * most_bytes / MOST_BYTES)

    by_hand = f"try again later, or put {file} into {home} by hand"
    home.mkdir(parents=True, exist_ok=True)
    try:
        return Path(pooch.retrieve(url + file, f"md5:{md5}", fname=file, path=folder, downloader=downloader))
    except _GivenUpError as error:
        raise UserError(f"{url}{file} cannot be downloaded ({error}); {by_hand}") from error
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
