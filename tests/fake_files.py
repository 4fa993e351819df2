"""Small files in the official formats, written without any code of the package."""

import gzip
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np

IDX_NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


def idx_bytes(array: np.ndarray) -> bytes:
    """The array in idx format: magic number, sizes, bytes."""
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, train: int = 30, test: int = 20, packed: bool = True, seed: int = 0) -> dict[str, np.ndarray]:
    """Write four idx files and return what is in them."""
    random = np.random.default_rng(seed)
    arrays = {
        "train_images": random.integers(0, 256, (train, 28, 28), dtype=np.uint8),
        "train_labels": np.arange(train, dtype=np.uint8) % 10,
        "test_images": random.integers(0, 256, (test, 28, 28), dtype=np.uint8),
        "test_labels": np.arange(test, dtype=np.uint8) % 10,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for key, array in arrays.items():
        content = idx_bytes(array)
        if packed:
            (folder / f"{IDX_NAMES[key]}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / IDX_NAMES[key]).write_bytes(content)
    return arrays


def write_batch(path: Path, images: int, size: int, protocol: int = 4, seed: int = 0, **entries: Any) -> np.ndarray:
    """Write one pickled batch of random colour images and return them as uint8 (images, 3 * size * size)."""
    data = np.random.default_rng(seed).integers(0, 256, (images, 3 * size * size), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({"data": data, **entries}, protocol=protocol))
    return data


def write_cifar10(folder: Path, images: int = 20) -> list[np.ndarray]:
    """Write the seven files of CIFAR-10, each batch with `images` images, and return the images of the six batches."""
    names = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
    labels = [number % 10 for number in range(images)]
    found = [write_batch(folder / name, images, 32, protocol=2, seed=seed, labels=labels) for seed, name in enumerate(names)]
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": ["airplane"]}))
    return found


def write_cifar100(folder: Path, train: int = 200, test: int = 100) -> None:
    """Write the three files of CIFAR-100; the superclass of an image is its class modulo 20."""
    for seed, (name, images) in enumerate((("train", train), ("test", test))):
        fine = [number % 100 for number in range(images)]
        write_batch(folder / name, images, 32, seed=seed, fine_labels=fine, coarse_labels=[label % 20 for label in fine])
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": []}))
