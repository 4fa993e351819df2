"""A network of torch.nn alone, with a shortcut: fourfold converts it to each algebra, and prunes it.

fourfold run examples/converted/experiment.py --trials 3
"""

import torch
from sklearn.datasets import load_digits
from torch import nn

import fourfold as ff


class Net(nn.Module):
    """Two convolutions with a shortcut, a GRU over the rows of the image, and a linear layer."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.rows = nn.GRU(16, 32, batch_first=True)
        self.head = nn.Linear(32, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Shapes: (N, channels, height, width) → (N, classes)."""
        maps = self.first(images).relu()
        maps = self.norm(self.second(maps) + maps).relu()
        states, _ = self.rows(maps.mean(3).transpose(1, 2))
        return self.head(states[:, -1])


def data():
    """Return scikit-learn's digits as grey images; `components="repeat"` gives a quaternion its four components."""
    digits = load_digits()
    images = (digits.images * 255 / 16).astype("uint8")
    return ff.data.from_arrays((images, digits.target), components="repeat")


def net(algebra, inputs, outputs):
    """Return torch's network: what has no counterpart or does not divide stays real."""
    return Net(inputs[0], outputs)


def experiment():
    """Return the experiment; `fourfold run` compares real and quaternion."""
    settings = {"train.schedule": "one-cycle", "train.clip_norm": 1.0}
    return ff.presets.new(
        "converted",
        data="experiment.py:data",
        model="experiment.py:net",
        epochs=8,
        optimizer="adamw",
        learning_rate=5e-3,
        max_level=8,
        settings=settings,
    )
