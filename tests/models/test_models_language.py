"""`gpt` and `lstm-steps`: parameters by hand, places that see nothing later, and windows of any length."""

import pytest
import torch

from fourfold import models
from fourfold import nn as fnn
from fourfold.algebra import ALGEBRAS, get
from fourfold.models.language import DEPTH, FEEDFORWARD, MODEL
from fourfold.models.sequences import HIDDEN
from fourfold.record import UserError


def tokens_of(*shape):
    return torch.randint(0, 11, shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("algebra", ALGEBRAS)
def test_parameters_are_counted_by_hand(algebra):
    n = get(algebra).n
    norm = sum(p.numel() for p in fnn.LayerNorm(MODEL, algebra=algebra).parameters())
    block = 4 * MODEL * MODEL // n + 4 * MODEL + 2 * MODEL * FEEDFORWARD // n + FEEDFORWARD + MODEL + 2 * norm
    network = models.build("gpt", algebra=algebra, num_classes=11, shape=(5,), device="meta")
    expected = 11 * MODEL + DEPTH * block + norm + (MODEL + 1) * 11
    assert sum(p.numel() for p in network.parameters()) == expected
    assert models.measure(network, torch.zeros(1, 5, dtype=torch.int64)).parameters == expected
    steps = models.build("lstm-steps", algebra=algebra, num_classes=8, shape=(30, 16), device="meta")
    assert sum(p.numel() for p in steps.parameters()) == 4 * HIDDEN * ((16 + HIDDEN) // n + 2) + (HIDDEN + 1) * 8


@pytest.mark.parametrize("algebra", ALGEBRAS)
@pytest.mark.parametrize("training", [False, True])
def test_a_place_sees_itself_and_what_is_before_it_alone(algebra, training):
    network = models.build("gpt", algebra=algebra, num_classes=11, shape=(9,), seed=0, width=0.5).train(training)
    tokens = tokens_of(3, 9)
    outputs = network(tokens).detach()
    assert outputs.shape == (3, 11, 9)
    for place in (0, 4, 8):
        other = tokens.clone()
        other[:, place] = (other[:, place] + 1) % 11
        changed = network(other).detach()
        assert torch.allclose(changed[..., :place], outputs[..., :place], atol=1e-5)
        assert not torch.allclose(changed[..., place], outputs[..., place], atol=1e-3)
        assert torch.allclose(network(tokens[:, : place + 1]), outputs[..., : place + 1], atol=1e-5)  # from one token on
    assert torch.allclose(network(tokens[1:2]), outputs[1:2], atol=1e-5)  # a batch of one


@pytest.mark.parametrize("algebra", ALGEBRAS)
def test_every_step_of_a_series_has_an_output_that_reads_no_later_step(algebra):
    network = models.build("lstm-steps", algebra=algebra, num_classes=3, shape=(7, 16), seed=0)
    series = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(0))
    outputs = network(series)
    assert outputs.shape == (2, 3, 7)
    assert torch.allclose(network(series[:, :1]), outputs[..., :1], atol=1e-6)
    outputs.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match=r"`algebra` \(='phm'\)"):
        models.build("gpt", algebra="phm")
    with pytest.raises(UserError, match=r"`shape` .* must be \(steps,\)"):
        models.build("gpt", shape=(4, 8))
    with pytest.raises(UserError, match=r"`learned_from` .* takes tokens"):
        models.build("gpt", learned_from=1)
