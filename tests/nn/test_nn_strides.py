"""Every layer takes inputs, and gradients, however they lie in memory: as torch's layers do."""

import copy

import pytest
import torch
from layer_cases import CASES, EVERY, first
from torch import nn

from fourfold import nn as fnn

TORCHS_OWN = {"ELU", "GELU", "Hardtanh", "LeakyReLU", "PReLU", "ReLU", "Sigmoid", "SiLU", "Softplus", "Tanh"} | {
    f"{kind}AvgPool{rank}d" for kind in ("", "Adaptive") for rank in (1, 2, 3)
}


def last_moved(x, axis):
    """The values of x, with another axis as the one that is contiguous in memory."""
    return x.movedim(axis, -1).contiguous().movedim(-1, axis)


def with_gaps(x):
    """The values of x, with others between them."""
    wide = torch.full([2 * size for size in x.shape], 7, dtype=x.dtype)
    part = wide[tuple(slice(1, None, 2) for _ in x.shape)]
    return part.copy_(x)


UNBATCHED = ("Conv", "PHMConv", "RotationConv", "MaxPool", "AdaptiveMaxPool", "InstanceNorm")
"""Layers that take maps without an axis of the batch, too."""

LAYOUTS = {
    **{f"axis {axis} last": lambda x, axis=axis: last_moved(x, axis % x.dim()) for axis in range(4)},
    "reversed axes": lambda x: x.permute(*reversed(range(x.dim()))).contiguous().permute(*reversed(range(x.dim()))),
    "gaps": with_gaps,
    "slice of rows": lambda x: torch.cat([x, x])[len(x) :],
    "chunk of features": lambda x: torch.cat([x, x], -1).chunk(2, -1)[1],
    "first axis expanded": lambda x: x[:1].expand_as(x),
    "last axis expanded": lambda x: x[..., :1].expand_as(x),
    "few rows": lambda x: torch.cat([x, x], -1)[..., x.shape[-1] :],
}


@pytest.fixture(params=["as chosen", "few products"])
def asked(request, products_pay):
    """Both sides of the thresholds of size: None, and a list that grows each time a layer takes few products."""
    if request.param == "as chosen":
        return None
    times = []
    products_pay(lambda *given: not times.append(True))
    return times


def results(layer, inputs, strided_gradient):
    layer = copy.deepcopy(layer)  # running statistics move
    inputs = [x.detach().requires_grad_() if x.is_floating_point() else x for x in inputs]
    y = first(layer(*inputs))
    gradient = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=y.dtype)
    wanted = [*[x for x in inputs if x.requires_grad], *layer.parameters()]
    gradient = last_moved(gradient, 0) if strided_gradient else gradient
    return [y, *torch.autograd.grad(y, wanted, gradient, allow_unused=True)]


def second_derivatives(layer, inputs):
    wanted = [*inputs, *layer.parameters()]
    first_ones = torch.autograd.grad(first(layer(*inputs)).square().sum(), wanted, create_graph=True, allow_unused=True)
    total = sum(g.square().sum() for g in first_ones if g is not None)
    return torch.autograd.grad(total, wanted)


@pytest.mark.parametrize(("kind", "algebra"), EVERY)
def test_every_layer_computes_the_same_of_every_layout(kind, algebra, asked):
    case = CASES[kind]
    layer, inputs = case.layer(algebra), case.inputs()
    for name, lay_out in LAYOUTS.items():
        strided = [lay_out(x) for x in inputs]
        expected = results(layer, [x.contiguous() for x in strided], strided_gradient=False)
        for number, (found, right) in enumerate(zip(results(layer, strided, strided_gradient=True), expected, strict=True)):
            message = f"result {number} of inputs with {name}"
            torch.testing.assert_close(found, right, msg=lambda text, message=message: f"{message}: {text}")
        if asked == []:
            break  # a layer without products computes as it did "as chosen"


@pytest.mark.parametrize(("kind", "algebra"), [one for one in EVERY if one[0].startswith(UNBATCHED)])
def test_layers_that_take_one_map_compute_the_same_of_every_layout(kind, algebra, asked):
    layer = CASES[kind].layer(algebra)
    x = CASES[kind].inputs()[0][0]
    for name, lay_out in LAYOUTS.items():
        strided = lay_out(x)
        expected = results(layer, [strided.contiguous()], strided_gradient=False)
        for found, right in zip(results(layer, [strided], strided_gradient=True), expected, strict=True):
            torch.testing.assert_close(found, right, msg=lambda text, name=name: f"one map with {name}: {text}")
        if asked == []:
            break


@pytest.mark.parametrize(("kind", "algebra"), [one for one in EVERY if one[0] == "Linear" or "Conv" in one[0]])
def test_second_derivatives_are_taken_of_every_layout(kind, algebra, asked):
    layer, inputs = CASES[kind].layer(algebra), CASES[kind].inputs()
    for lay_out in (LAYOUTS["axis 1 last"], LAYOUTS["gaps"], LAYOUTS["first axis expanded"]):
        strided = [lay_out(x).detach().requires_grad_() for x in inputs]
        expected = second_derivatives(layer, [x.detach().contiguous().requires_grad_() for x in strided])
        for found, right in zip(second_derivatives(layer, strided), expected, strict=True):
            torch.testing.assert_close(found, right)


@pytest.mark.parametrize("algebra", ["complex", "quaternion", "octonion"])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_linear_takes_every_layout_at_every_number_of_rows(algebra, rows, asked):
    layer = fnn.Linear(32, 16, algebra=algebra, dtype=torch.float64)
    x = torch.randn(rows, 32, dtype=torch.float64)
    for lay_out in (LAYOUTS["axis 0 last"], LAYOUTS["gaps"], LAYOUTS["first axis expanded"], LAYOUTS["last axis expanded"]):
        strided = lay_out(x)
        for found, right in zip(results(layer, [strided], True), results(layer, [strided.contiguous()], False), strict=True):
            torch.testing.assert_close(found, right)


def test_every_layer_is_among_the_cases():
    ours = {name for name in fnn.__all__ if isinstance(kind := getattr(fnn, name), type) and issubclass(kind, nn.Module)}
    assert {kind.split()[0].rstrip(",") for kind in CASES} == ours - TORCHS_OWN
