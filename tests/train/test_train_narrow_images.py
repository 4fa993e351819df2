"""Gradients in bfloat16 are those of float64 within its rounding, however narrow the images are, and no weight ends as NaN."""

from contextlib import ExitStack, suppress

import pytest
import torch
from small_runs import network, seed_of_epoch, splits
from torch import nn

from fourfold import nn as fnn
from fourfold.record import TrainSpec
from fourfold.train import TrainingFailedError, train
from fourfold.train.narrow_images import is_narrow, narrow_images_in_float32
from fourfold.train.precision import computing

SPEC = TrainSpec(optimizer="adam", learning_rate=1e-2, batch_size=30, epochs=2)
OPTIONS = {"kernel_size": 3, "padding": 1, "bias": False}


def leave_nan_in_free_memory() -> None:
    """Let the allocator's next blocks hold NaN: a kernel that reads what it never wrote is seen."""
    blocks = [torch.full((size,), float("nan")) for size in (2048, 4608, 9216, 16384, 100_000)]
    del blocks


def gradients(layer: nn.Module, x: torch.Tensor, *, bf16: bool) -> list[torch.Tensor]:
    layer.zero_grad()
    x = x.detach().requires_grad_()
    with ExitStack() as stack:
        if bf16:
            stack.enter_context(computing("bf16", torch.device("cpu")))
            stack.enter_context(narrow_images_in_float32(layer))
        output = layer(x)
        assert output.dtype == (torch.bfloat16 if bf16 else x.dtype)
        leave_nan_in_free_memory()
        output.backward(torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output))
    return [x.grad, layer.weight.grad]


@pytest.mark.parametrize("algebra", [None, "real", "quaternion"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(("columns", "stride"), [(1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 4), (5, 2)])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_gradients_in_bfloat16_are_those_of_float64(dimensions, columns, stride, transposed, algebra):
    name = f"Conv{'Transpose' if transposed else ''}{dimensions}d"
    options = {**OPTIONS, "stride": stride}
    layer = getattr(nn, name)(16, 16, **options) if algebra is None else getattr(fnn, name)(16, 16, **options, algebra=algebra)
    x = torch.randn(4, 16, *(4, 4, columns)[3 - dimensions :], generator=torch.Generator().manual_seed(0))
    found = [gradient.double() for gradient in gradients(layer, x, bf16=True)]
    wanted = gradients(layer.double(), x.double(), bf16=False)
    for ours, exact in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, exact, rtol=0.05, atol=0.02 * float(exact.abs().max()))


def test_what_is_narrow_is_read_from_the_layer_and_the_images():
    assert is_narrow(nn.Conv2d(1, 1, 3, stride=(1, 2), padding=1), torch.zeros(1, 1, 4, 1))
    assert not is_narrow(nn.Conv2d(1, 1, 3, stride=(2, 1), padding=1), torch.zeros(1, 1, 1, 1))
    assert not is_narrow(nn.Conv1d(1, 1, 3, stride=2, padding=1), torch.zeros(1, 1, 2))
    layer = nn.ConvTranspose2d(1, 1, 3, stride=3, padding=1)
    assert is_narrow(layer, torch.zeros(1, 1, 4, 1)) == (layer(torch.zeros(1, 1, 4, 1)).shape[-1] < 3)
    assert is_narrow(layer, torch.zeros(1, 1, 4, 2)) == (layer(torch.zeros(1, 1, 4, 2)).shape[-1] < 3)


def test_layers_are_left_as_they_were():
    layer = nn.Conv2d(1, 1, 3, stride=2)
    with suppress(KeyError), narrow_images_in_float32(layer):
        assert "forward" in vars(layer)
        raise KeyError
    assert "forward" not in vars(layer)


class TrainingAlone(nn.Module):
    """Adds a number to its input, in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.number if self.training else x


def test_a_weight_that_becomes_nan_without_a_trace_in_the_loss_ends_the_training():
    built = nn.Sequential(TrainingAlone(), network())
    last, steps = SPEC.epochs * -(-len(splits().train) // SPEC.batch_size), []

    def spoil_last(gradient: torch.Tensor) -> torch.Tensor:
        steps.append(1)
        return gradient * float("nan") if len(steps) == last else gradient

    built[0].number.register_hook(spoil_last)
    with pytest.raises(TrainingFailedError, match=r"the weight 0\.number became NaN or infinite in epoch 2"):
        train(built, splits(), SPEC, seed_of_epoch=seed_of_epoch)
