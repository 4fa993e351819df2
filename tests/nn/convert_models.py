"""Small models as users write them, for the tests of conversion: nested, with layers used twice and functional activations."""

import torch
from torch import nn
from torch.nn import functional as F


def perceptron():
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 8), nn.GELU(), nn.Linear(8, 3)
    )


class Basic(nn.Module):
    expansion = 1

    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = shortcut(channels_in, channels, stride)

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels), nn.BatchNorm2d(channels), nn.BatchNorm2d(4 * channels)])
        self.downsample = shortcut(channels_in, 4 * channels, stride)

    def forward(self, x):
        y = F.relu(self.norms[0](self.conv1(x)))
        y = F.relu(self.norms[1](self.conv2(y)))
        y = self.norms[2](self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def shortcut(channels_in, channels, stride):
    if stride == 1 and channels_in == channels:
        return None
    return nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))


class ResNet(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = nn.Sequential(block(8, 8, 1), block(8 * block.expansion, 8, 1))
        self.layer2 = nn.Sequential(block(8 * block.expansion, 16, 2))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16 * block.expansion, 10)

    def forward(self, x):
        x = self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x)))))
        return self.fc(self.avgpool(x).flatten(1))


class Tagger(nn.Module):
    """Tokens → classes: an embedding, learned positions, torch's encoder with a padding mask, a head."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 16)
        self.positions = nn.Parameter(torch.randn(5, 16) / 4)
        layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True, norm_first=False)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(16, 5)

    def forward(self, tokens):
        x = self.embedding(tokens) + self.positions
        return self.head(self.encoder(x, src_key_padding_mask=tokens == 0))


class Mixture(nn.Module):
    """Branches in a ModuleDict and a ModuleList, one of them used twice, and a recurrent layer."""

    def __init__(self):
        super().__init__()
        self.branches = nn.ModuleDict({"left": nn.Conv1d(8, 16, 3, padding=1), "right": nn.Conv1d(8, 16, 1)})
        self.up = nn.ModuleList([nn.ConvTranspose1d(16, 8, 2, stride=2), nn.Linear(8, 8)])
        self.rnn = nn.LSTM(8, 16, batch_first=True)
        self.pair = nn.Bilinear(16, 16, 8)
        self.output = nn.Linear(8, 2)

    def forward(self, x):
        x = self.branches["left"](x) * self.branches["right"](x).sigmoid()
        x = self.up[0](x).transpose(1, 2)
        states, _ = self.rnn(self.up[1](self.up[1](x).relu()))
        return self.output(self.pair(states[:, -1], states.mean(1)))


def tokens():
    return torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 0, 0]])


MODELS = {
    "perceptron": (perceptron, lambda: torch.randn(3, 16), {"6": "output layer"}),
    "resnet": (lambda: ResNet(Basic), lambda: torch.randn(2, 3, 8, 8), {"conv1": "in_channels", "fc": "output layer"}),
    "bottlenecks": (
        lambda: ResNet(Bottleneck),
        lambda: torch.randn(2, 3, 8, 8),
        {"conv1": "in_channels", "fc": "output layer"},
    ),
    "tagger": (
        Tagger,
        tokens,
        {"": "no counterpart", "embedding": "no counterpart", "head": "output layer"}
        | {f"encoder.layers.{i}.norm{j}": "no counterpart" for i in (0, 1) for j in (1, 2)},
    ),
    "mixture": (Mixture, lambda: torch.randn(2, 8, 6), {"output": "output layer"}),
}
"""How to make each model and its input, and the layers that stay real, with the beginning of the reason."""
