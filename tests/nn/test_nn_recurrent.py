"""Recurrent layers against their definition step by step, and against torch's own."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_reference import HYPERCOMPLEX, by_components, draw
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence, unpack_sequence

from fourfold import nn as fnn
from fourfold.algebra import LearnedAlgebra, get
from fourfold.nn.light_gru import LiGRU
from fourfold.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from fourfold.record import UserError

LAYERS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU, "LiGRU": LiGRU}
CELLS = {"RNNCell": RNNCell, "LSTMCell": LSTMCell, "GRUCell": GRUCell}
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3, "LiGRU": 2}


def gates(x, weight, bias, count, name):
    """The algebra product of x with each gate's own matrix."""
    biases = [None] * count if bias is None else bias.chunk(count)
    return [by_components(F.linear, w, b, x, -1, name) for w, b in zip(weight.chunk(count), biases, strict=True)]


def step(layer, suffix, x, h, c):
    """One step of the papers' equations; c is the cell of the LSTM."""
    kind, name = next(kind for kind, known in LAYERS.items() if isinstance(layer, known)), layer.algebra.name
    parameter = lambda part: getattr(layer, f"{part}_{suffix}", None)  # noqa: E731
    from_x = gates(x, parameter("weight_ih"), parameter("bias_ih"), GATES[kind], name)
    from_h = gates(h, parameter("weight_hh"), parameter("bias_hh"), GATES[kind], name)
    if kind == "RNN":
        return {"tanh": torch.tanh, "relu": torch.relu}[layer.nonlinearity](from_x[0] + from_h[0]), c
    if kind == "GRU":
        reset, update = (torch.sigmoid(a + b) for a, b in zip(from_x[:2], from_h[:2], strict=True))
        new = torch.tanh(from_x[2] + reset * from_h[2])
        return (1 - update) * new + update * h, c
    if kind == "LiGRU":
        normalize = getattr(layer, f"norm_{suffix}", nn.Identity())
        update, new = (a + b for a, b in zip(normalize(torch.cat(from_x, -1)).chunk(2, -1), from_h, strict=True))
        return torch.sigmoid(update) * h + (1 - torch.sigmoid(update)) * torch.relu(new), c
    i, f, g, o = (a + b for a, b in zip(from_x, from_h, strict=True))
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h if not layer.proj_size else by_components(F.linear, parameter("weight_hr"), None, h, -1, name), c


def reference(layer, x, h, c):
    """Run (L, N, F) through all layers; the numbers of two directions lie side by side."""
    n, ways = layer.algebra.n, ["", "_reverse"][: 1 + layer.bidirectional]
    last_h, last_c = [], []
    for k in range(layer.num_layers):
        outputs = []
        for way in ways:
            index, steps = len(last_h), range(len(x))
            h_t, c_t, found = h[index], c[index], {}
            for t in reversed(steps) if way else steps:
                h_t, c_t = step(layer, f"l{k}{way}", x[t], h_t, c_t)
                found[t] = h_t
            last_h.append(h_t)
            last_c.append(c_t)
            outputs.append(torch.stack([found[t] for t in steps]).unflatten(-1, (n, -1)))
        x = torch.cat(outputs, -1).flatten(-2)
    return x, torch.stack(last_h), torch.stack(last_c)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.sampled_from(list(LAYERS)), st.sampled_from(["real", *HYPERCOMPLEX]), st.data())
def test_a_layer_is_its_equations_step_by_step(kind, name, data):
    n = get(name).n
    flags = {flag: data.draw(st.booleans()) for flag in ("batch_first", "bidirectional", "bias")}
    if kind == "RNN":
        flags["nonlinearity"] = data.draw(st.sampled_from(["tanh", "relu"]))
    if kind == "LSTM" and data.draw(st.booleans()):
        flags["proj_size"] = n
    if kind == "LiGRU":
        del flags["bias"]
        flags["normalization"] = data.draw(st.sampled_from([None, "batch", "layer"]))
    num_in, hidden, layers, batch = n * data.draw(st.integers(1, 3)), n * data.draw(st.integers(2, 3)), 2, 2
    layer = LAYERS[kind](num_in, hidden, layers, dtype=torch.float64, algebra=name, **flags).eval()
    x = draw(0, 3, batch, num_in)
    h = draw(1, layers * (1 + layer.bidirectional), batch, flags.get("proj_size", hidden))
    c = draw(2, *h.shape[:2], hidden)
    output, state = layer(x.transpose(0, 1) if layer.batch_first else x, (h, c) if kind == "LSTM" else h)
    expected, *states = reference(layer, x, h, c)
    torch.testing.assert_close(output.transpose(0, 1) if layer.batch_first else output, expected)
    for ours, theirs in zip(state if kind == "LSTM" else [state], states, strict=False):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("kind", "arguments", "options"),
    [
        ("RNN", (6, 5, 2, "relu"), {"dropout": 0.5}),
        ("RNN", (6, 5), {"bias": False, "bidirectional": True}),
        ("LSTM", (6, 5, 2), {"bidirectional": True, "batch_first": True}),
        ("LSTM", (6, 5), {"proj_size": 3, "dtype": torch.float64}),
        ("GRU", (6, 5, 2), {"dropout": 0.5, "bidirectional": True}),
        ("RNNCell", (6, 5, True, "relu"), {}),
        ("LSTMCell", (6, 5), {"bias": False}),
        ("GRUCell", (6, 5), {}),
    ],
)
def test_real_layers_are_torchs_to_the_last_bit(kind, arguments, options):
    outcomes = []
    for room, more in ((nn, {}), (fnn, {"algebra": "real"}), (fnn, {})):
        torch.manual_seed(3)
        layer = getattr(room, kind)(*arguments, **options, **more)
        x = draw(1, *(3, 6) if "Cell" in kind else (4, 3, 6), dtype=options.get("dtype", torch.float32)).requires_grad_()
        y = layer(x)
        y = y if isinstance(y, torch.Tensor) else y[0]
        y.square().sum().backward()
        found = {f"grad {name}": p.grad for name, p in layer.named_parameters()}
        outcomes.append((repr(layer), {**layer.state_dict(), **found, "x": x.grad, "y": y, "next": torch.rand(1)}))
    (expected_text, expected), *others = outcomes
    for text, found in others:
        assert text == expected_text
        assert list(found) == list(expected)
        assert all(torch.equal(found[key], value) for key, value in expected.items())


@pytest.mark.parametrize("kind", list(CELLS))
def test_a_cell_is_one_step_of_its_layer(kind):
    cell = CELLS[kind](8, 12, dtype=torch.float64, algebra="quaternion")
    layer = LAYERS[kind.removesuffix("Cell")](8, 12, dtype=torch.float64, algebra="quaternion")
    layer.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    x = draw(0, 3, 8)
    state = cell(x)
    for _ in range(2):
        state = cell(x, state)
    output, last = layer(x.expand(3, 3, 8))
    h, last_h = (state[0], last[0]) if kind == "LSTMCell" else (state, last)
    torch.testing.assert_close(h, output[-1])
    torch.testing.assert_close(h.unsqueeze(0), last_h)
    if kind == "LSTMCell":
        torch.testing.assert_close(state[1].unsqueeze(0), last[1])


@pytest.mark.parametrize("kind", list(LAYERS))
@pytest.mark.parametrize("name", ["real", "quaternion"])
def test_packed_sequences_are_each_sequence_alone(kind, name):
    layer = LAYERS[kind](8, 12, 2, bidirectional=True, dtype=torch.float64, algebra=name).eval()
    sequences = [draw(length, length, 8) for length in (2, 4, 1, 4)]
    h, c = draw(8, 4, 4, 12), draw(9, 4, 4, 12)
    states = (h, c) if kind == "LSTM" else h
    packed, last = layer(pack_sequence(sequences, enforce_sorted=False), states)
    for i, (sequence, found) in enumerate(zip(sequences, unpack_sequence(packed), strict=True)):
        alone, state = layer(sequence, (h[:, i], c[:, i]) if kind == "LSTM" else h[:, i])
        torch.testing.assert_close(found, alone)
        for ours, theirs in zip(last, state, strict=True) if kind == "LSTM" else [(last, state)]:
            torch.testing.assert_close(ours[:, i], theirs)
    padded, lengths = pad_packed_sequence(packed)
    sorted_packed = pack_padded_sequence(padded[:, [1, 0, 2]], lengths[[1, 0, 2]])
    assert padded.shape == (4, 4, 24)
    assert LAYERS[kind](24, 12, dtype=torch.float64, algebra=name)(sorted_packed)[0].data.shape == (7, 12)


@pytest.mark.parametrize("kind", [*LAYERS, *CELLS])
def test_gradients_are_the_numerical_ones(kind):
    options = {"bidirectional": True} if kind in LAYERS else {}
    if kind == "LiGRU":
        options["normalization"] = "layer"
    layer = {**LAYERS, **CELLS}[kind](4, 4, dtype=torch.float64, algebra="quaternion", **options)
    x = draw(0, *((2, 2, 4) if kind in LAYERS else (2, 4))).requires_grad_()
    names = [name for name, _ in layer.named_parameters() if "ih" in name or "hh" in name]

    def forward(x, *weights):
        y = torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))
        return y if isinstance(y, torch.Tensor) else y[0]

    assert torch.autograd.gradcheck(forward, (x, *(dict(layer.named_parameters())[name] for name in names)), fast_mode=True)


@pytest.mark.parametrize("kind", [*LAYERS, *CELLS])
@pytest.mark.parametrize("name", ["real", "quaternion", "octonion"])
def test_real_matrices_start_with_the_variance_of_torchs(kind, name):
    options = {"proj_size": 96} if kind == "LSTM" else {}
    layer = {**LAYERS, **CELLS}[kind](64, 192, dtype=torch.float64, algebra=name, **options)
    n = get(name).n
    for key, weight in layer.real_weights().items():
        assert weight.square().mean().item() == pytest.approx(1 / (3 * 192), rel=0.1), key
        assert weight.numel() == n * layer.stored_weights()[key].numel()
    for key, bias in layer.named_parameters():
        if key.startswith("bias"):
            assert 0.9 < bias.abs().max() * 192**0.5 <= 1


@pytest.mark.parametrize("kind", [*LAYERS, *CELLS])
def test_layers_are_modules_like_any_other(kind):
    layers = {**LAYERS, **CELLS}
    layer, twin = (layers[kind](8, 12, algebra="quaternion").eval() for _ in range(2))
    x = draw(0, *((3, 2, 8) if kind in LAYERS else (2, 8)), dtype=torch.float32)
    expected = layer(x)
    assert repr(layer).startswith(f"{kind}(")
    assert "8, 12, algebra='quaternion'" in repr(layer)
    twin.load_state_dict(layer.state_dict())
    for other in (twin, copy.deepcopy(layer)):
        torch.testing.assert_close(other(x), expected, rtol=0, atol=0)
        assert repr(other) == repr(layer)
    torch.testing.assert_close(copy.deepcopy(layer).double()(x.double()), expected, check_dtype=False)
    meta = layers[kind](8, 12, device="meta", algebra="quaternion")
    assert all(p.is_meta for p in meta.parameters())
    torch.testing.assert_close(meta.to_empty(device="cpu").eval().load_state_dict(layer.state_dict()).missing_keys, [])
    torch.testing.assert_close(meta(x), expected, rtol=0, atol=0)
    # Without oneDNN: with it, torch's own LSTM raises under autocast on processors that have no bfloat16, and so does ours.
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.backends.mkldnn.flags(enabled=False, allow_tf32=None):
        torch.testing.assert_close(layer(x), expected, check_dtype=False, rtol=0.1, atol=0.05)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), expected)


class _Masked(nn.Module):
    def forward(self, weight):
        return weight * (torch.arange(weight.numel()).view_as(weight) % 2)


@pytest.mark.parametrize("kind", list(LAYERS))
def test_parametrized_weights_are_used(kind):
    layer = LAYERS[kind](8, 12, algebra="quaternion").eval()
    x = draw(0, 3, 2, 8, dtype=torch.float32)
    twin = copy.deepcopy(layer)
    parametrize.register_parametrization(layer, "weight_hh_l0", _Masked())
    with torch.no_grad():
        twin.weight_hh_l0.copy_(layer.weight_hh_l0)
    torch.testing.assert_close(layer(x), twin(x), rtol=0, atol=0)
    assert list(layer.stored_weights()) == ["weight_ih_l0", "weight_hh_l0"]


@pytest.mark.slow
def test_the_light_gru_compiles_to_one_graph():
    layer = LiGRU(8, 12, algebra="quaternion").eval()
    x = draw(0, 2, 2, 8, dtype=torch.float32)
    torch.testing.assert_close(torch.compile(layer, backend="aot_eager", fullgraph=True)(x), layer(x))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch breaks its graph at these layers, and peeks
def test_layers_compile_as_torchs_do_and_are_exported():
    layer = LSTM(8, 12, bidirectional=True, algebra="quaternion")
    x = draw(0, 3, 2, 8, dtype=torch.float32)
    torch.testing.assert_close(torch.compile(layer, backend="aot_eager")(x), layer(x))
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))


def test_the_light_gru_drops_the_same_candidates_at_every_step():
    layer = LiGRU(4, 400, normalization=None, dropout=0.5, dtype=torch.float64, algebra="quaternion")
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
        layer.bias_ih_l0.fill_(1.0)
        layer.weight_ih_l0.zero_()
    output, _ = layer(draw(0, 3, 2, 4))
    update = torch.sigmoid(torch.tensor(1.0, dtype=torch.float64))
    kept = output[0] > 0
    assert 0.4 < kept.double().mean() < 0.6
    assert not torch.equal(kept[0], kept[1])
    for t in range(3):  # without input from the state, h_t = (1 − z^(t+1)) c, and a kept c is doubled
        torch.testing.assert_close(output[t], kept * 2 * (1 - update ** (t + 1)))
    assert (layer.eval()(draw(0, 3, 2, 4))[0] > 0).all()


def test_the_light_gru_normalizes_over_true_steps_only():
    layer = LiGRU(8, 12, dtype=torch.float64, algebra="quaternion")
    sequences = [draw(length, length, 8) for length in (3, 1, 5)]
    layer(pack_sequence(sequences, enforce_sorted=False))
    projected = F.linear(torch.cat(sequences), layer.real_weights()["weight_ih_l0"])
    torch.testing.assert_close(layer.norm_l0.running_mean, 0.05 * projected.mean(0))


@pytest.mark.parametrize("name", ["real", *HYPERCOMPLEX])
def test_the_light_gru_may_start_with_orthogonal_recurrence(name):
    layer = LiGRU(8, 16, 2, bidirectional=True, orthogonal=True, dtype=torch.float64, algebra=name)
    for key, weight in layer.real_weights().items():
        if key.startswith("weight_hh"):
            for gate in weight.chunk(2):
                torch.testing.assert_close(gate @ gate.T, torch.eye(16, dtype=torch.float64))
    assert "orthogonal=True" in repr(layer)


@pytest.mark.parametrize(
    ("kind", "arguments", "options", "message"),
    [
        ("LSTM", (6, 8), {}, r"`input_size` \(=6\) must be divisible by 4 for algebra 'quaternion'"),
        ("GRU", (8, 6), {}, r"`hidden_size` \(=6\) must be divisible by 4"),
        ("RNNCell", (8, 6), {}, r"`hidden_size` \(=6\) must be divisible by 4"),
        ("LSTM", (8, 8), {"proj_size": 3}, r"`proj_size` \(=3\) must be divisible by 4"),
        ("LiGRU", (8, 6), {}, r"`hidden_size` \(=6\) must be divisible by 4"),
        ("LiGRU", (8, 8), {"nonlinearity": "sine"}, r"unknown nonlinearity 'sine'; known: leaky_relu, relu, tanh"),
        ("LiGRU", (8, 8), {"normalization": "group"}, r"unknown normalization 'group'; known: None, batch, layer"),
        ("LiGRU", (8, 8), {"dropout": 1.0}, r"`dropout` \(=1.0\) must be in \[0, 1\)"),
        ("LiGRU", (8, 8, 0), {}, r"`num_layers` \(=0\) must be greater than 0"),
    ],
)
def test_settings_that_do_not_fit_are_named(kind, arguments, options, message):
    with pytest.raises(UserError, match=message):
        {**LAYERS, **CELLS}[kind](*arguments, algebra="quaternion", **options)


@pytest.mark.parametrize(
    ("shape", "state", "message"),
    [
        ((3, 2, 12), None, r"`input_size` \(=8\) features"),
        ((0, 2, 8), None, r"at least one step"),
        ((8,), None, r"`input` \(of shape \(8,\)\) must have 2 axes, or 3"),
        ((3, 2, 8), (1, 3, 12), r"`hx` \(of shape \(1, 3, 12\)\) must have shape \(1, 2, 12\)"),
    ],
)
def test_the_light_gru_names_shapes_that_do_not_fit(shape, state, message):
    with pytest.raises(UserError, match=message):
        LiGRU(8, 12, algebra="quaternion")(torch.zeros(shape), None if state is None else torch.zeros(state))


@pytest.mark.parametrize("kind", [*LAYERS, *CELLS])
def test_a_learned_algebra_is_refused(kind):
    with pytest.raises(UserError, match=r"`algebra` \(=LearnedAlgebra\) must be fixed here"):
        {**LAYERS, **CELLS}[kind](8, 8, algebra=LearnedAlgebra(4))
