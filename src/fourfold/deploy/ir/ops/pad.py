"""Places around a value."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.ir.operation import Shape, named
from fourfold.deploy.ir.ops.movement import OUTSIDE, Axis, Movement
from fourfold.record.errors import UserError, unknown

MODES = ("constant", "reflect", "replicate", "circular")


@dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Movement):
    """Places before and after each axis, filled as `torch.nn.functional.pad` does."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    mode: str = "constant"
    value: float = 0.0
    """Of `constant`; in int8 cut to the range of the input."""

    kind: ClassVar[str] = "pad"

    @property
    def outside(self) -> float:
        """What `constant` fills with."""
        return self.value

    def sizes(self, shape: Shape) -> Shape:
        """Return the sides with the places around them."""
        if self.mode not in MODES:
            raise unknown("mode", self.mode, MODES)
        if len(self.before) != len(shape) or len(self.after) != len(shape) or min(self.before + self.after) < 0:
            raise UserError(f"{named(self)} has `before` (={self.before}) and `after` (={self.after}), which must fit {shape}")
        most = {"reflect": 1, "circular": 0}.get(self.mode)
        sides = list(zip(self.before, shape, self.after, strict=True))
        if most is not None and any(max(before, after) > size - most for before, size, after in sides):
            raise UserError(f"{named(self)} has `before` (={self.before}) and `after` (={self.after}), too far for {shape}")
        return tuple(map(sum, sides))

    def axes(self, shape: Shape) -> list[Axis]:
        """Return the places that each place is a copy of."""
        sides = zip(self.before, shape, self.after, strict=True)
        return [Axis(axis, self._places(*side)) for axis, side in enumerate(sides)]

    def _places(self, before: int, size: int, after: int) -> NDArray[np.int64]:
        places: NDArray[np.int64] = np.arange(-before, size + after)
        if self.mode == "constant":
            places[(places < 0) | (places >= size)] = OUTSIDE
        elif self.mode == "reflect":
            places = (size - 1) - np.abs((size - 1) - np.abs(places))
        elif self.mode == "replicate":
            places = np.clip(places, 0, size - 1)
        else:
            places = places % size
        return places
