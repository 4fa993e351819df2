"""Layers with fewer real products than their expanded matrix has: 8 instead of 16 for quaternions, 3 instead of 4 for complex.

The product of an algebra is bilinear, so it can be written y = C·((M·w) ⊙ (E·x)) with constant matrices E, M and C of r rows,
r rows and r columns. A layer is then r independent real layers (a convolution of r groups, a batch of r matrix products)
between a mixing of the inputs' components and one of the outputs', and so are both of its gradients. The algorithms are in
`product_algorithms.py`.

The real matrix of the layer (`AlgebraLayer.matrix`) remains the reference, and what everything but plain eager mode sees.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fourfold.nn import cancellation
from fourfold.nn.eager import is_plain_eager
from fourfold.nn.matrix_gradients import Reference, by_matrix, differentiable
from fourfold.nn.product_algorithms import PRODUCTS, Products

CHUNK_BYTES = 1 << 20
"""Activations worked on at a time for each thread, so that what is mixed stays in the cache: 2 × slower without."""


def usable(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether these are ordinary CPU tensors of one type in plain eager mode (see `is_plain_eager`), without autocast."""
    if not is_plain_eager(input, weight, bias) or torch.is_autocast_enabled("cpu"):
        return False
    dtype = input.dtype
    alike = weight.dtype == dtype and (bias is None or bias.dtype == dtype)
    return alike and dtype in PRODUCTS and input.numel() > 0


class Geometry(NamedTuple):
    """Everything about a convolution but its tensors, as `torch.convolution` takes it."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int


def per_axis(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """Return a size for every axis, given as torch's functional takes it: one for all, or each."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * rank if len(values) == 1 else values


class Prepared(NamedTuple):
    """What is made of a stored weight for the products."""

    weights: Tensor
    """`mixed_weight`."""
    by_input: Tensor
    """`cancellation.weight_sizes`, as the next."""
    by_output: Tensor


def prepared(weight: Tensor, products: Products, groups: int = 1, transposed: bool = False) -> Prepared:
    """Make of a stored weight what the products take."""
    sizes = cancellation.weight_sizes(weight, len(products.outputs), groups, transposed)
    return Prepared(mixed_weight(products, weight), *sizes)


def succeeded(output: Tensor) -> bool:
    """Whether an output is finite: what is mixed with infinity is NaN, so then the matrix decides."""
    return bool(output.detach().sum().isfinite())


def convolution_pays(input: Tensor, weight: Tensor, n: int, stride: tuple[int, ...], groups: int, transposed: bool) -> bool:
    """Whether the products are faster than the real matrix: what `benchmarks/layers.py` and single layers showed.

    Mixing costs the same for every activation, so enough multiplications of the real matrix must stand behind each. Groups
    of few channels, or not of whole vectors, are slow in torch; `channels_last` is fast as it is; and for few images the
    fixed costs are left, which the matrix has in training only.
    """
    steps = math.prod(stride)
    outputs = weight.shape[1] * n if transposed else weight.shape[0] // groups
    macs = outputs * math.prod(weight.shape[2:]) / (1 if transposed else steps)  # of the matrix, for each input
    if macs * input.numel() < (3e7 if torch.is_grad_enabled() else 1e8):
        return False
    inputs = input.shape[1] // groups
    growth = outputs / inputs * (steps if transposed else 1 / steps)
    return (
        min(inputs, outputs) >= 16 * n
        and inputs % (8 * n) == outputs % (8 * n) == 0
        and macs >= 256 * (1 + growth)
        and input.is_contiguous()
        and weight.is_contiguous()
    )


def convolution(
    input: Tensor,
    weight: Tensor,
    kernels: Tensor,
    bias: Tensor | None,
    products: Products,
    geometry: Geometry,
    reference: Reference,
) -> Tensor:
    """Return the convolution of an algebra by its few products.

    Shapes: as `Conv2d` or, `transposed`, `ConvTranspose2d` takes and stores them, with a batch axis; `kernels` is
    `mixed_weight(products, weight)`. A group joins numbers with numbers, and for that no channel has to move.
    """
    output: Tensor = _Convolution.apply(input, weight, kernels, bias, products, geometry, reference)  # type: ignore[no-untyped-call]
    return output


class _Convolution(torch.autograd.Function):
    """Keeps the input and the weights for backward, nothing else; works on a chunk of the batch at a time."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        kernels: Tensor,
        bias: Tensor | None,
        products: Products,
        geometry: Geometry,
        reference: Reference,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, kernels)  # x itself, not a copy of it, for second derivatives
        x = x.contiguous()
        ctx.products, ctx.geometry, ctx.reference = products, geometry, reference
        n, rank = products.outputs.shape
        biases = None if bias is None else (products.bias @ bias.view(n, -1)).flatten()
        output = x.new_empty(0)
        for part in _chunks(x, weight, n, geometry):
            mixed = _mix(products.inputs, x[part])
            layers = torch.convolution(mixed, kernels, biases, *geometry[:-1], rank * geometry.groups)
            if part.start == 0:
                output = x.new_empty(len(x), layers.shape[1] // rank * n, *layers.shape[2:])
            _mix(products.outputs, layers, output[part])
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, kernels = ctx.saved_tensors
        needs_input, needs_weight, _, needs_bias, *_ = ctx.needs_input_grad
        bias_gradient = gradient.sum((0, *range(2, gradient.dim()))) if needs_bias else None
        if by_matrix(ctx.reference, ctx.needs_input_grad, x, gradient):
            gradients = differentiable(ctx.reference.expanded, ctx.needs_input_grad, x, weight, gradient)
            return *gradients, None, bias_gradient, None, None, None
        products, geometry = ctx.products, ctx.geometry
        n, rank = products.outputs.shape
        x = x.contiguous()
        input_gradient = torch.empty_like(x) if needs_input else None
        kernels_gradient = torch.zeros_like(kernels)
        gradient = gradient.contiguous()
        for part in _chunks(x, weight, n, geometry) if needs_input or needs_weight else ():
            of_input, of_kernels, _ = torch.ops.aten.convolution_backward(
                _mix(products.outputs.t(), gradient[part]),
                _mix(products.inputs, x[part]),
                kernels,
                None,
                *geometry[:-1],
                rank * geometry.groups,
                [needs_input, needs_weight, False],
            )
            if input_gradient is not None:
                _mix(products.inputs.t(), of_input, input_gradient[part])
            if needs_weight:
                kernels_gradient += of_kernels
        weight_gradient = unmixed_weight(products, kernels_gradient, weight) if needs_weight else None
        return input_gradient, weight_gradient, None, bias_gradient, None, None, None


def linear(
    input: Tensor, weight: Tensor, matrices: Tensor, bias: Tensor | None, products: Products, reference: Reference
) -> Tensor:
    """Return W·x + b by an algebra's few products.

    Shapes: (rows, n·in), (n·out, in), (r·out, in), (n·out) → (rows, n·out); `matrices` is `mixed_weight(products, weight)`.
    """
    output: Tensor = _Linear.apply(input, weight, matrices, bias, products, reference)  # type: ignore[no-untyped-call]
    return output


def linear_pays(rows: int, in_features: int, out_features: int, products: Products) -> bool:
    """Whether the products are faster than the other ways to the same layer, as measured: see `convolution_pays`.

    Three of four products save no more than the mixing costs.
    """
    macs = rows * in_features * out_features
    halved = 2 * products.rank <= len(products.outputs) ** 2
    enough_each = in_features * out_features >= 180 * (in_features + out_features)
    return halved and rows >= 48 and enough_each and macs >= (3e7 if torch.is_grad_enabled() else 6e7)


class _Linear(torch.autograd.Function):
    """Keeps the input and the weights for backward, nothing else."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        matrices: Tensor,
        bias: Tensor | None,
        products: Products,
        reference: Reference,
    ) -> Tensor:
        matrices = matrices.view(products.rank, -1, weight.shape[1])
        ctx.save_for_backward(x, weight, matrices)
        ctx.products, ctx.reference = products, reference
        layers = torch.bmm(_apart(products.inputs, x), matrices.transpose(1, 2))
        output = _together(products.outputs, layers)
        return output if bias is None else output.add_(bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, matrices = ctx.saved_tensors
        needs_input, needs_weight, _, needs_bias, *_ = ctx.needs_input_grad
        bias_gradient = gradient.sum(0) if needs_bias else None
        if by_matrix(ctx.reference, ctx.needs_input_grad, x, gradient):
            gradients = differentiable(ctx.reference.expanded, ctx.needs_input_grad, x, weight, gradient)
            return *gradients, None, bias_gradient, None, None
        products = ctx.products
        of_layers = _apart(products.outputs.t(), gradient)
        input_gradient = weight_gradient = None
        if needs_input:
            input_gradient = _together(products.inputs.t(), torch.bmm(of_layers, matrices))
        if needs_weight:
            of_matrices = torch.bmm(of_layers.transpose(1, 2), _apart(products.inputs, x))
            weight_gradient = unmixed_weight(products, of_matrices, weight)
        return input_gradient, weight_gradient, None, bias_gradient, None, None


def mixed_weight(products: Products, weight: Tensor) -> Tensor:
    """Return the weights of the r real layers: (n·k, ...) → (r·k, ...). They have no derivative of their own."""
    with torch.no_grad():
        return (products.weights @ weight.reshape(len(products.outputs), -1)).view(-1, *weight.shape[1:])


def unmixed_weight(products: Products, gradient: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient of a weight from that of the r real layers' weights."""
    return (products.weights.t() @ gradient.view(products.rank, -1)).view(weight.shape)


def _mix(matrix: Tensor, x: Tensor, out: Tensor | None = None) -> Tensor:
    """Multiply the components, blocked along the second axis, with a matrix: (N, b·k, *size) → (N, a·k, *size)."""
    a, b = matrix.shape
    if out is None:
        out = x.new_empty(len(x), x.shape[1] // b * a, *x.shape[2:])
    torch.bmm(matrix.expand(len(x), a, b), x.view(len(x), b, -1), out=out.view(len(x), a, -1))
    return out


def _apart(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply the components of every row with a matrix: (rows, b·k) → (a, rows, k)."""
    a, b = matrix.shape
    components = x.reshape(len(x), b, -1).transpose(0, 1)
    return (matrix @ components.reshape(b, -1)).view(a, *components.shape[1:])


def _together(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiply the components with a matrix and put them behind each other in every row: (b, rows, k) → (rows, a·k)."""
    components = (matrix @ x.view(len(x), -1)).view(len(matrix), *x.shape[1:])
    return components.transpose(0, 1).reshape(x.shape[1], -1)


def _chunks(input: Tensor, weight: Tensor, n: int, geometry: Geometry) -> list[slice]:
    """Cut the batch into equal parts of about `CHUNK_BYTES` for each thread, counting the larger of input and output."""
    if geometry.transposed:
        growth = weight.shape[1] * n * geometry.groups / input.shape[1] * math.prod(geometry.stride)
    else:
        growth = weight.shape[0] / input.shape[1] / math.prod(geometry.stride)
    parts = input.numel() * input.element_size() * max(1.0, growth) / (CHUNK_BYTES * torch.get_num_threads())
    size = -(-len(input) // max(1, round(parts)))
    return [slice(start, start + size) for start in range(0, len(input), size)]
