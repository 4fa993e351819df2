"""Data sets: where they come from, what their files hold, and batches of them on the device.

Importing this room is cheap: what needs numpy, torch or a download is imported when it is first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from fourfold.data.datasets import DATASETS, DataInfo, info
from fourfold.data.encoding import GREY, encoded_channels, input_channels, normalization

if TYPE_CHECKING:
    from fourfold.data.checking import Finding, check
    from fourfold.data.fetching import download
    from fourfold.data.images import ImageSet, load
    from fourfold.data.own.arrays import from_arrays
    from fourfold.data.own.augmentation import Views
    from fourfold.data.own.image_folders import from_folder
    from fourfold.data.own.pairs import from_pairs
    from fourfold.data.own.torch_datasets import from_datasets
    from fourfold.data.own.voc import from_voc
    from fourfold.data.packed import pack
    from fourfold.data.places import data_directory, listing, require, where
    from fourfold.data.preparing import prepare
    from fourfold.data.resident import Order, Resident
    from fourfold.data.sequences._copy_memory import copy_memory
    from fourfold.data.sequences.padding import from_sequences
    from fourfold.data.sequences.sets import from_ts
    from fourfold.data.sequences.text import from_text
    from fourfold.data.splits import Splits
    from fourfold.data.subset import check_counts, info_for

__all__ = [
    "DATASETS",
    "GREY",
    "DataInfo",
    "Finding",
    "ImageSet",
    "Order",
    "Resident",
    "Splits",
    "Views",
    "check",
    "check_counts",
    "copy_memory",
    "data_directory",
    "download",
    "encoded_channels",
    "from_arrays",
    "from_datasets",
    "from_folder",
    "from_pairs",
    "from_sequences",
    "from_text",
    "from_ts",
    "from_voc",
    "info",
    "info_for",
    "input_channels",
    "listing",
    "load",
    "normalization",
    "pack",
    "prepare",
    "require",
    "where",
]

_LAZY = {
    "Finding": "checking",
    "ImageSet": "images",
    "Order": "resident",
    "Resident": "resident",
    "Splits": "splits",
    "Views": "own.augmentation",
    "check": "checking",
    "check_counts": "subset",
    "data_directory": "places",
    "download": "fetching",
    "from_arrays": "own.arrays",
    "from_datasets": "own.torch_datasets",
    "from_folder": "own.image_folders",
    "from_pairs": "own.pairs",
    "from_sequences": "sequences.padding",
    "copy_memory": "sequences._copy_memory",
    "from_text": "sequences.text",
    "from_ts": "sequences.sets",
    "from_voc": "own.voc",
    "info_for": "subset",
    "listing": "places",
    "pack": "packed",
    "load": "images",
    "prepare": "preparing",
    "require": "places",
    "where": "places",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)


def __dir__() -> list[str]:
    return __all__
