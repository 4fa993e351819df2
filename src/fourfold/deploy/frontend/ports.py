"""Networks of several inputs or outputs: a program has one of each, in which they follow each other flat."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fourfold.deploy.frontend.shaping import reshaped
from fourfold.deploy.frontend.traced import Traced, Tracing
from fourfold.deploy.ir.operation import Shape
from fourfold.deploy.ir.ops import Concat
from fourfold.deploy.ir.program import Port
from fourfold.record import UserError


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The inputs of a network."""

    inputs: tuple[Port, ...]
    named: bool = False
    """Whether they are given by name."""

    @property
    def shape(self) -> Shape:
        """Of value 0."""
        if len(self.inputs) == 1:
            return self.inputs[0].shape
        return (sum(math.prod(port.shape) for port in self.inputs),)

    def split(self, images: Any) -> tuple[list[Any], dict[str, Any]]:
        """Return the inputs that value 0 of a few images stands for, as arguments by place and by name."""
        if len(self.inputs) == 1 and not self.named:
            return [images], {}
        parts, start = [], 0
        flat = images.reshape(images.shape[0], -1)
        for port in self.inputs:
            size = math.prod(port.shape)
            parts.append(flat[:, start : start + size].reshape(images.shape[0], *port.shape))
            start += size
        return ([], dict(zip((port.name for port in self.inputs), parts, strict=True))) if self.named else (parts, {})


def ports_of(shape: Sequence[Any] | Mapping[str, Sequence[int]]) -> Ports:
    """Return the inputs of shapes.

    Raises:
        UserError: no shape, or one of other things than integers.
    """
    try:
        if isinstance(shape, Mapping):
            return Ports(inputs=tuple(Port(name=str(name), shape=_sides(sides)) for name, sides in shape.items()), named=True)
        if shape and all(isinstance(sides, Sequence) for sides in shape):
            return Ports(inputs=tuple(Port(name=f"input{k}", shape=_sides(sides)) for k, sides in enumerate(shape)))
        return Ports(inputs=(Port(name="image", shape=_sides(shape)),))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"`shape` (={shape!r:.60}) must be channels, height and width, or one such shape for each input"
        ) from error


def _sides(sides: Sequence[Any]) -> Shape:
    return tuple(int(side) for side in sides)


def joined_inputs(trace: Tracing, images: Traced, ports: Ports) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of the network's forward."""
    return ports.split(images)


def joined_outputs(trace: Tracing, result: Any) -> tuple[int, tuple[Port, ...]]:
    """Return the value of what a forward returned, and its parts where it is several tensors."""
    if isinstance(result, Traced):
        _first(result)
        return result.value, ()
    if isinstance(result, Mapping):
        parts = [(str(name), part) for name, part in result.items()]
    elif isinstance(result, list | tuple):
        parts = [(f"output{number}", part) for number, part in enumerate(result) if part is not None]
    else:
        parts = []
    if not parts or not all(isinstance(part, Traced) for _, part in parts):
        raise UserError("the network must return a tensor, or several in a tuple or dict, to be deployed")
    values, ports = [], []
    for name, part in parts:
        _first(part)
        trace._begin(name)
        ports.append(Port(name=name, shape=trace.shape(part.value)))
        values.append(reshaped(trace, part.value, (math.prod(trace.shape(part.value)),)))
    if len(values) == 1:
        return values[0], tuple(ports)
    return trace.add(Concat, *values, axis=0), tuple(ports)


def _first(result: Traced) -> None:
    if result.axis != 0 or result.fold != 1:
        raise UserError("the network must return images along the first axis to be deployed")
