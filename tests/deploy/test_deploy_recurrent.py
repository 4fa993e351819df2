"""Recurrent layers as one product of all gates: of their algebra, sparse, in int8 and in ONNX as in torch."""

import shutil

import numpy as np
import pytest
import torch
from deploy_samples import thinned
from torch import nn

from fourfold import deploy
from fourfold import nn as fnn
from fourfold.deploy import quantize
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.ir.ops import Recurrent
from fourfold.record import UserError

STEPS, FEATURES, HIDDEN = 7, 8, 16

ALGEBRAS = {"real": 1, "complex": 2, "quaternion": 4, "octonion": 8}

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")


class Classifier(nn.Module):
    """A recurrent layer, and a linear one on its last outputs."""

    def __init__(self, recurrent: nn.Module, width: int) -> None:
        super().__init__()
        self.recurrent, self.output = recurrent, nn.Linear(width, 5)

    def forward(self, series: torch.Tensor) -> torch.Tensor:
        return self.output(self.recurrent(series)[0][:, -1])


def classifier(layer: str, algebra: str, layers: int = 1, bidirectional: bool = False, keep: float = 0.5) -> nn.Module:
    torch.manual_seed(0)
    settings = {"batch_first": True, "bidirectional": bidirectional, "algebra": algebra}
    recurrent = getattr(fnn, layer)(FEATURES, HIDDEN, layers, **settings)
    for name, parameter in recurrent.named_parameters():
        if name.startswith("bias"):
            nn.init.normal_(parameter, std=0.5)
    return thinned(Classifier(recurrent, HIDDEN * (1 + bidirectional)), keep).eval()


def series(count: int = 12) -> torch.Tensor:
    return torch.randn(count, STEPS, FEATURES, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("deep", [False, True], ids=["one layer", "two layers, both directions"])
@pytest.mark.parametrize("algebra", ALGEBRAS)
@pytest.mark.parametrize("layer", ["LSTM", "GRU", "RNN"])
def test_a_layer_is_a_product_of_its_algebra_and_computes_what_torch_does(layer, algebra, deep, tmp_path):
    model = classifier(layer, algebra, 1 + deep, deep)
    program = deploy.lower(model, (STEPS, FEATURES))
    recurrent = [operation for operation in program.operations if isinstance(operation, Recurrent)]
    assert [operation.product.n for operation in recurrent] == [ALGEBRAS[algebra]] * (4 if deep else 1)
    kept = sum(int(np.count_nonzero(operation.product.weight)) for operation in recurrent)
    assert kept == sum(int(torch.count_nonzero(each)) for name, each in model.recurrent.named_parameters() if "weight" in name)
    with torch.no_grad():
        expected = model(series()).numpy()
    np.testing.assert_allclose(reference.run(program, series().numpy()), expected, atol=1e-5)
    onnxruntime = pytest.importorskip("onnxruntime")
    deploy.to_onnx(program, tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {session.get_inputs()[0].name: series().numpy()})
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("keep", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("algebra", ["real", "quaternion"])
@pytest.mark.parametrize("layer", ["LSTM", "GRU", "RNN"])
def test_c_computes_it_in_floats_and_bit_for_bit_in_int8(layer, algebra, keep):
    program = deploy.lower(classifier(layer, algebra, keep=keep), (STEPS, FEATURES))
    exact = reference.run(program, series().numpy())
    np.testing.assert_allclose(deploy.load(program)(series()), exact, atol=1e-5)
    calibrated = quantize.calibrate(program, series().numpy())
    logits = reference.run_int8(calibrated, series().numpy())
    np.testing.assert_array_equal(deploy.load(calibrated)(series()), logits)
    assert np.abs(logits - exact).max() < 0.1 * np.abs(exact).max()


@needs_compiler
def test_gates_and_memories_of_any_size_stay_within_their_bits():
    """Numbers of a step that are thousands of times those of calibration saturate, as in the reference."""
    for layer in ("LSTM", "GRU", "RNN"):
        calibrated = quantize.calibrate(deploy.lower(classifier(layer, "quaternion"), (STEPS, FEATURES)), series().numpy())
        large = series().numpy() * np.float32(1e4)
        np.testing.assert_array_equal(deploy.load(calibrated)(large), reference.run_int8(calibrated, large))


def test_a_ticket_takes_the_bytes_of_its_kept_weights(tmp_path):
    layer = nn.LSTM(64, 64, batch_first=True)
    deploy.pack(Classifier(layer, 64), tmp_path / "dense", shape=(STEPS, 64))
    deploy.pack(thinned(Classifier(layer, 64), 0.03), tmp_path / "ticket", shape=(STEPS, 64))
    assert (tmp_path / "ticket").stat().st_size < 0.1 * (tmp_path / "dense").stat().st_size


def test_a_gated_unit_s_candidate_has_no_sum_of_both(tmp_path):
    program = deploy.lower(classifier("GRU", "real", keep=1.0), (STEPS, FEATURES))
    program.operations[0].product.weight[0, 2 * HIDDEN, -1] = 1
    with pytest.raises(UserError, match="candidates of features alone"):
        deploy.pack(program, tmp_path / "network")
