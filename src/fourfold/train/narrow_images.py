"""Convolutions of narrow images, which a CPU cannot train in bfloat16: they are computed in float32.

Where images have fewer columns than a convolution's stride, the weight's gradient that torch 2.13 computes in bfloat16 on a CPU
(oneDNN, AVX-512 with bf16) sums memory that was never written: it is wrong in most steps, and NaN in some. The last axis alone
matters, of one to three; a transposed convolution fails where its *output* is narrower than its stride. In float32 all are
right (`pytest tests/train/test_train_narrow_images.py`).
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fourfold.algebra.checking import without_autocast

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@contextlib.contextmanager
def narrow_images_in_float32(network: nn.Module) -> Iterator[None]:
    """Let the strided convolutions of a network, torch's and ours, compute narrow images in float32."""
    layers = [
        layer for layer in network.modules() if isinstance(layer, (*_CONVOLUTIONS, *_TRANSPOSED)) and layer.stride[-1] > 1
    ]
    for layer in layers:
        vars(layer)["forward"] = partial(_forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["forward"]


def is_narrow(layer: Any, input: Tensor) -> bool:
    """Whether what a convolution strides over (of a transposed one, its output) has fewer columns than the stride."""
    stride, columns = layer.stride[-1], input.shape[-1]
    if isinstance(layer, _TRANSPOSED):
        kernel = layer.dilation[-1] * (layer.kernel_size[-1] - 1) + 1
        columns = (columns - 1) * stride - 2 * layer.padding[-1] + kernel + layer.output_padding[-1]
    return bool(columns < stride)


def _forward(layer: Any, input: Tensor, *arguments: Any, **named: Any) -> Tensor:
    forward = type(layer).forward
    if not is_narrow(layer, input):
        return forward(layer, input, *arguments, **named)  # type: ignore[no-any-return]
    with without_autocast(input.device.type):
        output: Tensor = forward(layer, input.float(), *arguments, **named)
    return output.to(torch.bfloat16)
