"""The operations, one a file: fields, shape, float reference, integer reference, and what artifacts call it."""

from fourfold.deploy.ir.operation import Operation
from fourfold.deploy.ir.ops.add import Add
from fourfold.deploy.ir.ops.affine import Affine
from fourfold.deploy.ir.ops.average_pool import AveragePool
from fourfold.deploy.ir.ops.convolution import Convolution
from fourfold.deploy.ir.ops.flatten import Flatten
from fourfold.deploy.ir.ops.linear import Linear
from fourfold.deploy.ir.ops.max_pool import MaxPool
from fourfold.deploy.ir.ops.relu import Relu

OPS: tuple[type[Operation], ...] = (Convolution, Linear, MaxPool, AveragePool, Affine, Add, Relu, Flatten)
"""All of them, in the order in which they came."""

KINDS: dict[str, type[Operation]] = {operation.kind: operation for operation in OPS}
"""By what artifacts call them."""

__all__ = ["KINDS", "OPS", "Add", "Affine", "AveragePool", "Convolution", "Flatten", "Linear", "MaxPool", "Relu"]
