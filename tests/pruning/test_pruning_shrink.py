"""A shrunken network is smaller and says the same."""

import pytest
import torch
from torch import nn

import fourfold
from fourfold import nn as fnn
from fourfold import pruning
from fourfold.nn import named_weights


def used(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """The model in double precision, with running statistics that are not those of a new one."""
    model.double().train()
    generator = torch.Generator().manual_seed(1)
    model(torch.randn(8, *shape, generator=generator, dtype=torch.float64) * 2 + 1)
    return model.eval()


def images(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(5, *shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def check(model, masks, shape):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = pruning.shrink(model, masks)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    pruning.apply_(named_weights(model), masks)
    with torch.no_grad():
        torch.testing.assert_close(small(images(shape)), model(images(shape)), rtol=1e-9, atol=1e-9)
    return small


@pytest.mark.parametrize("algebra", ["real", "complex", "quaternion"])
@pytest.mark.parametrize("name", ["lenet-300-100", "conv2"])
def test_networks_pruned_by_rows_shrink_and_say_the_same(name, algebra):
    shape = fourfold.models.input_shape(name, algebra)
    model = used(fourfold.models.build(name, algebra=algebra, seed=0), shape)
    weights = named_weights(model)
    masks = pruning.choose(model, pruning.Choice(density=0.3, unit="row", scope="layer"))
    masks[list(masks)[-1]] = torch.ones_like(weights[list(masks)[-1]], dtype=torch.bool)  # the classes stay
    small = check(model, masks, shape)
    assert parameters(small) < 0.35 * parameters(model)
    assert [type(layer) for layer in small] == [type(layer) for layer in model]
    small.train()(images(shape)).sum().backward()  # it can be trained on
    assert all(p.grad is not None for p in small.parameters())


@pytest.mark.parametrize(("first", "second"), [("real", "quaternion"), ("quaternion", "real"), ("complex", "quaternion")])
def test_whole_numbers_of_both_layers_go(first, second):
    model = used(nn.Sequential(fnn.Linear(8, 16, algebra=first), nn.Tanh(), fnn.Linear(16, 8, algebra=second)), (8,))
    masks = pruning.dense(named_weights(model))
    rows = fnn.Linear(8, 16, algebra=first).weight.shape[0]
    for row in [c * 4 + 1 for c in range(4)] + [0]:  # the second of four quaternions, and a part of the first
        masks["0.weight"][row % rows] = False
    gone = {"real": 4, "complex": 4, "quaternion": 4}[first]
    small = check(model, masks, (8,))
    assert (small[0].out_features, small[2].in_features) == (16 - gone, 16 - gone)


def test_batch_norm_activations_and_pools_carry_constants_on():
    model = nn.Sequential(
        fnn.Conv2d(4, 8, 3, padding=1, algebra="quaternion"),
        fnn.BatchNorm2d(8, algebra="quaternion"),
        nn.Sigmoid(),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 6, 2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(6, 3),
    )
    model = used(model, (4, 8, 8))
    masks = pruning.dense(named_weights(model))
    masks["0.weight"][[0, 2, 4, 6]] = False
    masks["5.weight"][2:] = False
    small = check(model, masks, (4, 8, 8))
    assert [small[0].out_channels, small[1].num_features, small[5].in_channels] == [4, 4, 4]
    assert [small[5].out_channels, small[8].in_features] == [2, 2]


def test_a_constant_that_padding_would_change_stays():
    def pruned(bias: float):
        model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3, padding=1)).double().eval()
        masks = pruning.dense(named_weights(model))
        masks["0.weight"][1] = False
        model[0].bias.data[1] = bias
        return check(model, masks, (2, 6, 6))[0].out_channels

    assert pruned(bias=0.7) == 4
    assert pruned(bias=-0.7) == 3  # ReLU makes it zero, as the padding is


def test_what_nobody_reads_goes_and_frees_what_it_read():
    model = used(nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), (5,))
    masks = pruning.dense(named_weights(model))
    masks["4.weight"][:, 2] = False
    masks["2.weight"][[0, 1, 3], 5] = False  # input 5 is read by row 2 alone
    small = check(model, masks, (5,))
    assert [layer.out_features for layer in small if isinstance(layer, nn.Linear)] == [5, 3, 3]


def test_a_constant_input_makes_what_reads_only_it_constant():
    model = used(nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)), (5,))
    masks = pruning.dense(named_weights(model))
    masks["0.weight"][0] = False
    masks["2.weight"][1] = False
    masks["2.weight"][1, 0] = True
    small = check(model, masks, (5,))
    assert [layer.out_features for layer in small if isinstance(layer, nn.Linear)] == [5, 3, 3]


def test_every_layer_keeps_a_number_and_the_rest_is_folded():
    model = used(nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3, bias=False)), (5,))
    masks = pruning.dense(named_weights(model))
    masks["0.weight"][:] = False
    small = check(model, masks, (5,))
    assert small[0].out_features == 1
    assert small[2].bias is not None


def test_an_activation_in_two_places_and_nested_chains():
    relu = nn.ReLU(inplace=True)
    model = used(nn.Sequential(nn.Sequential(nn.Linear(5, 4), relu), nn.Linear(4, 4), relu, nn.Linear(4, 2)), (5,))
    masks = pruning.choose(model, pruning.Choice(density=0.5, unit="row", scope="layer"))
    small = check(model, masks, (5,))
    assert list(small._modules) == ["0_0", "0_1", "1", "2", "3"]


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (nn.Linear(2, 2), r"`model` \(=Linear\) must be a torch.nn.Sequential"),
        (nn.Sequential(nn.Conv2d(4, 4, 1, groups=2)), r"`model` has '0' \(Conv2d\), which `shrink` does not cover"),
        (nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), r"`model` has '1' \(LayerNorm\)"),
        (nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False)), r"`model` has '0' \(BatchNorm1d\)"),
        (nn.Sequential(nn.Flatten(2)), r"`model` has '0' \(Flatten\)"),
        (nn.Sequential(*[nn.Linear(2, 2)] * 2), "`model` must not have one layer or weight in two places"),
    ],
)
def test_what_is_not_covered_is_refused(model, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        pruning.shrink(model, pruning.dense(named_weights(model)))
