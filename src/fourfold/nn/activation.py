"""Activations of elements, which act on the norm or the angle and keep the direction.

Split activations, that is, torch's own applied to every component alone, are the usual choice (Arena et al. 1994).
"""

from typing import Any

import torch
from torch import Tensor, nn

from fourfold.algebra import Algebra
from fourfold.nn.base import check_divisible, fixed
from fourfold.nn.components import NumberFunction, NumberLayer, axis_of, divisors, join_components, split_components
from fourfold.record import UserError


class ModReLU(NumberLayer):
    """modReLU(q) = q / |q| · relu(|q| + b), with a learned b for every element (Arjovsky et al. 2016, equation 8).

    Numbers shorter than −b become zero, all others keep their direction. With n = 1 and b < 0 it is
    `torch.nn.functional.softshrink` with λ = −b. Started at b = `init`; 0 makes it the identity.

    Shapes: x with `num_features` real features along `dim`, blocked by component ([r…, x…, y…, z…]) → the same; `bias`
    (num_features / n,). `dim` is 1 for (N, features) and (N, channels, *size), −1 for sequences (N, L, features).

    Raises:
        ValueError: `num_features` is not divisible by the algebra's dimension n, or is not the size of `x` along `dim`.
    """

    def __init__(
        self,
        num_features: int,
        init: float = 0.0,
        device: Any = None,
        dtype: Any = None,
        *,
        dim: int = 1,
        algebra: str | Algebra = "real",
    ) -> None:
        super().__init__()
        self.algebra = fixed(algebra)
        check_divisible("num_features", num_features, self.algebra)
        self.num_features, self.init, self.dim = num_features, init, dim
        self.bias = nn.Parameter(torch.empty(num_features // self.algebra.n, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set b to `init`."""
        nn.init.constant_(self.bias, self.init)

    def forward(self, input: Tensor) -> Tensor:
        """Return q / |q| · relu(|q| + b) of every element q."""
        dim = axis_of(input, self.dim)
        if input.shape[dim] != self.num_features:
            raise UserError(f"`input.shape[{dim}]` (={input.shape[dim]}) must be `num_features` (={self.num_features})")
        numbers = split_components(input, self.algebra, dim)
        bias = self.bias.view(-1, *[1] * (input.dim() - 1 - dim))
        shortest = torch.finfo(input.dtype).eps
        length = divisors(numbers, dim, shortest)
        push = bias / length
        # A number without a direction is not pushed away from zero: the slope there would be b / eps.
        push = torch.where(length > shortest, push, push.clamp_max(0))
        # As q · relu(1 + b / |q|), the identity of b = 0 is exact.
        return join_components(numbers * torch.relu(1 + push), dim).to(input.dtype)

    def extra_repr(self) -> str:
        """Return the settings as torch prints them."""
        return ", ".join([str(self.num_features), *filter(None, [super().extra_repr()])])


class Cardioid(NumberFunction):
    """cardioid(q) = ½ (1 + cos θ) q, where θ is the angle between q and the positive real axis (Virtue et al. 2017).

    It keeps positive real numbers, removes negative ones and halves imaginary ones. With n = 1 it is ReLU.

    Shapes: x of any shape → the same, the numbers along `dim`, blocked by component ([r…, x…, y…, z…]).

    Raises:
        ValueError: `x` has no axis `dim`, or its size is not divisible by the algebra's dimension.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return ½ (1 + cos θ) q of every element q."""
        dim = axis_of(input, self.dim)
        numbers = split_components(input, self.algebra, dim)
        cosine = numbers.narrow(dim, 0, 1) / divisors(numbers, dim)
        return join_components(numbers * (0.5 + 0.5 * cosine), dim).to(input.dtype)


class AmplitudeTanh(NumberFunction):
    """tanh(|q|) q / |q|, which bounds the norm by 1 and keeps the direction (Hirose 1992). With n = 1 it is tanh.

    Shapes: x of any shape → the same, the numbers along `dim`, blocked by component ([r…, x…, y…, z…]).

    Raises:
        ValueError: `x` has no axis `dim`, or its size is not divisible by the algebra's dimension.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return tanh(|q|) q / |q| of every element q."""
        dim = axis_of(input, self.dim)
        numbers = split_components(input, self.algebra, dim)
        length = divisors(numbers, dim)
        return join_components(numbers * (length.tanh() / length), dim).to(input.dtype)
