"""`TransformerEncoderLayer` in every algebra."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from fourfold.algebra import REAL, Algebra
from fourfold.nn.attention import MultiheadAttention, check_heads
from fourfold.nn.base import check_divisible, fixed
from fourfold.nn.layer_norm import LayerNorm
from fourfold.nn.linear import Linear
from fourfold.nn.tracing import WholeLayer


class TransformerEncoderLayer(WholeLayer, nn.TransformerEncoderLayer):
    """Self-attention and two linear layers over algebra elements; `real` is `torch.nn.TransformerEncoderLayer`, all of it.

    The layers of the others are our `MultiheadAttention`, `Linear` and `LayerNorm`; `torch.nn.TransformerEncoder` takes
    either. torch's fused inference of a whole encoder layer reads real weights, so only `real` may use it (attention alone
    is fused for all); give `TransformerEncoder` `enable_nested_tensor=False` with the others, or it warns that it will not
    nest.

    Shapes: src as torch's, features blocked by component ([r…, x…, y…, z…]) → the same.

    Raises:
        ValueError: `d_model` is not divisible by the algebra's dimension n times `nhead`, or `dim_feedforward` not by n.
    """

    algebra: Algebra = REAL

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        algebra = fixed(algebra)
        check_heads("d_model", d_model, "nhead", nhead, algebra)
        check_divisible("dim_feedforward", dim_feedforward, algebra)
        settings = (dropout, activation, layer_norm_eps, batch_first, norm_first, bias)
        place = device if algebra.n == 1 else "meta"
        super().__init__(d_model, nhead, dim_feedforward, *settings, device=place, dtype=dtype)
        if algebra.n == 1:
            return
        self.algebra = algebra
        self.activation_relu_or_gelu = 0  # torch's sign that its fused kernel must not be taken
        options: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first, algebra=algebra, **options)
        self.linear1 = Linear(d_model, dim_feedforward, algebra=algebra, **options)
        self.linear2 = Linear(dim_feedforward, d_model, algebra=algebra, **options)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, algebra=algebra, **options)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, algebra=algebra, **options)
