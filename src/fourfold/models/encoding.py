"""The learned fourth channel: a small trained layer that makes the missing components from the image itself."""

import torch
from torch import Tensor, nn


class LearnedChannel(nn.Module):
    """Append channels computed by one real 3×3 convolution and ReLU (after Gaudet & Maida 2018).

    Shapes: (N, in_channels, H, W) → (N, out_channels, H, W); the first `in_channels` are the image unchanged.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels - in_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image with the learned channels behind it."""
        return torch.cat([x, torch.relu(self.conv(x))], dim=1)
