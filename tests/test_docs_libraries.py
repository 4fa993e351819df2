"""Our column of the table of libraries: every row has a check here, which returns what the cell has to say."""

import importlib.util
import io
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor, nn
from torch.nn import functional as F

import fourfold
from fourfold import algebra
from fourfold import nn as fnn
from fourfold.nn.testing import assert_algebra_linear, assert_gradients_finite, assert_rotation_equivariant
from pages import is_our_layer, relative_links, table

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "libraries.md").read_text(encoding="utf-8")
HEAD, *ROWS = table(PAGE, "fourfold")
CHECKS: dict[str, Callable[[], str]] = {}
QUATERNION = {"algebra": "quaternion"}


def row(name: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    def register(check: Callable[[], str]) -> Callable[[], str]:
        CHECKS[name] = check
        return check

    return register


def test_the_table_is_whole() -> None:
    assert HEAD == ["", "fourfold", "hTorch", "Orkis", "SpeechBrain", "HyperNets", "qytorch"]
    assert [cells for cells in ROWS if len(cells) != len(HEAD) or "" in cells] == []
    assert [link for link in relative_links(PAGE) if not (DOCS / link).exists()] == []


def test_every_row_has_a_check() -> None:
    assert [cells[0] for cells in ROWS] == list(CHECKS)


@pytest.mark.parametrize("cells", ROWS, ids=[cells[0] for cells in ROWS])
def test_our_cell(cells: list[str]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        assert CHECKS[cells[0]]() == cells[1]


def numbers(x: Tensor) -> Tensor:
    """Return features, blocked by component along axis 1, as numbers with their components last."""
    return x.unflatten(1, (4, -1)).movedim(1, -1)


def num_weights(layer: nn.Module) -> int:
    return sum(weight.numel() for weight in fnn.named_weights(layer).values())


@row("imports on torch 2.13")
def imports() -> str:
    assert fnn.__name__ in sys.modules  # this file has imported it, and pytest makes errors of warnings
    return "✓"


@row("algebras")
def algebras() -> str:
    letters = {"real": "ℝ", "complex": "ℂ", "quaternion": "ℍ", "octonion": "𝕆"}
    own = algebra.Algebra("split", (((1, 0), (0, 1)), ((0, 1), (1, 0))))
    learned = algebra.LearnedAlgebra(3)
    for known in (*algebra.ALGEBRAS.values(), own):
        assert_algebra_linear(fnn.Linear(2 * known.n, 3 * known.n, algebra=known), torch.zeros(2, 2 * known.n), known)
    assert_algebra_linear(fnn.PHMLinear(6, 9, algebra=learned), torch.zeros(2, 6), learned)
    return f"{', '.join(letters[name] for name in algebra.ALGEBRAS)}, any table, learned"


@row("arithmetic of elements")
def elements() -> str:
    q, one = torch.randn(10, 4, dtype=torch.float64), torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(algebra.product(q, algebra.inverse(q)), one.expand(10, 4))
    torch.testing.assert_close(algebra.exp(algebra.log(q)), q)
    torch.testing.assert_close(algebra.product(algebra.power(q, 0.5), algebra.power(q, 0.5)), q)
    for function in (algebra.norm, algebra.unit, algebra.exp):
        zero = torch.zeros(1, 4, requires_grad=True)
        (gradient,) = torch.autograd.grad(function(zero).sum(), zero)
        assert gradient.isfinite().all()
    return "✓"


@row("linear")
def linear() -> str:
    layer, x = fnn.Linear(12, 20, **QUATERNION), torch.randn(7, 12)
    weight = layer.weight.view(4, 5, 3).movedim(0, -1)
    expected = algebra.product(weight, numbers(x).unsqueeze(1)).sum(2)
    torch.testing.assert_close(numbers(layer(x) - layer.bias), expected)
    return "✓"


def by_axes(make: Callable[[int], nn.Module]) -> str:
    """Check a convolution over one, two and three axes."""
    for axes in (1, 2, 3):
        assert_algebra_linear(make(axes), torch.zeros(2, 16, *[6] * axes))
    return "✓ ✓ ✓"


@row("convolution 1-d, 2-d, 3-d")
def convolution() -> str:
    return by_axes(lambda axes: getattr(fnn, f"Conv{axes}d")(16, 12, 3, stride=2, padding=1, **QUATERNION))


@row("transposed convolution 1-d, 2-d, 3-d")
def transposed() -> str:
    options = {"stride": 2, "output_padding": 1, **QUATERNION}
    return by_axes(lambda axes: getattr(fnn, f"ConvTranspose{axes}d")(16, 12, 3, **options))


@row("groups")
def groups() -> str:
    for kind in (fnn.Conv2d, fnn.ConvTranspose2d):
        layer = kind(16, 24, 3, groups=2, **QUATERNION)
        assert_algebra_linear(layer, torch.zeros(2, 16, 6, 6))
        assert 2 * layer.weight.numel() == kind(16, 24, 3, **QUATERNION).weight.numel()
    return "✓"


@row("dilation")
def dilation() -> str:
    for kind in (fnn.Conv2d, fnn.ConvTranspose2d):
        layer = kind(8, 12, 3, dilation=2, **QUATERNION)
        assert_algebra_linear(layer, torch.zeros(2, 8, 6, 6))
        assert layer(torch.zeros(2, 8, 6, 6)).shape[-1] == {fnn.Conv2d: 2, fnn.ConvTranspose2d: 10}[kind]
    return "✓"


@row("padding modes")
def padding() -> str:
    x = torch.randn(2, 8, 6, 6)
    for mode in ("zeros", "reflect", "replicate", "circular"):
        layer = fnn.Conv2d(8, 12, 3, padding=1, padding_mode=mode, **QUATERNION)
        assert_algebra_linear(layer, x)
        padded = F.pad(x, [1] * 4, mode.replace("zeros", "constant"))
        torch.testing.assert_close(layer(x), F.conv2d(padded, layer.matrix(), layer.bias), atol=1e-5, rtol=1e-5)
    return "✓"


@row("bilinear")
def bilinear() -> str:
    layer, x, y = fnn.Bilinear(8, 12, 4, bias=False, **QUATERNION), torch.randn(5, 8), torch.randn(5, 12)
    weight = layer.weight.view(4, 1, 2, 3).movedim(0, -1)
    first = algebra.product(weight, numbers(x)[:, None, :, None])
    expected = algebra.product(first, numbers(y)[:, None, None]).sum((2, 3))
    torch.testing.assert_close(numbers(layer(x, y)), expected)
    return "✓"


@row("embedding")
def embedding() -> str:
    for kind in (fnn.Embedding, fnn.EmbeddingBag):
        layer = kind(50, 16, **QUATERNION)
        torch.testing.assert_close(layer(torch.tensor([[3], [7]])).flatten(1), layer.weight[[3, 7]])
    return "✓"


@row("learned algebra (PHM) linear, 1-d, 2-d, 3-d")
def learned_algebra() -> str:
    fixed, learned = fnn.Linear(8, 12, **QUATERNION), fnn.PHMLinear(8, 12, start="quaternion")
    learned.load_state_dict(fixed.state_dict(), strict=False)
    x = torch.randn(3, 8)
    torch.testing.assert_close(learned(x), fixed(x))
    layers = [fnn.PHMLinear(6, 9, n=3), *(getattr(fnn, f"PHMConv{axes}d")(6, 9, 3, n=3) for axes in (1, 2, 3))]
    for axes, layer in enumerate(layers):
        x = torch.randn(2, 6, *[5] * axes)
        assert_algebra_linear(layer, x, layer.algebra)
        gradients = torch.autograd.grad(layer(x).square().sum(), [layer.algebra.constants, layer.bias])
        assert all(gradient.abs().min() > 0 for gradient in gradients)
    return "✓ ✓ ✓ ✓"


@row("rotation layers linear, 1-d, 2-d, 3-d")
def rotations() -> str:
    layers = [fnn.RotationLinear(12, 8), *(getattr(fnn, f"RotationConv{axes}d")(12, 8, 1) for axes in (1, 2, 3))]
    for axes, layer in enumerate(layers):
        q, scale = layer.weight.detach().view(4, 2, 3).movedim(0, -1), layer.scale.detach().view(2, 3)
        turns = Rotation.from_quat(q.view(-1, 4).numpy(), scalar_first=True).as_matrix()
        x = torch.randn(5, 12)
        expected = torch.einsum("oi,oiab,nib->noa", scale, torch.tensor(turns).float().view(2, 3, 3, 3), numbers(x)[..., 1:])
        found = layer(x.view(5, 12, *[1] * axes)).view(5, 8) - layer.bias
        torch.testing.assert_close(numbers(found)[..., 1:], expected, atol=1e-5, rtol=1e-5)
    return "✓ ✓ ✓ ✓"


@row("batch norm of each component")
def component_norm() -> str:
    x = 3 * torch.randn(16, 8, 5, 5) + 2
    assert torch.equal(fnn.BatchNorm2d(8, **QUATERNION)(x), nn.BatchNorm2d(8)(x))
    return "✓"


@row("whitening batch norm: largest deviation of the output covariance from the identity")
def whitening() -> str:
    mixing = torch.linalg.cholesky(0.5 * torch.eye(4) + 0.5)
    x = torch.einsum("ij,njchw->nichw", mixing, torch.randn(64, 4, 2, 16, 16)).flatten(1, 2)
    white = fnn.WhiteningBatchNorm2d(8, affine=False)(x).unflatten(1, (4, 2))
    for number in (0, 1):
        covariance = white[:, :, number].transpose(0, 1).flatten(1).cov(correction=0)
        assert (covariance - torch.eye(4)).abs().max() < 1e-4
    return "✓ < 1e-4"


@row("layer, group, instance, RMS norm")
def norms() -> str:
    plain = {"elementwise_affine": False, **QUATERNION}
    layers = [
        fnn.LayerNorm((16, 6, 6), **plain),
        fnn.GroupNorm(2, 16, affine=False, **QUATERNION),
        fnn.InstanceNorm2d(16, **QUATERNION),
        fnn.RMSNorm((16, 6, 6), **plain),
    ]
    x = 3 * torch.randn(4, 16, 6, 6)
    for layer in layers:
        assert_rotation_equivariant(layer, x)
        torch.testing.assert_close(layer(x).square().mean(), torch.tensor(1.0), atol=1e-4, rtol=0)
    return "✓ ✓ ✓ ✓"


def assert_blocks_are_of_the_algebra(weight: Tensor, blocks: int) -> None:
    """Assert that each gate or head of a real matrix multiplies from the left in the quaternions."""
    for block in weight.chunk(blocks):
        assert_algebra_linear(lambda x, block=block: F.linear(x, block), torch.zeros(2, weight.shape[1]))


@row("RNN, LSTM, GRU, LiGRU")
def recurrent() -> str:
    steps = nn.utils.rnn.pack_padded_sequence(torch.randn(5, 2, 8), [5, 3])
    for kind, gates in ((fnn.RNN, 1), (fnn.LSTM, 4), (fnn.GRU, 3), (fnn.LiGRU, 2)):
        layer = kind(8, 12, num_layers=2, bidirectional=True, **QUATERNION)
        assert layer(steps)[0].data.shape == (8, 24)
        assert_blocks_are_of_the_algebra(layer.real_weights()["weight_ih_l0"].detach(), gates)
        assert 4 * num_weights(layer) == num_weights(kind(8, 12, num_layers=2, bidirectional=True))
    return "✓ ✓ ✓ ✓"


@row("attention, transformer layer")
def attention() -> str:
    layer, x = fnn.MultiheadAttention(32, 2, **QUATERNION), torch.randn(5, 2, 32)
    assert_blocks_are_of_the_algebra(layer.real_weights()["in_proj_weight"].detach(), 3 * 2)
    assert layer(x, x, x)[0].shape == x.shape
    block, twin = (fnn.TransformerEncoderLayer(32, 2, 64, algebra=name) for name in ("quaternion", "real"))
    assert block(x).shape == x.shape
    assert 4 * num_weights(block) == num_weights(twin)
    return "✓ ✓"


@row("dropout of elements")
def dropout() -> str:
    for layer, shape in ((fnn.Dropout(0.25, **QUATERNION), (500, 16)), (fnn.Dropout2d(0.25, **QUATERNION), (500, 16, 3, 3))):
        kept = numbers(layer(torch.ones(shape))) != 0
        assert torch.equal(kept.any(-1), kept.all(-1))
        assert abs(kept.float().mean() - 0.75) < 0.03
    return "✓"


@row("max pooling by norm")
def pooling() -> str:
    x = torch.randn(3, 8, 6, 6)
    windows = numbers(x).unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)  # (N, numbers, H, W, components, window)
    longest = windows.norm(dim=-2, keepdim=True).argmax(-1, keepdim=True).expand(*windows.shape[:-1], 1)
    assert torch.equal(numbers(fnn.MaxPool2d(2, **QUATERNION)(x)), windows.gather(-1, longest).squeeze(-1))
    return "✓"


@row("activations of elements")
def activations() -> str:
    x = torch.randn(3, 8)
    for layer in (fnn.ModReLU(8, -0.2, **QUATERNION), fnn.Cardioid(**QUATERNION), fnn.AmplitudeTanh(**QUATERNION)):
        assert_rotation_equivariant(layer, x)
        assert_gradients_finite(layer, x)
    return "✓"


@row("initial variance of the expanded weight, by its scheme's for the real twin: linear, convolution")
def variance() -> str:
    def ratio(make: Callable[[str], nn.Module]) -> str:
        ours, twins = (torch.stack([make(name).matrix().var() for _ in range(30)]) for name in ("quaternion", "real"))
        return f"{ours.mean() / twins.mean():.2f}"

    return f"{ratio(lambda a: fnn.Linear(256, 256, algebra=a))}, {ratio(lambda a: fnn.Conv2d(64, 64, 3, algebra=a))}"


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def num_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@row("conversion of a model: parameters of 64–128–64–10 before and after")
def conversion() -> str:
    before = network()
    after = fourfold.convert(before, algebra="quaternion")
    assert after(torch.randn(2, 64)).shape == (2, 10)
    return f"{num_parameters(before):,} → {num_parameters(after):,}"


@row("back to the real model")
def back() -> str:
    ours, x = fourfold.convert(network(), algebra="quaternion"), torch.randn(2, 64)
    plain = fnn.to_real(ours)
    assert {type(module) for module in plain} == {nn.Linear, nn.ReLU}
    network().load_state_dict(plain.state_dict())
    torch.testing.assert_close(plain(x), ours(x))
    return "✓"


@row("`real` is torch.nn, state dict included")
def real() -> str:
    cases = {"Linear": (8, 6), "Conv2d": (4, 6, 3), "BatchNorm2d": (4,), "LSTM": (8, 6), "MultiheadAttention": (8, 2)}
    for name, sizes in cases.items():
        states = []
        for room in (nn, fnn):
            torch.manual_seed(0)
            states.append(getattr(room, name)(*sizes).state_dict())
        assert list(states[0]) == list(states[1])
        assert all(torch.equal(*pair) for pair in zip(states[0].values(), states[1].values(), strict=True))
    x, ours, torchs = torch.randn(2, 4, 6, 6), fnn.Conv2d(4, 6, 3), nn.Conv2d(4, 6, 3)
    torchs.load_state_dict(ours.state_dict())
    assert torch.equal(ours(x), torchs(x))
    return "✓"


def convolution_and_linear() -> nn.Sequential:
    return nn.Sequential(fnn.Conv2d(8, 12, 3, **QUATERNION), nn.Flatten(), fnn.Linear(192, 8, **QUATERNION)).eval()


@row("torch.compile of the whole graph: linear, convolution")
def compiled() -> str:
    model, x = convolution_and_linear(), torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(torch.compile(model, fullgraph=True, backend="eager")(x), model(x))
    return "✓ ✓"


@row("ONNX, by torch's exporter")
def onnx() -> str:
    model, x = convolution_and_linear(), torch.randn(2, 8, 6, 6)
    torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxscript", "onnxruntime")):
        pytest.skip("torch.export works; for the rest onnx, onnxscript and onnxruntime must be installed")
    import onnxruntime

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about itself
        torch.onnx.export(model, (x,), file, verbose=False)
    session = onnxruntime.InferenceSession(file.getvalue())
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.tensor(found), model(x), atol=1e-5, rtol=1e-5)
    return "✓"


@row("pruning")
def pruning() -> str:
    model = nn.ModuleList([fnn.Conv2d(8, 16, 3, **QUATERNION), fnn.LSTM(8, 16, **QUATERNION), nn.Linear(16, 3)])
    masks = fourfold.pruning.prune(model, density=0.3)
    assert set(masks) == set(fnn.named_weights(model))
    assert sum(int(mask.sum()) for mask in masks.values()) == round(0.3 * num_weights(model))
    return "✓ exact count, whole model"


@row("tests of the layers")
def layers_in_tests() -> str:
    text = "".join(path.read_text(encoding="utf-8") for path in (DOCS.parent / "tests" / "nn").glob("test_*.py"))
    stems = {re.sub("[123]d$", "", name) for name in fnn.__all__ if is_our_layer(getattr(fnn, name))}
    assert [stem for stem in stems if not re.search(rf"\b{stem}", text)] == []
    return "each layer"
