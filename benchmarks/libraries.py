"""Figures of other libraries in docs/libraries.md: initial variance and what their whitening leaves.

    python benchmarks/libraries.py CHECKOUTS [--layers 30]

CHECKOUTS is a folder with the repositories that benchmarks/peers.py names. The variance of a fresh layer's real matrix is that
of its outputs for independent inputs of variance 1, less the bias, over the number of inputs; it is printed as a part of
He's (2 / inputs), Glorot's (2 / (inputs + outputs)) and torch's own (1 / (3 inputs)). The mean is over fresh layers.
"""

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import peers
from fourfold import nn as fnn
from fourfold.train import versions

FEATURES, CHANNELS, KERNEL = 256, 64, 3


def variance(make: Callable[[], nn.Module], x: Tensor, fan_in: int, layers: int) -> float:
    """Return the mean square of the real weights of fresh layers."""
    found = []
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(layers):
            layer = make()
            found.append((layer(x) - layer(torch.zeros_like(x))).square().mean().item() / fan_in)
    return sum(found) / layers


def print_variances(name: str, kind: str, found: float, fan_in: int, fan_out: int) -> None:
    parts = {"He": found * fan_in / 2, "Glorot": found * (fan_in + fan_out) / 2, "torch": found * 3 * fan_in}
    print(f"{name:12} {kind:12} " + "  ".join(f"{scheme} {part:.3f}" for scheme, part in parts.items()))


def deviation(whiten: Callable[[Tensor], Tensor], maps: int = 64) -> float:
    """Return how far the covariance of the output is from the identity at most; (N, 4 maps, H, W) blocked by component."""
    torch.manual_seed(0)
    covariance = torch.full((4, 4), 0.5) + 0.5 * torch.eye(4)
    x = torch.einsum("ab,nbchw->nachw", torch.linalg.cholesky(covariance), torch.randn(64, 4, maps, 16, 16)).flatten(1, 2)
    y = whiten(x).unflatten(1, (4, maps)).permute(2, 1, 0, 3, 4).flatten(2).double()
    y = y - y.mean(2, keepdim=True)
    return (y @ y.transpose(1, 2) / y.shape[2] - torch.eye(4)).abs().max().item()


def htorch_whitening(x: Tensor) -> Tensor:
    from htorch.layers import QBatchNorm2d

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return QBatchNorm2d(x.shape[1] // 4, affine=False)(x).as_subclass(Tensor).detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkouts", type=Path)
    parser.add_argument("--layers", type=int, default=30, help="fresh layers of each kind")
    arguments = parser.parse_args()
    print(versions())
    torch.manual_seed(0)
    linear = fnn.Linear(FEATURES, FEATURES, algebra="quaternion")
    conv2d = fnn.Conv2d(CHANNELS, CHANNELS, KERNEL, algebra="quaternion")
    vectors, images = torch.randn(2000, FEATURES), torch.randn(20, CHANNELS, 12, 12)
    fan = CHANNELS * KERNEL**2
    for peer in peers.found(arguments.checkouts):
        found = variance(lambda peer=peer: peer.linear(linear), vectors, FEATURES, arguments.layers)
        print_variances(peer.name, "linear", found, FEATURES, FEATURES)
        try:
            found = variance(lambda peer=peer: peer.conv2d(conv2d), images, fan, arguments.layers)
            print_variances(peer.name, "convolution", found, fan, fan)
        except Exception as error:
            print(f"{peer.name:12} convolution  {type(error).__name__}: {error}")
        if peer.name == "hTorch":
            print(f"{peer.name:12} whitening    largest deviation from the identity {deviation(htorch_whitening):.2e}")
    ours = fnn.WhiteningBatchNorm2d(4 * 64, affine=False)
    print(f"{'fourfold':12} whitening    largest deviation from the identity {deviation(lambda x: ours(x).detach()):.2e}")


if __name__ == "__main__":
    main()
