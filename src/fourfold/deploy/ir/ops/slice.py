"""A part of an axis."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fourfold.deploy.ir.operation import Shape, named
from fourfold.deploy.ir.ops.movement import Axis, Movement
from fourfold.record.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Slice(Movement):
    """`size` places of an axis from `start`, `step` apart, forwards or backwards."""

    axis: int
    start: int
    size: int
    step: int = 1
    reverse: bool = False

    kind: ClassVar[str] = "slice"

    @property
    def last(self) -> int:
        """The last place that is taken."""
        return self.start + (self.size - 1) * self.step * (-1 if self.reverse else 1)

    def sizes(self, shape: Shape) -> Shape:
        """Return the shape with what is left of the axis."""
        if not 0 <= self.axis < len(shape):
            raise UserError(f"{named(self)} has `axis` (={self.axis}), which must be one of {shape}")
        length, last = shape[self.axis], self.last
        if self.size < 1 or self.step < 1 or not (0 <= self.start < length and 0 <= last < length):
            raise UserError(f"{named(self)} takes places {self.start} to {last} of axis {self.axis}, which has {length}")
        return (*shape[: self.axis], self.size, *shape[self.axis + 1 :])

    def axes(self, shape: Shape) -> list[Axis]:
        """Return the places that are taken of the axis, and all of the others."""
        places = self.start + np.arange(self.size) * self.step * (-1 if self.reverse else 1)
        return [Axis(axis, places if axis == self.axis else np.arange(size)) for axis, size in enumerate(shape)]
