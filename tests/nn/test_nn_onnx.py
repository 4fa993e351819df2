"""Layers exported to ONNX by torch's exporter give onnxruntime the same outputs."""

import io
import warnings

import pytest
import torch
from torch import nn

from fourfold import nn as fnn

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

Q = {"algebra": "quaternion"}


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = fnn.Embedding(10, 16, **Q)
        self.block = fnn.TransformerEncoderLayer(16, 2, 32, batch_first=True, **Q)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block(self.embed(x))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = fnn.LSTM(8, 8, bidirectional=True, batch_first=True, **Q)
        self.gru = fnn.GRU(16, 8, batch_first=True, **Q)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(self.lstm(x)[0])[0]


IMAGES = nn.Sequential(
    fnn.Conv2d(8, 16, 3, groups=2, padding=1, padding_mode="circular", **Q),
    fnn.BatchNorm2d(16, **Q),
    fnn.ModReLU(16, init=-0.1, **Q),
    fnn.MaxPool2d(2, **Q),
    fnn.ConvTranspose2d(16, 8, 3, stride=2, output_padding=1, **Q),
    fnn.WhiteningBatchNorm2d(8),
    fnn.PHMConv2d(8, 8, 1, n=4),
    fnn.GroupNorm(2, 8, **Q),
    fnn.Cardioid(**Q),
    fnn.RotationConv2d(8, 8, 3),
    nn.Flatten(),
    fnn.Linear(8 * 8 * 8, 8, **Q),
    fnn.RMSNorm(8, **Q),
    fnn.NormHead(**Q),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "x"),
    [
        (IMAGES, torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))),
        (fnn.fold_norms(IMAGES.eval()), torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(0))),
        (Attention(), torch.tensor([[1, 2, 3], [4, 5, 6]])),
        (Recurrent(), torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))),
    ],
    ids=["images", "folded", "attention", "recurrent"],
)
def test_onnxruntime_computes_the_same(model, x):
    model = model.eval()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter warns about itself
        torch.onnx.export(model, (x,), file, verbose=False, dynamo=True)
    session = onnxruntime.InferenceSession(file.getvalue())
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), model(x), atol=1e-4, rtol=1e-4)
