"""Files of every official format, mutated: they are read or refused in a sentence, within bounds of memory.

A hundred thousand mutations of each (hours; ten thousand take 20 minutes):

    FOURFOLD_SWEEP=100000 pytest tests/data/test_data_mutations.py
"""

import os
import random
import shutil
import tracemalloc
from pathlib import Path

import pytest
from test_data_archives import contents, write_archives

from fake_files import write_batch, write_cifar10, write_cifar100, write_mnist
from fourfold import data
from fourfold.record import UserError

SWEEP = int(os.environ.get("FOURFOLD_SWEEP", "12"))
MOST_BYTES = 100e6
"""That Python and numpy may take for files of some kilobytes."""


def write_loose(name: str, folder: Path) -> None:
    for path, content in contents(name).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def write_packed(folder: Path) -> None:
    for number in range(1, 11):
        write_batch(folder / "Imagenet16" / f"train_data_batch_{number}", 2, 16, seed=number, labels=[1, 1000])
    write_batch(folder / "Imagenet16" / "val_data", 2, 16, labels=[7, 8])
    for _ in data.pack("imagenet16", folder):
        pass
    shutil.rmtree(folder / "Imagenet16")


FORMATS = {
    "idx": ("mnist", lambda folder: write_mnist(folder / "MNIST/raw", packed=False)),
    "gzipped idx": ("fashion-mnist", lambda folder: write_mnist(folder / "FashionMNIST/raw")),
    "batches of Python 2": ("cifar-10", lambda folder: write_cifar10(folder / "cifar-10-batches-py", images=4)),
    "batches": ("cifar-100", lambda folder: write_cifar100(folder / "cifar-100-python", train=8, test=4)),
    "tar": ("cifar-10", lambda folder: write_archives("cifar-10", folder)),
    "zip": ("imagenet16", lambda folder: write_archives("imagenet16", folder)),
    "folders of pictures": ("tiny-imagenet", lambda folder: write_loose("tiny-imagenet", folder)),
    "packed": ("imagenet16", write_packed),
}
"""By name: the data set, and what writes it."""


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Change some bytes, most often near the begin, where headers are."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 4])):
        place = draw.randrange(max(1, min(len(changed), draw.choice([16, 64, 512, 2**20]))))
        how = draw.randrange(6)
        if how == 0 and changed:
            changed[place] ^= 1 << draw.randrange(8)
        elif how == 1:
            changed[place : place + draw.choice([1, 2, 4, 8])] = draw.choice(
                [b"\xff\xff\xff\xff", b"\0\0\0\0", draw.randbytes(8)]
            )
        elif how == 2:
            del changed[place:]
        elif how == 3:
            del changed[place : place + draw.randrange(20)]
        elif how == 4:
            changed[place:place] = draw.randbytes(draw.randrange(20))
        else:
            changed[place:place] = changed[: draw.randrange(200)]
    return bytes(changed)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_mutated_file_is_read_or_refused(kind, tmp_path):
    name, write = FORMATS[kind]
    write(tmp_path / "whole")
    data.load(name, shutil.copytree(tmp_path / "whole", tmp_path / "untouched"), download=False)
    files = sorted(file.relative_to(tmp_path / "whole") for file in (tmp_path / "whole").rglob("*") if file.is_file())
    refused = 0
    tracemalloc.start()
    for seed in range(SWEEP):
        draw = random.Random(f"{kind} {seed}")
        folder = Path(shutil.copytree(tmp_path / "whole", tmp_path / "mutated"))
        file = folder / draw.choice(files)
        file.write_bytes(mutated(file.read_bytes(), draw))
        try:
            data.load(name, folder, download=False)
        except UserError as error:
            refused += 1
            sentence = str(error)
            assert "\n" not in sentence, (seed, file)
        shutil.rmtree(folder)
    assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    tracemalloc.stop()
    assert refused > SWEEP // 5
