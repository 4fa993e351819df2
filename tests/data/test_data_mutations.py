"""Whole data sets of every official format with a mutated file: they are read or refused in a sentence, in bounded memory.

Single files, which are tried a hundred times as fast, are in `test_fuzz_files.py`. A hundred thousand mutations of each format
(hours; ten thousand take 20 minutes):

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
from file_mutations import bytes_changed
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
        file.write_bytes(bytes_changed(file.read_bytes(), draw))
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
