"""With `algebra="real"` every layer is torch.nn's own, to the last bit."""

import pytest
import torch
from nn_reference import draw
from torch import nn

from fourfold import nn as fnn

CASES = [
    ("Linear", (7, 5), {}, (3, 7)),
    ("Linear", (7, 5, False), {}, (2, 3, 7)),
    ("Linear", (64, 5), {}, (1, 64)),
    ("Linear", (7, 5), {"dtype": torch.float64}, (7,)),
    ("Conv1d", (6, 4, 3), {"groups": 2, "padding": "same"}, (2, 6, 9)),
    ("Conv2d", (3, 5, 3), {}, (2, 3, 8, 8)),
    ("Conv2d", (4, 6, (3, 2)), {"stride": 2, "padding": 1, "groups": 2, "bias": False}, (4, 7, 8)),
    ("Conv2d", (3, 4, 3), {"padding": 1, "dilation": 2, "padding_mode": "circular"}, (1, 3, 8, 8)),
    ("Conv3d", (2, 3, 2), {"padding": 1, "padding_mode": "replicate"}, (2, 2, 4, 4, 4)),
    ("BatchNorm1d", (6,), {}, (4, 6)),
    ("BatchNorm2d", (6,), {"momentum": None, "affine": False}, (4, 6, 3, 3)),
    ("BatchNorm3d", (6, 1e-3), {"track_running_stats": False}, (4, 6, 2, 2, 2)),
]


@pytest.mark.parametrize(("kind", "arguments", "options", "shape"), CASES)
def test_real_layers_are_torchs_to_the_last_bit(kind, arguments, options, shape):
    outcomes = []
    for room, more in ((nn, {}), (fnn, {"algebra": "real"}), (fnn, {})):
        torch.manual_seed(11)
        layer = getattr(room, kind)(*arguments, **options, **more)
        x = draw(1, *shape, dtype=options.get("dtype", torch.float32)).requires_grad_()
        y = layer(x)
        (y * draw(2, *y.shape, dtype=y.dtype)).sum().backward()
        gradients = {f"grad {name}": p.grad for name, p in layer.named_parameters()}
        outcomes.append((repr(layer), {**layer.state_dict(), **gradients, "grad x": x.grad, "y": y}))
        outcomes[-1][1]["next draw"] = torch.rand(1)
    (expected_text, expected), *others = outcomes
    for text, found in others:
        assert text == expected_text
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert torch.equal(found[key], value), key


@pytest.mark.parametrize("kind", ["Linear", "Conv1d", "Conv2d", "Conv3d"])
def test_drawing_real_parameters_afresh_draws_what_torch_draws(kind):
    arguments = (6, 5) if kind == "Linear" else (6, 5, 2)
    theirs, ours = getattr(nn, kind)(*arguments), getattr(fnn, kind)(*arguments)
    for layer in (theirs, ours):
        torch.manual_seed(5)
        layer.reset_parameters()
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


@pytest.mark.parametrize("name", ["ReLU", "PReLU", "GELU", "Hardtanh", "Tanh"])
def test_activations_are_torchs_own(name):
    assert getattr(fnn, name) is getattr(nn, name)
