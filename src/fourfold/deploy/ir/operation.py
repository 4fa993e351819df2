"""`Operation`: what every operation of a program has, and says of itself: shape, work, float reference, integer reference.

No torch in this room: an artifact is read into a program, and a program run, without it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fourfold.deploy.ir.bounds import check
from fourfold.deploy.ir.levels import Levels, Sums, levels_for
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized

Array = NDArray[np.float32]
Values = NDArray[np.float64]
"""Of a few images: (N, channels, height, width) or (N, features)."""

IMAGES_AT_A_TIME = 16
"""That the references work on."""

Shape = tuple[int, ...]
"""Of one image: (channels, height, width), or (features,) of a vector."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """One step: values are numbered, 0 is the encoded image, and each operation makes one more."""

    name: str
    """The module's path in the network, such as `stage1.0.body.0.conv`."""
    inputs: tuple[int, ...]
    output: int

    kind: ClassVar[str]
    """What artifacts call it."""
    num_inputs: ClassVar[int | None] = 1
    """None: any number from one."""
    arrays: ClassVar[tuple[str, ...]] = ()
    """Fields that are float32 arrays of one axis, which artifacts store as tensors."""
    keeps_scale: ClassVar[bool] = False
    """Whether in int8 its value has the scale of its input."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """Return the shape of the output for one image.

        Raises:
            UserError: the inputs do not fit.
        """
        raise NotImplementedError

    def work(self, output: Shape, *inputs: Shape) -> int:
        """Return the multiply-adds for one image, of pruned weights too, or what a pooling reads; 0 for others."""
        return 0

    def compute(self, *inputs: Values) -> Values:
        """Return what the operation makes of a few images, in float64, before its ReLU if it has one."""
        raise NotImplementedError

    def levels(self, before: Sequence[Levels], largest: float) -> Levels:
        """Return how the output's levels are to be read in int8.

        Args:
            before: Those of the inputs.
            largest: The output's range.
        """
        return levels_for(largest, signed=not getattr(self, "relu", False))

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return the levels that the operation makes of levels, bit for bit as the generated C."""
        raise NotImplementedError

    def check_int8(self, quantized: "Quantized") -> None:
        """Raise unless all integers of the operation fit into their bits.

        Raises:
            UserError: weights, ranges or windows are so large, or so far apart, that some do not.
        """


def output_shape(operation: Operation, inputs: Sequence[Shape]) -> Shape:
    """Return the shape of an operation's output for one image.

    Raises:
        UserError: the inputs do not fit the operation, or nothing of them would be left.
    """
    expected = operation.num_inputs
    if len(inputs) != expected if expected is not None else not inputs:
        raise UserError(f"{named(operation)} must have {expected or 'some'} inputs, not {len(inputs)}")
    shape = operation.output_shape(*inputs)
    if min(shape) < 1:
        raise UserError(f"{named(operation)} makes a value of shape {shape} from {inputs[:1]}: every side must be at least 1")
    check("value", math.prod(shape), named(operation))
    return shape


def apply(operation: Operation, *inputs: Values, images: int = 1) -> Values:
    """Return what an operation, its ReLU too, makes of a few images; `images` says how many to one that is given none."""
    output = operation.compute(*inputs)
    if not inputs:
        output = np.repeat(output, images, axis=0)
    if getattr(operation, "relu", False):
        np.maximum(output, 0, out=output)
    return output


def named(operation: Operation) -> str:
    """Return what errors call an operation."""
    return f"layer {operation.name!r:.60} ({type(operation).__name__})"


def map_of(operation: Operation, shape: Shape) -> tuple[int, int, int]:
    """Return a shape that must be channels, height and width."""
    if len(shape) != 3:
        raise UserError(f"{named(operation)} must be given channels, height and width, not {shape}")
    return shape[0], shape[1], shape[2]


def check_positive(operation: Operation, **settings: tuple[int, ...]) -> None:
    """Raise unless all settings are at least 1, or 0 for `padding`."""
    for name, values in settings.items():
        least = 0 if name == "padding" else 1
        if min(values) < least:
            raise UserError(f"{named(operation)} has `{name}` (={values}), which must be at least {least}")


def by_channel(numbers: NDArray[Any], like: Values) -> Values:
    """Return a number for each channel as float64 that broadcasts over a value."""
    return numbers.astype(np.float64).reshape(-1, *[1] * (like.ndim - 2))
