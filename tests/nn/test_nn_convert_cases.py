"""Conversion where models share, compute, derive or observe: what is kept, left or refused."""

import pytest
import torch
from nn_reference import HYPERCOMPLEX, draw
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from fourfold import nn as fnn
from fourfold.algebra import get
from fourfold.nn import convert, convert_with_report, to_real
from fourfold.nn.conversion.projection import project_, real_weights
from fourfold.nn.conversion.replacing import make
from fourfold.nn.conversion.rules import RULES, rule_of
from fourfold.nn.heads import NormHead
from fourfold.nn.light_gru import LiGRU
from fourfold.nn.phm import PHMConv2d, PHMLinear
from fourfold.nn.rotation import RotationLinear

LAYERS = {
    "linear": (lambda: nn.Linear(16, 8), [(3, 16)]),
    "conv1d": (lambda: nn.Conv1d(8, 16, 3, stride=2, padding="valid"), [(2, 8, 7)]),
    "conv2d": (lambda: nn.Conv2d(8, 16, (3, 1), padding=1, padding_mode="circular", bias=False), [(2, 8, 5, 5)]),
    "conv2d grouped": (lambda: nn.Conv2d(16, 32, 3, groups=2), [(2, 16, 5, 5)]),
    "conv3d": (lambda: nn.Conv3d(8, 8, 2, dilation=2), [(2, 8, 4, 4, 4)]),
    "transposed": (lambda: nn.ConvTranspose2d(8, 16, 3, stride=2, output_padding=1), [(2, 8, 3, 3)]),
    "transposed grouped": (lambda: nn.ConvTranspose1d(16, 16, 2, groups=2), [(2, 16, 4)]),
    "bilinear": (lambda: nn.Bilinear(8, 16, 8), [(3, 8), (3, 16)]),
    "rnn": (lambda: nn.RNN(8, 16, 2, nonlinearity="relu"), [(4, 2, 8)]),
    "lstm": (lambda: nn.LSTM(8, 16, proj_size=8), [(4, 2, 8)]),
    "gru": (lambda: nn.GRU(8, 16, 2, bias=False, batch_first=True), [(2, 4, 8)]),
    "cell": (lambda: nn.GRUCell(8, 16), [(3, 8)]),
    "attention": (lambda: nn.MultiheadAttention(32, 2, add_bias_kv=True), [(4, 2, 32)] * 3),
    "cross attention": (lambda: nn.MultiheadAttention(32, 4, kdim=8, vdim=16, bias=False), [(4, 2, 32), (3, 2, 8), (3, 2, 16)]),
}


def first(output):
    return output[0] if isinstance(output, tuple) else output


@pytest.mark.slow
@pytest.mark.parametrize("name", HYPERCOMPLEX)
@pytest.mark.parametrize("kind", LAYERS)
def test_projected_weights_are_the_nearest_ones_and_compute_the_same_in_torch(kind, name):
    torch.manual_seed(0)
    layer = LAYERS[kind][0]().double()
    torch_class, rule = rule_of(layer)
    try:
        ours = make(rule.ours, rule, layer, get(name))
    except ValueError:
        pytest.skip(f"{kind} of these sizes is not divisible in {name}")
    error = project_(ours, layer)
    nearest = {key: weight.detach().clone() for key, weight in real_weights(ours).items()}

    # In torch's own layer they compute what ours does.
    plain = make(torch_class, rule, ours, one_group=True)
    plain.load_state_dict({**ours.state_dict(), **nearest})
    inputs = [draw(i, *shape) for i, shape in enumerate(LAYERS[kind][1])]
    torch.testing.assert_close(first(ours(*inputs)), first(plain(*inputs)))

    # What is missed is orthogonal to every weight of the algebra's form, so none is nearer.
    size = missed = 0.0
    groups = getattr(layer, "groups", 1)
    dense = make(torch_class, rule, layer, one_group=True)
    for key, weight in nearest.items():
        real = layer.get_parameter(key).detach()
        target = torch.zeros_like(dense.get_parameter(key)) if groups > 1 else real
        if groups > 1:
            rows, columns = real.shape[0] // groups, real.shape[1]
            for g in range(groups):
                block = slice(g * rows, (g + 1) * rows)
                target.data[block, g * columns : (g + 1) * columns] = real[block]
        size, missed = size + target.square().sum(), missed + (target - weight).square().sum()
        with torch.no_grad():
            for parameter in ours.parameters():
                parameter.normal_()
            other = real_weights(ours)[key]
        product = ((target - weight) * other).sum()
        assert product.abs() < 1e-9 * other.norm() * target.norm()
    assert error == pytest.approx((missed / size).sqrt().item())


def test_every_rule_is_named_after_its_class():
    assert all(rule.ours.__name__ == torch_class.__name__ for torch_class, rule in RULES.items())
    assert all(issubclass(rule.ours, torch_class) for torch_class, rule in RULES.items())


class Sharing(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.b.weight = self.a.weight
        self.again = self.a
        self.listed = [self.a, self.b]
        self.readout = nn.Linear(8, 12, bias=False)
        self.readout.weight = self.embedding.weight
        self.last = nn.Linear(12, 3)

    def forward(self, tokens):
        x = self.listed[1](self.listed[0](self.embedding(tokens)).relu())
        return self.last(self.readout(self.again(x)))


@pytest.mark.parametrize("weights", ["scratch", "project"])
def test_what_is_shared_stays_shared(weights):
    model, x = Sharing(), torch.tensor([1, 5])
    conversion = convert_with_report(model, weights=weights)
    converted = conversion.model
    real = to_real(converted)
    for found, kind in ((converted, fnn.Linear), (real, nn.Linear)):
        assert type(found.a) is kind
        assert found.a is found.again
        assert found.listed[0] is found.a
        assert found.a.weight is found.b.weight
        assert found.a.bias is not found.b.bias
        assert found.readout.weight is found.embedding.weight
    torch.testing.assert_close(real(x), converted(x))
    assert conversion.after == sum(p.numel() for p in converted.parameters()) == 12 * 8 + 8 * 8 // 4 + 8 + 8 + 12 * 3 + 3
    reasons = {layer.name: layer.left for layer in conversion.layers}
    assert reasons["readout"] == "shares weights with 'embedding'"


def test_hooks_and_what_users_set_stay():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    model[0].scale_of_init = 0.5
    seen = []
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(type(module)))
    converted = convert(model)
    real = to_real(converted)
    for found in (converted, real):
        assert found[0].scale_of_init == 0.5
        found(torch.ones(1, 8))
    assert seen == [fnn.Linear, nn.Linear]
    assert not hasattr(real[0], "algebra")


class Named(nn.Linear):
    def __init__(self, size):
        super().__init__(size, size)


class Doubling:
    def forward(self, input):
        return 2 * super().forward(input)


class Scaled(nn.Linear):
    def forward(self, input):
        return 2 * super().forward(input)


class Mixed(Doubling, nn.Linear):
    pass


class Adapted(nn.Linear):
    def __init__(self, size):
        super().__init__(size, size)
        self.adapter = nn.Parameter(torch.ones(size))


def test_subclasses_are_converted_if_they_compute_what_their_parent_does():
    conversion = convert_with_report(
        nn.Sequential(Named(8), Scaled(8, 8), Mixed(8, 8), Adapted(8), fnn.Linear(8, 8), nn.Linear(8, 8))
    )
    assert [layer.left for layer in conversion.layers] == [
        "",
        "subclass of Linear with its own forward",
        "subclass of Linear with its own forward",
        "has adapter besides",
        "",
        "output layer, with `head`='real'",
    ]
    assert [type(layer) for layer in conversion.model] == [fnn.Linear, Scaled, Mixed, Adapted, fnn.Linear, nn.Linear]


def test_depthwise_and_indivisible_layers_are_left_with_the_reason():
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6), nn.Conv2d(8, 8, 1), nn.Flatten())
    reasons = [layer.left for layer in convert_with_report(model, head="algebra").layers]
    assert reasons == [
        "`in_channels` (=8) must be divisible by 32 (8 groups of 4) for algebra 'quaternion'",
        "`out_channels` (=6) must be divisible by 4 for algebra 'quaternion'",
        "`num_features` (=6) must be divisible by 4 for algebra 'quaternion'",
        "",
    ]


def test_batch_norm_starts_afresh_from_scratch_and_is_kept_by_projection():
    model = nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8, affine=False), nn.Flatten(), nn.Linear(8, 2))
    model(draw(0, 5, 4, 1, 1, dtype=torch.float32) * 3 + 1)
    assert not convert(model)[1].running_mean.any()
    assert torch.equal(convert(model, weights="project")[1].running_var, model[1].running_var)


def test_a_bidirectional_layer_orders_its_outputs_anew_so_only_scratch_takes_it():
    model = nn.Sequential(nn.LSTM(8, 8, bidirectional=True), nn.Linear(8, 8))
    assert not convert_with_report(model, head="algebra").layers[0].left
    assert convert_with_report(model, head="algebra", weights="project").layers[0].left.startswith("bidirectional")
    with pytest.raises(ValueError, match=r"layer '0' \(LSTM\) must stay: torch.nn has none that orders the outputs"):
        to_real(convert(model, head="algebra"))


class Doubled(Doubling, fnn.Linear):
    pass


def test_to_real_knows_learned_algebras_and_rotations_and_leaves_what_has_no_weights():
    weighted = [PHMConv2d(8, 16, 3, groups=2, n=4), nn.Flatten(), PHMLinear(16, 8, n=4), RotationLinear(8, 8)]
    model = nn.Sequential(*weighted, NormHead(algebra="quaternion"))
    x = draw(0, 3, 8, 3, 3, dtype=torch.float32)
    real = to_real(model)
    assert [type(layer) for layer in real] == [nn.Conv2d, nn.Flatten, nn.Linear, nn.Linear, NormHead]
    torch.testing.assert_close(real(x), model(x))
    with pytest.raises(ValueError, match=r"layer '0' \(Doubled\) must stay: it is a subclass with its own forward"):
        to_real(nn.Sequential(Doubled(8, 8, algebra="quaternion")))
    with pytest.raises(ValueError, match=r"layer '0' \(LiGRU\) must stay: torch.nn has none"):
        to_real(nn.Sequential(LiGRU(8, 8, algebra="quaternion")))


class Masked(nn.Module):
    def forward(self, weight):
        return weight * (weight > 0)


def test_to_real_bakes_in_what_a_parametrization_computes():
    layer = fnn.Linear(8, 8, algebra="quaternion")
    parametrize.register_parametrization(layer, "weight", Masked())
    x = draw(0, 3, 8, dtype=torch.float32)
    real = to_real(nn.Sequential(layer))
    assert type(real[0]) is nn.Linear
    assert 0 < (real[0].weight == 0).sum() < 64
    torch.testing.assert_close(real(x), layer(x))


@pytest.mark.parametrize(
    "compute", [parametrizations.weight_norm, parametrizations.spectral_norm, lambda m: prune.l1_unstructured(m, "weight", 0.5)]
)
def test_computed_weights_are_refused_unless_skipped(compute):
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2))
    compute(model[0])
    if not prune.is_pruned(model):  # torch itself cannot copy those
        assert type(convert(model, skip="0")[2]) is fnn.Linear
    with pytest.raises(ValueError, match=r"computes its weights \(.*pruned or weight-normed.*\): bake them in first"):
        convert(model)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (nn.Linear(8, 8), {}, "nothing to convert to 'quaternion': Linear: output layer, with `head`='real'"),
        (nn.ReLU(), {}, "nothing to convert to 'quaternion': no linear, convolution, recurrent or attention layer"),
        (nn.Linear(6, 8), {"head": "algebra"}, r"nothing to .*: Linear: `in_features` \(=6\) must be divisible by 4"),
        (nn.Linear(8, 8), {"head": "imaginary"}, "unknown head 'imaginary'; known: algebra, real"),
        (nn.Linear(8, 8), {"weights": "best"}, "unknown weights 'best'; known: project, scratch"),
        (nn.Linear(8, 8), {"algebra": "H"}, "unknown algebra 'H'; known: real, complex, quaternion, octonion"),
        (nn.Sequential(nn.Linear(8, 8)), {"skip": "fc"}, r"`skip` \(='fc'\) names no module of the model; its layers: 0"),
        (nn.Sequential(nn.LazyLinear(8)), {}, "the model has lazy layers, without weights yet: run one batch through it"),
    ],
)
def test_mistakes_are_named_in_a_sentence(model, options, message):
    with pytest.raises(ValueError, match=message):
        convert(model, **options)
