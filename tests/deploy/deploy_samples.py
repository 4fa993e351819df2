"""Networks with lively numbers, and how they are compared."""

from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace

import numpy as np
import torch
from torch import nn

from fourfold import deploy, models
from fourfold import nn as fnn
from fourfold.algebra import REAL
from fourfold.deploy.backends import numpy as reference
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.operation import Operation
from fourfold.deploy.ir.ops import (
    KINDS,
    Activation,
    AdaptivePool,
    Binary,
    Concat,
    Constant,
    Embedding,
    InsertZeros,
    MatMul,
    Normalize,
    Pad,
    Permute,
    PRelu,
    Recurrent,
    Reduce,
    Reshape,
    Resize,
    Slice,
    Softmax,
)
from fourfold.deploy.ir.product import Product
from fourfold.deploy.ir.program import Encoding, Program


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
            weights = [module.weight] if isinstance(module, nn.Linear | nn.Conv2d) else []
            if isinstance(module, nn.RNNBase):
                weights = [weight for name, weight in module.named_parameters() if name.startswith("weight")]
            for weight in weights:
                weight.mul_(torch.rand(weight.shape, generator=generator) < density)
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


def every_operation(algebra="quaternion") -> Program:
    """A program with every kind of operation and a setting of each that is not its default."""
    model = nn.Sequential(
        models.LearnedChannel(3, 4),
        fnn.Conv2d(4, 8, 3, 2, 1, algebra=algebra),
        nn.ReLU(),
        nn.MaxPool2d(3, 1, 1, ceil_mode=True),
        fnn.MaxPool2d(1, 1, algebra="complex"),
        fnn.BatchNorm2d(8, algebra=algebra),
        nn.AvgPool2d(2, 2, 1, count_include_pad=False),
        nn.ReLU(),
        nn.Conv2d(8, 6, (1, 2), bias=False, groups=2, dilation=2),
        nn.Flatten(),
        fnn.Linear(6 * 3 * 1, 5),
    )
    program = deploy.lower(
        thinned(lively(model), 0.4),
        (3, 8, 8),
        encoding=Encoding(kind="none", n=1, shape=(3, 8, 8), mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 1 / 3)),
        class_names=list("äbcde"),
        provenance={"run": "x-1", "top1": "61.5"},
    )
    more = general_operations(len(program.operations))
    about = {name: getattr(program, name) for name in ("encoding", "class_names", "provenance")}
    program = assemble(program.shapes[0], [*program.operations, *more], **about)
    assert {type(operation) for operation in program.operations} == set(KINDS.values())
    return replace(program, ranges={0: 2.5, len(program.operations): 1 / 3})


def general_operations(first: int) -> list[Operation]:
    """Operations along any axes, of five numbers that value `first` is, to five others."""
    random, made = np.random.default_rng(0), []

    def numbers(*size: int) -> np.ndarray:
        return random.standard_normal(size).astype(np.float32)

    def then(kind: type[Operation], *inputs: int, **settings: object) -> int:
        output = first + len(made) + 1
        made.append(kind(name=f"{kind.kind}{output}", inputs=inputs or (output - 1,), output=output, **settings))
        return output

    then(Embedding, rows=7, numbers=numbers(28))
    gates = Product(weight=numbers(1, 12, 7), bias=numbers(12), table=REAL.left_table)
    then(Recurrent, product=gates, cell="lstm", reverse=True)
    then(Permute, order=(1, 0))
    then(Reshape, shape=(3, 5, 1))
    then(Resize, size=(6, 2), mode="bilinear", steps=(5 / 6, 0.5))
    then(InsertZeros, factors=(1, 2))
    then(Pad, before=(0, 1, 0), after=(0, 0, 0), mode="reflect")
    then(PRelu, slope=numbers(3))
    then(Activation, function="leaky_relu", alpha=0.25)
    then(AdaptivePool, function="mean", size=(4, 2))
    then(Slice, axis=0, start=2, size=2, reverse=True)
    last = then(Normalize, blocks=2, eps=1e-3)
    constant = first + len(made) + 1
    made.append(Constant(name="constant", inputs=(), output=constant, shape=(2, 4, 2), numbers=numbers(16)))
    product = then(Binary, last, constant, function="multiply")
    then(Concat, product, last, axis=0)
    then(Reduce, function="mean", axes=(0,))
    matrix = then(Reshape, shape=(4, 2))
    turned = then(Permute, order=(1, 0))
    then(MatMul, turned, matrix)
    then(Reshape, shape=(4,))
    then(Pad, before=(0,), after=(1,), value=0.5)
    then(Softmax, axis=0, log=True)
    return made


def same(a, b) -> bool:
    """Whether two programs, or parts of them, are equal, arrays to the bit."""
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b
