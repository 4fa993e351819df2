"""Quaternion layers of other libraries, from checkouts of their repositories side by side in one folder.

    git clone https://github.com/ispamm/hTorch                                     # docs/libraries.md: at which commit
    git clone https://github.com/Orkis-Research/Pytorch-Quaternion-Neural-Networks
    git clone https://github.com/speechbrain/speechbrain
    git clone https://github.com/eleGAN23/HyperNets
    git clone https://github.com/smlab-niser/qytorch

Each peer makes a layer like one of ours: same sizes, stride, padding and bias. None is imported before it is asked for.
"""

import importlib
import sys
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fourfold import nn as fnn


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A library whose layers can stand in for ours."""

    name: str
    folder: str
    """Of its checkout."""
    linear: Callable[[fnn.Linear], nn.Module]
    conv2d: Callable[[fnn.Conv2d], nn.Module]

    def replace(self, network: nn.Module) -> nn.Module:
        """Replace the quaternion layers of a network of ours by this library's, in place."""
        for module in list(network.modules()):
            for name, child in module.named_children():
                if fnn.algebra_of(child).n == 4 and isinstance(child, fnn.Conv2d):
                    setattr(module, name, self.conv2d(child))
                elif fnn.algebra_of(child).n == 4 and isinstance(child, fnn.Linear):
                    setattr(module, name, self.linear(child))
        return network


def found(checkouts: Path) -> list[Peer]:
    """Return the peers whose checkouts are there and can be imported; say why another is left out."""
    peers = []
    for peer in PEERS:
        try:
            _prepare(checkouts, peer)
            peer.linear(fnn.Linear(8, 8, algebra="quaternion"))
            peers.append(peer)
        except ImportError as error:
            print(f"{peer.name} is left out: {error}")
    return peers


def _prepare(checkouts: Path, peer: Peer) -> None:
    folder = checkouts / peer.folder
    if not folder.is_dir():
        raise ImportError(f"there is no {folder}")
    for path in (folder, folder / "layers", folder / "qytorch"):  # HyperNets is no package, qytorch misses itself
        if str(path) not in sys.path:
            sys.path.append(str(path))
    if peer.name == "SpeechBrain":  # without what its packages import for speech
        for name in ("speechbrain", "speechbrain.nnet", "speechbrain.utils", "speechbrain.nnet.quaternion_networks"):
            package = types.ModuleType(name)
            package.__path__ = [str(folder.joinpath(*name.split(".")))]
            sys.modules.setdefault(name, package)
        sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))  # its layers import it and use none of it


def _module(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in their sources
        return importlib.import_module(name)


class _AsTensor(nn.Module):
    """hTorch's layers return a tensor class of their own, which torch's operations then warn about."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).as_subclass(Tensor)


class _ChannelsLast(nn.Module):
    """For a convolution whose channels come last; its own transpositions undo these, without copies."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _htorch_linear(like: fnn.Linear) -> nn.Module:
    layers = _module("htorch.layers")
    return _AsTensor(layers.QLinear(like.in_features // 4, like.out_features // 4, bias=like.bias is not None))


def _htorch_conv2d(like: fnn.Conv2d) -> nn.Module:
    sizes = (like.in_channels // 4, like.out_channels // 4, like.kernel_size[0], like.stride, like.padding)
    return _AsTensor(_module("htorch.layers").QConv2d(*sizes, bias=like.bias is not None))


def _orkis_linear(like: fnn.Linear) -> nn.Module:
    layers = _module("core_qnn.quaternion_layers")
    return layers.QuaternionLinear(like.in_features, like.out_features, bias=like.bias is not None)


def _orkis_conv2d(like: fnn.Conv2d) -> nn.Module:
    layers = _module("core_qnn.quaternion_layers")
    sizes = (like.in_channels, like.out_channels, like.kernel_size[0], like.stride[0])
    return layers.QuaternionConv(*sizes, padding=like.padding[0], bias=like.bias is not None)


def _speechbrain_linear(like: fnn.Linear) -> nn.Module:
    layers = _module("speechbrain.nnet.quaternion_networks.q_linear")
    return layers.QLinear(like.out_features // 4, like.in_features, bias=like.bias is not None)


def _speechbrain_conv2d(like: fnn.Conv2d) -> nn.Module:
    convolution = _module("speechbrain.nnet.quaternion_networks.q_CNN").QConv2d(
        like.out_channels // 4,
        like.kernel_size,
        input_shape=(None, None, None, like.in_channels),
        stride=like.stride,
        bias=like.bias is not None,
        padding_mode="constant",
        swap=True,
    )
    return _ChannelsLast(convolution)


def _hypernets_linear(like: fnn.Linear) -> nn.Module:
    return _module("ph_layers").PHMLinear(4, like.in_features, like.out_features, cuda=False)


def _hypernets_conv2d(like: fnn.Conv2d) -> nn.Module:
    layers = _module("ph_layers")
    return layers.PHConv2d(
        4, like.in_channels, like.out_channels, like.kernel_size[0], like.padding[0], like.stride[0], cuda=False
    )


def _qytorch_linear(like: fnn.Linear) -> nn.Module:
    return _module("qlinear").QLinear(like.in_features, like.out_features, bias=like.bias is not None)


def _qytorch_conv2d(like: fnn.Conv2d) -> nn.Module:
    sizes = (like.in_channels, like.out_channels, like.kernel_size, like.stride, like.padding)
    return _module("qconv").QConv2d(*sizes, bias=like.bias is not None)


PEERS = (
    Peer(name="hTorch", folder="hTorch", linear=_htorch_linear, conv2d=_htorch_conv2d),
    Peer(name="Orkis", folder="Pytorch-Quaternion-Neural-Networks", linear=_orkis_linear, conv2d=_orkis_conv2d),
    Peer(name="SpeechBrain", folder="speechbrain", linear=_speechbrain_linear, conv2d=_speechbrain_conv2d),
    Peer(name="HyperNets", folder="HyperNets", linear=_hypernets_linear, conv2d=_hypernets_conv2d),
    Peer(name="qytorch", folder="qytorch", linear=_qytorch_linear, conv2d=_qytorch_conv2d),
)
