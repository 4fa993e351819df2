"""Files of examples hold what pictures need, and nothing else is taken for them."""

import numpy as np
import pytest

from fourfold.record.arrays import ArraysError
from fourfold.record.examples import Examples

MAP = np.zeros((2, 4, 5), "u1")
DENSE_MAPS = {"map": MAP, "truth.map": MAP, "images": np.zeros((2, 3, 4, 5), "u1")}
BOXES = {"boxes": np.zeros((2, 6, 4), "f4"), "labels": np.zeros((2, 6), "i2"), "scores": np.zeros((2, 6), "f4")}
TRUTH = {"truth.boxes": np.zeros((2, 1, 4), "f4"), "truth.labels": np.zeros((2, 1), "i2")}
DENSE_BOXES = {**BOXES, **TRUTH, "images": np.zeros((2, 1, 9, 5), "u1")}

WHOLE = {"dense maps": DENSE_MAPS, "a map": {"map": MAP}, "dense boxes": DENSE_BOXES, "boxes": BOXES}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_examples_are_read(name):
    examples = Examples.of(WHOLE[name])
    assert (examples.map is None) == ("boxes" in WHOLE[name])
    assert (examples.images is not None) == name.startswith("dense")


@pytest.mark.parametrize("whole", WHOLE)
def test_without_one_of_its_arrays_or_with_another_a_file_is_refused(whole):
    for name, array in WHOLE[whole].items():
        rest = {other: value for other, value in WHOLE[whole].items() if other != name}
        for changed in (
            rest,
            rest | {f"{name}s": array},
            rest | {name: array.astype("f8")},
            rest | {name: array[..., None]},
            rest | {name: array[:1]},
        ):
            if len(changed) == len(WHOLE[whole]) == 1 and changed.get(name) is not None and len(changed[name]) == 1:
                continue  # one map of one item is whole, too
            with pytest.raises(ArraysError, match="expected"):
                Examples.of(changed)


@pytest.mark.parametrize(
    "changed",
    [
        DENSE_MAPS | {"truth.map": MAP[:, :3]},
        DENSE_MAPS | {"images": np.zeros((2, 2, 4, 5), "u1")},
        {"map": MAP[:, :0]},
        BOXES | {"labels": np.zeros((2, 5), "i2")},
        BOXES | {"boxes": np.full((2, 6, 4), np.nan, "f4")},
        BOXES | {"boxes": np.zeros((2, 6, 5), "f4")},
        BOXES | {"map": MAP},
        {},
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(changed):
    with pytest.raises(ArraysError, match="expected"):
        Examples.of(changed)
