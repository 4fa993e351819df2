"""`TransformerEncoderLayer` against its definition, against torch's own, and inside torch's `TransformerEncoder`."""

import copy

import pytest
import torch
from nn_reference import HYPERCOMPLEX, by_components, draw
from torch import nn
from torch.nn import functional as F

from fourfold.algebra import get
from fourfold.nn.attention import MultiheadAttention
from fourfold.nn.layer_norm import LayerNorm
from fourfold.nn.linear import Linear
from fourfold.nn.transformer import TransformerEncoderLayer
from fourfold.record import UserError

PADDING = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])


def reference(layer, x, activation):
    """Vaswani et al. 2017, or with `norm_first` Xiong et al. 2020, without dropout; x is (N, L, E)."""

    def attend(x):
        return layer.self_attn(x, x, x, key_padding_mask=PADDING)[0]

    def feed(x):
        name = layer.algebra.name
        hidden = activation(by_components(F.linear, layer.linear1.weight, layer.linear1.bias, x, -1, name))
        return by_components(F.linear, layer.linear2.weight, layer.linear2.bias, hidden, -1, name)

    if layer.norm_first:
        x = x + attend(layer.norm1(x))
        return x + feed(layer.norm2(x))
    x = layer.norm1(x + attend(x))
    return layer.norm2(x + feed(x))


@pytest.mark.parametrize("name", HYPERCOMPLEX)
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize(("activation", "function"), [("relu", F.relu), (F.gelu, F.gelu), (torch.tanh, torch.tanh)])
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_is_its_definition_in_training_and_inference(name, norm_first, activation, function, bias):
    n = get(name).n
    options = {"norm_first": norm_first, "batch_first": True, "bias": bias, "dtype": torch.float64}
    layer = TransformerEncoderLayer(2 * n, 2, 3 * n, 0.0, activation, algebra=name, **options)
    x = draw(0, 2, 5, 2 * n)
    expected = reference(layer, x, function)
    torch.testing.assert_close(layer(x, src_key_padding_mask=PADDING), expected)
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(x, src_key_padding_mask=PADDING), expected)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"batch_first": True, "activation": "gelu", "norm_first": True, "bias": False}])
def test_a_real_layer_is_torchs_to_the_last_bit(training, options):
    outcomes = []
    for kind, more in ((nn.TransformerEncoderLayer, {}), (TransformerEncoderLayer, {"algebra": "real"})):
        torch.manual_seed(3)
        layer = kind(12, 2, 20, **options, **more).train(training)
        with torch.set_grad_enabled(training):
            y = layer(draw(0, 3, 4, 12, dtype=torch.float32))
        outcomes.append((repr(layer), {**layer.state_dict(), "y": y, "next": torch.rand(1)}))
    (expected_text, expected), (text, found) = outcomes
    assert text == expected_text
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("name", ["real", "quaternion"])
def test_only_real_layers_take_torchs_fused_kernel_and_all_infer_what_they_trained(name, monkeypatch):
    taken, fused = [], torch._transformer_encoder_layer_fwd
    monkeypatch.setattr(torch, "_transformer_encoder_layer_fwd", lambda *a: taken.append(True) or fused(*a))
    layer = TransformerEncoderLayer(16, 2, 24, batch_first=True, algebra=name)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = draw(0, 2, 5, 16, dtype=torch.float32)
    slow = encoder(x, src_key_padding_mask=PADDING)
    with torch.inference_mode():
        fast = encoder(x, src_key_padding_mask=PADDING)
    assert len(taken) == (2 if name == "real" else 0)
    torch.testing.assert_close(fast[~PADDING], slow[~PADDING])
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    torch.testing.assert_close(encoder(x, mask, is_causal=True)[:, :3], encoder(x[:, :3], mask[:3, :3]))


def test_torchs_encoder_warns_that_it_will_not_nest():
    with pytest.warns(UserWarning, match="use_nested_tensor is False"):
        encoder = nn.TransformerEncoder(TransformerEncoderLayer(8, 2, 8, batch_first=True, algebra="quaternion"), 1)
    assert not encoder.use_nested_tensor


@pytest.mark.parametrize("name", HYPERCOMPLEX)
def test_every_matrix_is_stored_once_for_all_components(name):
    layer, twin = TransformerEncoderLayer(32, 2, 64, algebra=name), nn.TransformerEncoderLayer(32, 2, 64)
    sizes = {key: value.numel() for key, value in layer.state_dict().items()}
    for key, value in twin.state_dict().items():
        if value.dim() > 1:
            assert sizes[key] * get(name).n == value.numel()
    kinds = {"self_attn": MultiheadAttention, "linear1": Linear, "linear2": Linear, "norm1": LayerNorm, "norm2": LayerNorm}
    for part, kind in kinds.items():
        assert type(getattr(layer, part)) is kind
        assert getattr(layer, part).algebra == get(name)


def test_a_layer_is_a_module_like_any_other():
    layer, twin = (TransformerEncoderLayer(16, 2, 24, algebra="quaternion").eval() for _ in range(2))
    x = draw(0, 5, 2, 16, dtype=torch.float32)
    expected = layer(x)
    twin.load_state_dict(layer.state_dict())
    meta = TransformerEncoderLayer(16, 2, 24, algebra="quaternion", device="meta").eval()
    assert all(p.is_meta for p in meta.parameters())
    meta.to_empty(device="cpu").load_state_dict(layer.state_dict())
    for other in (twin, meta, copy.deepcopy(layer)):
        torch.testing.assert_close(other(x), expected, rtol=0, atol=0)
        assert repr(other) == repr(layer)
    torch.testing.assert_close(copy.deepcopy(layer).double()(x.double()), expected, check_dtype=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x), expected, check_dtype=False, rtol=0.1, atol=0.1)
    assert repr(layer).count("algebra='quaternion'") == 6


@pytest.mark.slow
def test_a_layer_compiles_to_one_graph():
    layer = TransformerEncoderLayer(16, 2, 24, 0.0, batch_first=True, algebra="quaternion")
    x = draw(0, 2, 5, 16, dtype=torch.float32)
    torch.testing.assert_close(torch.compile(layer, backend="aot_eager", fullgraph=True)(x), layer(x))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((12, 2, 16), r"`d_model` \(=12\) must be divisible by `nhead` \(=2\) × 4 for algebra 'quaternion'"),
        ((16, 0, 16), r"`d_model` \(=16\) and `nhead` \(=0\) must be greater than 0"),
        ((16, 2, 18), r"`dim_feedforward` \(=18\) must be divisible by 4 for algebra 'quaternion'"),
    ],
)
def test_sizes_that_do_not_fit_are_named(sizes, message):
    with pytest.raises(UserError, match=message):
        TransformerEncoderLayer(*sizes, algebra="quaternion")
