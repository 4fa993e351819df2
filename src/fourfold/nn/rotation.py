"""Layers that rotate: each weight turns the vector part of a quaternion and scales it, y_o = Σ_i s_oi (q_oi x_i q_oi⁻¹).

Zhu et al. 2018, "Quaternion Convolutional Neural Networks" (the scale is |q|); Parcollet's Orkis, `quaternion_conv_rotation`
(a scale of its own).
"""

from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from fourfold.algebra import QUATERNION, Algebra, norm, rotation_matrix, unit
from fourfold.algebra.checking import widened
from fourfold.nn import init
from fourfold.nn.base import AlgebraLayer, fan_in
from fourfold.nn.conv import Conv1d, Conv2d, Conv3d
from fourfold.nn.linear import Linear
from fourfold.nn.rotation_function import can_rotate, rotations
from fourfold.record.errors import unknown

SCALES = ("learned", "norm")
"""Where the scale of a rotation comes from: a parameter of its own, or the quaternion's norm."""
REAL_PARTS = ("carry", "zero")
"""What becomes of the real part of an input: it is scaled as the vector part is, or left out."""


class _Rotation(AlgebraLayer):
    """Mixed in before a layer of ours over the quaternions: the real matrix consists of scaled rotations."""

    scale: Tensor | None
    real_part: str
    _multiplies = False

    def _use(self, algebra: Algebra) -> None:
        """Take the quaternions after torch's constructor has run; `_rotate` draws the weights."""
        self.algebra = algebra

    def _rotate(self, scale: str, real_part: str) -> None:
        """Take the settings after our constructor has run, and draw the weights for them."""
        if scale not in SCALES:
            raise unknown("scale", scale, SCALES)
        if real_part not in REAL_PARTS:
            raise unknown("real_part", real_part, REAL_PARTS)
        self.real_part = real_part
        numbers = self.weight.shape[0] // 4, *self.weight.shape[1:]
        self.register_parameter("scale", nn.Parameter(self.weight.new_empty(numbers)) if scale == "learned" else None)
        self.draw()

    def draw(self, scheme: str = "torch", generator: Generator | None = None, form: str = "polar") -> None:
        """Draw uniform rotations, whatever the form, with scales that give the real twin's output variance, and the bias.

        Every row of a scaled rotation has squares that add up to s², of four inputs: so s² is four times the variance.
        """
        init.weight_(self.weight, QUATERNION, self.groups, scheme, generator, form="normal")
        if self.scale is not None:
            std = 2 * init.standard_deviation(self.weight, 4, self.groups, scheme)
            with torch.no_grad():
                normal = torch.randn(self.scale.shape, generator=generator, dtype=self.scale.dtype, device=self.scale.device)
                self.scale.copy_(normal * std)
                # Only the direction counts, and at norm 1 its steps have the size of the others.
                directions = unit(self.weight.reshape(4, -1).t()).t()
                self.weight.copy_(directions.reshape(self.weight.shape))
        if self.bias is not None:
            init.bias_(self.bias, fan_in(self), scheme, generator)

    def stored_weights(self) -> dict[str, Tensor]:
        """Return the stored weights by their local names."""
        return {"weight": self.weight} if self.scale is None else {"weight": self.weight, "scale": self.scale}

    def ranked_weights(self) -> dict[str, Tensor]:
        """Return the stored weights as their magnitudes rank them: a quaternion as long as its scale, where that is learned.

        The norm of such a quaternion does not matter, and a scale without one does nothing.
        """
        if self.scale is None:
            return {"weight": self.weight}
        numbers = widened(self.weight).reshape(4, -1)
        scale = widened(self.scale).reshape(-1) * numbers.any(0)
        rotations = unit(numbers.t()).t() * scale
        return {"weight": rotations.reshape(self.weight.shape), "scale": scale.reshape(self.scale.shape)}

    def _matrix_sources(self) -> tuple[Tensor, ...]:
        return (self.weight,) if self.scale is None else (self.weight, self.scale)

    def _matrix_settings(self) -> tuple[Any, ...]:
        return self.groups, self.real_part

    def _matrix_of(self, weight: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the real weight that torch's functional takes: (out, in / groups, *kernel).

        A quaternion of zero is no connection: its block is zero, whatever the scale, so that it can be pruned.
        """
        if can_rotate(weight, scale):
            return rotations(weight, scale, self.groups, self.real_part, self._blocks_of)
        return self._blocks_of(weight, scale)

    def _blocks_of(self, weight: Tensor, scale: Tensor | None) -> Tensor:
        """Return the real matrix in plain operations."""
        out, *rest = weight.shape
        numbers = weight.view(4, self.groups, out // 4 // self.groups, *rest)
        numbers = numbers.movedim(0, -1)  # (groups, out, in, *kernel, 4)
        scale = norm(numbers) if scale is None else scale.view(numbers.shape[:-1]) * numbers.any(-1)
        blocks = F.pad(rotation_matrix(numbers), (1, 0, 1, 0))  # (groups, out, in, *kernel, 4, 4)
        if self.real_part == "carry":
            blocks = blocks + weight.new_tensor([1.0, 0.0, 0.0, 0.0]).diag()
        blocks = (blocks * scale[..., None, None]).movedim((-2, -1), (1, 3))  # (groups, 4, out, 4, in, *kernel)
        return blocks.flatten(3, 4).flatten(0, 2)

    def extra_repr(self) -> str:
        """Return what torch prints between the brackets, and the settings."""
        scale = "norm" if self.scale is None else "learned"
        return f"{super().extra_repr()}, scale={scale!r}, real_part={self.real_part!r}"


class RotationLinear(_Rotation, Linear):
    """y_o = Σ_i s_oi (q_oi x_i q_oi⁻¹) + b_o: every weight rotates the vector part of a quaternion and scales it.

    Shapes: x (..., in_features) → (..., out_features), features blocked by component ([r…, x…, y…, z…]); weight
    (out_features, in_features / 4), the quaternions q, blocked by component along its first axis; scale
    (out_features / 4, in_features / 4). Three or four of the sixteen real connections of a quaternion are free, or five.

    Args:
        in_features: Inputs, divisible by 4.
        out_features: Outputs, divisible by 4.
        bias: Whether to add one.
        device: Where the parameters lie.
        dtype: Their type.
        scale: `learned` for a parameter of its own, of either sign, with which the norm of q does not matter (Orkis);
            `norm` for s = |q|, so that a weight of zero is no connection (Zhu et al. 2018).
        real_part: `carry` for what the formula says, q r q⁻¹ = r, so that real parts are scaled and added up; `zero` to
            leave them out, so that the real part of every output is its bias (Orkis).

    Raises:
        ValueError: a size is not divisible by 4, or an unknown `scale` or `real_part`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        scale: str = "learned",
        real_part: str = "carry",
    ) -> None:
        super().__init__(in_features, out_features, bias, device, dtype, algebra=QUATERNION)
        self._rotate(scale, real_part)


class _RotationConv(_Rotation):
    """What the convolutions share; `RotationConv2d` describes them."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        scale: str = "learned",
        real_part: str = "carry",
    ) -> None:
        options = (stride, padding, dilation, groups, bias, padding_mode, device, dtype)
        super().__init__(in_channels, out_channels, kernel_size, *options, algebra=QUATERNION)
        self._rotate(scale, real_part)


class RotationConv1d(_RotationConv, Conv1d):
    """`RotationConv2d` over one axis."""


class RotationConv2d(_RotationConv, Conv2d):
    """A convolution whose kernel entries rotate and scale quaternions; see `RotationLinear`.

    Shapes: x (N, in_channels, *size) → (N, out_channels, *size'), channels blocked by component; weight
    (out_channels, in_channels / 4 / groups, *kernel); scale (out_channels / 4, in_channels / 4 / groups, *kernel). Groups
    are those of `Conv2d`.

    Raises:
        ValueError: as `RotationLinear`, and a number of channels is not divisible by 4 times the groups.
    """


class RotationConv3d(_RotationConv, Conv3d):
    """`RotationConv2d` over three axes."""
