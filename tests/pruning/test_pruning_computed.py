"""Layers that compute their weights, and whatever else cannot be pruned as it is, are refused in one sentence."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from fourfold import deploy, models, pruning
from fourfold import nn as fnn
from fourfold.nn import named_weights
from fourfold.pruning import Choice, choose

OLD = "ignore:.*torch.nn.utils.weight_norm.*:FutureWarning"

COMPUTED: dict[str, Callable[[nn.Module, str], Any]] = {
    "parametrizations.weight_norm": lambda layer, name: parametrizations.weight_norm(layer, name),
    "parametrizations.spectral_norm": lambda layer, name: parametrizations.spectral_norm(layer, name),
    "parametrizations.orthogonal": lambda layer, name: parametrizations.orthogonal(layer, name),
    "parametrize": lambda layer, name: nn.utils.parametrize.register_parametrization(layer, name, nn.Tanh()),
    "weight_norm": lambda layer, name: nn.utils.weight_norm(layer, name),
    "spectral_norm": lambda layer, name: nn.utils.spectral_norm(layer, name),
    "prune.l1_unstructured": lambda layer, name: prune.l1_unstructured(layer, name, 0.5),
    "prune.identity": lambda layer, name: prune.identity(layer, name),
}

LAYERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "Linear": (lambda: fnn.Linear(8, 8, algebra="quaternion"), "weight"),
    "RotationLinear": (lambda: fnn.RotationLinear(8, 8), "weight"),
    "nn.Linear": (lambda: nn.Linear(8, 8), "weight"),
    "nn.LSTM": (lambda: nn.LSTM(8, 8), "weight_hh_l0"),
    "GRUCell": (lambda: fnn.GRUCell(8, 8, algebra="complex"), "weight_ih"),
    "nn.MultiheadAttention": (lambda: nn.MultiheadAttention(8, 2), "in_proj_weight"),
}


def computed(layer: str, how: str) -> nn.Module:
    make, name = LAYERS[layer]
    model = nn.Sequential(make(), nn.Linear(8, 3))
    COMPUTED[how](model[0], name)
    return model


@pytest.mark.filterwarnings(OLD)
@pytest.mark.parametrize("how", COMPUTED)
@pytest.mark.parametrize("layer", LAYERS)
def test_what_acts_on_weights_refuses_those_that_are_computed(layer: str, how: str) -> None:
    model, plain = computed(layer, how), nn.Sequential(LAYERS[layer][0](), nn.Linear(8, 3))
    masks = pruning.dense(named_weights(plain))
    batch = {"images": torch.randn(4, 8), "labels": torch.arange(4) % 3}
    calls: dict[str, Callable[[], Any]] = {
        "prune": lambda: pruning.prune(model, density=0.25),
        "n_of_m": lambda: pruning.prune(model, n_of_m=(2, 4)),
        "masks": lambda: pruning.prune(model, density=0.25, masks=masks),
        "named_weights": lambda: named_weights(model),
        "units": lambda: pruning.units_of(model),
        "measure": lambda: models.measure(model, (8,)),
        "shrink": lambda: pruning.shrink(model, masks),
        "gradients": lambda: pruning.gradients(model, **batch),
        "gradients_of_images": lambda: list(pruning.gradients_of_images(model, **batch)),
        "hessian_times": lambda: pruning.hessian_times(model, **batch),
        "flow_gradients": lambda: pruning.flow_gradients(model, batch["images"]),
        **{f"score {s}": lambda s=s: choose(model, Choice(density=0.5, score=s), **batch) for s in pruning.SCORES},
    }
    for call in calls.values():
        with pytest.raises(ValueError, match=r"^layer '0' computes its \w*weight.*: bake them in first"):
            call()
    with pytest.raises(ValueError, match="`masks` must be those of this network: they lack or add 0"):
        pruning.apply_(model, masks)


@pytest.mark.filterwarnings(OLD)
@pytest.mark.parametrize("how", [how for how in COMPUTED if how.startswith("param")])
def test_what_is_left_out_may_compute_its_weights(how: str) -> None:
    model = computed("nn.Linear", how)
    masks = pruning.prune(model, density=0.5, skip="0")
    assert pruning.kept(masks) == {"1.weight": 12}
    pruning.apply_(model, masks)
    assert int((model[1].weight != 0).sum()) == 12
    batch = {"images": torch.randn(4, 8), "labels": torch.arange(4) % 3}
    for score in pruning.SCORES:
        masks = choose(model, Choice(density=0.5, score=score, skip="0"), **batch)
        assert pruning.kept(masks) == {"1.weight": 12}


def test_a_weight_that_was_baked_in_is_pruned_and_computes_as_it_is_said() -> None:
    model = computed("nn.Linear", "parametrizations.weight_norm")
    nn.utils.parametrize.remove_parametrizations(model[0], "weight")
    masks = pruning.prune(model, density=0.25)
    x = torch.randn(3, 8)
    expected = (x @ (model[0].weight * masks["0.weight"]).t() + model[0].bias) @ model[1].weight.t() + model[1].bias
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda model: torch.compile(model, backend="eager"), lambda model: nn.Sequential(), copy.deepcopy],
    ids=["DataParallel", "compile", "outer", "plain"],
)
def test_masks_fit_a_network_and_its_wrappers(wrap: Callable[[nn.Module], Any]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    masks = choose(model, Choice(density=0.5))
    wrapped = wrap(copy.deepcopy(model))
    if not list(wrapped.parameters()):
        return
    for given in (
        masks,
        {name: mask.float() for name, mask in masks.items()},
        {name: mask.int() for name, mask in masks.items()},
    ):
        for weights in (named_weights(wrapped), wrapped):
            pruning.apply_(weights, given)
            found = list(named_weights(wrapped).values())
            assert all(torch.equal(weight != 0, mask) for weight, mask in zip(found, masks.values(), strict=True))
        again = choose(wrapped, Choice(density=0.25), masks=given)
        assert list(again) == list(named_weights(wrapped))
        assert all(bool((one <= other).all()) for one, other in zip(again.values(), masks.values(), strict=True))
    back = choose(model, Choice(density=0.125), masks=again)  # from the wrapper to what it wraps
    assert list(back) == list(masks)


def fitting() -> tuple[nn.Module, dict[str, Tensor]]:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    return model, choose(model, Choice(density=0.5))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda masks: masks | {"3.weight": masks["0.weight"]}, "they lack or add 3.weight"),
        (lambda masks: {"0.weight": masks["0.weight"]}, "they lack or add 2.weight"),
        (
            lambda masks: masks | {"0.weight": masks["0.weight"][:2]},
            r"that of '0.weight' has shape \(2, 4\), its weight \(4, 4\)",
        ),
        (lambda masks: {f"net.{name}": mask for name, mask in masks.items()}, "they lack or add 0.weight, 2.weight, net.0"),
        (lambda masks: {1: masks["0.weight"]}, "they lack or add"),
        (lambda masks: masks | {"0.weight": torch.full((4, 4), 0.5)}, r"\(float32\) must hold 0 and 1 alone"),
        (lambda masks: masks | {"0.weight": torch.full((4, 4), torch.nan)}, r"\(float32\) must hold 0 and 1 alone"),
        (lambda masks: masks | {"0.weight": [True] * 16}, r"\(=list\) must be a tensor of bool"),
        (lambda masks: list(masks.values()), r"`masks` \(=list\) must be a dict"),
    ],
)
def test_masks_of_another_network_are_refused_wherever_they_are_taken(change: Callable[[Any], Any], sentence: str) -> None:
    model, masks = fitting()
    masks = change(masks)
    for call in (
        lambda: pruning.apply_(model, masks),
        lambda: pruning.apply_(named_weights(model), masks),
        lambda: pruning.prune(model, density=0.2, masks=masks),
        lambda: pruning.shrink(model, masks),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()


def test_masks_of_numbers_are_packed_as_those_of_bool() -> None:
    _, masks = fitting()
    numbers = {name: mask.float() for name, mask in masks.items()}
    assert pruning.fingerprint(pruning.pack(numbers)) == pruning.fingerprint(pruning.pack(masks))
    assert pruning.stored_bytes(numbers, 3) == pruning.stored_bytes(masks, 3)


def test_networks_without_weights_yet_are_refused() -> None:
    with torch.device("meta"):
        meta = nn.Sequential(nn.Linear(4, 4))
    lazy = nn.Sequential(nn.LazyLinear(4))
    for model, sentence in ((meta, "the model is on the meta device"), (lazy, "the model has lazy layers")):
        for call in (
            lambda model=model: pruning.prune(model, density=0.5),
            lambda model=model: pruning.shrink(model, {}),
            lambda model=model: deploy.lower(model, (4,)),
        ):
            with pytest.raises(ValueError, match=f"^{sentence}"):
                call()
    with pytest.raises(ValueError, match=r"^the model has lazy layers"):
        models.measure(lazy, (4,))


MISTAKES: dict[str, list[Any]] = {
    "density": ["0.5", None, [0.5], True, float("nan"), -0.1, 1.1, 1j, {}],
    "n_of_m": ["24", (2,), (2, 4, 8), (2.5, 4), 4, {}, ("2", "4"), (0, 4)],
    "score": [None, 3, ["magnitude"], {}, "best"],
    "unit": [None, 3, ["weight"], "filter"],
    "scope": [None, 3, ["global"], "all"],
    "budget": [None, 3, ["macs"], "flops"],
    "iterations": ["2", 1.5, 0, -1, True],
    "masks": ["masks", 3, [], {1: 2}],
    "generator": [3, "seed"],
    "loss": ["mse", 3],
    "skip": [None, 3, [3], "nowhere", ["0", "nowhere"], nn.Linear],
    "densities": [0.5, ["0"], {"0": "0.5"}, {"0": 2}, {0: 0.5}, {"nowhere": 0.5}, {"1": 0.5}],
}


@pytest.mark.parametrize(
    ("argument", "value"), [(name, value) for name, values in MISTAKES.items() for value in values], ids=repr
)
def test_every_argument_of_the_wrong_kind_is_one_sentence(argument: str, value: Any) -> None:
    model, _ = fitting()
    settings = {} if argument == "n_of_m" else {"density": 0.5}
    with pytest.raises(ValueError, match=r"`|^unknown"):
        pruning.prune(model, **{**settings, argument: value})


@pytest.mark.parametrize("value", [None, "conv-2", 3, nn.Linear])
def test_a_model_that_is_none_is_one_sentence(value: Any) -> None:
    for call in (
        lambda: pruning.prune(value, density=0.5),
        lambda: pruning.choose(value, Choice(density=0.5)),
        lambda: pruning.shrink(value, {}),
        lambda: models.measure(value, (4,)),
    ):
        with pytest.raises(ValueError, match=r"^`model` \(=.*\) must be a torch.nn.Module"):
            call()
    with pytest.raises(ValueError, match=r"^`choice` \(=dict\) must be"):
        pruning.choose(nn.Linear(2, 2), {})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^`macs_per_weight` \(=Sizes\) must be a dict"):
        pruning.prune(nn.Linear(2, 2), density=0.5, budget="macs", macs_per_weight=models.measure(nn.Linear(2, 2), (2,)))


@pytest.mark.parametrize(
    "call",
    [
        lambda: pruning.prune_to_latency(lambda d: {}, lambda masks: 1.0, "0.1"),
        lambda: pruning.gradual_density(1, begin=0, end=2, final="0.1"),
        lambda: pruning.gradual_density("1", begin=0, end=2, final=0.1),
        lambda: pruning.gradual_density(1, begin=2, end=2, final=0.1),
        lambda: pruning.num_kept("0.5", 10),
        lambda: pruning.num_kept(None, 10),
        lambda: pruning.magnitude({"a": torch.ones(4)}, pruning.dense({"a": torch.ones(4)}), "0.5"),
        lambda: pruning.select_n_of_m({}, {}, "2", 4),
        lambda: pruning.apply_(None, {}),
        lambda: pruning.apply_("model", {}),
    ],
)
def test_the_pieces_of_pruning_refuse_values_of_the_wrong_kind(call: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match=r"^`"):
        call()


def test_rows_of_complex_weights_are_ranked_by_their_length() -> None:
    layer = nn.Linear(2, 3, bias=False, dtype=torch.complex64)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3j, 4], [1, 2j], [5, 1j]]))
    assert choose(layer, Choice(density=2 / 3, unit="row"))["weight"].all(1).tolist() == [True, False, True]


def test_a_network_without_any_weight_left_is_told() -> None:
    model, _ = fitting()
    with pytest.warns(UserWarning, match="no weight is left in the whole network"):
        pruning.prune(model, density=0)
