"""fourfold's own layers beside linear ones and convolutions are deployed as they compute."""

import pytest
from deploy_samples import assert_lowers
from torch import nn

from fourfold import nn as fnn
from fourfold.deploy.ir.product import ProductOperation

Q = {"algebra": "quaternion"}


class First(nn.Module):
    """Gives the first of what a layer gives."""

    def __init__(self, layer: nn.Module, times: int = 1) -> None:
        super().__init__()
        self.layer, self.times = layer, times

    def forward(self, x):
        return self.layer(*[x] * self.times)[0]


LAYERS = {
    "Conv1d": (lambda: fnn.Conv1d(8, 8, 3, **Q), (8, 9)),
    "ConvTranspose1d": (lambda: fnn.ConvTranspose1d(8, 4, 3, 2, **Q), (8, 5)),
    "ConvTranspose2d": (lambda: fnn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1, **Q), (8, 5, 5)),
    "ConvTranspose2d of groups": (lambda: fnn.ConvTranspose2d(8, 8, 3, 2, 3, groups=2, **Q), (8, 5, 5)),
    "Linear on the last axis": (lambda: fnn.Linear(8, 8, **Q), (5, 8)),
    "LSTM": (lambda: First(fnn.LSTM(4, 8, batch_first=True, **Q)), (5, 4)),
    "GRU": (lambda: First(fnn.GRU(4, 8, num_layers=2, batch_first=True, **Q)), (5, 4)),
    "MultiheadAttention": (lambda: First(fnn.MultiheadAttention(8, 2, batch_first=True, **Q), 3), (5, 8)),
    "TransformerEncoderLayer": (lambda: fnn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **Q), (5, 8)),
    "LayerNorm": (lambda: fnn.LayerNorm(8, **Q), (5, 8)),
    "GroupNorm": (lambda: fnn.GroupNorm(2, 8, **Q), (8, 4, 4)),
    "NormHead": (lambda: fnn.NormHead(**Q), (8,)),
    "RealPartHead": (lambda: fnn.RealPartHead(**Q), (8,)),
    "ModReLU": (lambda: fnn.ModReLU(8, **Q), (8, 4, 4)),
}

PRODUCTS = ("Conv1d", "ConvTranspose1d", "ConvTranspose2d", "Linear on the last axis")
"""That stay products of quaternions."""


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_computed_as_in_torch(name):
    make, shape = LAYERS[name]
    program = assert_lowers(make().eval(), shape)
    if name in PRODUCTS:
        assert [operation.product.n for operation in program.operations if isinstance(operation, ProductOperation)] == [4]
