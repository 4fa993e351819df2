"""`MultiheadAttention` against its definition over numbers, and against torch's own."""

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_reference import HYPERCOMPLEX, by_components, draw
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from fourfold.algebra import conjugate, get, product
from fourfold.nn.attention import MultiheadAttention
from fourfold.record import UserError


def reference(layer, query, key, value, hidden=None):
    """Attend with (L, E) inputs, head by head and number by number; return values and weights (heads, L, S)."""
    algebra, heads, name = layer.algebra, layer.num_heads, layer.algebra.name
    stored = [getattr(layer, part) for part in ("q_proj_weight", "k_proj_weight", "v_proj_weight")]
    if layer.in_proj_weight is not None:
        stored = layer.in_proj_weight.chunk(3)
    biases = [None] * 3 if layer.in_proj_bias is None else layer.in_proj_bias.chunk(3)
    rows = {1: layer.bias_k, 2: layer.bias_v}
    values, weights = [], []
    for head in range(heads):
        projected = []
        for i, x in enumerate((query, key, value)):
            bias = None if biases[i] is None else biases[i].chunk(heads)[head]
            projected.append(by_components(F.linear, stored[i].chunk(heads)[head], bias, x, -1, name))
            if rows.get(i) is not None:
                projected[i] = torch.cat([projected[i], rows[i].flatten().chunk(heads)[head].unsqueeze(0)])
            if i and layer.add_zero_attn:
                projected[i] = torch.cat([projected[i], torch.zeros_like(projected[i][:1])])
        q, k, v = (part.unflatten(-1, (algebra.n, -1)).transpose(-2, -1) for part in projected)  # (L, numbers, n)
        inner = product(conjugate(q).unsqueeze(1), k.unsqueeze(0), algebra)[..., 0].sum(-1) if algebra.n > 1 else None
        scores = (q[..., 0] @ k[..., 0].T if inner is None else inner) / math.sqrt(q[0].numel())
        if hidden is not None:
            scores = scores.masked_fill(F.pad(hidden, (0, scores.shape[1] - hidden.shape[1])), -torch.inf)
        weights.append(scores.softmax(-1))
        values.append(torch.einsum("ls,sjc->lcj", weights[-1], v))
    numbers = torch.cat(values, -1).flatten(-2)
    return by_components(F.linear, layer.out_proj.weight, layer.out_proj.bias, numbers, -1, name), torch.stack(weights)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.sampled_from(["real", *HYPERCOMPLEX]), st.data())
def test_attention_is_its_definition_over_numbers(name, data):
    n = get(name).n
    heads, numbers, length, source = (data.draw(st.integers(1, high)) for high in (3, 2, 4, 4))
    sizes = {size: data.draw(st.sampled_from([None, 3 * n])) for size in ("kdim", "vdim")}
    flags = {flag: data.draw(st.booleans()) for flag in ("bias", "add_bias_kv", "add_zero_attn", "batch_first")}
    embed = n * heads * numbers
    layer = MultiheadAttention(embed, heads, **sizes, **flags, dtype=torch.float64, algebra=name)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(draw(len(parameter), *parameter.shape))
    query, key, value = (
        draw(0, 2, length, embed),
        draw(1, 2, source, sizes["kdim"] or embed),
        draw(2, 2, source, sizes["vdim"] or embed),
    )
    hidden = torch.rand(2, length, source, generator=torch.Generator().manual_seed(0)) < 0.3
    hidden[..., 0] = False
    masked = data.draw(st.booleans())
    inputs = (query, key, value) if layer.batch_first else (x.transpose(0, 1) for x in (query, key, value))
    mask = hidden.repeat_interleave(heads, 0) if masked else None
    found, weights = layer(*inputs, attn_mask=mask, average_attn_weights=False)
    for i in range(2):
        expected = reference(layer, query[i], key[i], value[i], hidden[i] if masked else None)
        torch.testing.assert_close(found[i] if layer.batch_first else found[:, i], expected[0])
        torch.testing.assert_close(weights[i], expected[1])


@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"kdim": 5, "vdim": 7, "bias": False}, {"add_bias_kv": True}])
@pytest.mark.parametrize("training", [True, False])
def test_real_attention_is_torchs_to_the_last_bit(options, training):
    outcomes = []
    for kind, more in ((nn.MultiheadAttention, {}), (MultiheadAttention, {"algebra": "real"})):
        torch.manual_seed(3)
        layer = kind(12, 2, **options, **more).train(training)
        x = [draw(i, 3, 4, options.get(size, 12), dtype=torch.float32) for i, size in enumerate(("", "kdim", "vdim"))]
        with torch.set_grad_enabled(training):
            y, weights = layer(*(x if options else x[:1] * 3))
        outcomes.append((repr(layer), {**layer.state_dict(), "y": y, "weights": weights, "next": torch.rand(1)}))
    (expected_text, expected), (text, found) = outcomes
    assert text == expected_text
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("need_weights", [True, False])
def test_torchs_fast_path_at_inference_computes_the_same(need_weights, monkeypatch):
    layer = MultiheadAttention(16, 2, batch_first=True, dropout=0.5, algebra="quaternion").eval()
    x = draw(0, 2, 5, 16, dtype=torch.float32)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    slow = layer(x, x, x, key_padding_mask=padding, need_weights=need_weights)
    taken, fused = [], torch._native_multi_head_attention
    monkeypatch.setattr(torch, "_native_multi_head_attention", lambda *a: taken.append(True) or fused(*a))
    with torch.no_grad():
        fast = layer(x, x, x, key_padding_mask=padding, need_weights=need_weights)
    assert taken
    torch.testing.assert_close(fast[0], slow[0])
    assert (fast[1] is None) == (slow[1] is None)


def test_a_causal_hint_and_unbatched_input_serve_as_in_torch():
    layer = MultiheadAttention(16, 2, algebra="quaternion", dtype=torch.float64)
    x = draw(0, 5, 16)
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    found, _ = layer(x, x, x, attn_mask=mask, is_causal=True, need_weights=False)
    torch.testing.assert_close(found, reference(layer, x, x, x, mask < 0)[0])


def test_gradients_are_the_numerical_ones():
    layer = MultiheadAttention(8, 2, add_bias_kv=True, dtype=torch.float64, algebra="quaternion")
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def forward(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x, x, x))[0]

    assert torch.autograd.gradcheck(forward, (draw(0, 2, 2, 8).requires_grad_(), *parameters), fast_mode=True)


@pytest.mark.parametrize("name", ["real", "quaternion", "octonion"])
@pytest.mark.parametrize("sizes", [{}, {"kdim": 64, "vdim": 256}])
def test_real_matrices_start_with_the_variance_of_torchs(name, sizes):
    layer, n = MultiheadAttention(192, 3, **sizes, algebra=name), get(name).n
    for key, weight in layer.real_weights().items():
        variance = 1 / (3 * 192) if key == "out_proj.weight" else 2 / sum(weight.shape)
        assert weight.square().mean().item() == pytest.approx(variance, rel=0.1), key
    assert sum(w.numel() for w in layer.stored_weights().values()) * n == sum(
        w.numel() for key, w in layer.real_weights().items() if key != "out_proj.weight"
    )
    assert layer.in_proj_bias.count_nonzero() + layer.out_proj.bias.count_nonzero() == 0


def test_attention_is_a_module_like_any_other():
    layer, twin = (MultiheadAttention(16, 2, add_bias_kv=True, algebra="quaternion") for _ in range(2))
    x = draw(0, 3, 2, 16, dtype=torch.float32)
    expected = layer(x, x, x)[0]
    twin.load_state_dict(layer.state_dict())
    meta = MultiheadAttention(16, 2, add_bias_kv=True, algebra="quaternion", device="meta")
    assert all(p.is_meta for p in meta.parameters())
    meta.to_empty(device="cpu").load_state_dict(layer.state_dict())
    for other in (twin, meta, copy.deepcopy(layer)):
        torch.testing.assert_close(other(x, x, x)[0], expected, rtol=0, atol=0)
        assert repr(other) == repr(layer)
    torch.testing.assert_close(copy.deepcopy(layer).double()(*[x.double()] * 3)[0], expected, check_dtype=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x, x, x)[0], expected, check_dtype=False, rtol=0.1, atol=0.05)
    parametrize.register_parametrization(layer, "in_proj_weight", nn.Identity())
    torch.testing.assert_close(layer(x, x, x)[0], expected, rtol=0, atol=0)
    assert "  algebra='quaternion'\n  (out_proj): Linear(" in repr(layer)


@pytest.mark.slow
def test_attention_compiles_to_one_graph_and_is_exported():
    layer = MultiheadAttention(16, 2, algebra="quaternion")
    x = draw(0, 3, 2, 16, dtype=torch.float32)
    torch.testing.assert_close(torch.compile(layer, backend="aot_eager", fullgraph=True)(x, x, x)[0], layer(x, x, x)[0])
    torch.testing.assert_close(torch.export.export(layer, (x, x, x)).module()(x, x, x)[0], layer(x, x, x)[0])


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((12, 2), {}, r"`embed_dim` \(=12\) must be divisible by `num_heads` \(=2\) × 4 for algebra 'quaternion'"),
        ((10, 3), {"algebra": "real"}, r"`embed_dim` \(=10\) must be divisible by `num_heads` \(=3\) for algebra 'real'"),
        ((16, 0), {}, r"`embed_dim` \(=16\) and `num_heads` \(=0\) must be greater than 0"),
        ((16, 2), {"kdim": 6}, r"`kdim` \(=6\) must be divisible by 4"),
        ((16, 2), {"vdim": 6}, r"`vdim` \(=6\) must be divisible by 4"),
    ],
)
def test_sizes_that_do_not_fit_are_named(arguments, options, message):
    with pytest.raises(UserError, match=message):
        MultiheadAttention(*arguments, **{"algebra": "quaternion", **options})
