"""Axes in another order."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fourfold.deploy.ir.operation import Shape, named
from fourfold.deploy.ir.ops.movement import Axis, Movement
from fourfold.record.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class Permute(Movement):
    """The axes in another order, as `torch.permute` without the batch."""

    order: tuple[int, ...]

    kind: ClassVar[str] = "permute"

    def sizes(self, shape: Shape) -> Shape:
        """Return the sides in their order."""
        if sorted(self.order) != list(range(len(shape))):
            raise UserError(f"{named(self)} has `order` (={self.order}), which must name each axis of {shape} once")
        return tuple(shape[axis] for axis in self.order)

    def axes(self, shape: Shape) -> list[Axis]:
        """Return all places of the axes in their order."""
        return [Axis(axis, np.arange(shape[axis])) for axis in self.order]
