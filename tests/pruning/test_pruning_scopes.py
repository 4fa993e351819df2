"""Which units are compared and how many stay: scopes, N:M, MACs, latency, and every mistake in one sentence."""

import itertools
import math
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom
from torch import nn

import fourfold
from fourfold import models, pruning
from fourfold import nn as fnn
from fourfold.nn import named_weights
from fourfold.pruning import Choice, Units, choose, kept, prune, units_of

fixed = settings(derandomize=True, deadline=None, max_examples=60)


def network(algebra: str = "quaternion") -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        fnn.Conv2d(4, 8, 3, algebra=algebra), nn.ReLU(), nn.Flatten(), fnn.Linear(32, 16, algebra=algebra), fnn.Linear(16, 4)
    )


@fixed
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 30)), min_size=1, max_size=6), st.floats(0, 1))
def test_apportioned_parts_add_up_and_follow_their_shares(parts, part):
    shares, capacities = zip(*parts, strict=True)
    total = round(part * sum(capacities))
    counts = pruning.apportion(total, shares, capacities)
    assert sum(counts) == total
    assert all(0 <= count <= capacity for count, capacity in zip(counts, capacities, strict=True))
    # None that is not full lies more than one rounding below another with the same share or less.
    for (i, a), (j, b) in itertools.permutations(enumerate(counts), 2):
        if a < capacities[i] and shares[j] and Fraction(a + 1, 1) * shares[j] < Fraction(max(b - 1, 0), 1) * shares[i]:
            raise AssertionError((i, j, counts, shares, capacities))


@pytest.mark.parametrize(
    ("total", "shares", "capacities", "counts"),
    [
        (10, (9, 1), (8, 5), [8, 2]),  # what the first cannot take is the second's
        (1, (1, 1), (1, 1), [1, 0]),  # of equal remainders the first is rounded up
        (3, (2, 2, 2, 0), (1, 1, 5, 5), [1, 1, 1, 0]),
    ],
)
def test_parts_are_those_by_hand(total, shares, capacities, counts):
    assert pruning.apportion(total, shares, capacities) == counts


def rigl_densities(shapes: list[tuple[int, ...]], density: float) -> list[float]:
    """Erdős–Rényi kernels as the authors compute them: layers that would be more than dense are dense, and again."""
    raw = [sum(shape) / math.prod(shape) for shape in shapes]
    sizes = [math.prod(shape) for shape in shapes]
    full: set[int] = set()
    while True:
        left = density * sum(sizes) - sum(sizes[i] for i in full)
        epsilon = left / sum(raw[i] * sizes[i] for i in range(len(shapes)) if i not in full)
        over = {i for i in range(len(shapes)) if i not in full and epsilon * raw[i] > 1}
        if not over:
            return [1.0 if i in full else epsilon * raw[i] for i in range(len(shapes))]
        full |= over


@pytest.mark.parametrize("density", [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.01])
def test_erk_is_that_of_the_paper_with_the_exact_total(density):
    model = fourfold.models.build("resnet-20", seed=0)
    masks = prune(model, density=density, scope="erk")
    shapes = [tuple(w.shape) for w in named_weights(model).values()]
    counts = list(kept(masks).values())
    assert sum(counts) == round(density * sum(map(math.prod, shapes)))
    for shape, count, expected in zip(shapes, counts, rigl_densities(shapes, density), strict=True):
        assert count == pytest.approx(expected * math.prod(shape), abs=1.5)
        assert (count == math.prod(shape)) == (expected == 1)


def test_erk_gives_a_quaternion_layer_the_density_of_its_real_twin():
    shapes = {"a": (8, 12, 3, 3), "b": (20, 16)}
    quaternion = {"a": (8, 3, 3, 3), "b": (20, 4)}
    real = pruning.erdos_renyi_shares(shapes, {})
    other = pruning.erdos_renyi_shares(quaternion, {"a": 4, "b": 4})
    densities = [
        {name: Fraction(share[name], math.prod(shape[name])) for name in shape}
        for share, shape in ((real, shapes), (other, quaternion))
    ]
    assert densities[0]["a"] / densities[0]["b"] == densities[1]["a"] / densities[1]["b"]
    mixed = pruning.erdos_renyi_shares({"a": (8, 3, 3, 3), "b": (20, 16)}, {"a": 4})
    assert Fraction(mixed["a"], mixed["b"]) == Fraction(8 + 12 + 6, 4 * 36)


@pytest.mark.parametrize("density", [0.7, 0.3, 0.05])
def test_component_scope_prunes_every_component_of_every_layer_alike(density):
    model = network()
    masks = prune(model, density=density, scope="component")
    for name, n in (("0.weight", 4), ("3.weight", 4), ("4.weight", 1)):
        per_component = masks[name].reshape(n, -1).sum(1).tolist()
        assert per_component == [round(density * masks[name].numel() / n)] * n
        for weights, mask in zip(named_weights(model)[name].reshape(n, -1), masks[name].reshape(n, -1), strict=True):
            assert torch.equal(weights != 0, mask)


@fixed
@given(st.sampled_from(["element", "row"]), st.sampled_from(["global", "layer", "erk"]), st.floats(0, 1), st.integers(0, 99))
def test_units_stay_or_go_as_a_whole_and_nearest_to_the_count(unit, scope, density, seed):
    model = network()
    units = units_of(model, unit)
    scores = pruning.random_scores(named_weights(model), units, torch.Generator().manual_seed(seed))
    dense = pruning.dense(named_weights(model))
    masks = pruning.select(scores, dense, density, units, scope)
    for name, mask in masks.items():
        parts = units.split(name, mask)
        assert torch.equal(parts.all(1), parts.any(1))
        kept_scores, gone = scores[name][parts.any(1)], scores[name][~parts.any(1)]
        assert scope == "global" or not len(kept_scores) or not len(gone) or kept_scores.min() >= gone.max()
    pruned = [name for name in dense if name not in units.untouched]
    if scope == "global":
        sizes = torch.cat([units.split(name, dense[name]).sum(1) for name in pruned])
        order = torch.cat([scores[name] for name in pruned]).argsort(descending=True)
        untouched = sum(dense[name].numel() for name in units.untouched)
        target = max(0, round(density * (int(sizes.sum()) + untouched)) - untouched)
        reachable = [0, *np.cumsum(sizes[order].numpy())][min(target, 1) :]
        found = sum(kept(masks)[name] for name in pruned)
        assert found == min(reachable, key=lambda total: (abs(total - target), total))


@fixed
@given(
    st.sampled_from(["element", "row"]),
    st.sampled_from(["global", "layer", "erk"]),
    st.lists(st.floats(0, 1), min_size=2, max_size=6),
    st.integers(0, 99),
)
def test_masks_of_units_shrink_level_after_level_whatever_the_rounding(unit, scope, densities, seed):
    model = network()
    weights, units = named_weights(model), units_of(model, unit)
    masks, draw = pruning.dense(weights), torch.Generator().manual_seed(seed)
    for density in sorted(densities, reverse=True):
        smaller = pruning.select(pruning.random_scores(weights, units, draw), masks, density, units, scope)
        assert all(bool((smaller[name] <= masks[name]).all()) for name in masks)
        masks = smaller


@pytest.mark.parametrize("density", [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.01])
@pytest.mark.parametrize("setting", [{"scope": scope} for scope in ("global", "layer", "erk")] + [{"budget": "macs"}], ids=str)
def test_rows_of_the_output_layer_are_classes_and_stay(setting, density):
    model = network()
    with torch.no_grad():
        model[4].weight *= 1e-3  # they would be the first to go
    sizes = models.measure(model, (4, 4, 4))
    masks = choose(model, Choice(density=density, unit="row", **setting), macs_per_weight=sizes.macs_per_weight)
    assert bool(masks["4.weight"].all())
    filter_weights = 4 * 9  # the largest unit, at 2 × 2 places
    if "budget" in setting:
        macs = sizes.kept_macs({name.removesuffix(".weight"): count for name, count in kept(masks).items()})
        assert macs <= max(density * sizes.macs, 16 * 4) < macs + filter_weights * 4 * 4
    else:
        total = sum(mask.numel() for mask in masks.values())
        assert abs(sum(kept(masks).values()) - max(density * total, 16 * 4)) <= 2 * filter_weights


def test_rows_of_an_only_layer_are_pruned():
    assert kept(choose(nn.Linear(6, 10), Choice(density=0.5, unit="row"))) == {"weight": 30}


@pytest.mark.parametrize("scope", ["global", "layer", "erk"])
def test_rounding_explains_half_a_unit_that_is_missing_and_no_more(scope):
    masks = {"a": torch.zeros(10, 6, dtype=torch.bool)}
    masks["a"][:5] = True  # 30 of 60 weights in rows of 6
    scores, units = {"a": torch.arange(10.0)}, Units(unit="row")
    assert torch.equal(pruning.select(scores, masks, 33 / 60, units, scope)["a"], masks["a"])
    with pytest.raises(ValueError, match=r"asks for 34 of 60 weights, but only 30 are kept now"):
        pruning.select(scores, masks, 34 / 60, units, scope)


def test_a_unit_that_is_partly_pruned_counts_what_is_left_of_it():
    masks = {"a": torch.tensor([[True, True, False, False], [True, True, True, True]])}
    chosen = pruning.select({"a": torch.tensor([2.0, 1.0])}, masks, 0.25, Units(unit="row"))
    assert chosen["a"].tolist() == [[True, True, False, False], [False] * 4]


def test_a_unit_stays_where_weights_are_to_be_kept():
    masks = {"a": torch.ones(2, 100, dtype=torch.bool)}
    assert int(pruning.select({"a": torch.tensor([1.0, 2.0])}, masks, 0.01, Units(unit="row"))["a"].sum()) == 100
    assert int(pruning.select({"a": torch.tensor([1.0, 2.0])}, masks, 0.0, Units(unit="row"))["a"].sum()) == 0


@pytest.mark.parametrize(("shape", "n", "m"), [((5, 8), 2, 4), ((6, 7), 1, 4), ((4, 6, 3, 3), 2, 4), ((3, 5, 2), 3, 5)])
def test_n_of_m_keeps_the_largest_of_successive_inputs(shape, n, m):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = pruning.select_n_of_m({"a": weight.abs().flatten()}, {"a": torch.ones(shape, dtype=torch.bool)}, n, m)["a"]
    for out, *position in itertools.product(range(shape[0]), *map(range, shape[2:])):
        for start in range(0, shape[1], m):
            group = weight[(out, slice(start, start + m), *position)].abs()
            mask = found[(out, slice(start, start + m), *position)]
            assert set(group.argsort(descending=True)[: min(n, len(group))].tolist()) == set(mask.nonzero().flatten().tolist())


def test_n_of_m_never_brings_back_what_was_pruned():
    given = {"a": torch.tensor([[False, False, False, True, True, True, False, True]])}
    found = pruning.select_n_of_m({"a": torch.arange(8.0, 0, -1)}, given, 2, 4)["a"]
    assert found.tolist() == [[False, False, False, True, True, True, False, False]]


@pytest.mark.parametrize("density", [1.0, 0.6, 0.2, 0.03])
@pytest.mark.parametrize("unit", ["weight", "element"])
def test_a_budget_of_macs_is_held_and_used_up_by_the_best_score_per_mac(density, unit):
    model = fourfold.models.build("resnet-20", algebra="quaternion", seed=0)
    sizes = fourfold.models.measure(model, fourfold.models.input_shape("resnet-20", "quaternion"))
    before = {name: weight.clone() for name, weight in named_weights(model).items()}
    choice = Choice(density=density, budget="macs", unit=unit)
    masks = choose(model, choice, macs_per_weight=sizes.macs_per_weight)
    macs = sizes.kept_macs({name.removesuffix(".weight"): count for name, count in kept(masks).items()})
    target, units = round(density * sizes.macs), units_of(model, unit)
    value, size = {}, {}
    for name, score in pruning.magnitude_scores(before, units).items():
        size[name] = sizes.macs_per_weight[name] * units.split(name, before[name]).shape[1]
        value[name] = score.double().square() / size[name]  # squared magnitudes add up
    gone = [
        (float(value[name][~stays].max()), size[name])
        for name in masks
        for stays in [units.split(name, masks[name]).any(1)]
        if not stays.all()
    ]
    assert macs <= target
    assert density == 1 or target < macs + max(gone)[1]  # the next best does not fit
    least = min(float(value[name][units.split(name, masks[name]).any(1)].min()) for name in masks if masks[name].any())
    assert density == 1 or least >= max(gone)[0]


@pytest.mark.slow
def test_a_budget_of_macs_spares_layers_that_are_used_once():
    model = fourfold.models.build("conv2", seed=0)
    sizes = fourfold.models.measure(model, (3, 32, 32))
    by_macs = choose(model, Choice(density=0.3, budget="macs"), macs_per_weight=sizes.macs_per_weight)
    plain = pruning.select_macs(
        pruning.magnitude_scores(named_weights(model), Units()),
        pruning.dense(named_weights(model)),
        round(0.3 * sizes.macs),
        sizes.macs_per_weight,
        Units(),
        per_mac=False,
    )
    assert kept(by_macs)["fc1.weight"] > kept(plain)["fc1.weight"]
    threshold = max(
        float(w.detach().abs()[~plain[name]].max()) for name, w in named_weights(model).items() if plain[name].any()
    )
    stay = torch.cat([w.detach().abs()[plain[name]] for name, w in named_weights(model).items()])
    assert float(stay.min()) >= threshold


def test_latency_is_met_by_the_largest_density():
    model = network()
    total = sum(weight.numel() for weight in named_weights(model).values())
    measured = []

    def latency(masks):
        measured.append(sum(kept(masks).values()) / total)
        return 0.001 + 0.01 * measured[-1]

    found = pruning.prune_to_latency(lambda d: choose(model, Choice(density=d)), latency, 0.0057, trials=10)
    assert len(measured) == 12
    assert 0.47 - 1 / 2**10 - 1 / total <= found.density <= 0.47 + 1 / total
    assert found.seconds == latency(found.masks) <= 0.0057
    assert pruning.prune_to_latency(lambda d: choose(model, Choice(density=d)), latency, 1.0).density == 1.0
    with pytest.raises(ValueError, match=r"`seconds` \(=0.0001\) must be at least 0.001, which the network takes without"):
        pruning.prune_to_latency(lambda d: choose(model, Choice(density=d)), latency, 0.0001)
    with pytest.raises(ValueError, match=r"`seconds` \(=0\) must be above 0"):
        pruning.prune_to_latency(lambda d: choose(model, Choice(density=d)), latency, 0)


@pytest.mark.parametrize("seconds", [0.25, 0.3, 0.77])
def test_a_latency_is_met_by_halving_and_to_the_bit(seconds):
    found = pruning.prune_to_latency(lambda density: {"a": torch.tensor(density)}, lambda masks: float(masks["a"]), seconds)
    assert seconds - 1 / 4096 < found.density == found.seconds <= seconds
    assert (found.density == 0.25) == (seconds == 0.25)


def test_a_network_without_weights_that_takes_just_the_time_is_what_there_is():
    def latency(masks):
        return 1.0 + float(masks["a"])

    found = pruning.prune_to_latency(lambda density: {"a": torch.tensor(density)}, latency, 1.0, trials=4)
    assert (found.density, found.seconds) == (0.0, 1.0)


def test_rounds_follow_a_geometric_series_down_to_the_density(monkeypatch):
    seen, model = [], network()
    given = choose(model, Choice(density=0.5))
    module = sys.modules[choose.__module__]
    monkeypatch.setattr(module, "select", lambda *arguments: seen.append(arguments[2]) or pruning.select(*arguments))
    masks = choose(model, Choice(density=0.125, iterations=2), masks=given)
    assert seen == [pytest.approx(0.25), 0.125]
    assert sum(kept(masks).values()) == round(0.125 * sum(mask.numel() for mask in given.values()))


def test_a_collapsed_layer_is_told():
    model = network()
    model[0].weight.data.mul_(1e-6)
    with pytest.warns(UserWarning, match=r"no weight is left in 0\.weight: the network has collapsed there"):
        masks = prune(model, density=0.1)
    assert pruning.collapsed(masks) == ("0.weight",)
    assert pruning.collapsed({"a": torch.zeros(2, dtype=torch.bool)}) == ()


@pytest.mark.parametrize(("step", "expected"), [(0, 1), (10, 1), (15, 0.2 + 0.8 / 8), (20, 0.2), (99, 0.2)])
def test_gradual_pruning_follows_the_cube(step, expected):
    assert pruning.gradual_density(step, begin=10, end=20, final=0.2) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"density": 0.5, "score": "best"}, "unknown score 'best'; known: fisher, gradient, grasp"),
        ({"density": 0.5, "unit": "filter"}, "unknown unit 'filter'; known: element, row, weight"),
        ({"density": 0.5, "scope": "all"}, "unknown scope 'all'; known: component, erk, global, layer"),
        ({"density": 0.5, "budget": "flops"}, "unknown budget 'flops'; known: macs, weights"),
        ({}, r"`density` \(=None\) must be given where `n_of_m` \(=None\) is not, and only there"),
        ({"density": 0.5, "n_of_m": (2, 4)}, r"`density` \(=0.5\) must be given where"),
        ({"density": 1.5}, r"`density` \(=1.5\) must lie in \[0, 1\]"),
        ({"n_of_m": (2, 4), "unit": "row"}, r"`n_of_m` \(=\(2, 4\)\) must stand without"),
        ({"n_of_m": (4, 4)}, r"`n_of_m` \(=\(4, 4\)\) must be two integers"),
        ({"density": 0.5, "budget": "macs", "scope": "erk"}, r"`scope` \(='erk'\) must be 'global' for `budget`"),
        ({"density": 0.5, "budget": "macs"}, "`macs_per_weight` must name '0.weight'"),
        ({"density": 0.5, "iterations": 0}, r"`iterations` \(=0\) must be at least 1"),
        ({"density": 0.5, "score": "snip"}, r"`score` \(='snip'\) needs `images` and `labels`: a batch"),
        ({"density": 0.5, "score": "synflow"}, r"`score` \(='synflow'\) needs `images`: a batch"),
        (
            {"density": 0.5, "unit": "row", "scope": "component"},
            r"`scope` \(='component'\) must be another for `unit` \(='row'\)",
        ),
    ],
)
def test_mistakes_are_one_sentence(settings, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        prune(network(), **settings)


def test_rows_of_a_network_whose_only_weight_is_its_output_layers_are_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    with pytest.raises(
        ValueError, match=r"`unit` \(='row'\) must be 'weight' or 'element' for a network whose layers have no rows"
    ):
        units_of(model, "row")
    assert units_of(model).unit == "weight"
    assert not units_of(nn.Sequential(nn.LSTM(4, 4)), "row").untouched


def test_negative_scores_cannot_be_divided_by_macs():
    masks = {"a": torch.ones(2, dtype=torch.bool)}
    with pytest.raises(ValueError, match=r"`budget` \(='macs'\) must be 'weights' for scores below 0"):
        pruning.select_macs({"a": torch.tensor([1.0, -1.0])}, masks, 1, {"a": 1}, Units())


@fixed
@given(st.integers(1, 40), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_overlap_is_counted_and_chance_is_hypergeometric(size, a, b, seed):
    random = np.random.RandomState(seed)
    one, other = random.rand(size) < a, random.rand(size) < b
    found = pruning.mask_overlap({"a": np.packbits(one)}, {"a": np.packbits(other)}, {"a": size})
    assert (found.both, found.either) == (int((one & other).sum()), int((one | other).sum()))
    counts = np.arange(size + 1)
    chance = hypergeom(size, int(one.sum()), int(other.sum())).pmf(counts)
    assert found.expected == pytest.approx(chance @ counts)
    assert found.deviation == pytest.approx(np.sqrt(chance @ (counts - chance @ counts) ** 2), abs=1e-6)
    assert found.jaccard == (found.both / found.either if found.either else 1)


def test_overlap_of_different_networks_is_refused():
    with pytest.raises(ValueError, match="the masks are of different networks"):
        pruning.mask_overlap({"a": np.zeros(1, np.uint8)}, {"b": np.zeros(1, np.uint8)}, {"a": 3})


@pytest.mark.parametrize("score", ["magnitude", "gradient", "fisher"])
@pytest.mark.parametrize("unit", ["element", "row"])
def test_units_of_different_sizes_are_compared_by_their_score_per_weight(unit, score):
    last = [nn.Linear(16, 6)] if unit == "element" else [nn.Linear(16, 6), nn.ReLU(), nn.Linear(6, 6)]
    built = nn.Sequential(fnn.Linear(8, 16, algebra="quaternion"), nn.ReLU(), *last)
    images, labels = torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 6
    weights, units = named_weights(built), pruning.units_of(built, unit)
    if score == "magnitude":
        adding_up = {name: units.split(name, weight.detach()).square().sum(1) for name, weight in weights.items()}
    elif score == "gradient":
        adding_up = pruning.gradient_scores(weights, pruning.gradients(built, images, labels), units)
    else:
        adding_up = pruning.fisher_scores(weights, pruning.gradients_of_images(built, images, labels), units)
    masks = pruning.choose(built, pruning.Choice(density=0.5, score=score, unit=unit), images=images, labels=labels)
    kept, gone = [], []
    for name, values in adding_up.items():
        if name in units.untouched:
            continue
        of_units = units.split(name, masks[name])
        assert bool((of_units.all(1) == of_units.any(1)).all())
        each = values / of_units.shape[1]
        kept += each[of_units.all(1)].tolist()
        gone += each[~of_units.all(1)].tolist()
    assert min(kept) >= max(gone)
    assert len({units.split(name, weight).shape[1] for name, weight in weights.items() if name not in units.untouched}) == 2
