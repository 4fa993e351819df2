"""What a network computes beside its layers' own forwards is followed or refused, never left out."""

import types
from collections import OrderedDict

import numpy as np
import pytest
import torch
from deploy_samples import assert_lowers, assert_near, images_of, torch_outputs
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.nn.utils import spectral_norm

from fourfold import deploy
from fourfold import nn as fnn
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.frontend.layers import LAYERS
from fourfold.deploy.frontend.traced import Traced
from fourfold.models import LearnedChannel
from fourfold.nn.whitening import WhiteningBatchNorm
from fourfold.record import UserError

SHAPE = (4, 6, 6)
SAMPLES = {
    nn.Linear: ((6, 3), {}, (6,)),
    nn.Conv2d: ((4, 4, 3), {}, SHAPE),
    nn.BatchNorm1d: ((6,), {}, (6,)),
    nn.BatchNorm2d: ((4,), {}, SHAPE),
    nn.MaxPool2d: ((2,), {}, SHAPE),
    nn.AvgPool2d: ((2,), {}, SHAPE),
    nn.AdaptiveAvgPool2d: ((2,), {}, SHAPE),
    nn.Conv1d: ((4, 4, 3), {}, (4, 9)),
    nn.ConvTranspose1d: ((4, 4, 3, 2), {}, (4, 9)),
    nn.ConvTranspose2d: ((4, 4, 3, 2), {}, SHAPE),
    nn.MaxPool1d: ((2,), {}, (4, 9)),
    nn.AvgPool1d: ((2,), {}, (4, 9)),
    nn.AlphaDropout: ((), {}, SHAPE),
    nn.FeatureAlphaDropout: ((), {}, SHAPE),
    nn.ReLU: ((), {}, SHAPE),
    nn.Flatten: ((), {}, SHAPE),
    nn.Identity: ((), {}, SHAPE),
    nn.Dropout: ((), {}, SHAPE),
    nn.Dropout1d: ((), {}, (6,)),
    nn.Dropout2d: ((), {}, SHAPE),
    LearnedChannel: ((3, 4), {}, (3, 6, 6)),
    fnn.Linear: ((8, 4), {"algebra": "quaternion"}, (8,)),
    fnn.Conv2d: ((4, 4, 3), {"algebra": "quaternion"}, SHAPE),
    fnn.ConvTranspose2d: ((4, 4, 3), {"algebra": "quaternion"}, SHAPE),
    fnn.BatchNorm2d: ((4,), {"algebra": "quaternion"}, SHAPE),
    fnn.WhiteningBatchNorm2d: ((4,), {"algebra": "quaternion"}, SHAPE),
}
"""Of every class of layer that is lowered, and of our own, what makes one, and the shape of its input."""


def test_every_layer_that_is_lowered_has_a_sample():
    assert set(LAYERS) - {WhiteningBatchNorm} <= set(SAMPLES)  # whose subclasses are made


def in_network(layer: nn.Module) -> nn.Module:
    return nn.Sequential(OrderedDict(layer=layer, after=nn.ReLU())).eval()


def sample(kind: type[nn.Module]) -> nn.Module:
    arguments, settings, _ = SAMPLES[kind]
    return kind(*arguments, **settings)


@pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_an_empty_subclass_is_lowered_as_its_base(kind):
    class Mine(kind):
        """Adds nothing."""

        size = 3

        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            self.note = "mine"

        def extra_repr(self):
            return "mine"

        def count(self):
            return 1

    arguments, settings, shape = SAMPLES[kind]
    torch.manual_seed(0)
    mine = Mine(*arguments, **settings)
    torch.manual_seed(0)
    assert len(assert_lowers(in_network(mine), shape).operations) == len(
        deploy.lower(in_network(sample(kind)), shape).operations
    )


@pytest.mark.parametrize("kind", SAMPLES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_another_forward_is_followed_or_refused(kind):
    """Whether it is the class's or the object's own, and also that of a class between."""

    class Doubled(kind):
        def forward(self, x):
            y = super().forward(x)
            return y + y

    class Below(Doubled):
        pass

    arguments, settings, shape = SAMPLES[kind]
    patched = sample(kind)
    patched.forward = types.MethodType(lambda self, x: (lambda y: y + y)(kind.forward(self, x)), patched)
    for layer in (Doubled(*arguments, **settings), Below(*arguments, **settings), patched):
        for network in (in_network(layer), layer.eval()):
            try:
                program = deploy.lower(network, shape)
            except UserError:
                continue
            images = images_of(shape)
            assert_near(reference.run(program, images.numpy()), torch_outputs(network, images))


@pytest.mark.parametrize("kind", [nn.ReLU, nn.Conv2d, nn.MaxPool2d, fnn.Conv2d])
def test_a_forward_that_changes_less_than_half_precision_loses_is_not_passed_over(kind):
    class Nudged(kind):
        def forward(self, x):
            return super().forward(x) * 1.005

    arguments, settings, shape = SAMPLES[kind]
    patched = sample(kind)
    patched.forward = types.MethodType(lambda self, x: kind.forward(self, x) * 1.005, patched)
    for layer in (Nudged(*arguments, **settings), patched):
        for network in (in_network(layer), layer):
            try:
                program = deploy.lower(network.eval(), shape)
            except UserError:
                continue
            images = images_of(shape)
            assert_near(reference.run(program, images.numpy()), torch_outputs(network, images))


def test_an_overridden_part_of_a_forward_is_not_passed_over():
    class Halved(nn.Conv2d):
        def _conv_forward(self, x, weight, bias):
            return super()._conv_forward(x, weight / 2, bias)

    assert_lowers(in_network(Halved(4, 4, 3)), SHAPE)


HOOKS = {
    "clamps what is large": lambda module, args, output: output.clamp(max=20),
    "drops what is small": lambda module, args, output: output.where(output.abs() > 1e-3, output * 0),
    "shows": lambda module, args, output: None,
}


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("where", ["", "block", "block.0", "block.1"])
@pytest.mark.parametrize("before", [False, True])
def test_hooks_are_refused_wherever_they_are(hook, where, before):
    network = nn.Sequential(OrderedDict(block=nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())))
    module = network.get_submodule(where)
    if before:
        handle = module.register_forward_pre_hook(lambda module, args: HOOKS[hook](module, args, args[0]))
    else:
        handle = module.register_forward_hook(HOOKS[hook])
    with pytest.raises(UserError, match=rf"{where or 'the network'}.* cannot be deployed with a forward hook"):
        deploy.lower(network, SHAPE)
    handle.remove()
    assert_lowers(network, SHAPE)


@pytest.mark.parametrize("register", [register_module_forward_hook, register_module_forward_pre_hook])
def test_hooks_of_all_modules_are_refused(register):
    handle = register(lambda *given: None)
    try:
        with pytest.raises(UserError, match="hooks are registered for all modules"):
            deploy.lower(nn.Linear(3, 2), (3,))
    finally:
        handle.remove()


@pytest.mark.parametrize("normed", [nn.utils.weight_norm, spectral_norm, nn.utils.parametrizations.spectral_norm])
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_weights_that_hooks_compute_are_those_of_the_next_call(normed):
    layer = normed(nn.Linear(6, 4))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(1.5)  # the layer's `weight` is of the call before
    assert_lowers(nn.Sequential(layer), (6,))


class Limited(nn.Module):
    """Leaves the algebra of its trace for numbers of one size only."""

    def __init__(self, low, high):
        super().__init__()
        self.layer, self.low, self.high = nn.Linear(4, 4), low, high

    def forward(self, x):
        y = self.layer(x)
        if not isinstance(y, Traced) and self.low < float(x.abs().max()) < self.high:
            return y * 2
        return y


@pytest.mark.parametrize(("low", "high"), [(0, 0.1), (0.5, 4), (10, np.inf)])
def test_a_trace_is_compared_on_small_and_large_images(low, high):
    with pytest.raises(UserError, match="computes something else than its trace"):
        deploy.lower(Limited(low, high), (4,))


def test_half_precision_that_overflows_on_large_images_is_deployed():
    layer = nn.Linear(64, 4).half()
    with torch.no_grad():
        layer.weight.fill_(100)
    program = deploy.lower(layer, (64,))
    assert program.shapes == ((64,), (4,))
