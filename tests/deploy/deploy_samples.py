"""Networks with lively numbers, and how they are compared."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from fourfold import deploy
from fourfold.deploy import reference
from fourfold.deploy.program import Program


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every norm statistics, scales and shifts of its own, and put the model into evaluation."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            if getattr(module, "running_covariance", None) is not None:
                factor = torch.randn(module.running_covariance.shape, generator=generator)
                module.running_covariance.copy_(factor @ factor.transpose(1, 2) + torch.eye(factor.shape[-1]))
            else:
                module.running_var.uniform_(0.5, 2, generator=generator)
            for parameter in module.parameters(recurse=False):
                parameter.data.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def thinned(model: nn.Module, density: float, seed: int = 0) -> nn.Module:
    """Set weights to zero at random, the rest staying as they are."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.weight.mul_(torch.rand(module.weight.shape, generator=generator) < density)
    return model


def images_of(shape: Sequence[int], count: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn((count, *shape), generator=torch.Generator().manual_seed(seed))


def torch_outputs(model: nn.Module, images: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return model(images).numpy()


def assert_near(found: np.ndarray, expected: np.ndarray) -> None:
    """Within 1e-5 of the largest output."""
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    if expected.size:
        assert np.abs(found - expected).max() <= 1e-5 * max(np.abs(expected).max(), 1e-3)


def assert_lowers(model: nn.Module, shape: Sequence[int], count: int = 3) -> Program:
    """Lower a model, and compare the reference's outputs with torch's."""
    model.eval()
    program = deploy.lower(model, shape)
    images = images_of(shape, count)
    assert_near(reference.run(program, images.numpy()), torch_outputs(model, images))
    return program
