"""`Product`: the weights of a layer over an algebra, zero where pruned."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fourfold.deploy.ir.bounds import ALGEBRA_SIZES, check
from fourfold.deploy.ir.levels import Sums, cut
from fourfold.deploy.ir.operation import Array, Operation, Values, apply, by_channel, named
from fourfold.record.errors import UserError

if TYPE_CHECKING:
    from fourfold.deploy.quantize import Quantized

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
class ProductOperation(Operation):
    """An operation with weights over an algebra: what convolutions and linear layers have in common."""

    product: Product
    if TYPE_CHECKING:  # declared by each class, last: artifacts write fields in order
        relu: bool = False

    def check_int8(self, quantized: "Quantized") -> None:
        """Raise unless codes, bias and sums fit."""
        quantized.codes(self)

    def compute_int8(self, quantized: "Quantized", *inputs: Sums) -> Any:
        """Return levels, or of a linear layer at the network's end its logits in float32."""
        (x,) = inputs
        codes = quantized.codes(self)
        zero = quantized.levels[self.inputs[0]].zero
        # Sums of integers below 2^53 are exact in float64, in whatever order.
        plain = type(self)(**{**vars(self), "product": codes.product, "relu": False})
        sums = apply(plain, (x - zero).astype(np.float64)).astype(np.int64)
        channels = (-1, *[1] * (sums.ndim - 2))
        sums = sums + codes.bias.reshape(channels)
        scaled = sums.astype(np.int32).astype(np.float32) * codes.factor.reshape(channels)
        if quantized.makes_logits(self):
            return np.maximum(scaled, 0) if self.relu else scaled
        return cut(scaled, quantized.levels[self.output].largest)


def real_matrix(product: Product) -> Array:
    """Return the real weights of a product, zeros and all: (out, in / groups, *kernel)."""
    weight = product.weight
    return np.concatenate([np.concatenate([sign * weight[c] for c, sign in row], axis=1) for row in product.table])


def with_bias(y: Values, product: Product) -> Values:
    """Return sums with the bias of each output added, if there is one."""
    return y if product.bias is None else y + by_channel(product.bias, y)


def checked_outputs(operation: ProductOperation, axes: int, inputs: int, groups: int) -> int:
    """Check a product against the number of its inputs, and return that of its outputs."""
    product = operation.product
    n, weight, bias = product.n, product.weight, product.bias
    if weight.ndim != axes or weight.shape[0] != n:
        raise UserError(f"{named(operation)} has weights of shape {weight.shape}, which its algebra of {n} does not read")
    check_table(product.table)
    outputs = n * int(weight.shape[1])
    check("outputs", outputs, named(operation))
    if groups < 1 or (groups > 1 and n > 1) or outputs % groups:
        raise UserError(f"{named(operation)} must have `groups` (={groups}) that divide {outputs} outputs, and 1 with n = {n}")
    if n * weight.shape[2] * groups != inputs:
        raise UserError(f"{named(operation)} takes {n * weight.shape[2] * groups} channels, but gets {inputs}")
    if bias is not None and bias.shape != (outputs,):
        raise UserError(f"{named(operation)} has a bias of shape {bias.shape}, not {(outputs,)}")
    return outputs


def check_table(table: LeftTable) -> None:
    """Raise unless a table is that of an algebra: a signed permutation in each row and column, and e_0 is 1.

    Raises:
        UserError: it is another table, or has another size than 1, 2, 4 or 8.
    """
    n, size = range(len(table)), len(table)
    if size not in ALGEBRA_SIZES or any(len(row) != size for row in table):
        raise UserError(f"`table` of {size} rows must be square, of {', '.join(map(str, ALGEBRA_SIZES))} components")
    components = [[component for component, _ in row] for row in table]
    signs = {sign for row in table for _, sign in row}
    permutes = all(sorted(line) == list(n) for line in (*components, *zip(*components, strict=True)))
    one = all(table[a][0] == (a, 1) and table[a][a] == (0, 1) for a in n)
    if not (permutes and one and signs <= {1, -1}):
        raise UserError("`table` must be an algebra's: a signed permutation in each row and column, with e_0 as one")
