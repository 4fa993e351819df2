"""`Program`: a trained network as a list of operations on channel-planar maps, the one form that all of deploy works on.

No torch in this file: an artifact is read into a program, and a program run, without it.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourfold.record.errors import UserError

Array = NDArray[np.float32]
Shape = tuple[int, ...]
"""Of one image: (channels, height, width), or (features,) of a vector."""

LeftTable = tuple[tuple[tuple[int, int], ...], ...]
"""`Algebra.left_table`: for output component a and input component b, the weight's component and its sign."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """Weights of a fixed algebra, zero where pruned. Channels are blocked by component, as everywhere in fourfold."""

    weight: Array
    """(n, out / n, in / n / groups, *kernel), finite; *kernel is (height, width), or () for a linear layer."""
    bias: Array | None
    """(out,)."""
    table: LeftTable
    """n × n; ((0, 1),) for real. Real connections: matrix[a·out/n + o, b·in/n + i] = sign · weight[component, o, i]."""

    @property
    def n(self) -> int:
        """Dimension of the algebra."""
        return len(self.table)


@dataclass(frozen=True, kw_only=True, eq=False)
class Operation:
    """One step: values are numbered, 0 is the encoded image, and each operation makes one more."""

    name: str
    """The module's path in the network, such as `stage1.0.body.0.conv`."""
    inputs: tuple[int, ...]
    output: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Convolution(Operation):
    """Cross-correlation with zeros around the map; groups above 1 only with n = 1."""

    product: Product
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Top, bottom, left, right."""
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    relu: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear(Operation):
    """A matrix product with a vector."""

    product: Product
    relu: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Operation):
    """The largest of each window; what lies outside the map does not count."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    """Rows above and below, columns left and right."""
    dilation: tuple[int, int] = (1, 1)
    ceil: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class AveragePool(Operation):
    """The mean of each window, as `torch.nn.AvgPool2d`."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    count_padding: bool = True
    ceil: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Affine(Operation):
    """scale · x + shift, a number a channel: batch norm that no convolution before it takes."""

    scale: Array
    """(channels,)."""
    shift: Array
    """(channels,)."""
    relu: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Operation):
    """The sum of two values of one shape."""

    relu: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Relu(Operation):
    """max(x, 0), where no operation before it takes it along."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Flatten(Operation):
    """(channels, height, width) → (channels · height · width,): a change of shape, not of memory."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """From an image's bytes to value 0: x / 255, minus mean, divided by std, then the channels of the encoding.

    The same as `fourfold.data.prepare` does; `learned` is a first operation of the network and needs nothing here.
    """

    kind: str
    """`none`, `grey`, `zero` or `pixels`; of these, `pixels` makes n neighbours of a row the components of a number."""
    n: int
    """Dimension of the algebra that the encoding fills."""
    shape: tuple[int, int, int]
    """Channels, height and width of the image itself."""
    mean: tuple[float, ...]
    """A channel, where 1 is white."""
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        """Turn numpy's scalars and arrays, as `dataset.mean(…)` gives them, into Python's numbers, which JSON can hold.

        Raises:
            UserError: a field of another type.
        """
        try:
            numbers: dict[str, Any] = {
                "n": int(self.n),
                "shape": tuple(int(size) for size in self.shape),
                "mean": tuple(float(mean) for mean in self.mean),
                "std": tuple(float(std) for std in self.std),
            }
        except (TypeError, ValueError) as error:
            raise UserError(f"`encoding` (={self}) must hold an integer n, and numbers in shape, mean and std") from error
        if len(numbers["shape"]) != 3:
            raise UserError(f"`encoding.shape` (={self.shape}) must be channels, height and width")
        for name, value in numbers.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """A network ready to be packed, compiled or run."""

    shapes: tuple[Shape, ...]
    """Of every value."""
    operations: tuple[Operation, ...]
    """In an order in which each one's inputs are made before it; the last one's output is the logits."""
    encoding: Encoding | None = None
    """None: the caller gives value 0."""
    class_names: tuple[str, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    """Run, trial, level, accuracy, versions: whatever is known, as text."""
    ranges: dict[int, float] = field(default_factory=dict)
    """Largest absolute value that calibration saw (or chose) for each value, for int8; empty where nothing was calibrated."""
