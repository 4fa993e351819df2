"""Which weights stay: exact counts, whatever the ties, against stable sorts in numpy."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fourfold import nn as fnn
from fourfold.pruning import apply_, dense, keep_largest, kept, magnitude, num_kept, prune

fixed = settings(derandomize=True, deadline=None, max_examples=60)
seeds = st.integers(0, 10**6)
shapes = st.lists(st.sampled_from([(3,), (4, 5), (2, 3, 3, 1), (1, 1), (7, 2, 3)]), min_size=1, max_size=4)


def tied(seed: int, shapes: list[tuple[int, ...]], values: int = 3) -> dict[str, torch.Tensor]:
    """Weights that take few values, zero included, so that almost all are tied with others."""
    random = np.random.RandomState(seed)
    return {f"layer{i}": torch.from_numpy(random.randint(-values, values + 1, shape) / 4) for i, shape in enumerate(shapes)}


def by_stable_sort(scores: np.ndarray, count: int) -> np.ndarray:
    mask = np.zeros(scores.size, dtype=bool)
    mask[np.argsort(-scores, kind="stable")[:count]] = True
    return mask


@fixed
@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=40), st.data())
def test_the_largest_are_kept_and_of_equals_the_first(scores, draws):
    count = draws.draw(st.integers(0, len(scores)))
    mask = keep_largest(torch.tensor(scores), count)
    assert mask.dtype == torch.bool
    assert int(mask.sum()) == count
    assert np.array_equal(mask.numpy(), by_stable_sort(np.array(scores), count))


@fixed
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40))
def test_whoever_is_kept_stays_when_more_are_kept(scores):
    masks = [keep_largest(torch.tensor(scores, dtype=torch.float32), count) for count in range(len(scores) + 1)]
    assert all(bool((fewer <= more).all()) for fewer, more in itertools.pairwise(masks))


@pytest.mark.parametrize("count", [-1, 4])
def test_a_count_beyond_the_scores_is_refused(count):
    with pytest.raises(ValueError, match=rf"`count` \(={count}\) must lie in \[0, 3\], the number of scores"):
        keep_largest(torch.zeros(3), count)


@fixed
@given(shapes, st.floats(0, 1), st.sampled_from(["global", "layer"]), seeds)
def test_magnitude_is_a_stable_sort_over_the_network_or_each_layer(shapes, density, scope, seed):
    weights = tied(seed, shapes)
    found = magnitude(weights, dense(weights), density, scope)
    flat = {name: weight.abs().numpy().ravel() for name, weight in weights.items()}
    if scope == "global":
        everything = np.concatenate(list(flat.values()))
        whole = by_stable_sort(everything, round(density * everything.size))
        parts = np.split(whole, np.cumsum([scores.size for scores in flat.values()])[:-1])
        expected = dict(zip(flat, parts, strict=True))
    else:
        expected = {name: by_stable_sort(scores, round(density * scores.size)) for name, scores in flat.items()}
    assert list(found) == list(weights)
    for name, mask in found.items():
        assert mask.shape == weights[name].shape
        assert np.array_equal(mask.numpy().ravel(), expected[name])


@fixed
@given(shapes, st.lists(st.floats(0, 1), min_size=1, max_size=5), st.sampled_from(["global", "layer"]), seeds)
def test_masks_only_shrink_and_have_the_exact_count_at_every_level(shapes, densities, scope, seed):
    masks = dense(tied(seed, shapes))
    for level, density in enumerate(sorted(densities, reverse=True)):
        weights = tied(seed + level, shapes)  # as if trained: pruned places may have grown again
        previous, masks = masks, magnitude(weights, masks, density, scope)
        assert all(bool((masks[name] <= previous[name]).all()) for name in masks)
        groups = [list(weights)] if scope == "global" else [[name] for name in weights]
        for names in groups:
            total = sum(weights[name].numel() for name in names)
            assert sum(kept(masks)[name] for name in names) == round(density * total)


@pytest.mark.parametrize("values", [1, 1000])
def test_fifteen_levels_of_a_fifth_leave_35_of_1000(values):
    weights = tied(0, [(10, 60), (400,)], values)
    masks, counts = dense(weights), []
    for level in range(16):
        masks = magnitude(weights, masks, 0.8**level)
        counts.append(sum(kept(masks).values()))
    assert counts == [1000, 800, 640, 512, 410, 328, 262, 210, 168, 134, 107, 86, 69, 55, 44, 35]


@fixed
@given(st.floats(0, 1), st.integers(0, 10**8))
def test_the_number_kept_is_the_nearest_whole_number(density, total):
    assert abs(num_kept(density, total) - density * total) <= 0.5


@pytest.mark.parametrize("density", [-0.1, 1.5, float("nan")])
def test_a_density_outside_of_0_and_1_is_refused(density):
    with pytest.raises(ValueError, match=r"`density` \(=.*\) must lie in \[0, 1\]"):
        num_kept(density, 10)
    with pytest.raises(ValueError, match=r"`density` \(=.*\) must lie in \[0, 1\]"):
        prune(nn.Linear(2, 2), density=density)


def test_what_was_pruned_cannot_come_back():
    weights = {"a": torch.ones(10)}
    masks = magnitude(weights, dense(weights), 0.5)
    with pytest.raises(ValueError, match=r"`density` \(=0.8\) asks for 8 of 10 weights, but only 5 are kept now"):
        magnitude(weights, masks, 0.8)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_weight_that_is_not_finite_is_refused_by_name(value, scope):
    weights = {"a": torch.ones(3), "b": torch.tensor([1.0, value])}
    with pytest.raises(ValueError, match="weight 'b' is not finite, so it has no rank"):
        magnitude(weights, dense(weights), 0.5, scope)


def test_an_unknown_scope_lists_the_known_ones():
    weights = {"a": torch.ones(3)}
    with pytest.raises(ValueError, match=r"unknown scope 'local'; did you mean global\? known: component, erk, global, layer"):
        magnitude(weights, dense(weights), 0.5, "local")


def test_a_kept_zero_is_above_a_pruned_large_weight():
    weights = {"a": torch.tensor([9.0, 0.0, 0.0])}
    masks = {"a": torch.tensor([False, True, True])}
    assert magnitude(weights, masks, 1 / 3)["a"].tolist() == [False, True, False]


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)]
    return nn.Sequential(*layers, fnn.Linear(10, 4, algebra="complex"))


def test_prune_sets_all_but_the_largest_weights_of_any_torch_model_to_zero():
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    masks = prune(model, density=0.1)
    weights = fnn.named_weights(model)
    total = sum(weight.numel() for weight in weights.values())
    assert list(masks) == list(weights) == ["0.weight", "4.weight", "5.weight"]
    assert sum(int(weight.count_nonzero()) for weight in weights.values()) == round(0.1 * total)
    for name, value in model.state_dict().items():
        assert torch.equal(value, torch.where(masks[name], before[name], 0) if name in masks else before[name])
    smallest_kept = min(before[name][mask].abs().min() for name, mask in masks.items() if mask.any())
    largest_pruned = max(before[name][~mask].abs().max() for name, mask in masks.items())
    assert smallest_kept >= largest_pruned


def test_prune_goes_on_from_masks_and_layer_by_layer():
    model = network()
    first = prune(model, density=0.5, scope="layer")
    second = prune(model, density=0.25, scope="layer", masks=first)
    for name, weight in fnn.named_weights(model).items():
        assert int(first[name].sum()) == round(0.5 * weight.numel())
        assert int(second[name].sum()) == round(0.25 * weight.numel()) == int(weight.count_nonzero())
        assert bool((second[name] <= first[name]).all())


def test_prune_keeps_none_of_what_the_given_masks_leave_out_however_large():
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[9.0, 3.0, 2.0, 1.0]])
    given = {"weight": torch.tensor([[False, True, True, True]])}
    assert prune(layer, density=0.5, masks=given)["weight"].tolist() == [[False, True, True, False]]
    assert layer.weight.tolist() == [[0, 3, 2, 0]]


def test_pruned_weights_can_be_held_at_zero_while_training_on():
    model = network()
    masks = prune(model, density=0.2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        model(torch.randn(4, 3, 8, 8)).square().sum().backward()
        optimizer.step()
        assert any(bool(weight[~masks[name]].any()) for name, weight in fnn.named_weights(model).items())
        apply_(fnn.named_weights(model), masks)
        assert not any(bool(weight[~masks[name]].any()) for name, weight in fnn.named_weights(model).items())


def test_a_model_without_weights_cannot_be_pruned():
    with pytest.raises(ValueError, match="no linear or convolution layer"):
        prune(torch.nn.ReLU(), density=0.5)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors:UserWarning")
@pytest.mark.parametrize("unit", ["weight", "element", "row"])
@pytest.mark.parametrize("sizes", [(0, 8), (8, 0)])
def test_layers_without_inputs_or_outputs_are_pruned_with_the_others(unit: str, sizes: tuple[int, int]) -> None:
    model = nn.Sequential(nn.Linear(*sizes), nn.Linear(8, 8), nn.Linear(8, 4))
    masks = prune(model, density=0.5, unit=unit)
    assert masks["0.weight"].numel() == 0
    assert masks["1.weight"].any()
