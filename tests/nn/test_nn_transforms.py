"""Every layer under every transform of torch: what works on the real twin works on ours, beyond every threshold, and right."""

import copy
import warnings

import pytest
import torch
from layer_cases import CASES, EVERY, first
from torch.autograd import forward_ad

from fourfold import nn as fnn

TESTED = [(kind, algebra) for kind, algebra in EVERY if algebra == "quaternion" and not CASES[kind].indices]


@pytest.fixture(autouse=True)
def few_products_wanted(products_pay):
    products_pay(lambda *given: True)


def directions(tensors, count):
    generator = torch.Generator().manual_seed(8)
    return [torch.randn(count, *tensor.shape, generator=generator, dtype=tensor.dtype) for tensor in tensors]


class Problem:
    """A layer as a function of its parameters and inputs, and its derivatives as autograd has them one by one."""

    def __init__(self, layer, inputs):
        self.layer, self.inputs = layer, inputs
        self.names = [name for name, _ in layer.named_parameters()]
        self.values = [*(p.detach() for p in layer.parameters()), *inputs]

    def __call__(self, *values):
        parameters = dict(zip(self.names, values, strict=False))
        return first(torch.func.functional_call(self.layer, parameters, tuple(values[len(self.names) :])))

    def leaves(self):
        return [value.detach().clone().requires_grad_() for value in self.values]

    def gradients(self, output_gradients):
        leaves = self.leaves()
        y = self(*leaves)
        found = [torch.autograd.grad(y, leaves, g, retain_graph=True, allow_unused=True) for g in output_gradients]
        rows = [[torch.zeros_like(leaf) if g is None else g for g, leaf in zip(row, leaves, strict=True)] for row in found]
        return [torch.stack(column) for column in zip(*rows, strict=True)]


def batched_gradients(problem):
    leaves = problem.leaves()
    y = problem(*leaves)
    (rows,) = directions([y.detach()], 3)
    found = torch.autograd.grad(y, leaves, rows, is_grads_batched=True, allow_unused=True)
    found = [torch.zeros(3, *leaf.shape).to(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]
    return found, problem.gradients(rows)


def vmapped_gradients(problem):
    leaves = problem.leaves()
    y = problem(*leaves)
    (rows,) = directions([y.detach()], 3)

    def pulled_back(row):
        found = torch.autograd.grad(y, leaves, row, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]

    return torch.vmap(pulled_back)(rows), problem.gradients(rows)


def functional_gradients(problem):
    (row,) = directions([problem(*problem.values).detach()], 1)
    _, pull_back = torch.func.vjp(problem, *problem.values)
    return [found.unsqueeze(0) for found in pull_back(row[0])], problem.gradients(row)


def vmapped_functional_gradients(problem):
    (rows,) = directions([problem(*problem.values).detach()], 3)
    _, pull_back = torch.func.vjp(problem, *problem.values)
    return torch.vmap(pull_back)(rows), problem.gradients(rows)


def vmapped_inputs(problem):
    count = len(problem.names)
    batches = directions(problem.inputs, 3)
    found = torch.vmap(lambda *inputs: problem(*problem.values[:count], *inputs))(*batches)
    return [found], [torch.stack([problem(*problem.values[:count], *inputs) for inputs in zip(*batches, strict=True)])]


def vmapped_parameters(problem):
    batches = directions(problem.values, 3)
    return [torch.vmap(problem)(*batches)], [torch.stack([problem(*values) for values in zip(*batches, strict=True)])]


def forward_mode(problem):
    """⟨row, J·v⟩ = ⟨Jᵀ·row, v⟩ ties the forward derivative to the backward one."""
    tangents = [direction[0] for direction in directions(problem.values, 1)]
    with forward_ad.dual_level():
        duals = [forward_ad.make_dual(value, tangent) for value, tangent in zip(problem.values, tangents, strict=True)]
        pushed = forward_ad.unpack_dual(problem(*duals)).tangent
    return pairing(problem, pushed, tangents)


def functional_forward_mode(problem):
    tangents = [direction[0] for direction in directions(problem.values, 1)]
    _, pushed = torch.func.jvp(problem, tuple(problem.values), tuple(tangents))
    return pairing(problem, pushed, tangents)


def pairing(problem, pushed, tangents):
    (rows,) = directions([pushed], 3)
    pulled = problem.gradients(rows)
    expected = sum((pull.flatten(1) @ tangent.flatten()) for pull, tangent in zip(pulled, tangents, strict=True))
    return [rows.flatten(1) @ pushed.flatten()], [expected]


def second_derivatives(problem):
    def product(values):
        leaves = [value.detach().clone().requires_grad_() for value in values]
        y = problem(*leaves)
        found = torch.autograd.grad(y.square().sum(), leaves, create_graph=True, allow_unused=True)
        tangents = [direction[0] for direction in directions(leaves, 1)]
        total = sum((g * tangent).sum() for g, tangent in zip(found, tangents, strict=True) if g is not None)
        again = torch.autograd.grad(total, leaves, allow_unused=True)
        return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(again, leaves, strict=True)]

    found = product(problem.values)
    with fnn.reference_path():
        return found, product(problem.values)


def gradients_of_each_sample(problem):
    count = len(problem.names)
    batches = directions(problem.inputs, 3)

    def loss(parameters, inputs):
        return problem(*parameters, *inputs).square().sum()

    one = torch.func.grad(loss)
    found = torch.vmap(one, in_dims=(None, 0))(tuple(problem.values[:count]), tuple(batches))
    rows = [one(tuple(problem.values[:count]), inputs) for inputs in zip(*batches, strict=True)]
    return found, [torch.stack(column) for column in zip(*rows, strict=True)]


TRANSFORMS = {
    function.__name__.replace("_", " "): function
    for function in (
        batched_gradients,
        vmapped_gradients,
        functional_gradients,
        vmapped_functional_gradients,
        vmapped_inputs,
        vmapped_parameters,
        forward_mode,
        functional_forward_mode,
        second_derivatives,
        gradients_of_each_sample,
    )
}


def fails_on(layer, inputs, transform):
    """Whether torch refuses the transform for its own layer."""
    try:
        transform(Problem(layer, inputs))
    except (RuntimeError, NotImplementedError, ValueError):
        return True
    return False


@pytest.mark.filterwarnings("ignore")  # of torch: a batching rule that it lacks is slow, not wrong
@pytest.mark.parametrize("how", TRANSFORMS)
@pytest.mark.parametrize(("kind", "algebra"), TESTED)
def test_every_transform_that_torch_has_of_a_layer_is_right(kind, algebra, how):
    case, transform = CASES[kind], TRANSFORMS[how]
    layer, inputs = case.layer(algebra), case.inputs()
    try:
        found, expected = transform(Problem(copy.deepcopy(layer).eval(), inputs))
    except (RuntimeError, NotImplementedError, ValueError):
        if kind.startswith(("PHM", "Rotation")):
            raise
        assert fails_on(case.layer("real").eval(), inputs, transform), "torch has this of the real twin"
        return
    for ours, right in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-6, atol=1e-8)


def test_the_list_of_transforms_was_seen_to_work():
    """At least linear layers and convolutions take every transform: torch has all of them for their twins."""
    for kind in ("Linear", "Conv1d", "Conv2d", "ConvTranspose2d", "RotationLinear", "PHMLinear"):
        case = CASES[kind]
        for transform in TRANSFORMS.values():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert not fails_on(case.layer("quaternion").eval(), case.inputs(), transform)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", TRANSFORMS)
@pytest.mark.parametrize("shape", [(20, 16), (6, 16, 4, 4)])
def test_whitening_by_the_statistics_of_the_batch_takes_every_transform(shape, how):
    kind = fnn.WhiteningBatchNorm1d if len(shape) == 2 else fnn.WhiteningBatchNorm2d
    layer = kind(16, eps=0.1, track_running_stats=False, dtype=torch.float64)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, expected = TRANSFORMS[how](Problem(layer, [x]))
    for ours, right in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, right, rtol=1e-6, atol=1e-8)
