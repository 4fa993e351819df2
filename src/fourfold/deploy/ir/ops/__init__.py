"""The operations, one a file: fields, shape, float reference, integer reference, and what artifacts call it."""

from fourfold.deploy.ir.operation import Operation
from fourfold.deploy.ir.ops.activation import Activation
from fourfold.deploy.ir.ops.adaptive_pool import AdaptivePool
from fourfold.deploy.ir.ops.add import Add
from fourfold.deploy.ir.ops.affine import Affine
from fourfold.deploy.ir.ops.average_pool import AveragePool
from fourfold.deploy.ir.ops.binary import Binary
from fourfold.deploy.ir.ops.concat import Concat
from fourfold.deploy.ir.ops.constant import Constant
from fourfold.deploy.ir.ops.convolution import Convolution
from fourfold.deploy.ir.ops.embedding import Embedding
from fourfold.deploy.ir.ops.flatten import Flatten
from fourfold.deploy.ir.ops.insert_zeros import InsertZeros
from fourfold.deploy.ir.ops.linear import Linear
from fourfold.deploy.ir.ops.matmul import MatMul
from fourfold.deploy.ir.ops.max_pool import MaxPool
from fourfold.deploy.ir.ops.norm_pool import NormPool
from fourfold.deploy.ir.ops.normalize import Normalize
from fourfold.deploy.ir.ops.pad import Pad
from fourfold.deploy.ir.ops.permute import Permute
from fourfold.deploy.ir.ops.prelu import PRelu
from fourfold.deploy.ir.ops.recurrent import Recurrent
from fourfold.deploy.ir.ops.reduce import Reduce
from fourfold.deploy.ir.ops.relu import Relu
from fourfold.deploy.ir.ops.reshape import Reshape
from fourfold.deploy.ir.ops.resize import Resize
from fourfold.deploy.ir.ops.slice import Slice
from fourfold.deploy.ir.ops.softmax import Softmax

OPS: tuple[type[Operation], ...] = (
    *(Convolution, Linear, MaxPool, AveragePool, Affine, Add, Relu, Flatten),
    *(Activation, PRelu, Binary, Concat, Constant, Reshape, Permute, Slice, Pad, InsertZeros, Resize),
    *(AdaptivePool, Reduce, Normalize, Softmax, MatMul, Recurrent, Embedding, NormPool),
)
"""All of them, in the order in which they came."""

KINDS: dict[str, type[Operation]] = {operation.kind: operation for operation in OPS}
"""By what artifacts call them."""

__all__ = [
    "KINDS",
    "OPS",
    "Activation",
    "AdaptivePool",
    "Add",
    "Affine",
    "AveragePool",
    "Binary",
    "Concat",
    "Constant",
    "Convolution",
    "Embedding",
    "Flatten",
    "InsertZeros",
    "Linear",
    "MatMul",
    "MaxPool",
    "NormPool",
    "Normalize",
    "PRelu",
    "Pad",
    "Permute",
    "Recurrent",
    "Reduce",
    "Relu",
    "Reshape",
    "Resize",
    "Slice",
    "Softmax",
]
