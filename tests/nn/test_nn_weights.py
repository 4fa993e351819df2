"""Which tensors are weights, in our layers and torch's own, however deep they lie."""

import torch
from torch import nn

from fourfold import nn as fnn
from fourfold.algebra import OCTONION, QUATERNION, REAL


def nested() -> nn.Module:
    block = nn.ModuleDict(
        {"conv": nn.Conv1d(2, 2, 3), "list": nn.ModuleList([fnn.Linear(8, 8, algebra="octonion"), nn.ReLU()])}
    )
    return nn.Sequential(fnn.Conv2d(4, 4, 1, algebra="quaternion"), nn.BatchNorm2d(4), nn.PReLU(), block, nn.LayerNorm(3))


def test_weights_are_kernels_and_matrices_but_neither_biases_nor_normalisation():
    model = nested()
    assert list(fnn.layers_with_weights(model)) == ["0", "3.conv", "3.list.0"]
    assert list(fnn.named_weights(model)) == ["0.weight", "3.conv.weight", "3.list.0.weight"]


def test_weights_have_their_names_in_the_state_dict_and_are_the_parameters_themselves():
    model = nested()
    for name, weight in fnn.named_weights(model).items():
        assert weight is model.get_parameter(name)
        assert torch.equal(model.state_dict()[name], weight)


def test_a_layer_alone_is_a_model_too():
    layer = nn.Conv3d(1, 2, 2)
    assert fnn.layers_with_weights(layer) == {"": layer}
    assert fnn.named_weights(layer) == {"weight": layer.weight}
    assert fnn.named_weights(nn.BatchNorm2d(3)) == {}


def test_a_layer_used_twice_is_counted_once():
    layer = nn.Linear(3, 3)
    assert list(fnn.named_weights(nn.Sequential(layer, nn.ReLU(), layer))) == ["0.weight"]


def test_algebra_of_ours_is_theirs_and_of_torchs_is_real():
    model = nested()
    assert [fnn.algebra_of(layer) for layer in fnn.layers_with_weights(model).values()] == [QUATERNION, REAL, OCTONION]
    assert fnn.algebra_of(nn.ReLU()) is REAL
