"""Commands × networks of torch as users write them: their weights have names, inputs and outputs of every kind.

CI runs some of them, `FOURFOLD_SWEEP=1` all.
"""

import os
import sys

import pytest
import torch
from cli_samples import call

import fourfold as ff
from fourfold.record import find_runs

CODE = """
import numpy as np
import torch
from torch import nn

import fourfold as ff

random = np.random.default_rng(0)
x = random.standard_normal((60, 6, 4)).astype("float32")
labels = (x.mean((1, 2)) > 0).astype("int64")
words = random.integers(0, 10, (60, 6))
images = random.standard_normal((60, 4, 8, 8)).astype("float32")


def series(): return ff.data.from_arrays((x, labels))
def tokens(): return ff.data.from_arrays((words, labels))
def maps(): return ff.data.from_arrays((images, labels), channels="first")
def two(): return ff.data.from_arrays(((x[:, 0], x[:, 1]), labels))
def named(): return ff.data.from_arrays(({"left": x[:, 0], "right": x[:, 1]}, {"kind": labels, "values": x[:, 2]}))


class Recurrent(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.rows = layer
        self.head = nn.Linear(8 * (2 if layer.bidirectional else 1), 2)

    def forward(self, x):
        return self.head(self.rows(x)[0][:, -1])


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.into = nn.Linear(4, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.layer(self.into(x)).mean(1))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.into = nn.Linear(4, 8)
        self.attend = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        y = self.into(x)
        return self.head(self.attend(y, y, y)[0].mean(1))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 8)
        self.mix = nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.mix(self.table(x).mean(1)).relu())


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 8), nn.Linear(4, 8)
        self.kind, self.values = nn.Linear(8, 2), nn.Linear(8, 4)

    def forward(self, left, right):
        both = (self.one(left) + self.two(right)).relu()
        return {"kind": self.kind(both), "values": self.values(both)}


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 8)
        self.mix = nn.Bilinear(8, 4, 8)
        self.matrix = nn.Parameter(torch.randn(8, 2))

    def forward(self, a, b):
        return nn.functional.linear(self.mix(self.one(a).relu(), b).relu(), self.matrix.T)


def gru(algebra, inputs, outputs): return Recurrent(nn.GRU(4, 8, batch_first=True))
def lstm(algebra, inputs, outputs): return Recurrent(nn.LSTM(4, 8, 2, batch_first=True, bidirectional=True))
def encoder(algebra, inputs, outputs): return Encoder()
def attention(algebra, inputs, outputs): return Attention()
def embedding(algebra, inputs, outputs): return Words()
def dicts(algebra, inputs, outputs): return Named()
def product(algebra, inputs, outputs): return Product()
def transposed(algebra, inputs, outputs):
    layers = nn.Conv2d(4, 8, 3, 2, 1), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, 2), nn.Flatten(), nn.Linear(256, 2)
    return nn.Sequential(*layers)


class Both:
    metric = ff.tasks.Metric(name="difference", higher_is_better=False)

    def loss(self, outputs, targets):
        kinds = nn.functional.cross_entropy(outputs["kind"], targets["kind"])
        return kinds + nn.functional.mse_loss(outputs["values"], targets["values"])

    def meter(self):
        return Difference()


class Difference:
    def __init__(self): self.sum = self.count = 0
    def update(self, outputs, targets):
        self.sum += float((outputs["values"] - targets["values"]).abs().sum())
        self.count += len(targets["values"])
    def compute(self): return {"difference": self.sum / self.count}


def experiment():
    parts = {"data": "own.py:DATA", "model": "own.py:MODEL", "task": "TASK"}
    return ff.presets.new("own", **parts, epochs=1, max_level=1, batch_size=16)
"""

NETWORKS = {
    "gru": "series",
    "lstm": "series",
    "encoder": "series",
    "attention": "series",
    "embedding": "tokens",
    "transposed": "maps",
    "product": "two",
    "dicts": "named",
}
"""Each with its data."""

CHOSEN = NETWORKS if "FOURFOLD_SWEEP" in os.environ else ("gru", "dicts")

COMMANDS = (
    ("info", "own.py"),
    ("run", "own.py", "--trials", 2, "--workers", 0, "--keep", 1, "--controls", "random-init", "shuffled-layer"),
    ("status", "runs"),
    ("check", "runs"),
    ("report", "runs"),
    ("stability", "runs", "--code", "own.py", "--points", 2, "--workers", 1, "--levels", 1),
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:features may leave the algebra")
@pytest.mark.parametrize("network", CHOSEN)
def test_every_command_takes_any_network(here, quick_plan, monkeypatch, network):
    monkeypatch.setattr(sys, "path", [*sys.path])
    task = "own.py:Both" if network == "dicts" else "classification"
    code = CODE.replace("DATA", NETWORKS[network]).replace("MODEL", network).replace("TASK", task)
    (here / "own.py").write_text(code)
    for words in COMMANDS:
        ended = call(*words)
        assert ended.code == 0, (words, ended.err)
    for store in find_runs(here / "runs"):
        dense, ticket = store.rows(0)
        assert ticket.weights < dense.weights == sum(total for _, total in dense.layers.values())
        (overlap,) = store.overlaps()
        assert 0 < overlap.both <= overlap.either <= dense.weights
        assert len(store.connectivity(0)) == 1
        loaded = ff.load_ticket(store.path, level=1, code="own.py")
        assert sum(int(mask.sum()) for mask in loaded.masks.values()) == ticket.weights
        if network != "lstm":  # torch has none whose directions are ordered as a quaternion's
            assert call("export", store.path, "--level", 1, "--to", "pt2", "--code", "own.py", "--out", "a.pt2").code == 0
            torch.export.load("a.pt2")
