"""Sizes of any network: MACs against torch's own counter, layers that run twice or not at all, forwards as they are written."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fourfold import models, pruning
from fourfold import nn as fnn
from fourfold.models.measuring import run_once
from fourfold.nn import named_weights

sys.path.append(str(Path(__file__).parent.parent / "pruning"))
from prunable_layers import LAYERS, SHAPES, network

REAL = {name: LAYERS[name] for name in LAYERS if name.startswith("nn.")}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (lambda: nn.Linear(8, 5), (8,)),
        (lambda: nn.Linear(8, 5), (3, 7, 8)),
        (lambda: nn.Conv1d(8, 6, 3, 2), (8, 9)),
        (lambda: nn.Conv2d(8, 6, 3, groups=2), (8, 7, 7)),
        (lambda: nn.Conv3d(4, 6, 2), (4, 5, 5, 5)),
        (lambda: nn.ConvTranspose1d(8, 6, 3, 2), (8, 9)),
        (lambda: nn.ConvTranspose2d(8, 6, 3, 2), (8, 5, 5)),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 8, 2), nn.Conv2d(8, 3, 1)), (3, 8, 8)),
        (lambda: nn.LSTMCell(8, 6), (8,)),
        (lambda: nn.GRUCell(8, 6), (8,)),
    ],
)
def test_macs_are_those_of_torchs_counter(layer: Any, shape: tuple[int, ...]) -> None:
    model = layer()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, *shape))
    assert models.measure(model, shape).macs == counter.get_total_flops() / 2


def by_hand(layer: nn.Module, kind: str) -> int:
    """MACs of real layers whose kernels torch's counter does not see."""
    positions = SHAPES[kind][0] if kind == "sequence" else 1
    return sum(weight.numel() for weight in named_weights(layer).values()) * positions


@pytest.mark.parametrize("name", [name for name in REAL if "Conv" not in name])
def test_macs_of_recurrent_and_attention_layers_are_weights_times_steps(name: str) -> None:
    make, kind = LAYERS[name]
    model = network(name)
    sizes = models.measure(model, SHAPES[kind])
    assert sizes.macs - model.head.weight.numel() == by_hand(make(), kind)


@pytest.mark.parametrize("name", LAYERS)
def test_every_weight_is_named_and_every_parameter_counted_once(name: str) -> None:
    model = network(name)
    sizes = models.measure(model, SHAPES[LAYERS[name][1]])
    weights = named_weights(model)
    assert set(sizes.macs_per_weight) == set(weights)
    assert sizes.weights == sum(weight.numel() for weight in weights.values())
    assert sizes.parameters == sum(p.numel() for p in model.parameters())
    assert sizes.macs == sum(weights[name].numel() * each for name, each in sizes.macs_per_weight.items())
    kept = {weight.removesuffix(".weight"): tensor.numel() // 2 for weight, tensor in weights.items()}
    assert sizes.kept_macs(kept) == sum(weights[name].numel() // 2 * each for name, each in sizes.macs_per_weight.items())
    if "PHM" not in name:
        masks = pruning.choose(
            model,
            pruning.Choice(density=0.5, budget="macs"),
            macs_per_weight=sizes.macs_per_weight,
        )
        macs = sum(int(mask.sum()) * sizes.macs_per_weight[weight] for weight, mask in masks.items())
        largest = max(sizes.macs_per_weight.values())
        assert 0 <= 0.5 * sizes.macs - macs <= largest


@pytest.mark.parametrize("name", [name for name in LAYERS if f"nn.{name}" in LAYERS])
def test_an_algebra_does_the_macs_of_its_real_twin(name: str) -> None:
    if name == "Conv2d":
        return  # their groups are others
    shape = SHAPES[LAYERS[name][1]]
    twin = {"RNN": nn.RNN(8, 16, batch_first=True), "LSTM": nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True)}
    layer = twin.get(name, LAYERS[f"nn.{name}"][0]())
    ours = LAYERS[name][0]()
    inputs = [torch.zeros(1, *shape)] * (3 if "Attention" in name else 2 if name == "Bilinear" else 1)
    assert models.measure(ours, tuple(inputs)).macs == models.measure(layer, tuple(inputs)).macs


class Positions(nn.Module):
    """Makes a constant, keeps one that is no buffer, and asks for a number; has a head that does not run."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.scale = kind, torch.ones(4)
        self.layer, self.auxiliary = nn.Linear(4, 4), nn.Linear(4, 3)
        self.token = nn.Parameter(torch.zeros(4))
        self.register_buffer("runs", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        if self.kind == "made":
            x = x + torch.arange(4.0) + torch.zeros(4, device=x.device)
        elif self.kind == "kept":
            x = x * self.scale
        elif self.kind == "asked":
            x = x[: int((x.abs().sum() > -1).item())]
        return self.layer(x + self.token)  # type: ignore[no-any-return]


@pytest.mark.parametrize("meta", [False, True])
@pytest.mark.parametrize("kind", ["plain", "made", "kept", "asked"])
def test_forwards_with_constants_and_unused_heads_are_measured(kind: str, meta: bool) -> None:
    model = Positions(kind)
    if meta:
        model.to("meta")
    sizes = models.measure(model, (4,))
    assert sizes.macs_per_weight == {"layer.weight": 1, "auxiliary.weight": 0}
    assert sizes.parameters == 20 + 15 + 4
    assert meta or model.runs == 0
    assert all(p.is_meta == meta for p in model.parameters())


class Twice(nn.Module):
    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.conv, self.other, self.fc = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3), nn.Linear(4, 3)
        if tied:
            self.other.weight = self.conv.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.other(self.conv(torch.relu(self.conv(x)))).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("tied", [False, True])
def test_a_weight_that_runs_twice_does_the_macs_of_both_runs(tied: bool) -> None:
    model = Twice(tied)
    sizes, weights = models.measure(model, (4, 8, 8)), named_weights(model)
    assert sizes.weights == sum(weight.numel() for weight in weights.values())
    of_other = {"conv.weight": 2 * 64 + 36} if tied else {"conv.weight": 2 * 64, "other.weight": 36}
    assert sizes.macs_per_weight == of_other | {"fc.weight": 1}


@pytest.mark.parametrize("twice", [True, False])
def test_a_module_under_two_names_is_left_as_it_was(twice: bool) -> None:
    shared = fnn.PHMLinear(8, 8, n=4)
    model = nn.Sequential(shared, nn.ReLU(), shared if twice else fnn.PHMLinear(8, 8, algebra=shared.algebra))
    before = [*model.parameters()]
    models.measure(model, (8,))
    assert all(p is q and not p.is_meta and p.requires_grad for p, q in zip(model.parameters(), before, strict=True))


class Several(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.a, self.b = nn.Embedding(10, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor, y: Tensor | None = None, tokens: Tensor | None = None) -> dict[str, Tensor]:
        x = self.a(x) + (0 if y is None else y) + (0 if tokens is None else self.table(tokens).mean(1))
        return {"logits": self.b(x)}


def test_several_inputs_are_shapes_or_a_batch_of_them() -> None:
    model, x, tokens = Several(), torch.randn(6, 4), torch.randint(0, 10, (6, 5))
    for inputs in ((4,), ((4,), (4,)), [[4], [4]], x, (x, x), {"tokens": tokens, "x": x}, torch.Size((4,))):
        assert models.measure(model, inputs).macs == 16 + 12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_networks_of_other_precisions_are_measured(dtype: torch.dtype) -> None:
    assert models.measure(nn.Linear(4, 3).to(dtype), (4,)).macs == 12


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (3, r"`shape` \(=3\) must be"),
        (None, r"`shape` \(=None\) must be"),
        ("3", r"`shape` \(='3'\) must be"),
        ((), r"`shape` \(=\(\)\) must be"),
        ((0,), r"`shape` \(=\(0,\)\) must be"),
        ((2.5,), r"`shape` \(=\(2.5,\)\) must be"),
        (((4,), 3), r"`shape` \(=\(\(4,\), 3\)\) must be"),
        ((5,), r"`model` \(=Linear\) does not run on `shape` \(=\(5,\)\)"),
        (((4,), (4,)), r"`model` \(=Linear\) does not run on"),
    ],
)
def test_shapes_that_are_none_are_one_sentence(shape: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        models.measure(nn.Linear(4, 3), shape)


def test_weights_of_unknown_layers_and_uneven_attention_are_refused() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.ones(2))

        def stored_weights(self) -> dict[str, Tensor]:
            return {"kernel": self.kernel}

        def forward(self, x: Tensor) -> Tensor:
            return x * self.kernel

    with pytest.raises(ValueError, match=r"^cannot count the MACs of '0' \(Own\): linear, convolution"):
        models.measure(nn.Sequential(Own()), (2,))
    one, three = torch.zeros(1, 1, 8), torch.zeros(1, 3, 8)
    with pytest.raises(ValueError, match=r"^cannot count the MACs of an attention whose queries and keys differ in number"):
        models.measure(nn.MultiheadAttention(8, 2, batch_first=True), (one, three, three))
    apart = nn.MultiheadAttention(8, 2, kdim=8, vdim=4, batch_first=True)
    each = models.measure(apart, (one, three, torch.zeros(1, 3, 4))).macs_per_weight
    assert each == {"q_proj_weight": 1, "k_proj_weight": 3, "v_proj_weight": 3, "out_proj.weight": 1}


def test_torchs_encoders_are_measured_layer_by_layer() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False)
    sizes = models.measure(encoder, (5, 8))
    assert sizes.macs == 5 * sizes.weights == 5 * 2 * (4 * 64 + 2 * 128)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("name", ["lenet-12", "conv-2", "resnet-8", "u-net", "lstm"])
@pytest.mark.parametrize("algebra", ["real", "quaternion"])
def test_sizes_are_the_same_with_values_and_without(name: str, algebra: str) -> None:
    network = models.build(name, algebra=algebra)
    inputs = torch.zeros(1, *models.input_shape(name, algebra))
    assert run_once(network, inputs, on_meta=True) == run_once(network, inputs, on_meta=False)
