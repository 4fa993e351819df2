"""Convolutions of an algebra by its few products in native code, channels last: forward and both gradients.

Torch's grouped convolutions are slow for few channels a group and in channels last; these compute the same at the speed of
the dense convolution, with half of its arithmetic for quaternions (`native/convolution.c`).
"""

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from fourfold.algebra import COMPLEX, QUATERNION, Algebra
from fourfold.native import convolution as native
from fourfold.nn import cancellation
from fourfold.nn.eager import is_plain_eager
from fourfold.nn.few_products import per_axis, unmixed_weight
from fourfold.nn.matrix_gradients import Expanded, Reference, by_matrix, differentiable
from fourfold.nn.product_algorithms import PRODUCTS, Products

_ENABLED: ContextVar[bool] = ContextVar("native convolutions", default=False)

MINIMUM_CHANNELS = 16
"""Channels of a component below which the kernels' vectors would be half empty."""

MINIMUM_MACS = {(QUATERNION, False): 3e7, (QUATERNION, True): 1e8, (COMPLEX, False): 2e8}
"""Multiply-accumulates of the real matrix from which on the kernels are faster than it, by algebra and whether in bfloat16."""


SAMPLED = 2
"""Images of a batch by which it is decided whether few products are accurate: all of them would take a tenth of a step."""


@contextlib.contextmanager
def native_convolutions() -> Iterator[None]:
    """Let convolutions take the native kernels where they are faster than torch's: in training, on one thread."""
    token = _ENABLED.set(True)
    try:
        yield
    finally:
        _ENABLED.reset(token)


def by_native_kernels(layer: nn.Conv2d, algebra: Algebra, input: Tensor, expanded: Expanded) -> Tensor | None:
    """Return the convolution of a layer; None where the kernels do not know it, or are slower than the real matrix.

    They know images in channels last and layers whose stride is 1, in float32 and, under autocast, in bfloat16. (The input's
    gradient of a strided layer would be that of a layer whose stride is 1, with four times the work.)
    """
    if torch.compiler.is_compiling() or not _ENABLED.get() or torch.get_num_threads() != 1:
        return None
    bf16 = torch.is_autocast_enabled("cpu")
    if (algebra, bf16) not in MINIMUM_MACS or (bf16 and torch.get_autocast_dtype("cpu") != torch.bfloat16):
        return None
    weight, bias = layer.weight, layer.bias
    known = weight.dtype == torch.float32 and (bias is None or bias.dtype == torch.float32)
    known = known and input.dtype in (torch.float32, torch.bfloat16)[: 1 + bf16]
    if not known or not is_plain_eager(input, weight, bias):
        return None
    padding = _known_padding(layer)
    if padding is None or not _pays(layer, algebra, input) or not native.available(bf16):
        return None
    by_input, by_output = cancellation.weight_sizes(weight, algebra.n, 1, transposed=False)
    if not cancellation.of_output_is_kept(input[:SAMPLED], by_input, algebra):
        return None
    products, reference = PRODUCTS[torch.float32][algebra], Reference(expanded, algebra, by_output)
    return convolution(input.bfloat16() if bf16 else input, weight, bias, products, padding, reference)


def _known_padding(layer: nn.Conv2d) -> tuple[int, int] | None:
    """Return the zeros on each side of rows and columns; None for layers that the kernels do not know."""
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros" or layer.groups != 1:
        return None
    if {*per_axis(layer.stride, 2), *per_axis(layer.dilation, 2)} != {1}:
        return None
    rows, columns = per_axis(layer.padding, 2)
    height, width = layer.weight.shape[2:]
    return (rows, columns) if rows < height and columns < width else None


def _pays(layer: nn.Conv2d, algebra: Algebra, input: Tensor) -> bool:
    out_channels, inputs = layer.weight.shape[:2]
    outputs = out_channels // algebra.n
    if input.dim() != 4 or input.shape[1] != inputs * algebra.n or not input.is_contiguous(memory_format=torch.channels_last):
        return False
    if inputs % 2 or outputs % MINIMUM_CHANNELS:
        return False
    if min(inputs, outputs) < MINIMUM_CHANNELS or max(inputs, outputs) > native.MOST_CHANNELS:
        return False
    macs = input.numel() * out_channels * math.prod(layer.weight.shape[2:])
    return macs >= MINIMUM_MACS[algebra, torch.is_autocast_enabled("cpu")]


def convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    products: Products,
    padding: tuple[int, int],
    reference: Reference | None = None,
) -> Tensor:
    """Return the convolution of an algebra by its few products.

    Shapes: as `few_products.convolution`, the input in channels last, float32 or bfloat16; weight and bias are float32.
    Without a reference there are only first derivatives, one at a time, however accurate.
    """
    output: Tensor = _NativeConvolution.apply(input, weight, bias, products, padding, reference)  # type: ignore[no-untyped-call]
    return output


class _NativeConvolution(torch.autograd.Function):
    """Keeps the input and the stored weight for backward, nothing else."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        products: Products,
        padding: tuple[int, int],
        reference: Reference | None,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.products, ctx.padding, ctx.reference = products, padding, reference
        kernel = weight.shape[2:]
        size = [side + 2 * pad - k + 1 for side, pad, k in zip(x.shape[2:], padding, kernel, strict=True)]
        layout = (*x.shape[2:], *size, *kernel, *padding)
        mixed = _mixed(products, weight)
        bias = None if bias is None else bias.float()
        return _convolved(x, mixed, bias, layout, products)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_input, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        bias_gradient = gradient.sum((0, 2, 3)).float() if needs_bias else None
        sample = x[:SAMPLED], gradient[:SAMPLED]
        if ctx.reference is not None and by_matrix(ctx.reference, ctx.needs_input_grad, *sample):
            gradients = differentiable(ctx.reference.expanded, ctx.needs_input_grad, x, weight, gradient)
            return *gradients, bias_gradient, None, None, None
        products, padding = ctx.products, ctx.padding
        kernel = weight.shape[2:]
        gradient = gradient.to(x.dtype).contiguous(memory_format=torch.channels_last)
        input_gradient = weight_gradient = None
        if needs_input:
            before = [k - 1 - pad for k, pad in zip(kernel, padding, strict=True)]
            layout = (*gradient.shape[2:], *x.shape[2:], *kernel, *before)
            flipped = _mixed(products, weight).transpose(1, 2).flip(3, 4)
            input_gradient = _convolved(gradient, flipped, None, layout, products, backward=True)
        if needs_weight:
            layout = (*x.shape[2:], *gradient.shape[2:], *kernel, *padding)
            weight_gradient = unmixed_weight(products, _of_mixed(x, gradient, layout, products), weight)
        return input_gradient, weight_gradient, bias_gradient, None, None, None


def _mixed(products: Products, weight: Tensor) -> Tensor:
    """Return the weights of the real layers: (n·out, in, *kernel) → (r, out, in, *kernel)."""
    n = len(products.outputs)
    return (products.weights @ weight.reshape(n, -1)).view(products.rank, weight.shape[0] // n, *weight.shape[1:])


def _convolved(
    x: Tensor, mixed: Tensor, bias: Tensor | None, layout: tuple[int, ...], products: Products, *, backward: bool = False
) -> Tensor:
    """Return a convolution by its products' weights (r, out, in, *kernel): forward, or (`backward`) the input's gradient."""
    bf16, n, (rank, outputs, inputs, *_) = x.dtype == torch.bfloat16, len(products.outputs), mixed.shape
    plan = _plan((len(x), *layout, n, rank, inputs, outputs), products, backward, bf16, False)
    output = torch.empty((len(x), n * outputs, *layout[2:4]), dtype=x.dtype, memory_format=torch.channels_last)
    packed, workspace = _packed(mixed, bf16), torch.empty(plan.bytes, dtype=torch.uint8)
    native.kernels(bf16).convolve_all(
        plan.convolution,
        x.data_ptr(),
        packed.data_ptr(),
        None if bias is None else bias.data_ptr(),
        output.data_ptr(),
        plan.height,
        plan.slots,
        workspace.data_ptr(),
    )
    return output


def _of_mixed(x: Tensor, gradient: Tensor, layout: tuple[int, ...], products: Products) -> Tensor:
    """Return the gradient of the real layers' weights, float32 (r·out, in, *kernel)."""
    bf16, n, kernel = x.dtype == torch.bfloat16, len(products.outputs), layout[4:6]
    kernels, inputs, outputs = native.kernels(bf16), x.shape[1] // n, gradient.shape[1] // n
    plan = _plan((len(x), *layout, n, products.rank, inputs, outputs), products, False, bf16, True)
    lanes = kernels.lanes()
    sums = torch.zeros(products.rank, -(-outputs // lanes), inputs, *kernel, lanes)
    workspace = torch.empty(plan.bytes, dtype=torch.uint8)
    kernels.weight_gradient(
        plan.convolution, x.data_ptr(), gradient.data_ptr(), sums.data_ptr(), plan.height, plan.slots, workspace.data_ptr()
    )
    return sums.movedim(-1, 2).flatten(1, 2)[:, :outputs].reshape(-1, inputs, *kernel)


def _packed(mixed: Tensor, bf16: bool) -> Tensor:
    """Return weights as the kernels read them: [product][block of outputs][tap][input word][output], of words."""
    lanes, per_word = native.kernels(bf16).lanes(), 2 if bf16 else 1
    products, outputs, inputs, *_ = mixed.shape
    padded = torch.nn.functional.pad(mixed.flatten(3), (0, 0, 0, -inputs % per_word, 0, -outputs % lanes))
    blocks = padded.view(products, -1, lanes, padded.shape[2] // per_word, per_word, padded.shape[3])
    return blocks.permute(0, 1, 5, 3, 2, 4).to(torch.bfloat16 if bf16 else torch.float32).contiguous()


class _Plan:
    """A convolution and how it is divided; keeps its matrices alive."""

    def __init__(self, values: tuple[int, ...], products: Products, backward: bool, bf16: bool, gradient: bool) -> None:
        matrices = (products.outputs.t(), products.inputs.t()) if backward else (products.inputs, products.outputs)
        self._matrices = [matrix.contiguous() for matrix in matrices]
        self.convolution = native.described(values, *(matrix.data_ptr() for matrix in self._matrices))
        self.height, self.slots, self.bytes = native.divided(self.convolution, bf16, gradient)


_plan = lru_cache(maxsize=256)(_Plan)
