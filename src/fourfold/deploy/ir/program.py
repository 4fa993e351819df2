"""`Program`: a trained network as a list of operations on channel-planar maps, the one form that all of deploy works on."""

from dataclasses import dataclass, field
from typing import Any

from fourfold.deploy.ir.operation import Operation, Shape
from fourfold.record.errors import UserError


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

    def encode(self, images: Any) -> Any:
        """Return images as a network sees them: uint8 (N, H, W, C) → float32 (N, channels, height, width).

        Raises:
            UserError: images of another type or shape.
        """
        from fourfold.deploy.images import as_array
        from fourfold.deploy.ir.encoding import encode

        return encode(self, as_array(images))


@dataclass(frozen=True, kw_only=True)
class Port:
    """One of several inputs or outputs of a network."""

    name: str
    shape: Shape
    """For one image."""


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
    inputs: tuple[Port, ...] = ()
    """Of a network of several: they follow each other, flat, in value 0. Empty: value 0 is the input."""
    outputs: tuple[Port, ...] = ()
    """Of a network of several: they follow each other, flat, in the last value. Empty: that is the output."""
