"""Changes of shape and order that cancel each other: layers of one dimension and linear layers on a last axis make many."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from fourfold.deploy.ir.operation import Operation, Shape
from fourfold.deploy.ir.ops import Activation, Affine, Permute, Relu, Reshape


def simplify(operations: Sequence[Operation], shapes: Sequence[Shape], output: int) -> tuple[list[Operation], int]:
    """Return operations that compute the same with fewer changes of shape and order, and the value that is the output.

    Operations are not numbered anew: some may make a value that nothing reads any more.

    Args:
        operations: The k-th making value k + 1.
        shapes: Of every value.
        output: The value that is needed.
    """
    kept, known = list(operations), list(shapes)
    _sink(kept, known)
    same = list(range(len(known)))  # the value that each stands for
    for index, operation in enumerate(kept):
        joined = replace(operation, inputs=tuple(same[value] for value in operation.inputs))
        before = _maker(kept, joined.inputs[0]) if isinstance(joined, Reshape | Permute) else None
        if isinstance(joined, Reshape) and isinstance(before, Reshape):
            joined = replace(joined, inputs=before.inputs)
        elif isinstance(joined, Permute) and isinstance(before, Permute):
            joined = replace(joined, inputs=before.inputs, order=tuple(before.order[axis] for axis in joined.order))
        kept[index] = joined
        if _changes_nothing(joined, known):
            same[operation.output] = joined.inputs[0]
    return kept, same[output]


def _maker(operations: Sequence[Operation], value: int) -> Operation | None:
    return operations[value - 1] if value else None


def _changes_nothing(operation: Operation, shapes: Sequence[Shape]) -> bool:
    if isinstance(operation, Permute):
        return operation.order == tuple(range(len(operation.order)))
    return isinstance(operation, Reshape) and operation.shape == shapes[operation.inputs[0]]


def _sink(operations: list[Operation], shapes: list[Shape]) -> None:
    """Let functions of single numbers, and norms where channels stay channels, come before what moves their input alone."""
    uses = Counter(value for operation in operations for value in operation.inputs)
    for start, first in enumerate(operations):
        index = start
        while isinstance(operations[index], Relu | Activation | Affine):
            operation, moving = operations[index], _maker(operations, operations[index].inputs[0])
            if not isinstance(moving, Reshape | Permute) or uses[moving.output] != 1:
                break
            before = shapes[moving.inputs[0]]
            if isinstance(first, Affine) and (isinstance(moving, Permute) or before[0] != shapes[moving.output][0]):
                break
            operations[moving.output - 1] = replace(operation, inputs=moving.inputs, output=moving.output)
            operations[index] = replace(moving, inputs=(moving.output,), output=operation.output)
            shapes[moving.output] = before
            index = moving.output - 1
