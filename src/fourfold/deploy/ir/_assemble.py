"""Programs from operations: the shape of every value is computed, and everything is checked."""

import math
from collections.abc import Sequence
from typing import Any

from fourfold.deploy.ir.bounds import check
from fourfold.deploy.ir.checking import check_names, check_ranges
from fourfold.deploy.ir.encoding import encoded_shape
from fourfold.deploy.ir.operation import Operation, Shape, named, output_shape
from fourfold.deploy.ir.ops.reshape import MOST_AXES
from fourfold.deploy.ir.program import Program
from fourfold.record.errors import UserError


def assemble(shape: Shape, operations: Sequence[Operation], **about: Any) -> Program:
    """Return the program of operations on a value 0 of a given shape, its values' shapes computed and its parts checked.

    Args:
        shape: Of value 0.
        operations: In order, the k-th (from 1) making value k.
        about: The other fields of `Program`.

    Raises:
        UserError: an operation does not fit its inputs, something is beyond its bound, encoding, class names or ranges do not
            fit the network, or a name is no text that can be shown.
    """
    if not 1 <= len(shape) <= MOST_AXES or min(shape) < 1:
        raise UserError(f"`shape` (={shape!r:.60}) must be channels, height and width, or features, or up to {MOST_AXES} sides")
    check("value", math.prod(shape), "shape")
    if not operations:
        raise UserError("a network without any operation has nothing to deploy")
    check("operations", len(operations))
    shapes, multiply_adds = [shape], 0
    for number, operation in enumerate(operations, 1):
        if operation.output != number or not all(0 <= value < number for value in operation.inputs):
            raise UserError(f"{named(operation)} must make value {number} from values before it")
        shapes.append(output_shape(operation, [shapes[value] for value in operation.inputs]))
        multiply_adds += operation.work(shapes[-1], *(shapes[value] for value in operation.inputs))
        check("work", multiply_adds, named(operation))
    program = Program(shapes=tuple(shapes), operations=tuple(operations), **about)
    if program.encoding is not None and encoded_shape(program.encoding) != shape:
        encoded = encoded_shape(program.encoding)
        raise UserError(
            f"`encoding` (={program.encoding.kind!r}) makes images of shape {encoded}, but the network takes {shape}"
        )
    names, classes = len(program.class_names), math.prod(shapes[-1])
    if names not in (0, classes):
        raise UserError(f"`class_names` (={names} names) must be one for each of the {classes} outputs")
    for what, ports, whole in (("inputs", program.inputs, shape), ("outputs", program.outputs, shapes[-1])):
        if ports and (len(whole) != 1 or sum(math.prod(port.shape) for port in ports) != whole[0]):
            raise UserError(f"`{what}` (={len(ports)} of them) must together have the {math.prod(whole)} numbers of {whole}")
        if len({port.name for port in ports}) != len(ports):
            raise UserError(f"`{what}` (={', '.join(port.name for port in ports)!r:.60}) must have different names")
        check_names((port.name for port in ports), (), {})
    check_names((operation.name for operation in operations), program.class_names, program.provenance)
    check_ranges(program.ranges, len(shapes))
    return program


def check_program(program: Program) -> None:
    """Raise unless a program, which anyone may have made, is one that `assemble` would make.

    Raises:
        UserError: as `assemble`, or a value's shape is another.
    """
    about = {name: getattr(program, name) for name in ("encoding", "class_names", "provenance", "ranges", "inputs", "outputs")}
    if assemble(program.shapes[0], program.operations, **about).shapes != program.shapes:
        raise UserError(f"`program.shapes` (={program.shapes!r:.60}) must be those that its operations make")
