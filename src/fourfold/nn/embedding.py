"""`Embedding` and `EmbeddingBag`: tables of algebra elements.

A look-up multiplies nothing, so an algebra shares no weights here: the tables are as large as torch's. What it gives is
entries blocked by component, drawn like the numbers that the next layer expects.
"""

from typing import Any, Self

import torch
from torch import Tensor, nn

from fourfold.algebra import Algebra
from fourfold.nn.base import check_divisible, fixed
from fourfold.nn.blocks import draw_
from fourfold.nn.components import NumberLayer


class _Table(NumberLayer):
    """What the tables share: an algebra that divides the entries, and their first draw."""

    weight: Tensor

    def __init__(self, num_embeddings: int, embedding_dim: int, *options: Any, algebra: str | Algebra, **more: Any) -> None:
        algebra = fixed(algebra)
        check_divisible("embedding_dim", embedding_dim, algebra)
        super().__init__(num_embeddings, embedding_dim, *options, **more)
        if algebra.n > 1:
            self.algebra = algebra
            if more["_weight"] is None:
                self.reset_parameters()

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, *arguments: Any, algebra: str | Algebra = "real", **options: Any) -> Self:
        """Return a table of given entries (num_embeddings, embedding_dim), blocked by component; the rest is torch's."""
        algebra = fixed(algebra)
        check_divisible("embedding_dim", embeddings.shape[-1], algebra)
        table: Self = super().from_pretrained(embeddings, *arguments, **options)  # type: ignore[misc]
        if algebra.n > 1:
            table.algebra = algebra
        return table

    def reset_parameters(self) -> None:
        """Draw the table afresh with variance 1: torch's normal numbers for `real`, polar form for the others."""
        if self.algebra.n == 1:
            super().reset_parameters()  # type: ignore[misc]
            return
        by_channel = torch.empty_like(self.weight.detach().t(), memory_format=torch.contiguous_format)
        draw_(by_channel, self.algebra, 1.0)
        with torch.no_grad():
            self.weight.copy_(by_channel.t())
        self._fill_padding_idx_with_zero()  # type: ignore[operator]


class Embedding(_Table, nn.Embedding):
    """A table of `num_embeddings` entries of embedding_dim / n elements; `real` is `torch.nn.Embedding` to the last bit.

    Shapes: indices (...) → (..., embedding_dim), blocked by component ([r…, x…, y…, z…]); weight (num_embeddings,
    embedding_dim), torch's own. `max_norm` bounds the norm of an entry, over all components of all its numbers.

    Raises:
        ValueError: `embedding_dim` is not divisible by the algebra's dimension n.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Tensor | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        options = (padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
        more = {"_weight": _weight, "_freeze": _freeze, "device": device, "dtype": dtype}
        super().__init__(num_embeddings, embedding_dim, *options, algebra=algebra, **more)


class EmbeddingBag(_Table, nn.EmbeddingBag):
    """`Embedding` of bags of indices, with the sum, mean or maximum (of each component) over a bag; see torch's."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        mode: str = "mean",
        sparse: bool = False,
        _weight: Tensor | None = None,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        options = (max_norm, norm_type, scale_grad_by_freq, mode, sparse)
        more = {"_weight": _weight, "include_last_offset": include_last_offset, "padding_idx": padding_idx}
        super().__init__(num_embeddings, embedding_dim, *options, device=device, dtype=dtype, algebra=algebra, **more)
