"""Batch norm of each component alone: torch's over the real channels, with the sizes checked and the algebra shown."""

import pytest
import torch
from nn_reference import HYPERCOMPLEX, draw
from torch import nn

from fourfold import nn as fnn
from fourfold.record import UserError


@pytest.mark.parametrize("name", ["real", *HYPERCOMPLEX])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_it_is_torchs_over_the_real_channels(name: str, dimensions: int) -> None:
    torchs = getattr(nn, f"BatchNorm{dimensions}d")(16, 1e-3, 0.2)
    ours = getattr(fnn, f"BatchNorm{dimensions}d")(16, 1e-3, 0.2, algebra=name)
    ours.load_state_dict(torchs.state_dict())
    x = draw(1, 4, 16, *[3] * dimensions, dtype=torch.float32)
    assert torch.equal(ours(x), torchs(x))
    assert torch.equal(ours.eval()(x), torchs.eval()(x))
    shown = str(torchs) if name == "real" else f"{str(torchs)[:-1]}, algebra={name!r})"
    assert str(ours) == shown


def test_a_whole_number_of_numbers() -> None:
    with pytest.raises(UserError, match=r"`num_features` \(=6\) must be divisible by 4 for algebra 'quaternion'"):
        fnn.BatchNorm2d(6, algebra="quaternion")
