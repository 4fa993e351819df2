"""Which tensors are weights, in our layers and torch's own, however deep they lie."""

import pytest
import torch
from torch import nn

from fourfold import nn as fnn
from fourfold.algebra import OCTONION, QUATERNION, REAL, LearnedAlgebra


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


def test_a_weight_that_two_layers_share_is_counted_once():
    one, other = nn.Linear(3, 3), nn.Linear(3, 3)
    other.weight = one.weight
    assert list(fnn.named_weights(nn.Sequential(one, other))) == ["0.weight"]


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (lambda: nn.ConvTranspose2d(2, 2, 3), ["weight"]),
        (lambda: nn.Bilinear(2, 2, 2), ["weight"]),
        (lambda: nn.LSTM(4, 4, proj_size=2), ["weight_ih_l0", "weight_hh_l0", "weight_hr_l0"]),
        (lambda: fnn.LSTM(4, 8, proj_size=4, algebra="quaternion"), ["weight_ih_l0", "weight_hh_l0", "weight_hr_l0"]),
        (lambda: nn.GRUCell(4, 4), ["weight_ih", "weight_hh"]),
        (lambda: nn.MultiheadAttention(4, 1), ["in_proj_weight", "out_proj.weight"]),
        (
            lambda: nn.MultiheadAttention(4, 1, kdim=2),
            ["q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"],
        ),
        (lambda: fnn.MultiheadAttention(8, 1, algebra="quaternion"), ["in_proj_weight", "out_proj.weight"]),
        (lambda: fnn.RotationLinear(4, 4), ["weight", "scale"]),
        (lambda: nn.Embedding(4, 4), []),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "layer",
)
def test_weights_of_layers_with_several(layer, names):
    built = layer()
    weights = fnn.named_weights(built)
    assert list(weights) == names
    assert all(weight is built.get_parameter(name) for name, weight in weights.items())


@pytest.mark.parametrize(
    "model", [nested, lambda: nn.Sequential(nn.GRU(4, 4), fnn.MultiheadAttention(8, 1, algebra="complex"))]
)
def test_the_draw_is_a_function_of_the_generator_and_leaves_torchs_own_alone(model):
    one, other = model(), model()
    state = torch.get_rng_state()
    for network in one, other:
        fnn.initialize(network, generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_learned_algebra_starts_afresh_from_the_generator_before_its_weights():
    model = nn.Sequential(fnn.PHMLinear(32, 64, n=4), fnn.Bilinear(8, 8, 8, algebra="quaternion"))
    fnn.initialize(model, "he", torch.Generator().manual_seed(0), "normal")
    first = [parameter.clone() for parameter in model.parameters()]
    assert model[0].matrix().var().item() == pytest.approx(2 / 32, rel=0.2)
    fnn.initialize(model, "he", torch.Generator().manual_seed(0), "normal")
    assert all(torch.equal(a, b) for a, b in zip(first, model.parameters(), strict=True))


@pytest.mark.parametrize(
    "layer", [fnn.Dropout, fnn.NormHead, fnn.Cardioid, lambda **a: fnn.MaxPool2d(2, **a), lambda **a: fnn.LayerNorm(8, **a)]
)
def test_layers_that_cannot_learn_their_algebra_refuse_one_that_is_learned(layer):
    with pytest.raises(ValueError, match=r"`algebra` \(=LearnedAlgebra\) must be fixed here"):
        layer(algebra=LearnedAlgebra(4))
