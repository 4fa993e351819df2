"""`gpt`: a decoder-only transformer (Radford et al. 2018) in every algebra, which foretells the next token at every place."""

import torch
from torch import Tensor, nn

from fourfold import nn as fnn
from fourfold.models.layers import Layers, dimension
from fourfold.models.sequences import check_fixed, positions

MODEL, HEADS, FEEDFORWARD, DEPTH = 64, 4, 256, 3
"""Real neurons of a token and of the inner layers, heads, and layers."""


def gpt(shape: tuple[int], num_tokens: int, layers: Layers) -> nn.Module:
    """Return an embedding, layers of attention that normalise first and see no later place, and an output layer."""
    check_fixed(layers, "gpt")
    per_head = dimension(layers.algebra) * HEADS
    size = max(1, round(layers.scaled(MODEL) / per_head)) * per_head
    inner, algebra = layers.scaled(FEEDFORWARD), layers.algebra
    blocks = [
        fnn.TransformerEncoderLayer(size, HEADS, inner, 0.0, "gelu", batch_first=True, norm_first=True, algebra=algebra)
        for _ in range(DEPTH)
    ]
    return GPT(
        fnn.Embedding(num_tokens, size, algebra=algebra),
        blocks,
        fnn.LayerNorm(size, algebra=algebra),
        layers.output(size, num_tokens),
    )


class GPT(nn.Module):
    """A transformer whose places see themselves and what is before them.

    Shapes: tokens int64 (N, T) → (N, tokens of the vocabulary, T).
    """

    def __init__(
        self, tokens: nn.Module, blocks: list[fnn.TransformerEncoderLayer], norm: nn.Module, output: nn.Module
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.output = output

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the scores of the token that follows each."""
        x: Tensor = self.tokens(tokens)
        x = x + positions(x.shape[1], x.shape[2], x)
        places = torch.arange(x.shape[1], device=x.device)
        later = places > places.unsqueeze(1)
        for block in self.blocks:
            x = block(x, src_mask=later)
        scores: Tensor = self.output(self.norm(x))
        return scores.transpose(1, 2)
