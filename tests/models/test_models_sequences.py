"""Networks of series: counts by hand, and padding that changes nothing, in every algebra."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from fourfold import models
from fourfold import nn as fnn
from fourfold.algebra import ALGEBRAS
from fourfold.models.sequences import DEPTH, FEEDFORWARD, HIDDEN, MODEL
from fourfold.record import UserError

NAMES = ["lstm", "gru", "transformer-encoder"]
STEPS, FEATURES, CLASSES = 9, 16, 5


def built(name, algebra, **options):
    return models.build(name, algebra=algebra, shape=(STEPS, FEATURES), num_classes=CLASSES, seed=0, **options).eval()


def series(*lengths):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(length, FEATURES, generator=generator) for length in lengths]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("algebra", ALGEBRAS)
def test_what_lies_behind_a_series_changes_nothing(name, algebra):
    network, items = built(name, algebra), series(1, 9, 4, 2)
    alone = torch.cat([network(item.unsqueeze(0)) for item in items])
    for filling in (0.0, 1e3):
        padded = torch.full((len(items), STEPS + 3, FEATURES), filling)
        for place, item in enumerate(items):
            padded[place, : len(item)] = item
        lengths = torch.tensor([len(item) for item in items])
        together = network(padded, lengths)
        assert torch.allclose(together, alone, atol=1e-5)
        one_by_one = torch.cat([network(padded[k : k + 1], lengths[k : k + 1]) for k in range(len(items))])
        assert torch.allclose(one_by_one, alone, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_no_gradient_comes_out_of_padding(name):
    network = built(name, "quaternion").train()
    padded = torch.randn(2, STEPS, FEATURES, generator=torch.Generator().manual_seed(0)).requires_grad_()
    lengths = torch.tensor([3, 8])
    network(padded, lengths).square().sum().backward()
    for place, length in enumerate(lengths.tolist()):
        assert padded.grad[place, :length].abs().sum() > 0
        assert padded.grad[place, length:].abs().sum() == 0
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_parameters_are_counted_by_hand(name, n):
    algebra = {1: "real", 2: "complex", 4: "quaternion", 8: "octonion"}[n]
    if name == "transformer-encoder":
        one = 4 * MODEL * MODEL // n + 4 * MODEL + 2 * MODEL * FEEDFORWARD // n + FEEDFORWARD + MODEL
        norms = 2 * sum(p.numel() for p in fnn.LayerNorm(MODEL, algebra=algebra).parameters())
        body, out = MODEL * FEATURES // n + MODEL + DEPTH * (one + norms), MODEL
    else:
        gates = {"lstm": 4, "gru": 3}[name]
        body, out = gates * HIDDEN * ((FEATURES + HIDDEN) // n + 2), HIDDEN
    network = built(name, algebra)
    expected = body + (out + 1) * CLASSES
    assert sum(p.numel() for p in network.parameters()) == expected
    sizes = models.measure(network, (STEPS, FEATURES))
    assert sizes.parameters == expected
    if name != "transformer-encoder":
        assert sizes.macs == STEPS * gates * HIDDEN * (FEATURES + HIDDEN) + HIDDEN * CLASSES  # as many as the real twin's


@pytest.mark.parametrize("layer", [fnn.LSTM, fnn.GRU, fnn.RNN])
@pytest.mark.parametrize("algebra", ALGEBRAS)
def test_packed_sequences_give_what_each_series_gives_alone(layer, algebra):
    recurrent, items = layer(FEATURES, 8, bidirectional=True, batch_first=True, algebra=algebra), series(9, 1, 4)
    lengths = torch.tensor([len(item) for item in items])
    padded = torch.nn.utils.rnn.pad_sequence(items, batch_first=True)
    outputs, _ = recurrent(pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False))
    found, _ = pad_packed_sequence(outputs, batch_first=True)
    for place, item in enumerate(items):
        alone, _ = recurrent(item.unsqueeze(0))
        assert torch.allclose(found[place, : len(item)], alone[0], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_width_and_a_seed_hold_as_for_other_networks(name):
    half = built(name, "quaternion", width=0.5)
    assert sum(p.numel() for p in half.parameters()) < 0.5 * sum(p.numel() for p in built(name, "quaternion").parameters())
    one, other = (built(name, "quaternion").state_dict() for _ in range(2))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_is_refused(name):
    with pytest.raises(UserError, match=r"`algebra` \(='phm'\)"):
        built(name, "phm")
    with pytest.raises(UserError, match=r"`shape` .* must be \(steps, features\)"):
        models.build(name, shape=(4, 8, 8))
    with pytest.raises(UserError, match="must be divisible by 4"):
        models.build(name, algebra="quaternion", shape=(STEPS, 6))
