"""What lowering a layer needs: the operations so far, a layer's numbers, and the errors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fourfold.deploy.ir.operation import Array, Operation, Shape, output_shape
from fourfold.deploy.ir.ops import Reshape
from fourfold.record import UserError


@dataclass(kw_only=True)
class Lowering:
    """Operations found so far, and the shapes of their values."""

    shapes: list[Shape]
    operations: list[Operation] = field(default_factory=list)

    def add(self, make: Callable[..., Operation], name: str, *inputs: int, **settings: Any) -> int:
        """Append an operation and return the number of the value that it makes."""
        operation = make(name=name, inputs=inputs, output=len(self.shapes), **settings)
        self.shapes.append(output_shape(operation, [self.shapes[value] for value in inputs]))
        self.operations.append(operation)
        return operation.output


def refusal(what: str, why: str = "") -> UserError:
    """Return the error for a part of a network that no operation computes."""
    return UserError(f"{what} cannot be deployed{why or '; docs/deploy.md lists what can'}")


def called(layer: nn.Module, name: str) -> str:
    """Return what errors call a layer."""
    return f"layer {name!r} ({type(layer).__name__})" if name else f"the network ({type(layer).__name__})"


def numpy_of(tensor: Tensor, name: str) -> Array:
    """Return a layer's numbers as a float32 array of their own.

    Raises:
        UserError: one of them is not finite.
    """
    array = tensor.detach().to("cpu", torch.float32, copy=True).contiguous().numpy()
    if not np.isfinite(array).all():
        raise UserError(f"layer {name!r} has numbers that are nan or infinite, which cannot be deployed")
    return array


def pair_of(setting: Any) -> tuple[int, int]:
    """Return a setting of rows and columns."""
    height, width = setting if isinstance(setting, Sequence) else (setting, setting)
    return int(height), int(width)


def reshaped(lowering: Lowering, name: str, value: int, shape: Shape) -> int:
    """Append a change of shape, where it is one."""
    return value if lowering.shapes[value] == shape else lowering.add(Reshape, name, value, shape=shape)
