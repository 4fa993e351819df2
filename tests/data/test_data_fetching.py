"""Downloads from a server on this machine."""

import hashlib
import http.server
import io
import logging
import re
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pooch
import pytest

from fake_files import write_cifar10, write_mnist
from fourfold import data
from fourfold.data import places
from fourfold.data.official import SOURCES
from fourfold.record import UserError


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Short(Quiet):
    """Promises a whole file and closes after half of it."""

    def copyfile(self, source, outputfile):
        content = source.read()
        outputfile.write(content[: len(content) // 2])


@contextmanager
def serve(folder: Path, handler: type[Quiet] = Quiet) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """A folder with MNIST's four files, whose checksums count as official."""
    folder = tmp_path / "server"
    write_mnist(folder)
    files = tuple(replace(file, md5=md5(folder / file.name), size=None) for file in SOURCES["mnist"].files)
    monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], files=files))
    return folder


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A folder with CIFAR-10's archive, whose checksum counts as official."""
    write_cifar10(tmp_path / "made/cifar-10-batches-py")
    return pack(
        tmp_path, monkeypatch, {path.name: path.read_bytes() for path in (tmp_path / "made/cifar-10-batches-py").iterdir()}
    )


def pack(tmp_path, monkeypatch, members, link=None):
    folder = tmp_path / "server"
    folder.mkdir()
    with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz") as archive:
        for name, content in {**members, "readme.html": b"unpack me not"}.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        if link:
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{link[0]}")
            entry.type, entry.linkname = tarfile.SYMTYPE, link[1]
            archive.addfile(entry)
    source = replace(SOURCES["cifar-10"], archive_md5=md5(folder / "cifar-10-python.tar.gz"))
    monkeypatch.setitem(SOURCES, "cifar-10", source)
    return folder


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_are_downloaded_one_by_one(tmp_path, mnist):
    with serve(mnist) as url:
        placed = data.download("mnist", tmp_path / "here", base_url=url)
        assert [path.name for path in placed] == [file.name for file in SOURCES["mnist"].files]
        assert everything(tmp_path / "here") == sorted(f"MNIST/raw/{file.name}" for file in SOURCES["mnist"].files)
        assert all(path.read_bytes() == (mnist / path.name).read_bytes() for path in placed)
    assert data.download("mnist", tmp_path / "here", base_url="http://127.0.0.1:9/") == []  # all there: no connection


def test_load_downloads_what_is_missing(tmp_path, mnist, monkeypatch):
    with serve(mnist) as url:
        monkeypatch.setitem(SOURCES, "mnist", replace(SOURCES["mnist"], url=url))
        assert len(data.load("mnist", tmp_path / "here").train_labels) == 30


def test_files_that_are_there_stay_untouched(tmp_path, mnist):
    mine = tmp_path / "here/MNIST/raw" / SOURCES["mnist"].files[1].name
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with serve(mnist) as url:
        assert len(data.download("mnist", tmp_path / "here", base_url=url)) == 3
    assert mine.read_bytes() == b"mine"


def test_an_archive_is_unpacked_and_thrown_away(tmp_path, cifar):
    with serve(cifar) as url:
        placed = data.download("cifar-10", tmp_path / "here", base_url=url.rstrip("/"))
    names = sorted(f"cifar-10-batches-py/{file.name}" for file in SOURCES["cifar-10"].files)
    assert everything(tmp_path / "here") == names
    assert sorted(str(path.relative_to(tmp_path / "here")) for path in placed) == names
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["cifar-10-batches-py"]
    assert data.load("cifar-10", tmp_path / "here", download=False).train_images.shape == (100, 3, 32, 32)


def test_only_the_missing_members_of_an_archive_are_taken(tmp_path, cifar):
    (tmp_path / "here/cifar-10-batches-py").mkdir(parents=True)
    (tmp_path / "here/cifar-10-batches-py/test_batch").write_bytes(b"mine")
    with serve(cifar) as url:
        assert len(data.download("cifar-10", tmp_path / "here", base_url=url)) == 6
    assert (tmp_path / "here/cifar-10-batches-py/test_batch").read_bytes() == b"mine"


def test_a_progress_bar_is_drawn_if_asked_for(tmp_path, mnist, capsys):
    with serve(mnist) as url:
        data.download("mnist", tmp_path / "here", base_url=url, progress=True)
    assert "100%" in capsys.readouterr().err


def test_a_quiet_download_prints_nothing(tmp_path, mnist, capsys):
    with serve(mnist) as url:
        data.download("mnist", tmp_path / "here", base_url=url)
    assert capsys.readouterr() == ("", "")
    assert pooch.get_logger().level == logging.WARNING  # its own handler keeps the standard error of its import


def test_nothing_to_download_for_digits(tmp_path):
    assert data.download("digits", tmp_path) == []


@pytest.mark.parametrize("name", ["mnist", "cifar"])
def test_other_bytes_are_refused_and_leave_nothing(tmp_path, name, request):
    folder = request.getfixturevalue(name)
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    with (
        serve(folder) as url,
        pytest.raises(UserError, match=r"does not have the official checksum [0-9a-f]{32}; try again later, or put"),
    ):
        data.download("mnist" if name == "mnist" else "cifar-10", tmp_path / "here", base_url=url)
    assert everything(tmp_path / "here") == []


def test_half_a_file_is_refused_and_leaves_nothing(tmp_path, mnist):
    with (
        serve(mnist, Short) as url,
        pytest.raises(UserError, match=r"cannot be downloaded \(\w+\); try again later|official checksum"),
    ):
        data.download("mnist", tmp_path / "here", base_url=url)
    assert everything(tmp_path / "here") == []


def test_a_file_that_the_server_has_not(tmp_path, mnist):
    (mnist / SOURCES["mnist"].files[0].name).unlink()
    with serve(mnist) as url, pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz cannot be downloaded \(answer 404\)"):
        data.download("mnist", tmp_path / "here", base_url=url)
    assert everything(tmp_path / "here") == []


def test_no_server(tmp_path):
    with pytest.raises(
        UserError, match=r"http://127.0.0.1:9/train-images.* cannot be downloaded \(ConnectionError\); try again later, or"
    ):
        data.download("mnist", tmp_path / "here", base_url="http://127.0.0.1:9/")
    with pytest.raises(UserError, match=r"cifar-10-python.tar.gz cannot be downloaded \(ConnectionError\)"):
        data.download("cifar-10", tmp_path / "here", base_url="http://127.0.0.1:9")
    assert everything(tmp_path / "here") == []


@pytest.mark.parametrize("name", ["mnist", "cifar-10"])
def test_a_directory_that_cannot_be_written(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write to .*file \(.*\); choose another --data-dir"):
        data.download(name, tmp_path / "file", base_url="http://127.0.0.1:9/")


@pytest.mark.parametrize("link", [None, ("data_batch_1", "../../secret"), ("data_batch_1", "readme.html")])
def test_an_archive_that_lacks_a_file_or_has_a_link_in_its_place(tmp_path, monkeypatch, link):
    (tmp_path / "secret").write_bytes(b"secret")
    folder = pack(tmp_path, monkeypatch, {"data_batch_2": b"2"}, link)
    with (
        serve(folder) as url,
        pytest.raises(UserError, match=r"cifar-10-python\.tar\.gz does not hold cifar-10-batches-py/data_batch_1"),
    ):
        data.download("cifar-10", tmp_path / "here", base_url=url)
    assert everything(tmp_path / "here") == []


def test_a_link_to_another_file_of_the_archive_is_no_file(tmp_path, monkeypatch):
    members = {file.name: b"x" for file in SOURCES["cifar-10"].files[1:]}
    folder = pack(tmp_path, monkeypatch, members, ("data_batch_1", "data_batch_2"))
    with (
        serve(folder) as url,
        pytest.raises(UserError, match="does not hold cifar-10-batches-py/data_batch_1 as a file, as it should"),
    ):
        data.download("cifar-10", tmp_path / "here", base_url=url)
    assert everything(tmp_path / "here") == []


def test_an_archive_that_is_none(tmp_path, cifar, monkeypatch):
    (cifar / "cifar-10-python.tar.gz").write_bytes(np.random.default_rng(0).bytes(2000))
    source = replace(SOURCES["cifar-10"], archive_md5=md5(cifar / "cifar-10-python.tar.gz"))
    monkeypatch.setitem(SOURCES, "cifar-10", source)
    with (
        serve(cifar) as url,
        pytest.raises(UserError, match=r"does not hold cifar-10-batches-py/data_batch_1, .* as it should"),
    ):
        data.download("cifar-10", tmp_path / "here", base_url=url)
    assert everything(tmp_path / "here") == []


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.url])
def test_a_download_that_fails_names_a_folder_that_is_there_and_in_which_the_file_is_found(name, tmp_path):
    wanted = tmp_path / "new" / "folder"
    with pytest.raises(UserError, match="cannot be downloaded") as caught:
        data.download(name, wanted, base_url="http://127.0.0.1:9/")
    file, folder = re.search(r"or put (\S+) into (\S+) by hand$", str(caught.value)).groups()
    assert list(Path(folder).iterdir()) == []
    (Path(folder) / file).write_bytes(b"")
    source = SOURCES[name]
    if file == source.archive:
        assert places.find_archive(source.archives[0], source, wanted) == Path(folder) / file
    else:
        assert places.find(next(each for each in source.files if each.name == file), wanted) == Path(folder) / file
