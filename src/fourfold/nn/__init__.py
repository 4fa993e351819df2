"""Layers with torch.nn's own signatures plus `algebra=`; sizes are counted in real neurons.

Activations are split, that is, applied to every component alone (Arena et al. 1994), so torch's own serve.
"""

from torch.nn import ELU, GELU, Hardtanh, LeakyReLU, PReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh

from fourfold.nn.base import check_divisible
from fourfold.nn.conv import Conv1d, Conv2d, Conv3d
from fourfold.nn.init import SCHEMES
from fourfold.nn.linear import Linear
from fourfold.nn.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from fourfold.nn.weights import algebra_of, initialize, layers_with_weights, named_weights

__all__ = [
    "ELU",
    "GELU",
    "SCHEMES",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "Hardtanh",
    "LeakyReLU",
    "Linear",
    "PReLU",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Tanh",
    "algebra_of",
    "check_divisible",
    "initialize",
    "layers_with_weights",
    "named_weights",
]
