"""Packed ImageNets hold what the official batches hold, whatever happened while they were packed."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from filelock import FileLock

from fake_files import write_batch
from fourfold import data
from fourfold.cli import main
from fourfold.data.batches import read_batch
from fourfold.record import DataSpec, UserError

NAME, FOLDER = "imagenet16", "Imagenet16-packed"


@pytest.fixture
def batches(tmp_path):
    """Ten training batches of different sizes and the validation batch."""
    for number in range(1, 11):
        labels = [(7 * number + k) % 1000 + 1 for k in range(number + 2)]
        write_batch(tmp_path / "Imagenet16" / f"train_data_batch_{number}", number + 2, 16, seed=number, labels=labels)
    write_batch(tmp_path / "Imagenet16" / "val_data", 4, 16, seed=99, labels=[1, 1000, 5, 5])
    return tmp_path


def pack(directory, shards=99):
    for done, total in data.pack(NAME, directory):
        assert total == 11
        if done == shards:
            break


def check_equal(found, expected):
    for field in ("train_images", "train_labels", "test_images", "test_labels"):
        mine, theirs = getattr(found, field), getattr(expected, field)
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        assert np.array_equal(mine, theirs)
    assert found.notices == expected.notices


def test_packed_images_are_those_of_the_batches_and_stay_on_disk(batches):
    expected = data.load(NAME, batches)
    pack(batches)
    shutil.rmtree(batches / "Imagenet16")
    found = data.load(NAME, batches, download=False)
    check_equal(found, expected)
    assert isinstance(found.train_images, np.memmap)
    assert data.where(NAME, batches) == batches / FOLDER
    spec = DataSpec(name=NAME, encoding="grey", crop=2, flip=True, validation=3)
    ours, theirs = (next(iter(data.prepare(of, spec, 4, "cpu").train.epoch(20, seed=1))) for of in (found, expected))
    assert all(bool((a == b).all()) for a, b in zip(ours, theirs, strict=True))


def test_writing_into_the_images_never_reaches_the_file(batches):
    pack(batches)
    before = (batches / FOLDER / "train.images").read_bytes()
    data.load(NAME, batches).train_images[:] = 0
    assert (batches / FOLDER / "train.images").read_bytes() == before


@pytest.mark.parametrize("shards", [0, 1, 5, 10])
def test_an_interrupted_conversion_goes_on_after_its_last_shard(batches, shards, monkeypatch):
    expected = data.load(NAME, batches)
    pack(batches, shards)
    check_equal(data.load(NAME, batches), expected)  # from the batches, for the packed ones are not whole
    for kind in ("images", "labels"):  # what was written and not yet listed
        with (batches / FOLDER / f"{'test' if shards == 10 else 'train'}.{kind}").open("ab") as stream:
            stream.write(b"unfinished")
    read = []
    monkeypatch.setattr(
        "fourfold.data.packed.read_batch", lambda path, *rest: read.append(path.name) or read_batch(path, *rest)
    )
    pack(batches)
    assert len(read) == 11 - shards
    shutil.rmtree(batches / "Imagenet16")
    check_equal(data.load(NAME, batches), expected)
    assert all(finding.usable for finding in data.check(NAME, batches))


@pytest.mark.slow
def test_a_killed_conversion_goes_on(batches):
    expected = data.load(NAME, batches)
    stopping = (
        "import sys, time; from pathlib import Path; from fourfold.data import packed\n"
        "append, written = packed._append, []\n"
        "def write(*arguments):\n"
        "    written.append(append(*arguments))\n"
        "    if len(written) == 3: print('written, not listed', flush=True); time.sleep(600)\n"
        "    return written[-1]\n"
        "packed._append = write\n"
        f"for _ in packed.pack({NAME!r}, Path(sys.argv[1])): pass\n"
    )
    for listed in (2, 4, 6):
        process = subprocess.Popen([sys.executable, "-c", stopping, str(batches)], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"written, not listed\n"
        process.kill()
        process.communicate()
        assert _shards(batches) == listed
    pack(batches)
    shutil.rmtree(batches / "Imagenet16")
    check_equal(data.load(NAME, batches), expected)


def _shards(directory):
    path = directory / FOLDER / "packed.json"
    return len(json.loads(path.read_text())["shards"]) if path.exists() else 0


def test_a_damaged_shard_is_named(batches, capsys):
    pack(batches)
    path = batches / FOLDER / "train.images"
    content = bytearray(path.read_bytes())
    content[(3 + 4 + 2) * 768] ^= 1  # the third shard's third image
    path.write_bytes(content)
    broken = [finding for finding in data.check(NAME, batches) if not finding.usable]
    assert [finding.what for finding in broken] == ["train shard train_data_batch_3"]
    assert broken[0].text.startswith("does not have the checksum that it was packed with")
    with pytest.raises(SystemExit):
        main(["data", "check", NAME, "--data-dir", str(batches)])
    assert "train_data_batch_3" in capsys.readouterr().out


def test_whole_shards_are_official_in_form_alone(batches):
    pack(batches)
    findings = data.check(NAME, batches)
    assert [finding.state for finding in findings] == ["differs"] * 13
    assert findings[0].text.startswith("3 images, packed, with the checksum from then")
    assert findings[-2].text.startswith("75 images (official: 1,281,167)")


def _cut(folder):
    path = folder / "test.images"
    path.write_bytes(path.read_bytes()[:-1])


def _labels(folder):
    (folder / "train.labels").write_bytes(np.full(75, 1000, "<i2").tobytes())


def _list(**changes):
    def change(folder):
        content = json.loads((folder / "packed.json").read_text())
        content["shards"][0] |= changes
        (folder / "packed.json").write_text(json.dumps(content))

    return change


def _version(folder):
    (folder / "packed.json").write_text(json.dumps({"version": 2, "shards": []}))


def _other(folder):
    (folder / "packed.json").write_text("[" * 100)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (_cut, r"test.images has 3,071 bytes; 3,072 is right; delete the folder to pack anew"),
        (_labels, r"train.labels holds labels that are no classes; 0 to 999 is right"),
        (_list(images=10**12), r"train.images has 57,600 bytes; 768,000,000,055,296 is right"),
        (_list(images=-1), r"packed.json is not a list of shards"),
        (_list(images="many"), r"packed.json is not a list of shards"),
        (_list(split="other"), r"packed.json is not a list of shards"),
        (_list(more=1), r"packed.json is not a list of shards"),
        (_version, r"packed.json is of version 2; 1 is right"),
        (_other, r"packed.json is not a list of shards"),
    ],
    ids=["cut", "labels", "huge", "negative", "text", "split", "field", "version", "no-json"],
)
def test_damage_is_told_in_a_sentence(batches, damage, complaint):
    pack(batches)
    damage(batches / FOLDER)
    with pytest.raises(UserError, match=complaint):
        data.load(NAME, batches)


def test_what_cannot_be_packed_is_told(batches, tmp_path):
    with pytest.raises(
        UserError, match=r"cifar-10 is small enough to be read as it is; tiny-imagenet, imagenet64, .* can be packed"
    ):
        next(data.pack("cifar-10", batches))
    (batches / "Imagenet16" / "train_data_batch_4").unlink()
    with pytest.raises(UserError, match=r"imagenet16 is not in .* \(train_data_batch_4 is missing\)"):
        pack(batches)
    assert _shards(batches) == 3
    (batches / FOLDER).mkdir(exist_ok=True)
    with FileLock(batches / FOLDER / ".lock"), pytest.raises(UserError, match="another process is packing imagenet16"):
        pack(batches)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file.* \(Not a directory\); choose another --data-dir"):
        next(data.pack(NAME, tmp_path / "file"))


def test_the_command_packs(batches, capsys):
    main(["data", "pack", NAME, "--data-dir", str(batches)])
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{NAME} is packed in {batches / FOLDER}; the official batches")
