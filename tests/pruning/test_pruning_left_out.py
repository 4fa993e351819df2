"""Layers that are left out of pruning, and layers with a density of their own: all are counted exactly."""

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from fourfold import models, pruning
from fourfold import nn as fnn
from fourfold.nn import named_weights
from fourfold.pruning import Choice, choose, kept, prune
from fourfold.record import UserError


def network() -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(fnn.Conv2d(8, 16, 3, algebra="quaternion"), nn.Tanh(), fnn.Conv2d(16, 16, 2, algebra="quaternion"))
    return nn.Sequential(nn.Conv2d(4, 8, 2), body, nn.Flatten(), nn.Linear(16, 16), nn.Linear(16, 3))


@pytest.fixture
def batch() -> dict[str, Any]:
    return {"images": torch.randn(6, 4, 5, 5, generator=torch.Generator().manual_seed(0)), "labels": torch.arange(6) % 3}


SETTINGS = [
    *({"score": score} for score in pruning.SCORES),
    *({"unit": unit, "scope": scope} for unit, scope in itertools.product(pruning.UNITS, ("global", "layer", "erk"))),
    {"scope": "component"},
    {"budget": "macs"},
    {"budget": "macs", "unit": "element"},
    {"score": "fisher", "iterations": 3},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_skipped_layers_keep_everything_and_the_others_are_counted_alone(settings: Any, batch: Any) -> None:
    model = network()
    weights = {name: weight.numel() for name, weight in named_weights(model).items()}
    macs = models.measure(model, (4, 5, 5)).macs_per_weight
    choice = Choice(density=0.4, skip=("0", "1.2"), densities={"3": 0.25, "1": 0.7}, **settings)
    masks = choose(model, choice, macs_per_weight=macs, **batch)
    counts = kept(masks)
    assert set(masks) == set(weights)
    assert counts["0.weight"] == weights["0.weight"]
    assert counts["1.2.weight"] == weights["1.2.weight"]  # skipping goes before a density
    unit = {"weight": 1, "element": 4, "row": 8 * 9}[settings.get("unit", "weight")]
    parts = 4 if settings.get("scope") == "component" else 1
    assert abs(counts["3.weight"] - 0.25 * weights["3.weight"]) <= unit
    assert abs(counts["1.0.weight"] - 0.7 * weights["1.0.weight"]) <= max(unit, parts)
    if settings.get("unit") == "row":
        assert counts["4.weight"] == weights["4.weight"]  # classes
    elif settings.get("budget") == "macs":
        assert 0 <= 0.4 * weights["4.weight"] - counts["4.weight"] <= 1  # all of one cost
    else:
        assert counts["4.weight"] == round(0.4 * weights["4.weight"])


@pytest.mark.parametrize("unit", pruning.UNITS)
def test_without_layers_of_their_own_nothing_changes(unit: str) -> None:
    model = network()
    plain = choose(model, Choice(density=0.3, unit=unit))
    assert all(torch.equal(mask, plain[name]) for name, mask in choose(model, Choice(density=0.3, unit=unit, skip=[])).items())


def test_modules_are_named_as_in_convert() -> None:
    model = network()
    for skip, stay in (
        ("1", {"1.0.weight", "1.2.weight"}),
        (["1.*"], {"1.0.weight", "1.2.weight"}),
        (nn.Linear, {"3.weight", "4.weight"}),
        ((fnn.Conv2d, "0"), {"0.weight", "1.0.weight", "1.2.weight"}),
    ):
        masks = prune(network(), density=0.3, skip=skip)  # type: ignore[arg-type]
        assert {name for name, mask in masks.items() if mask.all()} == stay
    masks = prune(model, n_of_m=(2, 4), skip="0")
    assert masks["0.weight"].all()
    assert kept(masks)["3.weight"] == 16 * 16 // 2
    with pytest.raises(ValueError, match=r"^`densities` cannot be combined with `n_of_m`"):
        prune(model, n_of_m=(2, 4), densities={"0": 0.5})


def test_the_last_density_that_fits_counts_and_rows_of_classes_may_be_named() -> None:
    model = network()
    counts = kept(choose(model, Choice(density=0.5, densities={"*": 0.1, "4": 2 / 3})))
    assert counts["4.weight"] == 32
    assert counts["3.weight"] == round(0.1 * 16 * 16)
    rows = choose(model, Choice(density=0.5, unit="row", densities={"4": 2 / 3}))["4.weight"]
    assert rows.all(1).sum() == 2
    gates = nn.Sequential(nn.LSTM(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    masks = choose(gates, Choice(density=0.5, unit="row", densities={"0": 0.25}))
    assert masks["0.weight_ih_l0"].all(1).sum() == masks["0.weight_hh_l0"].all(1).sum() == 4


def test_levels_of_masks_stay_exact_beside_what_is_left_out() -> None:
    model, masks = network(), None
    total = sum(weight.numel() for name, weight in named_weights(model).items() if name not in ("0.weight", "4.weight"))
    for level in range(1, 6):
        masks = choose(model, Choice(density=0.8**level, skip="0", densities={"4": 0.9**level}), masks=masks)
        counts = kept(masks)
        assert counts["0.weight"] == 4 * 8 * 4
        assert counts["4.weight"] == round(0.9**level * 48)
        assert sum(counts.values()) - counts["0.weight"] - counts["4.weight"] == round(0.8**level * total)


def test_a_weight_that_a_skipped_layer_shares_is_skipped() -> None:
    one, other = nn.Linear(4, 4), nn.Linear(4, 4)
    other.weight = one.weight
    masks = prune(nn.Sequential(one, nn.ReLU(), other, nn.Linear(4, 2)), density=0.25, skip="2")
    assert kept(masks) == {"0.weight": 16, "3.weight": 2}
    with pytest.raises(ValueError, match=r"^`skip` \(=\('\*',\)\) must leave a layer to prune"):
        prune(nn.Sequential(one, other), density=0.25, skip="*")


def test_a_dict_of_densities_is_no_list_of_names():
    """It would be read as its names, and its numbers be ignored."""
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    with pytest.raises(UserError, match=r"`skip` \(=\{'0': 0.5\}\) must be names, not a dict"):
        pruning.prune(model, density=0.3, skip={"0": 0.5})
    with pytest.raises(UserError, match=r"`skip` \(=\{'0': True\}\) must be names, patterns or classes of modules, not a dict"):
        fnn.convert(model, skip={"0": True})
