"""Memory format of batches while a network trains: channels first or last, whichever is faster."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from fourfold.data import Splits
from fourfold.native.convolution import available
from fourfold.nn.conv import ConvLayer
from fourfold.nn.native_convolution import native_convolutions
from fourfold.nn.product_algorithms import PRODUCTS
from fourfold.record.train_spec import Precision


@contextlib.contextmanager
def laid_out(network: nn.Module, splits: Splits, precision: Precision | None) -> Iterator[Splits]:
    """Yield the images in the network's memory format, and let its convolutions take the native kernels that know it.

    The layout of weights stays: torch's convolutions rearrange them in any case, and no difference could be measured.
    """
    layout = fastest_format(network, splits.train.device, precision)
    with native_convolutions():
        yield replace(
            splits,
            train=splits.train.laid_out(layout),
            validation=splits.validation.laid_out(layout) if splits.validation else None,
            test=splits.test.laid_out(layout),
        )


def fastest_format(network: nn.Module, device: torch.device, precision: Precision | None) -> torch.memory_format:
    """Return the faster memory format of a network's images: `channels_last` or `contiguous_format`.

    The matrix units of GPUs, which lower precisions use, take the channels of a pixel side by side. On a CPU so do torch's
    convolutions (0.86 to 0.91 of the time of NCHW for whole networks) and our native ones; without a compiler, few products
    in float32 are faster in NCHW.
    """
    if device.type != "cpu":
        return torch.channels_last if precision is not None else torch.contiguous_format
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    has_few_products = any(isinstance(layer, ConvLayer) and layer.algebra in PRODUCTS[torch.float32] for layer in convolutions)
    planar = not convolutions or (precision is None and has_few_products and not available(bf16=False))
    return torch.contiguous_format if planar else torch.channels_last
