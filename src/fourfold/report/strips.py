"""Strips of examples: images of the test set, what is right, and what networks say of them, dense and as tickets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.record.examples import VOID, Boxes, Examples
from fourfold.report._chosen_levels import ChosenLevel, chosen_levels
from fourfold.report._curves import Curve, Point
from fourfold.report._experiments import Experiment
from fourfold.report.tables import Record

COLOURS = (
    "#3b82c4", "#c8500a", "#7d8590", "#5b4a9c", "#d08bb8", "#2f8f4e", "#e0b400", "#8a5a2b", "#b3261e", "#00a3a3", "#9ccc3c",
    "#e57a9a", "#4a50c8", "#b07d00", "#6fb7e8", "#a2457d", "#00795a", "#f0975a", "#5c6b1e", "#c9b2e8",
)  # fmt: skip
"""Of classes, in the order of their labels; more classes take them again."""

VOID_COLOUR = "#22252a"


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """What is drawn of every item in one column: a label map, or boxes over the image."""

    heading: str
    level: ChosenLevel | None
    """None for what is right."""
    map: "NDArray[np.uint8] | None"
    """(N, H, W)."""
    boxes: Boxes | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Strip:
    """Items, a row each, and what each column says of them."""

    images: NDArray[np.uint8]
    """(N, 1 or 3, H, W)."""
    columns: tuple[Column, ...]
    """The first is what is right."""
    classes: tuple[str, ...]
    title: str = "Examples"
    note: str = (
        "Items evenly spread over the test set, which nothing is selected by; trial 0. Tickets are those nearest to equal "
        "fractions of real."
    )

    @property
    def labels(self) -> list[int]:
        """The classes that occur, in order."""
        values = [column.map for column in self.columns if column.map is not None]
        values += [column.boxes.labels for column in self.columns if column.boxes is not None]
        return [label for label in np.unique(np.concatenate([value.ravel() for value in values])).tolist() if label >= 0]

    def name(self, label: int) -> str:
        """Return what a class is called."""
        if label == VOID and self.columns[0].map is not None:
            return "void"
        return self.classes[label] if label < len(self.classes) else str(label)

    def colour(self, label: int) -> str:
        """Return the colour of a class."""
        is_void = label == VOID and self.columns[0].map is not None
        return VOID_COLOUR if is_void else COLOURS[label % len(COLOURS)]

    def records(self) -> list[Record]:
        """Return what is drawn as numbers: pixels of each class, or every box."""
        return [
            {"item": item, "column": column.heading, **about}
            for column in self.columns
            for item in range(len(self.images))
            for about in (_pixels(self, column, item) if column.boxes is None else _corners(self, column.boxes, item))
        ]


def strip_of(experiment: Experiment) -> Strip | None:
    """Return the examples of an experiment at the chosen levels; None where its runs have left none."""
    examples = experiment.examples
    dense = next((examples[run, level] for run, level in sorted(examples) if examples[run, level].images is not None), None)
    if dense is None:
        return None
    assert dense.images is not None, "it was chosen by them"

    def is_known(curve: Curve, point: Point) -> bool:
        one = examples.get((curve.run, point.level))
        return one is not None and _fits(one, dense)

    chosen = chosen_levels(experiment, is_known)
    if not chosen:
        return None
    described = [(level, examples[level.curve.run, level.point.level]) for level in chosen]
    right = Column(heading="Truth", level=None, map=dense.true_map, boxes=dense.true_boxes)
    columns = [Column(heading=level.words, level=level, map=one.map, boxes=one.boxes) for level, one in described]
    names = next((row.per_class.names for row in experiment.rows if row.per_class is not None), ())
    return Strip(images=dense.images, columns=(right, *columns), classes=names)


def _fits(one: Examples, dense: Examples) -> bool:
    """Whether a level says something of the same items in the same form."""
    if one.map is not None and dense.true_map is not None:
        return one.map.shape == dense.true_map.shape
    if one.boxes is not None and dense.true_boxes is not None:
        return len(one.boxes.corners) == len(dense.true_boxes.corners)
    return False


def boxes_of(boxes: Boxes, item: int) -> Iterator[tuple[int, float | None, Sequence[float]]]:
    """Yield the boxes of an item: label, score and corners, the best last, so that it is drawn above the others."""
    for index in reversed(range(boxes.labels.shape[1])):
        label = int(boxes.labels[item, index])
        if label >= 0:
            score = None if boxes.scores is None else float(boxes.scores[item, index])
            yield label, score, np.clip(boxes.corners[item, index].astype(np.float64), 0, 1).tolist()


def _pixels(strip: Strip, column: Column, item: int) -> Iterator[dict[str, Any]]:
    truth = strip.columns[0].map
    assert column.map is not None, "a strip has label maps or boxes"
    assert truth is not None, "a strip of label maps has those that are right"
    for label, count in zip(*np.unique(column.map[item], return_counts=True), strict=True):
        right = int(((column.map[item] == label) & (truth[item] == label)).sum())
        yield {"class": strip.name(int(label)), "pixels": int(count), "right": right}


def _corners(strip: Strip, boxes: Boxes, item: int) -> Iterator[dict[str, Any]]:
    for label, score, corners in boxes_of(boxes, item):
        sides = zip(("left", "top", "right", "bottom"), corners, strict=True)
        yield {"class": strip.name(label), "score": score, **{side: round(value, 4) for side, value in sides}}
