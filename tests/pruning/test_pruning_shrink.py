"""A shrunken network is smaller and says the same."""

import re

import pytest
import torch
from torch import nn

import fourfold
from fourfold import nn as fnn
from fourfold import pruning
from fourfold.algebra import LearnedAlgebra
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
    masks = pruning.dense(named_weights(model))
    for name in ("0.0.weight", "1.weight"):
        masks[name][0] = False
    small = check(model, masks, (5,))
    assert [small[0][0].out_features, small[1].out_features] == [3, 3]


@pytest.mark.slow
@pytest.mark.parametrize("algebra", ["real", "quaternion"])
@pytest.mark.parametrize(("name", "inner"), [("resnet-18", r"body\.0"), ("resnet-50", r"body\.[02]")])
def test_blocks_of_residual_networks_shrink_inside(name, inner, algebra):
    shape = (4, 8, 8)
    built = fourfold.models.build(name, algebra=algebra, shape=shape, num_classes=10, seed=0, width=0.125)
    model = used(built, shape)
    masks = pruning.choose(model, pruning.Choice(density=0.5, unit="row", scope="layer"))
    for key, mask in masks.items():
        mask |= not re.search(inner, key)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | fnn.BatchNorm2d):
            module.running_mean.zero_()  # else a channel that is pruned leaves a constant, which padding would change
    small = check(model, masks, shape)
    for (where, one), (_, other) in zip(small.named_modules(), model.named_modules(), strict=True):
        assert type(one) is type(other)
        if isinstance(one, nn.Conv2d):
            assert one.out_channels == other.out_channels // (2 if re.search(inner, where) else 1)


class Functional(nn.Module):
    """A forward in functions and methods, as many networks have it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm, self.conv2 = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3)
        self.pool, self.fc1, self.fc2, self.fc3 = nn.MaxPool2d(2), nn.Linear(16, 8), nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.leaky_relu(self.norm(self.conv1(x)), 0.2, inplace=True)
        x = torch.flatten(self.pool(self.conv2(x)), 1)
        x = self.fc1(x).tanh()
        return self.fc3(nn.functional.elu(self.fc2(x), alpha=0.5))


def test_functions_between_layers_are_followed():
    model = used(Functional(), (3, 8, 8))
    masks = pruning.dense(named_weights(model))
    for mask in list(masks.values())[:-1]:
        mask[1] = False
    small = check(model, masks, (3, 8, 8))
    assert [small.conv1.out_channels, small.conv2.out_channels] == [5, 3]
    assert [small.fc1.in_features, small.fc1.out_features, small.fc2.out_features] == [12, 7, 5]


class Twice(nn.Module):
    """What the first layer gives is used twice, or its weight is."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        if kind == "tied":
            self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        if self.kind == "output":
            return self.second(first) + first
        if self.kind == "read":
            return self.second(first) + self.first.weight.sum(1)
        return self.second(self.first(first) if self.kind == "called" else first)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Linear(6, 6), (6,)),
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, groups=2)), (4, 3, 3)),
        (nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 6)), (6,)),
        (nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 6)), (6,)),
        (nn.Sequential(fnn.Conv2d(4, 4, 1), fnn.WhiteningBatchNorm2d(4), fnn.Conv2d(4, 4, 1)), (4, 3, 3)),
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.Flatten(2), nn.Linear(9, 2)), (4, 3, 3)),
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.Linear(4, 4)), (4, 4, 4)),
        (nn.Sequential(nn.Linear(6, 6), nn.MaxPool1d(3, 1, 1), nn.Linear(6, 2)), (3, 6)),
        (nn.Sequential(nn.Linear(6, 6), nn.Flatten(), nn.Linear(18, 2)), (3, 6)),
        (nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(3), nn.Linear(6, 2)), (3, 6)),
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.Flatten(), nn.AvgPool1d(2), nn.Linear(18, 2)), (4, 3, 3)),
        (nn.Sequential(fnn.Linear(8, 8, algebra=LearnedAlgebra(4)), nn.Linear(8, 4)), (8,)),
        (nn.Sequential(*[nn.Linear(6, 6)] * 2), (6,)),
        *((Twice(kind), (6,)) for kind in ("output", "read", "tied", "called")),
    ],
    ids=repr,
)
def test_what_is_not_covered_stays_as_it_is(model, shape):
    model = used(model, shape)
    masks = pruning.dense(named_weights(model))
    for mask in masks.values():
        mask[0] = False
    small = check(model, masks, shape)
    assert [p.shape for p in small.parameters()] == [p.shape for p in model.parameters()]


def flipped(output: torch.Tensor) -> torch.Tensor:
    return output.flip(1)


@pytest.mark.parametrize("where", ["0", "1", "1.0", "1.1", "2", "3"])
@pytest.mark.parametrize("kind", ["hook", "pre-hook", "forward", "global"])
def test_what_hooks_see_and_change_stays_as_it_is(kind, where):
    layers = [nn.Linear(8, 8), nn.Sequential(nn.Tanh(), nn.Linear(8, 8)), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3)]
    model = used(nn.Sequential(*layers), (8,))
    module, handle = model.get_submodule(where), None
    if kind == "hook":
        module.register_forward_hook(lambda m, i, o: flipped(o))
    elif kind == "pre-hook":
        module.register_forward_pre_hook(lambda m, i: flipped(i[0]))
    elif kind == "forward":
        before = module.forward
        module.forward = lambda x: flipped(before(x))
    else:
        handle = nn.modules.module.register_module_forward_hook(lambda m, i, o: o * 2 if type(m) is nn.Linear else o)
    try:
        masks = pruning.dense(named_weights(model))
        for mask in list(masks.values())[:-1]:
            mask[:3] = False
        check(model, masks, (8,))
    finally:
        if handle:
            handle.remove()


@pytest.mark.parametrize("first", ["real", "complex"])
@pytest.mark.parametrize(
    "pool",
    [lambda **o: fnn.MaxPool2d(2, **o), lambda **o: fnn.AdaptiveMaxPool2d(1, **o), lambda **o: fnn.MaxPool2d(3, 2, 1, **o)],
)
def test_poolings_by_norm_lose_whole_numbers_alone(pool, first):
    model = used(
        nn.Sequential(
            fnn.Conv2d(4, 16, 3, algebra=first), pool(algebra="quaternion"), nn.Flatten(), nn.LazyLinear(6), nn.Linear(6, 2)
        ),
        (4, 6, 6),
    )
    masks = pruning.dense(named_weights(model))
    n = model[0].algebra.n
    rows = masks["0.weight"].view(n, 16 // n, -1)
    rows[:, 0] = False  # of one quaternion a part
    rows[:, 1::4] = False  # and another as a whole
    small = check(model, masks, (4, 6, 6))
    assert small[0].out_channels == 12


@pytest.mark.parametrize(
    ("model", "shape", "told"),
    [
        (nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)), (8, 8), True),
        (nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)), (8, 8), False),
        (nn.Sequential(nn.Linear(8, 8), nn.BatchNorm2d(8), nn.Linear(8, 2)), (8, 8, 8), True),
        (nn.Sequential(nn.Conv1d(8, 8, 1), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 2)), (8, 8), False),
        (nn.Sequential(nn.Conv1d(8, 8, 1), nn.AdaptiveAvgPool2d((8, 4)), nn.Flatten(), nn.Linear(32, 2)), (8, 4), True),
    ],
    ids=repr,
)
def test_what_works_on_another_axis_of_the_same_length_stays(model, shape, told):
    model = used(model, shape)
    masks = pruning.dense(named_weights(model))
    masks["0.weight"][:3] = False
    expected = [p.shape for p in model.parameters()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small = pruning.shrink(model, masks, shape=shape if told else None)
    assert [p.shape for p in small.parameters()] == expected
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    check(model, masks, shape)


def test_batch_norm_of_features_is_crossed_where_they_are_known_to_be():
    for model, shape, told in (
        (nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)), (8,), (8,)),
        (nn.Sequential(nn.Flatten(), nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)), (2, 4), None),
    ):
        model = used(model, shape)
        masks = pruning.dense(named_weights(model))
        next(iter(masks.values()))[:3] = False
        small = pruning.shrink(model, masks, shape=told)
        assert small[-1].in_features == 5
        pruning.apply_(model, masks)
        torch.testing.assert_close(small(images(shape)), model(images(shape)))


def test_a_layer_that_a_module_uses_within_stays():
    shared = nn.Linear(8, 8)
    encoder = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    encoder.linear1 = shared
    model = used(nn.Sequential(shared, nn.ReLU(), nn.Linear(8, 8), encoder), (3, 8))
    masks = pruning.dense(named_weights(model))
    masks["0.weight"][:3] = False
    assert check(model, masks, (3, 8))[0].out_features == 8


def test_a_forward_that_keeps_what_it_sees_leaves_no_symbols_behind():
    class Keeping(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.seen = self[0](x)
            return self[1](self.seen)

    model = used(Keeping(nn.Linear(8, 8), nn.Linear(8, 2)), (8,))
    model.seen = None
    masks = pruning.dense(named_weights(model))
    masks["0.weight"][:3] = False
    small = pruning.shrink(model, masks)
    assert small.seen is None
    assert model.seen is None
    assert small[0].out_features == 5


def test_modes_stay_and_what_cannot_be_followed_is_refused():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout().eval(), nn.Linear(2, 2))
    assert [layer.training for layer in pruning.shrink(model, pruning.dense(named_weights(model)))] == [True, False, True]

    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.rand_like(x) if self.training else x

    model = nn.Sequential(nn.Linear(2, 2), Noisy(), nn.Linear(2, 2))
    masks = pruning.dense(named_weights(model))
    masks["0.weight"][0] = False
    assert pruning.shrink(model, masks)[2].in_features == 1

    class Branch(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match=r"^`model` \(=Branch\) has a forward that cannot be followed \(symbolically traced"):
        pruning.shrink(Branch(), {})


TOKENS = torch.randint(0, 7, (2, 9), generator=torch.Generator().manual_seed(0))
SERIES = torch.randn(2, 9, 8, generator=torch.Generator().manual_seed(0))
MAPS = torch.rand(2, 4, 32, 40, generator=torch.Generator().manual_seed(0))


@pytest.mark.filterwarnings("ignore:no weight is left")
@pytest.mark.parametrize(
    ("name", "inputs", "is_smaller"),
    [
        ("gpt", TOKENS, False),
        ("lstm", SERIES, False),
        ("gru", SERIES, False),
        ("lstm-steps", SERIES, False),
        ("transformer-encoder", SERIES, False),
        ("unet-8", MAPS, True),
        ("unet-transposed", MAPS, True),
        ("segnet", MAPS, True),
        ("yolo-tiny", MAPS, True),
    ],
)
def test_networks_of_every_task_shrink_and_say_the_same(name, inputs, is_smaller):
    shape = tuple(inputs.shape[1:])
    model = fourfold.models.build(name, algebra="quaternion", num_classes=7, shape=shape, seed=0, width=0.25).eval()
    masks = pruning.prune(model, density=0.5, unit="row")
    small = pruning.shrink(model, masks, None if name == "gpt" else shape)
    with torch.no_grad():
        torch.testing.assert_close(small(inputs), model(inputs), rtol=1e-5, atol=1e-5)
    assert (parameters(small) < parameters(model)) == is_smaller
