"""Official archives and files are found in every place that the docs name; damaged ones are one sentence."""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fake_files import idx_bytes
from fourfold import data
from fourfold.data import archives, places
from fourfold.data.official import SOURCES
from fourfold.record import UserError

WITH_ARCHIVES = [name for name, source in SOURCES.items() if source.archives]


def batch(name, file, number):
    """A pickled batch of a few images, with labels as the data set counts them."""
    about, source = data.info(name), SOURCES[name]
    random = np.random.default_rng(number)
    pixels = random.integers(0, 256, (3 + number % 2, 3 * about.size**2), dtype=np.uint8)
    labels = [source.first_label + int(label) for label in random.integers(0, about.num_classes, len(pixels))]
    return pickle.dumps({"data": pixels, source.label_key: labels}, protocol=2)


def contents(name):
    """The official files of a data set by their paths as published, with the folder that they are published in."""
    source, found = SOURCES[name], {}
    if source.form == "folders":
        stream = io.BytesIO()
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(stream, "JPEG")
        for path in ("train/n00000001/images/n00000001_0.JPEG", "val/images/val_0.JPEG"):
            found[f"tiny-imagenet-200/{path}"] = stream.getvalue()
        found["tiny-imagenet-200/wnids.txt"] = b"n00000001\n"
        found["tiny-imagenet-200/val/val_annotations.txt"] = b"val_0.JPEG\tn00000001\t0\t0\t62\t62\n"
        return found
    for number, file in enumerate(source.files):
        if source.form == "idx":
            shape = (4,) if "labels" in file.name else (4, 28, 28)
            content = idx_bytes(np.zeros(shape, np.uint8))
            found[f"{file.folders[0]}/{file.name.removesuffix('.gz')}"] = content
        elif file.role == "names":
            found[f"{file.folders[0]}/{file.name}"] = pickle.dumps({"names": []})
        else:
            found[f"{file.folders[0]}/{file.name}"] = batch(name, file, number)
    return found


def write_archives(name, folder, change=lambda members: members):
    """Write a data set's archives: each with its files, one in a folder of its own and one that nobody asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    source, written = SOURCES[name], []
    roles = {file.name: file.role for file in source.files}
    for number, archive in enumerate(source.archives):
        inside = {path: content for path, content in contents(name).items() if roles.get(Path(path).name) in archive.roles}
        several = [other for other in source.archives if other.roles == archive.roles]
        if source.form == "folders":
            inside = contents(name)
        elif len(several) > 1:
            inside = dict(list(inside.items())[number :: len(several)])
        members = change({**inside, "elsewhere/readme.html": b"unpack me not", "../outside": b"nor me"})
        path = folder / archive.name
        if archive.name.endswith(".zip"):
            with zipfile.ZipFile(path, "w") as packed:
                for member, content in members.items():
                    packed.writestr(member, content)
        else:
            with tarfile.open(path, "w:gz") as packed:
                for member, content in members.items():
                    entry = tarfile.TarInfo(member)
                    entry.size = len(content)
                    packed.addfile(entry, io.BytesIO(content))
        written.append(path)
    return written


def below(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def homes(name):
    """Every folder, below the data directory, in which an archive may be put."""
    return sorted({".", *(folder for file in SOURCES[name].files for folder in file.folders)})


CASES = [(name, home) for name in WITH_ARCHIVES for home in homes(name)]


@pytest.mark.parametrize(("name", "home"), CASES)
def test_an_archive_is_unpacked_where_its_files_belong(name, home, tmp_path):
    put = write_archives(name, tmp_path / "data" / home)
    listed = {about.name: found for about, found in data.listing(tmp_path / "data")}
    assert listed[name] == f"in {', '.join(map(str, put))}"
    data.require(name, tmp_path / "data")
    loaded = data.load(name, tmp_path / "data", download=False)
    assert len(loaded.train_images) > 0
    assert len(loaded.test_images) > 0
    inside = {str(path.relative_to(tmp_path / "data")): path.read_bytes() for path in put}
    assert below(tmp_path / "data") == contents(name) | inside
    assert below(tmp_path) == {f"data/{path}": content for path, content in below(tmp_path / "data").items()}
    assert data.where(name, tmp_path / "data") == tmp_path / "data" / SOURCES[name].files[0].folders[0]
    assert data.download(name, tmp_path / "data", base_url="http://127.0.0.1:9/") == []


@pytest.mark.parametrize("name", SOURCES)
def test_files_are_found_in_every_folder_that_they_may_lie_in(name, tmp_path):
    source = SOURCES[name]
    for folder in dict.fromkeys(folder for file in source.files for folder in file.folders):
        directory = tmp_path / folder.replace("/", "-")
        for path, content in contents(name).items():
            file = next((file for file in source.files if file.name.removesuffix(".gz") == Path(path).name), None)
            home = folder if file and folder in file.folders else file.folders[0] if file else str(Path(path).parent)
            if source.form == "folders":
                home = str(Path(path).parent)
                home = home if folder != "." else home.removeprefix("tiny-imagenet-200").lstrip("/") or "."
            (directory / home).mkdir(parents=True, exist_ok=True)
            (directory / home / Path(path).name).write_bytes(content)
        assert len(data.load(name, directory, download=False).test_images) > 0, folder
        assert all(finding.usable for finding in data.check(name, directory)), folder


@pytest.mark.parametrize("name", ["cifar-10", "tiny-imagenet", "imagenet16"])
def test_get_check_and_pack_take_the_archive_too(name, tmp_path):
    write_archives(name, tmp_path / "a")
    assert all(finding.usable for finding in data.check(name, tmp_path / "a"))
    write_archives(name, tmp_path / "b")
    got = data.download(name, tmp_path / "b", base_url="http://127.0.0.1:9/")
    assert sorted(path.name for path in got) == sorted(file.name for file in SOURCES[name].files)
    if name != "cifar-10":
        write_archives(name, tmp_path / "c")
        assert len(list(data.pack(name, tmp_path / "c"))) == len(SOURCES[name].files) + 1
        assert data.load(name, tmp_path / "c").digest == data.load(name, tmp_path / "a").digest


def test_files_that_are_there_are_not_taken_from_the_archive(tmp_path):
    write_archives("cifar-10", tmp_path)
    mine = tmp_path / "cifar-10-batches-py" / "test_batch"
    mine.parent.mkdir()
    mine.write_bytes(batch("cifar-10", None, 77))
    data.load("cifar-10", tmp_path, download=False)
    assert mine.read_bytes() == batch("cifar-10", None, 77)


@pytest.mark.parametrize("name", WITH_ARCHIVES)
@pytest.mark.parametrize("damage", [b"", b"no archive", None], ids=["empty", "another kind", "cut"])
def test_a_damaged_archive_is_one_sentence_and_leaves_nothing(name, damage, tmp_path):
    for path in write_archives(name, tmp_path):
        path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3] if damage is None else damage)
    before = below(tmp_path)
    with pytest.raises(UserError, match=r"(tar\.gz|zip) (is cut off or damaged|cannot be unpacked into)") as caught:
        data.load(name, tmp_path, download=False)
    assert "\n" not in str(caught.value)
    assert below(tmp_path) == before


def test_an_archive_without_a_file_says_which(tmp_path):
    def without(members):
        return {path: content for path, content in members.items() if "data_batch_4" not in path}

    write_archives("cifar-10", tmp_path, without)
    with pytest.raises(UserError, match=r"cifar-10 is not in .* \(data_batch_4 is missing\)"):
        data.load("cifar-10", tmp_path, download=False)


def test_links_in_an_archive_are_no_files(tmp_path):
    (tmp_path / "secret").write_bytes(batch("cifar-10", None, 1))
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as packed:
        for file in SOURCES["cifar-10"].files:
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{file.name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "../secret"
            packed.addfile(entry)
    with pytest.raises(UserError, match=r"data_batch_1 is missing"):
        data.load("cifar-10", tmp_path, download=False)
    assert not (tmp_path / "cifar-10-batches-py").exists()


def test_an_archive_that_does_not_fit_is_not_begun(tmp_path, monkeypatch):
    (path,) = write_archives("cifar-10", tmp_path)
    source = SOURCES["cifar-10"]
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
    with pytest.raises(UserError, match=r"needs [0-9,]+ bytes in .*, which has 10; choose another --data-dir"):
        archives.unpack(path, source.archives[0], source, tmp_path)


def test_the_sentence_for_missing_data_names_places_in_which_they_would_be_found(tmp_path):
    for name, source in SOURCES.items():
        with pytest.raises(UserError) as caught:
            data.require(name, tmp_path)
        assert str(tmp_path) in str(caught.value)
        if source.url is None:
            assert places.find_archive(source.archives[0], source, tmp_path) is None
            assert "zip" in str(caught.value)
