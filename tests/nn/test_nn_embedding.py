"""`Embedding` and `EmbeddingBag`: torch's look-ups in a table of numbers."""

import copy
import math

import pytest
import torch
from nn_reference import HYPERCOMPLEX, draw
from torch import nn

from fourfold.algebra import Algebra, get
from fourfold.nn import embedding
from fourfold.nn.embedding import Embedding, EmbeddingBag
from fourfold.record import UserError

INDICES = torch.tensor([[0, 2, 5], [2, 2, 9]])
OPTIONS = [
    {},
    {"padding_idx": 2},
    {"max_norm": 1.0},
    {"max_norm": 0.5, "norm_type": 1.0},
    {"scale_grad_by_freq": True, "padding_idx": -1},
    {"sparse": True},
]


def outcome(layer):
    y = layer(INDICES)
    y.square().sum().backward()
    return {"y": y.detach(), "grad": layer.weight.grad, **layer.state_dict()}


@pytest.mark.parametrize("kind", ["Embedding", "EmbeddingBag"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["real", "quaternion"])
def test_look_ups_are_torchs_to_the_last_bit(kind, options, name):
    torch.manual_seed(3)
    theirs = getattr(nn, kind)(10, 8, **options)
    torch.manual_seed(3)
    ours = getattr(embedding, kind)(10, 8, **options, algebra=name)
    if name == "real":
        assert repr(ours) == repr(theirs)
    else:
        assert repr(ours) == repr(theirs)[:-1] + ", algebra='quaternion')"
        theirs.load_state_dict(ours.state_dict())
    if "padding_idx" in options:
        assert ours.weight[options["padding_idx"]].count_nonzero() == 0
    found, expected = outcome(ours), outcome(theirs)
    assert list(found) == list(expected)
    assert all(torch.equal(found[key].to_dense(), value.to_dense()) for key, value in expected.items())


@pytest.mark.parametrize("kind", [Embedding, EmbeddingBag])
@pytest.mark.parametrize("name", HYPERCOMPLEX)
def test_numbers_start_in_polar_form_with_variance_one(kind, name):
    n = get(name).n
    numbers = kind(4000, 2 * n, dtype=torch.float64, algebra=name).weight.unflatten(1, (n, 2))
    assert numbers.square().mean().item() == pytest.approx(1, rel=0.05)
    cosine = numbers[:, 0] / numbers.norm(dim=1)
    below = (cosine < math.cos(math.pi / 3)).double().mean().item()  # the angle is uniform, so cos θ is not
    assert below == pytest.approx(2 / 3, abs=0.03)


@pytest.mark.parametrize("kind", [Embedding, EmbeddingBag])
def test_tables_from_given_entries(kind):
    entries = draw(0, 10, 8, dtype=torch.float32)
    layer = kind.from_pretrained(entries, padding_idx=1, algebra="quaternion")
    assert torch.equal(layer.weight, entries)
    assert not layer.weight.requires_grad
    assert kind.from_pretrained(entries, False, algebra="quaternion").weight.requires_grad
    assert layer.algebra.name == "quaternion"
    assert kind.from_pretrained(entries).algebra.name == "real"
    cyclic = tuple(tuple(tuple(int((i + j) % 3 == k) for k in range(3)) for j in range(3)) for i in range(3))
    with pytest.raises(UserError, match=r"`embedding_dim` \(=8\) must be divisible by 3"):
        kind.from_pretrained(entries, algebra=Algebra("cyclic", cyclic))


@pytest.mark.parametrize("kind", [Embedding, EmbeddingBag])
def test_tables_are_modules_like_any_other(kind):
    layer, twin = (kind(10, 8, algebra="quaternion") for _ in range(2))
    expected = layer(INDICES)
    twin.load_state_dict(layer.state_dict())
    meta = kind(10, 8, device="meta", algebra="quaternion")
    assert meta.weight.is_meta
    meta.to_empty(device="cpu").load_state_dict(layer.state_dict())
    for other in (twin, meta, copy.deepcopy(layer)):
        assert torch.equal(other(INDICES), expected)
        assert repr(other) == repr(layer)
    assert layer.double()(INDICES).dtype == torch.float64


@pytest.mark.parametrize("kind", [Embedding, EmbeddingBag])
def test_sizes_that_do_not_fit_are_named(kind):
    with pytest.raises(UserError, match=r"`embedding_dim` \(=6\) must be divisible by 4 for algebra 'quaternion'"):
        kind(10, 6, algebra="quaternion")
