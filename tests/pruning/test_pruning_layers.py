"""Pruning of every kind of layer: what a number, a row, a component and a group of inputs are, wherever they are stored."""

import copy
import re
from typing import Any

import pytest
import torch
from prunable_layers import LAYERS, SHAPES, batch, network
from torch import Tensor, nn

from fourfold import models, pruning
from fourfold import nn as fnn
from fourfold.algebra import Algebra
from fourfold.nn import layout_of, named_weights, weights_with_layers
from fourfold.nn.blocks import BlockedLayer
from fourfold.pruning import Choice, choose, kept, units_of


def same_state(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", LAYERS)
def test_every_score_ranks_every_layer_and_leaves_the_network_as_it_was(name: str) -> None:
    model, (images, labels) = network(name), batch(name)
    before, parameters = copy.deepcopy(model.state_dict()), list(model.parameters())
    for score in pruning.SCORES:
        if score == "synflow" and ("PHM" in name or "Rotation" in name):
            with pytest.raises(ValueError, match=r"`score` \(='synflow'\) must be another for"):
                choose(model, Choice(density=0.5, score=score), images=images, labels=labels)
            continue
        for unit in ("weight", "element"):
            masks = choose(model, Choice(density=0.5, score=score, unit=unit, iterations=2), images=images, labels=labels)
            total = sum(mask.numel() for mask in masks.values())
            assert abs(sum(kept(masks).values()) - round(0.5 * total)) <= (0 if unit == "weight" else 4)
        assert same_state(model, before)
        assert all(p is q and p.grad is None and p.requires_grad for p, q in zip(model.parameters(), parameters, strict=True))


def entries(weight: Tensor, part: Tensor) -> Tensor:
    """A weight of zeros with ones at some entries."""
    flat = torch.zeros(weight.numel())
    flat[part] = 1
    return flat.view(weight.shape)


def real_entries(layer: Any, local: str, stored: Tensor) -> Tensor:
    """Which entries of the layer's real weights a stored weight fills."""
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
        dict(twin.named_parameters())[local].copy_(stored)
    if isinstance(layer, BlockedLayer):
        return twin.real_weights()[local] != 0  # type: ignore[no-any-return]
    return twin.matrix() != 0 if hasattr(twin, "matrix") else stored != 0  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", [name for name in LAYERS if "PHM" not in name and "Rotation" not in name])
def test_an_element_is_one_number_of_the_real_matrix(name: str) -> None:
    model = network(name)
    units = units_of(model, "element")
    for full, (layer, local, weight) in weights_with_layers(model).items():
        n = layout_of(layer, local).n
        assert n == (layer.algebra.n if isinstance(getattr(layer, "algebra", None), Algebra) else 1)
        numbers = torch.arange(weight.numel()).view(weight.shape)
        parts = units.split(full, numbers)
        assert parts.shape == (weight.numel() // n, n)
        assert sorted(parts.flatten().tolist()) == list(range(weight.numel()))
        for part in (parts[0], parts[len(parts) // 3], parts[-1]):
            filled = real_entries(layer, local, entries(weight.detach(), part))
            assert int(filled.sum()) == (n**3 if isinstance(layer, nn.Bilinear) else n**2)
            if filled.dim() == 2:  # in n rows and n columns, each component once in each
                assert [int(filled.any(1).sum()), int(filled.any(0).sum())] == [n, n]
        everything = torch.ones_like(weight, dtype=torch.bool)
        one = torch.zeros(len(parts), dtype=torch.bool)
        one[len(parts) // 2] = True
        assert units.join(full, one, everything).flatten().nonzero().flatten().tolist() == sorted(
            parts[len(parts) // 2].tolist()
        )


@pytest.mark.parametrize("name", [name for name in LAYERS if not re.search("RNN|LSTM|GRU|Attention|Encoder", name)])
def test_a_row_is_what_one_output_number_is_made_of(name: str) -> None:
    model = network(name)
    layer: Any = model.layer
    units, n = units_of(model, "row"), layout_of(layer, "weight").n
    parts = units.split("layer.weight", torch.arange(layer.weight.numel()).view(layer.weight.shape))
    images = torch.ones(2, *SHAPES[model.kind])
    channels = layer.out_features if isinstance(layer, nn.Linear | nn.Bilinear) else layer.out_channels
    assert len(parts) == channels // n
    twin: Any = copy.deepcopy(layer)
    for number, part in enumerate(parts):
        with torch.no_grad():
            twin.bias.zero_()
            twin.weight.copy_(layer.weight.detach().abs() * entries(layer.weight, part))
        output = twin(*[images] * (2 if isinstance(layer, nn.Bilinear) else 1))
        alive = output.transpose(0, 1).flatten(1).any(1).nonzero().flatten().tolist()
        own = [c * (channels // n) + number for c in range(n)]
        assert set(alive) <= set(own)
        assert alive == own or (alive and n == 4 and "Rotation" in name)  # of which some entries are 0


def gates_and_heads(layer: Any, local: str) -> int:
    """How many blocks of rows a weight has, as the papers of the layers count them."""
    if isinstance(layer, nn.MultiheadAttention):
        return int(layer.num_heads) * (3 if local == "in_proj_weight" else 1)
    gates = {nn.LSTM: 4, nn.LSTMCell: 4, nn.GRU: 3, nn.GRUCell: 3, fnn.LiGRU: 2}
    return next((count for kind, count in gates.items() if isinstance(layer, kind)), 1)


@pytest.mark.parametrize("density", [0.6, 0.3, 0.05])
@pytest.mark.parametrize("name", LAYERS)
def test_component_scope_prunes_every_component_of_every_gate_and_head_alike(name: str, density: float) -> None:
    model = network(name)
    masks = choose(model, Choice(density=density, scope="component"))
    for full, (layer, local, _) in weights_with_layers(model).items():
        n = layout_of(layer, local).n
        for block in masks[full].chunk(gates_and_heads(layer, local) if n > 1 else 1):
            for component in block.chunk(n):
                assert int(component.sum()) == round(density * component.numel())


@pytest.mark.parametrize("name", LAYERS)
def test_n_of_m_counts_inputs_of_a_number_of_outputs(name: str) -> None:
    model = network(name)
    masks = choose(model, Choice(n_of_m=(2, 4)))
    for full, (layer, local, _) in weights_with_layers(model).items():
        numbers = layout_of(layer, local).numbers(masks[full])  # (n, outputs, inputs, positions)
        inputs = numbers.shape[2]
        for start in range(0, inputs, 4):
            of = min(4, inputs - start)
            assert bool((numbers[:, :, start : start + 4].sum(2) == min(2, of)).all())


def test_a_transposed_convolution_is_pruned_as_the_convolution_of_its_transposed_weight() -> None:
    torch.manual_seed(0)
    transposed, conv = nn.ConvTranspose2d(8, 12, 3), nn.Conv2d(8, 12, 3)
    with torch.no_grad():
        conv.weight.copy_(transposed.weight.transpose(0, 1))
    for settings in ({"density": 0.3, "unit": "row"}, {"n_of_m": (1, 4)}, {"density": 0.3, "scope": "erk"}):
        found, expected = (choose(nn.Sequential(m, nn.Linear(4, 4)), Choice(**settings)) for m in (transposed, conv))
        assert torch.equal(found["0.weight"].transpose(0, 1), expected["0.weight"])


@pytest.mark.parametrize(
    ("ours", "twin"),
    [
        (lambda q: fnn.ConvTranspose2d(16, 64, 3, **q), lambda: nn.ConvTranspose2d(16, 64, 3)),
        (lambda q: fnn.LSTM(32, 64, **q), lambda: nn.LSTM(32, 64)),
        (lambda q: fnn.MultiheadAttention(32, 2, **q), lambda: nn.MultiheadAttention(32, 2)),
    ],
)
def test_erk_gives_a_layer_the_density_of_its_real_twin(ours: Any, twin: Any) -> None:
    densities = []
    for layer in (ours({"algebra": "quaternion"}), twin()):
        masks = choose(nn.Sequential(layer, fnn.Linear(64, 64, algebra="quaternion")), Choice(density=0.08, scope="erk"))
        densities.append({name: int(mask.sum()) / mask.numel() for name, mask in masks.items()})
    # The other layer shares what is left, which differs with the sizes; its ratio to this one does not.
    for name in densities[0]:
        assert densities[0][name] / densities[0]["1.weight"] == pytest.approx(
            densities[1][name] / densities[1]["1.weight"], rel=0.05
        )


def test_rows_of_a_whole_u_net_and_of_a_transformer_are_pruned() -> None:
    u_net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 8, 2), nn.ReLU(), nn.Conv2d(8, 3, 1))
    masks = pruning.prune(u_net, density=0.5, unit="row")
    assert sum(kept(masks).values()) == pytest.approx(0.5 * sum(mask.numel() for mask in masks.values()), abs=36)
    rows = masks["2.weight"].transpose(0, 1).flatten(1)  # (in, out, *kernel)
    assert torch.equal(rows.any(1), rows.all(1))
    assert bool(masks["4.weight"].all())
    encoder = nn.TransformerEncoderLayer(16, 2, 32)
    masks = pruning.prune(encoder, density=0.6, unit="row")
    rows = masks["self_attn.in_proj_weight"]  # of queries, keys and values, one below the other
    assert torch.equal(rows.any(1), rows.all(1))
    assert 0 < int(rows.any(1).sum()) < len(rows)
    assert sum(kept(masks).values()) == pytest.approx(0.6 * sum(mask.numel() for mask in masks.values()), abs=32)


@pytest.mark.parametrize(
    ("layer", "blocks"),
    [
        (fnn.LSTM(8, 16, algebra="quaternion"), 4),
        (fnn.GRU(8, 16, 2, bidirectional=True, algebra="quaternion"), 3),
        (fnn.RNN(8, 16, algebra="complex"), 1),
        (fnn.LSTMCell(8, 16, algebra="octonion"), 4),
        (nn.LSTM(8, 16), 4),
        (fnn.MultiheadAttention(16, 2, algebra="quaternion"), 6),
    ],
)
def test_a_row_of_a_gate_or_head_is_one_element_of_it_in_one_weight(layer: nn.Module, blocks: int) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()))
    n = getattr(layer, "algebra", fnn.algebra_of(layer)).n
    masks = choose(nn.Sequential(layer, nn.Linear(16, 3)), Choice(density=0.6, unit="row", scope="layer"))
    for name, mask in masks.items():
        if name == "1.weight":
            continue
        count = 1 if "out_proj" in name else blocks
        parts = mask.reshape(count, n, len(mask) // count // n, mask.shape[1])  # (gates, components, elements, columns)
        rows = parts.any(3).any(1)
        assert torch.equal(rows, parts.all(3).all(1))
        assert 0 < int(rows.sum()) < rows.numel()
    total = sum(mask.numel() for mask in masks.values())
    assert sum(kept(masks).values()) == pytest.approx(0.6 * total, abs=0.05 * total)


class Tied(nn.Module):
    """A language model whose output layer is its table."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.hidden, self.out = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 20, bias=False)
        self.out.weight = self.table.weight

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.out(torch.relu(self.hidden(self.table(tokens).mean(1))))
        return logits


class Twice(nn.Module):
    """One layer under two names, and another that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = nn.Sequential(nn.Tanh(), self.first, fnn.Linear(8, 8, algebra="quaternion"))
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.second(self.first(x))))  # type: ignore[no-any-return]


@pytest.mark.parametrize("score", pruning.SCORES)
@pytest.mark.parametrize(("make", "shape"), [(Tied, None), (Twice, (8,))])
def test_scores_of_shared_weights_are_derivatives_by_all_their_uses(make: Any, shape: Any, score: str) -> None:
    torch.manual_seed(0)
    model, labels = make(), torch.arange(6) % 3
    images = torch.randint(0, 20, (6, 4)) if shape is None else torch.randn(6, *shape)
    before, parameters = copy.deepcopy(model.state_dict()), list(model.parameters())
    choose(model, Choice(density=0.5, score=score), images=images, labels=labels)
    gradients = pruning.gradients(model, images, labels)
    nn.functional.cross_entropy(model(images), labels).backward()
    for name, weight in named_weights(model).items():
        torch.testing.assert_close(gradients[name], weight.grad)
        weight.grad = None
    assert same_state(model, before)
    assert all(p is q for p, q in zip(model.parameters(), parameters, strict=True))
    assert next(model.parameters()).device.type == "cpu"


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        return {"logits": self.b(torch.relu(self.a(x)) + y)}


def of_logits(outputs: dict[str, Tensor], labels: Tensor) -> Tensor:
    return nn.functional.cross_entropy(outputs["logits"], labels)


@pytest.mark.parametrize("score", pruning.SCORES)
def test_inputs_are_a_tuple_or_a_dict_and_outputs_what_the_loss_takes(score: str) -> None:
    torch.manual_seed(0)
    model, x, y, labels = TwoInputs(), torch.randn(6, 4), torch.randn(6, 4), torch.arange(6) % 3
    found = [
        choose(model, Choice(density=0.5, score=score), images=images, labels=labels, loss=of_logits, generator=generator)
        for images in ((x, y), {"y": y, "x": x})
        for generator in [torch.Generator().manual_seed(0)]
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    if score in pruning.NEED_LABELS:
        with pytest.raises(ValueError, match=r"^the model returns a dict: it must return a tensor of logits, or give a `loss`"):
            choose(model, Choice(density=0.5, score=score), images=(x, y), labels=labels)


@pytest.mark.parametrize("score", sorted(pruning.NEED_LABELS))
def test_a_loss_of_the_users_own_ranks_a_regression(score: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    images, targets = torch.randn(6, 4), torch.randn(6, 1)
    masks = pruning.prune(model, density=0.5, score=score, images=images, labels=targets, loss=nn.functional.mse_loss)
    assert sum(kept(masks).values()) == 20
    for outputs, labels, sentence in (
        (
            1,
            targets,
            r"the model's outputs have shape \(\d, 1\): they must be logits of two classes at least, or give a `loss`",
        ),
        (1, torch.tensor([0, 1, 0, 1, 1, 0]), r"the model's outputs have shape \(\d, 1\)"),
        (3, torch.tensor([0, 1, 3, 1, 2, 0]), r"`labels` \(=3\) must lie in \[0, 3\)"),
        (3, torch.tensor([0, 1, -1, 1, 2, 0]), r"`labels` \(=-1\) must lie in \[0, 3\)"),
        (3, torch.randn(6, 3), "`labels` .* must be classes, or probabilities"),
        (3, torch.randint(0, 3, (6, 2)), r"`labels` \(of shape \(\d, 2\)\) must have shape \(\d,\)"),
        (3, [0] * 6, "`labels`"),
    ):
        built = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, outputs))
        with pytest.raises(ValueError, match=f"^{sentence}"):
            choose(built, Choice(density=0.5, score=score), images=images, labels=labels)


def test_a_loss_that_cannot_be_derived_is_refused() -> None:
    model, images, labels = nn.Linear(4, 3), torch.randn(6, 4), torch.arange(6) % 3
    for loss, sentence in (
        (lambda outputs, labels: outputs.sum(1), "`loss` returns a value of shape"),
        (lambda outputs, labels: 1.0, "`loss` returns a value a float"),
        (lambda outputs, labels: outputs.detach().sum(), "the loss does not depend on the weights"),
        (lambda outputs, labels: outputs.sum() * torch.inf, "the loss .* must be finite"),
        (lambda outputs, labels: 0 * outputs.sum(), r"`score` \(='gradient'\) is 0 for all weights"),
    ):
        with pytest.raises(ValueError, match=f"^{sentence}"):
            choose(model, Choice(density=0.5, score="gradient"), images=images, labels=labels, loss=loss)


@pytest.mark.parametrize("score", sorted(set(pruning.SCORES) - {"random", "synflow"}))
@pytest.mark.parametrize("settings", [{}, {"unit": "element"}, {"unit": "row"}, {"budget": "macs"}], ids=str)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_networks_in_half_precision_are_pruned_as_the_same_numbers_in_float32(scale: float, settings: Any, score: str) -> None:
    if score == "grasp" and settings == {"budget": "macs"}:
        return  # may be negative
    torch.manual_seed(0)
    model = nn.Sequential(fnn.Linear(16, 32, algebra="quaternion"), nn.Tanh(), nn.Linear(32, 16), nn.Linear(16, 3)).half()
    with torch.no_grad():
        for weight in named_weights(model).values():
            weight.mul_(scale)
    wide, images, labels = copy.deepcopy(model).float(), torch.randn(6, 16).half(), torch.arange(6) % 3
    macs = models.measure(wide, (16,)).macs_per_weight
    choice = Choice(density=0.4, score=score, **settings)
    one = choose(model, choice, images=images, labels=labels, macs_per_weight=macs)
    other = choose(wide, choice, images=images.float(), labels=labels, macs_per_weight=macs)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_products_of_half_precision_do_not_underflow() -> None:
    weights, gradients = ({"a": torch.tensor([1e-3, 2e-3]).mul(scale).half()} for scale in (1.0, 1e-3))
    scores = pruning.gradient_scores(weights, gradients, pruning.Units())["a"]
    assert 0 < scores[0] < scores[1]
    assert pruning.fisher_scores(weights, [gradients], pruning.Units())["a"][0] > 0


def test_weights_that_cost_no_macs_stay_and_those_that_are_gone_stay_gone() -> None:
    scores, masks = {name: torch.tensor([3.0, 2.0]) for name in "ab"}, {name: torch.ones(2, dtype=torch.bool) for name in "ab"}
    scores["b"] *= 1e-6
    masks["b"][1] = False
    found = pruning.select_macs(scores, masks, 5, {"a": 5, "b": 0}, pruning.Units())
    assert (found["a"].tolist(), found["b"].tolist()) == ([True, False], [True, False])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("settings", [{"unit": "element"}, {"unit": "row"}, {"budget": "macs"}], ids=str)
def test_magnitudes_are_compared_however_small_or_large_they_are(settings: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(fnn.Linear(16, 32, algebra="quaternion"), nn.Linear(32, 16), nn.Linear(16, 8)).to(dtype)
    macs = models.measure(model, (16,)).macs_per_weight
    expected = choose(model, Choice(density=0.4, **settings), macs_per_weight=macs)
    for exponent in (-100, 100) if dtype == torch.float32 else (-900, 900):
        scaled = copy.deepcopy(model)
        with torch.no_grad():
            for weight in named_weights(scaled).values():
                weight.copy_(torch.ldexp(weight, torch.tensor(exponent)))
        found = choose(scaled, Choice(density=0.4, **settings), macs_per_weight=macs)
        assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("scale", ["learned", "norm"])
@pytest.mark.parametrize("make", [lambda **o: fnn.RotationLinear(8, 8, **o), lambda **o: fnn.RotationConv2d(8, 8, 3, **o)])
def test_a_pruned_quaternion_of_a_rotation_layer_is_a_connection_that_is_gone(make: Any, scale: str) -> None:
    layer = make(scale=scale)
    masks = pruning.dense(named_weights(layer))
    masks["weight"] = torch.rand(layer.weight.numel() // 4).gt(0.5).repeat(4).view(layer.weight.shape)
    before = layer.matrix().detach().clone()
    pruning.apply_(layer, masks)
    blocks = masks["weight"].view(4, -1)[0].view(2, 2, *layer.weight.shape[2:])  # (out, in, *kernel) of quaternions
    stays = blocks.repeat(4, 4, *[1] * (blocks.dim() - 2))
    assert torch.equal(layer.matrix() != 0, (before != 0) & stays)
    torch.testing.assert_close(layer.matrix()[stays], before[stays])


def test_rotations_are_ranked_by_their_scale_and_a_scale_without_one_first_of_all() -> None:
    layer = fnn.RotationLinear(16, 16, bias=False)
    with torch.no_grad():
        layer.scale.copy_(torch.linspace(-1, 2, 16).view(4, 4))
    model = nn.Sequential(layer, nn.Linear(16, 2))
    masks = choose(model, Choice(density=0.5, unit="element", scope="layer"))
    of_numbers = masks["0.weight"].view(4, 4, 4).all(0)
    assert layer.scale[of_numbers].abs().min() > layer.scale[~of_numbers].abs().max()
    orphan = pruning.dense(named_weights(model))
    orphan["0.weight"].view(4, 4, 4)[:, 3, 3] = False  # the quaternion of the largest scale
    after = choose(model, Choice(density=1 - 5 / 112), masks=orphan)
    assert not after["0.scale"][3, 3]
