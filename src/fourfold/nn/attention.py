"""`MultiheadAttention` in every algebra."""

from functools import partial
from typing import Any

from torch import Tensor, nn

from fourfold.algebra import Algebra
from fourfold.nn.base import check_divisible, fixed
from fourfold.nn.blocks import AsReal, BlockedLayer, draw_, real_matrix
from fourfold.nn.caching import cached
from fourfold.nn.linear import Linear
from fourfold.record import UserError


class MultiheadAttention(BlockedLayer, nn.MultiheadAttention):
    """Attention whose projections are matrices of algebra elements; `real` is `torch.nn.MultiheadAttention` to the last bit.

    Scores are real: the inner product of the components of query and key, which is the real part of Σ conj(q)·k (as in
    Zhang et al. 2021, "Beyond Fully-Connected Layers with Quaternions"). Each head gets elements.

    Shapes: as torch's; features of query, key, value and output are blocked by component ([r…, x…, y…, z…]), and those
    between the projections head by head, each head's blocked by component. So in_proj_weight (3 · embed_dim, embed_dim / n)
    is, for query, key and value, one algebra matrix per head, blocked by component along its rows; likewise q_proj_weight,
    k_proj_weight (embed_dim, kdim / n) and v_proj_weight (embed_dim, vdim / n); out_proj is a `Linear` whose inputs are the
    numbers of head 0, head 1, ….

    Raises:
        ValueError: `embed_dim` is not divisible by the algebra's dimension n times `num_heads`, or `kdim` or `vdim` not by n.
    """

    _torch = nn.MultiheadAttention

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        algebra = fixed(algebra)
        check_heads("embed_dim", embed_dim, "num_heads", num_heads, algebra)
        for name, size in {"kdim": kdim, "vdim": vdim}.items():
            if size is not None:
                check_divisible(name, size, algebra)
        options = (dropout, bias, add_bias_kv, add_zero_attn, kdim, vdim, batch_first)
        super().__init__(embed_dim, num_heads, *options, device=device if algebra.n == 1 else "meta", dtype=dtype)
        if algebra.n > 1:
            self._use(algebra, device)
            self._reset_parameters()

    def _use(self, algebra: Algebra, device: Any) -> None:
        super()._use(algebra, device)
        bias, dtype = self.out_proj.bias is not None, self.out_proj.weight.dtype
        self.out_proj = Linear(self.embed_dim, self.embed_dim, bias, device, dtype, algebra=algebra)  # type: ignore[assignment]

    def _weight_names(self) -> list[str]:
        return ["in_proj_weight"] if self._qkv_same_embed_dim else ["q_proj_weight", "k_proj_weight", "v_proj_weight"]

    def _blocks(self, name: str) -> tuple[int, int]:
        return (3 if name == "in_proj_weight" else 1) * self.num_heads, 1

    def _reset_parameters(self) -> None:
        """Draw torch's numbers for `real`, Glorot's variance in polar form for the others; biases are zero, as torch's."""
        if self.algebra.n == 1:
            super()._reset_parameters()
            return
        for name, weight in self.stored_weights().items():
            variance = 2 / (weight.shape[0] + weight.shape[1] * self.algebra.n)
            for block in weight.detach().chunk(self._blocks(name)[0]):
                draw_(block, self.algebra, variance)
        for bias in self.in_proj_bias, self.out_proj.bias:
            if bias is not None:
                nn.init.zeros_(bias)
        for row in self.bias_k, self.bias_v:
            if row is not None:
                nn.init.xavier_normal_(row)

    def real_weights(self) -> dict[str, Tensor]:
        """Return the real matrices of all weights, those of torch's own layer, by the names of its state dict."""
        out_proj = real_matrix(self.out_proj.weight, self.algebra, 1, self.num_heads)
        return {**super().real_weights(), "out_proj.weight": out_proj}

    def forward(self, *arguments: Any, **options: Any) -> Any:
        """Return the attended values and, if wanted, the weights; the arguments are those of torch's layer."""
        if self.algebra.n == 1:
            return super().forward(*arguments, **options)
        weights = self.expanded_weights()
        by_heads = partial(real_matrix, algebra=self.algebra, column_blocks=self.num_heads)
        settings = self.algebra, self.num_heads
        out_proj = AsReal(self.out_proj, weight=cached(self.out_proj, "by heads", by_heads, (self.out_proj.weight,), settings))
        # torch takes its fast path, where it may, on these real weights too
        return self._torch.forward(AsReal(self, out_proj=out_proj, **weights), *arguments, **options)  # type: ignore[arg-type]


def check_heads(size_name: str, size: int, heads_name: str, num_heads: int, algebra: Algebra) -> None:
    """Raise unless a size in real neurons makes elements of the algebra in every head."""
    if size <= 0 or num_heads <= 0:
        raise UserError(f"`{size_name}` (={size}) and `{heads_name}` (={num_heads}) must be greater than 0")
    if size % (num_heads * algebra.n):
        unit = f"`{heads_name}` (={num_heads})" + (f" × {algebra.n}" if algebra.n > 1 else "")
        raise UserError(f"`{size_name}` (={size}) must be divisible by {unit} for algebra {algebra.name!r}")
