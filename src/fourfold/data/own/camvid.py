"""CamVid (Brostow, Fauqueur, Cipolla 2009): road scenes with a class of every pixel, in the split and classes of SegNet."""

from pathlib import Path

from fourfold.data.own.pairs import from_pairs
from fourfold.data.splits import Splits
from fourfold.record.errors import UserError

CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
"""By label; 11 is void."""


def load_camvid(directory: Path) -> Splits:
    """Return CamVid from `CamVid/train`, `trainannot`, `val`, `valannot`, `test` and `testannot` of the data directory.

    Raises:
        UserError: a folder is not there, or its files are not as they should be.
    """
    folder = directory / "CamVid"
    for name in ("train", "trainannot", "val", "valannot", "test", "testannot"):
        if not (folder / name).is_dir():
            raise UserError(
                f"camvid is not in {directory} (CamVid/{name} is missing); put it there, as SegNet's tutorial has it, or name "
                "the folder that holds it with --data-dir"
            )
    train, validation, test = ((folder / part, folder / f"{part}annot") for part in ("train", "val", "test"))
    return from_pairs(train, test, validation, classes=CLASSES, void=(len(CLASSES),), name="camvid")
