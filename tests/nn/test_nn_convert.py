"""Whole models taken to an algebra and back."""

import copy

import pytest
import torch
from convert_models import MODELS, Basic, Mixture, ResNet, perceptron
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from fourfold import nn as fnn
from fourfold.algebra import get
from fourfold.nn import convert, convert_with_report, to_real

EVERY = [(kind, "quaternion") for kind in MODELS] + [
    (kind, name) for kind in ("tagger", "mixture") for name in ("complex", "octonion")
]


def model_of(kind, seed=0):
    torch.manual_seed(seed)
    make, inputs, left = MODELS[kind]
    return make(), inputs(), left


def warm_up(model, x):
    """Give batch norms something to remember."""
    model.train()
    with torch.no_grad():
        model(x)
    return model.eval()


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_matrices_shrink_by_the_dimension_and_all_else_stays(kind, name):
    model, x, left = model_of(kind)
    n = get(name).n
    conversion = convert_with_report(model, name)
    assert {layer.name: layer.left for layer in conversion.layers if layer.left}.keys() == left.keys()
    for layer in conversion.layers:
        assert left.get(layer.name, "") in layer.left
        assert (layer.after < layer.before) == (not layer.left and "BatchNorm" not in layer.kind)
    expected = 0
    for key, parameter in model.named_parameters():
        stays = parameter.dim() == 1 or key.rpartition(".")[0] in left
        shrinks = 1 if stays else n**2 if key == "pair.weight" else n
        expected += parameter.numel() // shrinks
    assert sum(p.numel() for p in conversion.model.parameters()) == expected == conversion.after
    assert sum(p.numel() for p in model.parameters()) == conversion.before

    y = conversion.model(x)
    assert y.shape == model(x).shape
    y.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in conversion.model.parameters())


@pytest.mark.parametrize(("kind", "name"), EVERY)
@pytest.mark.parametrize("head", ["real", "algebra"])
def test_to_real_gives_torchs_layers_the_same_outputs_and_a_state_for_the_plain_architecture(kind, name, head):
    model, x, _ = model_of(kind)
    plain, *_ = model_of(kind, 1)
    converted = warm_up(convert(model, name, head=head), x)
    real = to_real(converted)
    torch.testing.assert_close(real(x), converted(x), rtol=1e-4, atol=1e-5)
    assert [type(module) for module in real.modules()] == [type(module) for module in plain.modules()]
    assert repr(real) == repr(plain.eval())
    plain.load_state_dict(real.state_dict())
    assert torch.equal(plain(x), real(x))


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_projection_recovers_a_model_whose_weights_have_the_form(kind, name):
    model, x, _ = model_of(kind)
    converted = warm_up(convert(model, name), x)
    conversion = convert_with_report(to_real(converted), name, weights="project")
    assert all(layer.error == 0 for layer in conversion.layers if layer.after < layer.before)
    assert all(torch.equal(found, converted.state_dict()[key]) for key, found in conversion.model.state_dict().items())
    assert torch.equal(conversion.model(x), converted(x))


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("weights", ["scratch", "project"])
def test_the_given_model_is_left_alone_and_real_changes_nothing(kind, weights):
    model, *_ = model_of(kind)
    twin = copy.deepcopy(model)
    convert(model, weights=weights)
    same = to_real(convert(model, "real", weights=weights))
    for other in (model, same):
        assert repr(other) == repr(twin)
        assert all(torch.equal(value, twin.state_dict()[key]) for key, value in other.state_dict().items())
    assert all(p is not q for p, q in zip(same.parameters(), model.parameters(), strict=True))


def test_the_report_says_what_became_of_each_layer():
    text = str(convert_with_report(ResNet(Basic), weights="project")).splitlines()
    assert text[0].split() == ["layer", "kind", "before", "after", "error", "left", "as", "it", "was"]
    assert text[1] == (
        "conv1                  Conv2d          216    216         `in_channels` (=3) must be divisible by 4 for algebra "
        "'quaternion'"
    )
    assert text[3].split()[:4] == ["layer1.0.conv1", "Conv2d", "576", "144"]
    assert 0.8 < float(text[3].split()[4]) < 0.95  # √¾ on average for random weights
    assert text[-2].endswith("output layer, with `head`='real'")
    assert text[-1].split() == ["total", "6,450", "2,034"]


@pytest.mark.parametrize("head", ["algebra", "quaternion"])
def test_the_head_can_be_converted_too(head):
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12))
    assert [type(layer) for layer in convert(model, head=head)] == [fnn.Linear, nn.ReLU, fnn.Linear]
    assert [type(layer) for layer in convert(model)] == [fnn.Linear, nn.ReLU, nn.Linear]
    assert isinstance(convert(nn.Linear(8, 8), head=head), fnn.Linear)


def test_networks_that_end_within_a_transformer_or_a_recurrent_layer_have_no_output_layer():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 24, batch_first=True), 1)
    recurrent = nn.Sequential(nn.Linear(8, 8), nn.GRU(8, 8))
    for model in (encoder, nn.Transformer(16, 2, 1, 1, 24, batch_first=True), recurrent):
        assert not any("output layer" in layer.left for layer in convert_with_report(model).layers)


@pytest.mark.parametrize(
    ("skip", "real"),
    [
        ("layer2", ["conv1", "fc", "layer2.0.conv1", "layer2.0.conv2", "layer2.0.downsample.0"]),
        (
            ["*.conv2", "layer2.0.downsample"],
            ["conv1", "fc", "layer1.0.conv2", "layer1.1.conv2", "layer2.0.conv2", "layer2.0.downsample.0"],
        ),
        (Basic, None),
        ([nn.BatchNorm2d, "layer1.?.conv1"], ["conv1", "fc", "layer1.0.conv1", "layer1.1.conv1"]),
    ],
)
def test_modules_are_skipped_by_name_pattern_or_class(skip, real):
    model = ResNet(Basic)
    if real is None:
        with pytest.raises(
            ValueError, match=r"nothing to convert to 'quaternion': conv1: .*; layer1.0.conv1: skipped; .* and 6 more"
        ):
            convert(model, skip=skip)
        return
    converted = convert(model, skip=skip)
    found = [name for name, layer in converted.named_modules() if type(layer) in (nn.Conv2d, nn.Linear)]
    assert sorted(found) == sorted(real)


def test_scratch_is_a_function_of_the_seed_and_project_of_the_weights_alone():
    model = perceptron()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first, second, other = (convert(model, seed=seed).state_dict() for seed in (3, 3, 4))
    projected = [convert(model, weights="project").state_dict() for _ in range(2)]
    to_real(convert(model, seed=1))
    assert torch.equal(torch.get_rng_state(), state)
    for one, two in ((first, second), projected):
        assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(first["1.weight"], other["1.weight"])
    convert(model)
    assert not torch.equal(torch.get_rng_state(), state)


def test_scratch_has_the_variance_of_the_real_layers():
    converted = convert(nn.Sequential(nn.Linear(256, 256), nn.Linear(256, 256)), head="algebra", seed=0)
    assert converted[0].matrix().std().item() == pytest.approx((1 / (3 * 256)) ** 0.5, rel=0.02)


def test_types_flags_and_layouts_stay():
    model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.MultiheadAttention(8, 2), nn.Linear(8, 8)).to(torch.float64)
    model[0].weight.requires_grad_(False)
    model[2].out_proj.bias.requires_grad_(False)
    model[1].eval()
    for weights in ("scratch", "project"):
        converted = convert(model, weights=weights)
        for found in (converted, to_real(converted)):
            assert all(p.dtype == torch.float64 for p in found.parameters())
            assert [m.training for m in found.modules()] == [m.training for m in model.modules()]
            assert {k: p.requires_grad for k, p in found.named_parameters()} == {
                k: p.requires_grad for k, p in model.named_parameters()
            }


def test_models_on_the_meta_device_are_converted_for_their_sizes():
    with torch.device("meta"):
        model = ResNet(Basic)
    conversion = convert_with_report(model)
    assert all(p.is_meta for p in conversion.model.parameters())
    assert conversion.after == convert_with_report(ResNet(Basic)).after
    with pytest.raises(ValueError, match=r"`weights` \(='project'\) must be 'scratch' for a model on the meta device"):
        convert(model, weights="project")


def test_padding_masks_work_in_inference_where_torch_would_fuse():
    model, x, _ = model_of("tagger")
    for converted in (convert(model).eval(), convert(model, weights="project").eval()):
        with torch.no_grad():
            fast = converted(x)
        torch.testing.assert_close(fast, converted(x))
    real = to_real(converted)
    assert [layer.activation_relu_or_gelu for layer in real.encoder.layers] == [1, 1]


def test_projection_keeps_more_accuracy_than_scratch():
    images, digits = load_digits(return_X_y=True)
    x, y = torch.tensor(images, dtype=torch.float32) / 16, torch.tensor(digits)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, test = order[:1200], order[1200:]

    def fit(model, epochs):
        optimizer = torch.optim.Adam(model.parameters(), 4e-3)
        for epoch in range(epochs):
            for batch in torch.randperm(1200, generator=torch.Generator().manual_seed(epoch)).split(60):
                optimizer.zero_grad()
                F.cross_entropy(model(x[train][batch]), y[train][batch]).backward()
                optimizer.step()
        return (model(x[test]).argmax(1) == y[test]).float().mean().item()

    torch.manual_seed(0)
    real = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 10))
    assert fit(real, 8) > 0.9
    projected, scratch = convert(real, weights="project"), convert(real, seed=0)
    assert fit(projected, 0) > fit(scratch, 0) + 0.2
    assert fit(projected, 1) > fit(scratch, 1) + 0.05


def test_converting_twice_leaves_what_is_converted():
    once = convert(Mixture(), skip="rnn")
    twice = convert_with_report(once, head="algebra")
    reasons = {layer.name: layer.left for layer in twice.layers}
    assert reasons["branches.left"] == "in algebra 'quaternion' already"
    assert not reasons["rnn"]
