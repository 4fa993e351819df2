"""Operations taken along by the one before them: batch norm by real products, ReLU by whatever can."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fourfold.deploy.ir.operation import Array, Operation
from fourfold.deploy.ir.ops import Add, Affine, Convolution, Linear, Relu
from fourfold.deploy.ir.product import Product


def needed(operations: Sequence[Operation], output: int) -> list[Operation]:
    """Return the operations without those that a value does not depend on."""
    values = {output}
    kept = []
    for operation in reversed(operations):
        if operation.output in values:
            values.update(operation.inputs)
            kept.append(operation)
    return kept[::-1]


def fuse(operations: Sequence[Operation]) -> list[Operation]:
    """Return fewer operations that compute the same, values numbered anew.

    Only what alone uses a value can be taken along by the operation that makes it. Batch norm scales every component in its
    own way, so a product of an algebra with n > 1 cannot take it: it would have to store its real matrix.
    """
    uses = Counter(value for operation in operations for value in operation.inputs)
    fused: list[Operation] = []
    place = {0: 0}  # of every old value among the new ones
    for operation in operations:
        inputs = tuple(place[value] for value in operation.inputs)
        merged = None
        if inputs and inputs[0] > 0 and uses[operation.inputs[0]] == 1:
            merged = _merged(fused[inputs[0] - 1], operation)
        if merged is not None:
            fused[inputs[0] - 1] = merged
            place[operation.output] = inputs[0]
        else:
            fused.append(replace(operation, inputs=inputs, output=len(fused) + 1))
            place[operation.output] = len(fused)
    return fused


def _merged(before: Operation, operation: Operation) -> Operation | None:
    """Return the operation that does both, or None."""
    if not isinstance(before, Convolution | Linear | Affine | Add) or before.relu:
        return None
    if isinstance(operation, Relu):
        return replace(before, relu=True)
    if isinstance(operation, Affine) and isinstance(before, Convolution | Linear) and before.product.n == 1:
        return replace(before, product=_scaled(before.product, operation.scale, operation.shift), relu=operation.relu)
    return None


def _scaled(product: Product, scale: Array, shift: Array) -> Product:
    """Return the real product followed by scale · x + shift, computed in float64."""
    factors = scale.astype(np.float64)
    weight = product.weight * factors.reshape(1, -1, *[1] * (product.weight.ndim - 2))
    bias = shift if product.bias is None else product.bias * factors + shift
    return replace(product, weight=weight.astype(np.float32), bias=bias.astype(np.float32))
