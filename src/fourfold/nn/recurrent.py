"""Recurrent layers in every algebra: `RNN`, `LSTM`, `GRU` and their cells.

Gates act on every component alone, as in Parcollet et al. 2019, "Quaternion Recurrent Neural Networks".
"""

import math
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from fourfold.algebra import Algebra
from fourfold.nn.base import check_divisible, fixed
from fourfold.nn.blocks import AsReal, BlockedLayer
from fourfold.nn.conv import regroup


class _Gated(BlockedLayer):
    """What layers and cells share: rows in gates of `hidden_size`, and torch's scale at the start."""

    _torch: Any
    """The layer of torch.nn, whose `forward` is run on the real matrices."""

    input_size: int
    hidden_size: int

    def __init__(
        self, input_size: int, hidden_size: int, *options: Any, device: Any, dtype: Any, algebra: str | Algebra
    ) -> None:
        algebra = fixed(algebra)
        check_divisible("input_size", input_size, algebra)
        check_divisible("hidden_size", hidden_size, algebra)
        place = device if algebra.n == 1 else "meta"
        super().__init__(input_size, hidden_size, *options, device=place, dtype=dtype)
        if algebra.n > 1:
            self._use(algebra, device)
            self.reset_parameters()

    def _blocks(self, name: str) -> tuple[int, int]:
        return getattr(self, name).shape[0] // self.hidden_size, 1

    def reset_parameters(self) -> None:
        """Draw weights and biases afresh: torch's uniform numbers for `real`, its variance in polar form for the others."""
        if self.algebra.n == 1:
            super().reset_parameters()  # type: ignore[misc]
            return
        self._draw(1 / math.sqrt(self.hidden_size))


class _Recurrent(_Gated):
    """What the layers share; `LSTM` describes them."""

    num_layers: int
    bidirectional: bool
    _flat_weights_names: list[str]

    def _weight_names(self) -> list[str]:
        return [name for name in self._flat_weights_names if name.startswith("weight")]

    def _blocks(self, name: str) -> tuple[int, int]:
        if name.startswith("weight_hr"):
            return 1, 1
        both_directions = self.bidirectional and name.startswith("weight_ih") and "_l0" not in name
        return super()._blocks(name)[0], 2 if both_directions else 1

    def _use(self, algebra: Algebra, device: Any) -> None:
        super()._use(algebra, device)
        self._init_flat_weights()  # type: ignore[operator]

    def flatten_parameters(self) -> None:
        """Bring the weights into one piece of memory for cuDNN; only the weights of `real` are what cuDNN takes."""
        if self.algebra.n == 1:
            super().flatten_parameters()  # type: ignore[misc]

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Return the outputs of all steps and the last state, as torch's layer does."""
        if self.algebra.n == 1:
            return super().forward(input, hx)
        weights = self.expanded_weights()
        flat = [weights[name] if name in weights else getattr(self, name) for name in self._flat_weights_names]
        real = AsReal(self, _flat_weights=flat, _update_flat_weights=lambda: None)
        output, state = self._torch.forward(real, input, hx)
        if not self.bidirectional:
            return output, state
        if isinstance(output, PackedSequence):
            return output._replace(data=regroup(output.data, -1, 2, self.algebra.n)), state
        return regroup(output, -1, 2, self.algebra.n), state


class RNN(_Recurrent, nn.RNN):
    """`LSTM` without gates: h' = tanh or ReLU of W·x + b + U·h + c."""

    _torch = nn.RNN

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        options = (num_layers, nonlinearity, bias, batch_first, dropout, bidirectional)
        super().__init__(input_size, hidden_size, *options, device=device, dtype=dtype, algebra=algebra)


class LSTM(_Recurrent, nn.LSTM):
    """Long short-term memory whose matrices hold algebra elements; `real` is `torch.nn.LSTM` to the last bit.

    Shapes: as torch's, all features blocked by component ([r…, x…, y…, z…]). The outputs of a bidirectional layer are
    numbers too: forward and backward ones side by side in each component ([r→…, r←…, x→…, x←…, …]), so that a layer of the
    algebra may follow; states are one direction's each. Parameters have torch's names; each gate of a weight is an algebra
    matrix of its own: weight_ih_l0 (4 · hidden_size, input_size / n) is four blocks of rows, each blocked by component, and
    likewise the others, with weight_hr_l0 (proj_size, hidden_size / n) one block.

    torch's fused kernel does the work, on the real matrices, which are made once a call in training and cached in evaluation.

    Raises:
        ValueError: a size is not divisible by the algebra's dimension n.
    """

    _torch = nn.LSTM

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        check_divisible("proj_size", proj_size, fixed(algebra))
        options = (num_layers, bias, batch_first, dropout, bidirectional, proj_size)
        super().__init__(input_size, hidden_size, *options, device=device, dtype=dtype, algebra=algebra)


class GRU(_Recurrent, nn.GRU):
    """`LSTM` with the three gates of Cho et al. 2014, in torch's form: reset, update, new."""

    _torch = nn.GRU

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        options = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__(input_size, hidden_size, *options, device=device, dtype=dtype, algebra=algebra)


class _Cell(_Gated):
    """What the cells share: one step of the layer; over many steps the layer is faster, as it makes its matrices once."""

    def _weight_names(self) -> list[str]:
        return ["weight_ih", "weight_hh"]

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Return the next state, as torch's cell does."""
        if self.algebra.n == 1:
            return super().forward(input, hx)
        return self._torch.forward(AsReal(self, **self.expanded_weights()), input, hx)


class RNNCell(_Cell, nn.RNNCell):
    """One step of `RNN`."""

    _torch = nn.RNNCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        super().__init__(input_size, hidden_size, bias, nonlinearity, device=device, dtype=dtype, algebra=algebra)


class LSTMCell(_Cell, nn.LSTMCell):
    """One step of `LSTM`."""

    _torch = nn.LSTMCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device=device, dtype=dtype, algebra=algebra)


class GRUCell(_Cell, nn.GRUCell):
    """One step of `GRU`."""

    _torch = nn.GRUCell

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        algebra: str | Algebra = "real",
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device=device, dtype=dtype, algebra=algebra)
