"""Layers under inference mode and autocast, empty layers, and drawing afresh."""

import pytest
import torch
from torch import nn

from fourfold import nn as fnn
from fourfold.nn.linear import _signs


def test_training_works_after_inference_mode():
    _signs.cache_clear()
    layer, x = fnn.Linear(64, 8, algebra="octonion"), torch.randn(1, 64)
    with torch.inference_mode():
        layer(x)
    layer(x).sum().backward()
    assert layer.weight.grad is not None


def test_autocast_gives_one_type_whatever_the_number_of_rows():
    layer = fnn.Linear(64, 8, algebra="quaternion")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert {layer(torch.randn(rows, 64)).dtype for rows in (1, 64)} == {torch.bfloat16}


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")  # torch's own layers say so too
def test_layers_without_inputs_or_outputs_are_torchs():
    assert fnn.Linear(0, 3)(torch.zeros(2, 0)).shape == (2, 3)
    assert fnn.Linear(16, 0, algebra="quaternion")(torch.zeros(2, 16)).shape == (2, 0)


def test_a_wrong_width_is_torchs_complaint():
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        fnn.Linear(64, 8, algebra="quaternion")(torch.zeros(1, 32))


def test_batch_norm_takes_torchs_other_options():
    if "bias" not in nn.BatchNorm2d.__init__.__kwdefaults__:
        pytest.skip("this torch has no bias= for batch norm")
    assert fnn.BatchNorm2d(8, algebra="quaternion", bias=False).bias is None


def test_initialize_resets_every_layer_that_can():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.PReLU())
    for parameter in model.parameters():
        nn.init.constant_(parameter, float("nan"))
    fnn.initialize(model)
    assert all(parameter.isfinite().all() for parameter in model.parameters())
