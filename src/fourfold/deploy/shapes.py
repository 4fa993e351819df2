"""The shape of every value of a program, computed from its operations: what lowering uses and what a file is checked with."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from fourfold.deploy.bounds import check
from fourfold.deploy.checking import check_encoding, check_names, check_ranges, check_table
from fourfold.deploy.program import (
    Add,
    Affine,
    AveragePool,
    Convolution,
    Encoding,
    Flatten,
    Linear,
    MaxPool,
    Operation,
    Product,
    Program,
    Relu,
    Shape,
)
from fourfold.record.errors import UserError, unknown

ENCODINGS = ("none", "grey", "zero", "pixels")


def output_shape(operation: Operation, inputs: Sequence[Shape]) -> Shape:
    """Return the shape of an operation's output for one image.

    Raises:
        UserError: the inputs do not fit the operation, or nothing of them would be left.
    """
    expected = 2 if isinstance(operation, Add) else 1
    if len(inputs) != expected:
        raise UserError(f"{_named(operation)} must have {expected} inputs, not {len(inputs)}")
    shape = _SHAPES[type(operation)](operation, *inputs)
    if min(shape) < 1:
        raise UserError(f"{_named(operation)} makes a value of shape {shape} from {inputs[0]}: every side must be at least 1")
    check("value", math.prod(shape), _named(operation))
    return shape


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
    if len(shape) not in (1, 3) or min(shape) < 1:
        raise UserError(f"`shape` (={shape!r:.60}) must be channels, height and width, or features")
    check("value", math.prod(shape), "shape")
    if not operations:
        raise UserError("a network without any operation has nothing to deploy")
    check("operations", len(operations))
    shapes, multiply_adds = [shape], 0
    for number, operation in enumerate(operations, 1):
        if operation.output != number or not all(0 <= value < number for value in operation.inputs):
            raise UserError(f"{_named(operation)} must make value {number} from values before it")
        shapes.append(output_shape(operation, [shapes[value] for value in operation.inputs]))
        multiply_adds += work(operation, shapes[-1])
        check("work", multiply_adds, _named(operation))
    program = Program(shapes=tuple(shapes), operations=tuple(operations), **about)
    if program.encoding is not None and encoded_shape(program.encoding) != shape:
        made = encoded_shape(program.encoding)
        raise UserError(f"`encoding` (={program.encoding.kind!r}) makes images of shape {made}, but the network takes {shape}")
    names, classes = len(program.class_names), math.prod(shapes[-1])
    if names not in (0, classes):
        raise UserError(f"`class_names` (={names} names) must be one for each of the {classes} outputs")
    check_names((operation.name for operation in operations), program.class_names, program.provenance)
    check_ranges(program.ranges, len(shapes))
    return program


def check_program(program: Program) -> None:
    """Raise unless a program, which anyone may have made, is one that `assemble` would make.

    Raises:
        UserError: as `assemble`, or a value's shape is another.
    """
    about = {name: getattr(program, name) for name in ("encoding", "class_names", "provenance", "ranges")}
    if assemble(program.shapes[0], program.operations, **about).shapes != program.shapes:
        raise UserError(f"`program.shapes` (={program.shapes!r:.60}) must be those that its operations make")


def work(operation: Operation, output: Shape) -> int:
    """Return the multiply-adds of an operation for one image, of pruned weights too, or what a pooling reads; 0 for others."""
    places = math.prod(output[1:])
    if isinstance(operation, Convolution | Linear):
        return places * operation.product.n * operation.product.weight.size
    if isinstance(operation, MaxPool | AveragePool):
        return math.prod(output) * math.prod(operation.kernel)
    return 0


def encoded_shape(encoding: Encoding) -> tuple[int, int, int]:
    """Return channels, height and width of an encoded image.

    Raises:
        UserError: an unknown kind, or an image that it cannot encode.
    """
    channels, height, width = encoding.shape
    kind, n = encoding.kind, encoding.n
    if kind not in ENCODINGS:
        raise unknown("encoding", kind, ENCODINGS)
    if min(channels, height, width, n) < 1:
        raise UserError(f"`encoding.shape` (={encoding.shape}) and `encoding.n` (={n}) must be at least 1")
    if len(encoding.mean) != channels or len(encoding.std) != channels:
        raise UserError(f"`encoding.mean` and `encoding.std` must have a number for each of {channels} channels")
    check("encoding.n", n)
    check("value", channels * height * width, "encoding.shape")
    check_encoding(encoding)
    if kind == "none":
        return channels, height, width
    if kind == "pixels":
        if width % n:
            raise UserError(f"`encoding.shape` (={encoding.shape}) must have a width that {n} divides for encoding 'pixels'")
        return n * channels, height, width // n
    if channels != 3:
        raise UserError(f"`encoding.kind` (={kind!r}) must be given 3 channels, not {channels}")
    return -(-4 // n) * n, height, width


def window_places(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> int:
    """Return how many windows of a pooling fit along an axis, as torch counts them."""
    spare = size + 2 * padding - dilation * (kernel - 1) - 1
    places = (-(-spare // stride) if ceil else spare // stride) + 1
    # A last window that would begin beyond the map is left out.
    return places - 1 if ceil and (places - 1) * stride >= size + padding else places


def window_margins(operation: MaxPool | AveragePool, shape: Shape) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the rows above and below a map, and the columns left and right of it, that its windows reach into.

    Below and on the right they can be fewer than the padding, or more, where a last window of `ceil` ends beyond it.
    """
    dilation = operation.dilation if isinstance(operation, MaxPool) else (1, 1)
    margins = []
    for axis in zip(shape[1:], operation.kernel, operation.stride, operation.padding, dilation, strict=True):
        size, kernel, stride, padding, gap = axis
        places = window_places(*axis, operation.ceil)
        end = (places - 1) * stride + gap * (kernel - 1) + 1 - padding
        margins.append((padding, max(end - size, 0)))
    return margins[0], margins[1]


def _named(operation: Operation) -> str:
    return f"layer {operation.name!r:.60} ({type(operation).__name__})"


def _product(operation: Convolution | Linear, product: Product, axes: int, inputs: int, groups: int) -> int:
    """Check a product against the number of its inputs, and return that of its outputs."""
    n, weight, bias = product.n, product.weight, product.bias
    if weight.ndim != axes or weight.shape[0] != n:
        raise UserError(f"{_named(operation)} has weights of shape {weight.shape}, which its algebra of {n} does not read")
    check_table(product.table)
    outputs = n * int(weight.shape[1])
    check("outputs", outputs, _named(operation))
    if groups < 1 or (groups > 1 and n > 1) or outputs % groups:
        raise UserError(f"{_named(operation)} must have `groups` (={groups}) that divide {outputs} outputs, and 1 with n = {n}")
    if n * weight.shape[2] * groups != inputs:
        raise UserError(f"{_named(operation)} takes {n * weight.shape[2] * groups} channels, but gets {inputs}")
    if bias is not None and bias.shape != (outputs,):
        raise UserError(f"{_named(operation)} has a bias of shape {bias.shape}, not {(outputs,)}")
    return outputs


def _map(operation: Operation, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise UserError(f"{_named(operation)} must be given channels, height and width, not {shape}")
    return shape[0], shape[1], shape[2]


def _positive(operation: Operation, **settings: tuple[int, ...]) -> None:
    for name, values in settings.items():
        least = 0 if name == "padding" else 1
        if min(values) < least:
            raise UserError(f"{_named(operation)} has `{name}` (={values}), which must be at least {least}")


def _convolution(operation: Convolution, shape: Shape) -> Shape:
    channels, height, width = _map(operation, shape)
    outputs = _product(operation, operation.product, 5, channels, operation.groups)
    kernel = operation.product.weight.shape[3:]
    _positive(operation, stride=operation.stride, padding=operation.padding, dilation=operation.dilation, kernel=kernel)
    top, bottom, left, right = operation.padding
    padded = height + top + bottom, width + left + right
    check("value", channels * math.prod(padded), f"{_named(operation)} with its padding")
    sizes = zip(padded, kernel, operation.stride, operation.dilation, strict=True)
    return outputs, *(window_places(size, k, stride, 0, dilation, False) for size, k, stride, dilation in sizes)


def _linear(operation: Linear, shape: Shape) -> Shape:
    if len(shape) != 1:
        raise UserError(f"{_named(operation)} must be given a vector, not {shape}: a flatten before it makes one")
    return (_product(operation, operation.product, 3, shape[0], 1),)


def _pool(operation: MaxPool | AveragePool, shape: Shape) -> Shape:
    channels, *sizes = _map(operation, shape)
    dilation = operation.dilation if isinstance(operation, MaxPool) else (1, 1)
    kernel, stride, padding = operation.kernel, operation.stride, operation.padding
    _positive(operation, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    # Else a window could lie in the padding alone, of whose largest or mean torch makes what is not a number.
    if any(2 * side > k for side, k in zip(padding, kernel, strict=True)):
        raise UserError(f"{_named(operation)} has `padding` (={padding}), which must be at most half of the kernel {kernel}")
    if any(side and gap > size for side, gap, size in zip(padding, dilation, sizes, strict=True)):
        raise UserError(
            f"{_named(operation)} has `dilation` (={dilation}), which must be at most the map's size where it is padded"
        )
    (above, below), (left, right) = window_margins(operation, shape)
    reached = channels * (above + sizes[0] + below) * (left + sizes[1] + right)
    check("value", reached, f"{_named(operation)} with its padding")
    axes = zip(sizes, kernel, stride, padding, dilation, strict=True)
    return channels, *(window_places(*axis, operation.ceil) for axis in axes)


def _affine(operation: Affine, shape: Shape) -> Shape:
    if operation.scale.shape != shape[:1] or operation.shift.shape != shape[:1]:
        raise UserError(f"{_named(operation)} has {operation.scale.size} scales and {operation.shift.size} shifts for {shape}")
    return shape


def _add(operation: Add, first: Shape, second: Shape) -> Shape:
    if first != second:
        raise UserError(f"{_named(operation)} must add values of one shape, not {first} and {second}")
    return first


_SHAPES: dict[type[Operation], Callable[..., Shape]] = {
    Convolution: _convolution,
    Linear: _linear,
    MaxPool: _pool,
    AveragePool: _pool,
    Affine: _affine,
    Add: _add,
    Relu: lambda operation, shape: shape,
    Flatten: lambda operation, shape: (math.prod(shape),),
}
