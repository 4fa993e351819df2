"""Dropout of elements."""

import copy

import pytest
import torch
from nn_reference import HYPERCOMPLEX, draw
from torch import nn

from fourfold.algebra import get
from fourfold.nn import dropout
from fourfold.nn.dropout import Dropout, Dropout1d, Dropout2d, Dropout3d
from fourfold.record import UserError

SHAPES = {"Dropout": (6, 40), "Dropout1d": (6, 40, 5), "Dropout2d": (6, 40, 3, 2), "Dropout3d": (6, 40, 2, 2, 2)}


def factors(kind, name, shape, axis, **options):
    """Return what each number is multiplied by (n first), once it is checked that its components agree."""
    x = draw(0, *shape, dtype=torch.float32) + 10
    layer = getattr(dropout, kind)(0.25, algebra=name, **options)
    y = layer(x.clone())
    ratio = (y / x).round(decimals=5).unflatten(axis, (get(name).n, -1)).movedim(axis % len(shape), 0)
    assert (ratio == ratio[0]).all()
    return ratio[0]


@pytest.mark.parametrize("name", HYPERCOMPLEX)
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("inplace", [False, True])
def test_the_components_of_a_number_are_dropped_or_kept_and_scaled_together(kind, name, inplace):
    torch.manual_seed(3)
    kept = factors(kind, name, SHAPES[kind], 1, inplace=inplace)
    if kind != "Dropout":  # whole maps
        flat = kept.flatten(2)
        assert (flat == flat[..., :1]).all()
        kept = flat[..., 0]
    assert kept.unique().tolist() == [0, pytest.approx(4 / 3, abs=1e-5)]


@pytest.mark.parametrize("kind", SHAPES)
def test_numbers_are_dropped_with_the_given_probability_and_the_mean_stays(kind):
    torch.manual_seed(0)
    kept = factors(kind, "quaternion", (200, *SHAPES[kind][1:]), 1)
    numbers = 200 * 10
    assert kept.mean().item() == pytest.approx(1, abs=4 / numbers**0.5)


def test_dropout_finds_the_numbers_along_its_axis():
    torch.manual_seed(0)
    kept = factors("Dropout", "quaternion", (3, 5, 16), -1, dim=-1)
    assert kept.shape == (3, 5, 4)
    assert 0 < (kept == 0).float().mean() < 0.6


@pytest.mark.parametrize(("kind", "shape"), [("Dropout1d", (8, 3)), ("Dropout3d", (8, 2, 2, 2))])
def test_an_input_without_a_batch_axis_is_one_image(kind, shape):
    torch.manual_seed(1)
    kept = factors(kind, "complex", shape, 0).flatten(1)
    assert kept.shape[0] == 4
    assert (kept == kept[:, :1]).all()


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("inplace", [False, True])
def test_real_dropout_is_torchs_to_the_last_bit(kind, inplace):
    for rank in (0, 1):
        found = []
        for room, more in ((nn, {}), (dropout, {}), (dropout, {"algebra": "real"})):
            torch.manual_seed(5)
            layer = getattr(room, kind)(0.3, inplace, **more)
            found.append((repr(layer), layer(draw(2, *SHAPES[kind][: len(SHAPES[kind]) - rank * (kind == "Dropout1d")]))))
        for text, y in found[1:]:
            assert text == found[0][0]
            assert torch.equal(y, found[0][1])


@pytest.mark.parametrize("kind", SHAPES)
def test_nothing_is_dropped_in_evaluation_or_with_probability_zero_and_all_with_one(kind):
    x = draw(0, *SHAPES[kind])
    layer = getattr(dropout, kind)
    assert layer(0.5, algebra="quaternion").eval()(x) is x
    assert torch.equal(layer(0.0, algebra="quaternion")(x), x)
    assert not layer(1.0, algebra="quaternion")(x).any()


def test_the_gradient_passes_through_the_kept_numbers():
    x = draw(0, 4, 8).requires_grad_()
    y = Dropout(0.5, algebra="quaternion")(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (y / x).detach())


def test_inplace_changes_its_input_and_autograd_knows():
    x = draw(0, 4, 8).requires_grad_()
    z = x * 1
    y = Dropout2d(0.5, inplace=True, algebra="quaternion")(z.view(4, 8, 1, 1))
    y.sum().backward()
    assert torch.equal(y.detach().flatten(1), z.detach())
    torch.testing.assert_close(x.grad, (z / x).detach())


def test_layers_are_copied_and_printed():
    layer = Dropout(0.2, dim=-1, algebra="quaternion")
    assert repr(copy.deepcopy(layer)) == "Dropout(p=0.2, inplace=False, dim=-1, algebra='quaternion')"
    assert repr(Dropout2d(algebra="octonion")) == "Dropout2d(p=0.5, inplace=False, algebra='octonion')"


def test_inputs_that_hold_no_whole_numbers_are_refused():
    with pytest.raises(UserError, match=r"`input.shape\[1\]` \(=6\) must be divisible by 4 for algebra 'quaternion'"):
        Dropout(algebra="quaternion")(torch.ones(2, 6))
    with pytest.raises(UserError, match=r"`input` must have 4 axes for Dropout2d, and has shape \(4, 3, 3\)"):
        Dropout2d(algebra="quaternion")(torch.ones(4, 3, 3))
    with pytest.raises(UserError, match=r"`input` must have 2 or 3 axes for Dropout1d"):
        Dropout1d(algebra="quaternion")(torch.ones(4))
    with pytest.raises(ValueError, match="dropout probability has to be between 0 and 1, but got 2"):
        Dropout3d(2, algebra="quaternion")
