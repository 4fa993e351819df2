"""A torch dataset whose items are made one by one, as if they were read from files.

fourfold run examples/torch_dataset/experiment.py --trials 3
"""

import torch
from torch import nn
from torch.utils.data import Dataset

import fourfold as ff


class Waves(Dataset):
    """Noisy waves of one of three shapes: two channels of 32 samples each."""

    def __init__(self, count: int, first: int) -> None:
        self.count, self.first = count, first

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        generator = torch.Generator().manual_seed(self.first + index)
        shape = index % 3
        phase = torch.linspace(0, 6.28 * (1 + shape), 32) + 6.28 * torch.rand((), generator=generator)
        wave = torch.stack([phase.sin(), phase.cos()])
        return wave + 0.5 * torch.randn(2, 32, generator=generator), shape


def data():
    """Return training and test items of two datasets."""
    names = ["slow", "middle", "fast"]
    return ff.data.from_datasets(train=Waves(600, 0), test=Waves(150, 10_000), classes=names, channels="first")


def net(algebra, inputs, outputs):
    """Return a network of one-dimensional convolutions."""
    return nn.Sequential(
        ff.nn.Conv1d(inputs[0], 16, 5, padding=2, algebra=algebra),
        nn.ReLU(),
        ff.nn.Conv1d(16, 32, 5, padding=2, stride=2, algebra=algebra),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(32, outputs),
    )


def experiment():
    """Return the experiment."""
    return ff.presets.new("waves", data="experiment.py:data", model="experiment.py:net", epochs=10, max_level=8)
