"""Random layers, options, inputs, settings and transforms against the reference path in float64.

    FOURFOLD_SWEEP=10000 pytest -n 2 tests/nn/test_nn_random.py

tries the seeds below 10,000, where the suite tries 300; `-k "[1234]"` tries one alone. With `FOURFOLD_COMPILE=1` some are
compiled, which takes seconds each.
"""

import copy
import io
import os
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from random_layers import numbers_of
from random_trials import REFUSALS, SMALL, TOLERANCES, Trial, leaves, reference, rows_for, with_gradients
from torch import Tensor, nn

from fourfold import nn as fnn
from fourfold.nn import native_convolution

SEEDS = range(int(os.environ.get("FOURFOLD_SWEEP", "300")))

Result = tuple[list[Tensor], list[Tensor]]
"""What is found and what is right."""


def plain(trial: Trial) -> Result:
    ours, theirs = ([y.dtype for y in each.call(copy.deepcopy(each.layer), each.inputs)] for each in (trial, trial.twin()))
    assert ours == theirs, f"types of {trial}"
    return with_gradients(trial, copy.deepcopy(trial.layer)), reference(trial)


def deep_copied(trial: Trial) -> Result:
    layer = copy.deepcopy(trial.layer)
    with torch.no_grad():
        trial.call(layer, trial.inputs)  # what is cached is not copied
    before = copy.deepcopy(trial.layer)
    return with_gradients(trial, copy.deepcopy(copy.deepcopy(before))), reference(trial)


def pickled(trial: Trial) -> Result:
    case_layer = pickle.loads(pickle.dumps(trial.layer))
    return with_gradients(trial, case_layer), reference(trial)


def state_dict(trial: Trial) -> Result:
    buffer = io.BytesIO()
    torch.save(trial.layer.state_dict(), buffer)
    buffer.seek(0)
    fresh = trial.case.make(trial.case.algebra).to(trial.dtype).train(trial.training)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    return with_gradients(trial, fresh), reference(trial)


def channels_last_model(trial: Trial) -> Result:
    layer = copy.deepcopy(trial.layer)
    dims = {parameter.dim() for parameter in layer.parameters()}
    layer = layer.to(memory_format=torch.channels_last_3d if 5 in dims and 4 not in dims else torch.channels_last)
    return with_gradients(trial, layer), reference(trial)


def functional_call(trial: Trial) -> Result:
    layer = copy.deepcopy(trial.layer)
    parameters = {name: p.detach().clone().requires_grad_() for name, p in layer.named_parameters()}
    for parameter in layer.parameters():
        parameter.data.zero_()
    outputs = trial.call(layer, trial.inputs, parameters)
    right = reference(trial)
    return outputs, right[: len(outputs)]


def evaluated(trial: Trial, mode: Any) -> Result:
    """Twice, so that the second has what is cached; and once more after a write that no version counter sees."""
    layer = copy.deepcopy(trial.layer)
    with mode():
        found = [*trial.call(layer.eval(), trial.inputs), *trial.call(layer, trial.inputs)]
        right = without_gradients(trial, layer)
        for parameter in layer.parameters():
            parameter.data.view(-1)[...] = parameter.data.flatten().flip(0)
        found += trial.call(layer, trial.inputs)
        return found, [*right, *right, *without_gradients(trial, layer)]


def without_gradients(trial: Trial, layer: nn.Module) -> list[Tensor]:
    with fnn.reference_path(), torch.no_grad():
        return trial.called(trial.exact(layer).eval(), trial.exact_inputs())


def no_grad(trial: Trial) -> Result:
    return evaluated(trial, torch.no_grad)


def inference_mode(trial: Trial) -> Result:
    return evaluated(trial, torch.inference_mode)


def gradient_by_function(trial: Trial) -> Result:
    layer = copy.deepcopy(trial.layer)
    names = [name for name, _ in layer.named_parameters()]
    values = [*(p.detach() for p in layer.parameters()), *trial.inputs]
    numbers = tuple(i for i, value in enumerate(values) if value.is_floating_point())

    def loss(*given: Tensor) -> Tensor:
        outputs = trial.call(layer, list(given[len(names) :]), dict(zip(names, given, strict=False)))
        floating = [y for y in outputs if y.is_floating_point()]
        return sum(((y * row.to(y.dtype)).sum() for y, row in zip(floating, rows_for(outputs), strict=True)), torch.zeros(()))

    found = torch.func.grad(loss, numbers)(*values)
    gradients = found[len(names) :] + found[: len(names)]
    right = reference(trial)
    outputs = len(right) - len(gradients) - len(list(layer.buffers()))
    return list(gradients), right[outputs : outputs + len(gradients)]


def vmap(trial: Trial) -> Result:
    layer = copy.deepcopy(trial.layer)
    batches = [torch.stack([x, x.flip(-1)]) if x.is_floating_point() else torch.stack([x, 5 - x]) for x in trial.inputs]

    def one(*given: Tensor) -> tuple[Tensor, ...]:
        return tuple(trial.call(layer, list(given)))

    found = torch.vmap(one)(*batches)
    twin, right = trial.exact(), []
    with fnn.reference_path(), torch.no_grad():
        for number in range(2):
            inputs = [batch[number] for batch in batches]
            right.append(trial.called(twin, [x.double() if x.is_floating_point() else x for x in inputs]))
    return list(found), [torch.stack(pair) for pair in zip(*right, strict=True)]


def forward_derivative(trial: Trial) -> Result:
    """⟨row, J·v⟩ = ⟨Jᵀ·row, v⟩ ties the forward derivative to the backward one of the reference.

    Embeddings with a padding have, from torch, a forward derivative by it and no backward one.
    """
    layer = copy.deepcopy(trial.layer)
    names = [name for name, _ in layer.named_parameters()]
    dense = [x.resolve_neg().contiguous() for x in trial.inputs]  # torch.func.jvp itself wants no views
    values = [*dense, *(p.detach() for p in layer.parameters())]
    count = len(trial.inputs)
    numbers = [i for i, value in enumerate(values) if value.is_floating_point()]
    generator = torch.Generator().manual_seed(4)
    if "padding_idx=2" in trial.case.options:
        return [], []
    tangents = [numbers_of(tuple(values[i].shape), generator) for i in numbers]
    kept: list[int] = []

    def function(*given: Tensor) -> tuple[Tensor, ...]:
        every = list(values)
        for i, value in zip(numbers, given, strict=True):
            every[i] = value
        outputs = trial.call(layer, every[:count], dict(zip(names, every[count:], strict=True)))
        kept[:] = [i for i, y in enumerate(outputs) if y.is_floating_point()]
        return tuple(outputs[i] for i in kept)

    outputs, pushed = torch.func.jvp(
        function,
        tuple(values[i] for i in numbers),
        tuple(t.to(values[i].dtype) for t, i in zip(tangents, numbers, strict=True)),
    )
    right = reference(trial)
    rows, buffers = rows_for(list(outputs)), len(list(layer.buffers()))
    gradients = right[len(right) - buffers - len(numbers) : len(right) - buffers]
    expected = sum(((g * t).sum() for g, t in zip(gradients, tangents, strict=True)), torch.zeros((), dtype=torch.float64))
    size = sum(((g * t).abs().sum() for g, t in zip(gradients, tangents, strict=True)), torch.zeros((), dtype=torch.float64))
    found = sum(((row * p.double()).sum() for row, p in zip(rows, pushed, strict=True)), torch.zeros((), dtype=torch.float64))
    scale = size.clamp_min(1)
    return [found / scale + 1], [expected / scale + 1]


def batched_gradients(trial: Trial) -> Result:
    layer, values = copy.deepcopy(trial.layer), leaves(trial.inputs)
    wanted = [*[x for x in values if x.requires_grad], *layer.parameters()]
    outputs = trial.call(layer, values)
    (y, *_), (row, *_) = [y for y in outputs if y.is_floating_point()], rows_for(outputs)
    if not wanted or not y.requires_grad:
        return [], []
    found = trial.backward([y], wanted, [torch.stack([row, 2 * row]).to(y.dtype)], is_grads_batched=True)
    twin, exact = trial.exact(), leaves(trial.exact_inputs())
    with fnn.reference_path():
        right = torch.autograd.grad(
            next(y for y in trial.called(twin, exact) if y.is_floating_point()),
            [*[x for x in exact if x.requires_grad], *twin.parameters()],
            row,
            allow_unused=True,
        )
    pairs = [(f, r) for f, r in zip(found, right, strict=True) if f is not None and r is not None]
    return [f for f, _ in pairs], [torch.stack([r, 2 * r]) for _, r in pairs]


def second_derivatives(trial: Trial) -> Result:
    """The gradient of a sum of squared gradients."""

    def found(layer: nn.Module, inputs: list[Tensor], call: Callable[..., list[Tensor]]) -> list[Tensor]:
        values = leaves(inputs)
        wanted = [*[x for x in values if x.requires_grad], *layer.parameters()]
        outputs = [y for y in call(layer, values) if y.is_floating_point() and y.requires_grad]
        if not outputs or not wanted:
            return []
        rows = [row.to(y.dtype) for y, row in zip(outputs, rows_for(outputs), strict=True)]
        first = torch.autograd.grad(outputs, wanted, rows, create_graph=True, allow_unused=True)
        size = [g.square().sum() for g in first if g is not None and g.requires_grad]
        if not size:
            return []
        second = torch.autograd.grad(torch.stack(size).sum(), wanted, allow_unused=True)
        return [torch.zeros_like(value) if g is None else g for value, g in zip(wanted, second, strict=True)]

    ours = found(copy.deepcopy(trial.layer), trial.inputs, trial.call)
    with fnn.reference_path():
        return ours, found(trial.exact(), trial.exact_inputs(), trial.called)


def checkpointed(trial: Trial) -> Result:
    """Recomputed in the backward pass, in another thread's settings."""
    layer = copy.deepcopy(trial.layer)
    values = leaves(trial.inputs)
    wanted = [*[x for x in values if x.requires_grad], *layer.parameters()]
    outputs = torch.utils.checkpoint.checkpoint(
        lambda *given: tuple(trial.call(layer, list(given))), *values, use_reentrant=False
    )
    pairs = [
        (y, row.to(y.dtype))
        for y, row in zip([y for y in outputs if y.is_floating_point()], rows_for(list(outputs)), strict=True)
        if y.requires_grad
    ]
    if not pairs or not wanted:
        return [], []
    found = trial.backward([y for y, _ in pairs], wanted, [row for _, row in pairs])
    right = reference(trial)[len(outputs) :]
    both = [(f, r) for f, r in zip(found, right, strict=False) if f is not None]
    return [f for f, _ in both], [r for _, r in both]


def compiled(trial: Trial) -> Result:
    if not os.environ.get("FOURFOLD_COMPILE"):
        return plain(trial)
    layer = torch.compile(copy.deepcopy(trial.layer), fullgraph=trial.case.kind not in ("RNN", "LSTM", "GRU", "LiGRU"))
    return with_gradients(trial, layer), reference(trial)


TRANSFORMS: dict[str, Callable[[Trial], Result]] = {
    function.__name__.replace("_", " "): function
    for function in (
        plain,
        deep_copied,
        pickled,
        state_dict,
        channels_last_model,
        functional_call,
        no_grad,
        inference_mode,
        gradient_by_function,
        vmap,
        forward_derivative,
        batched_gradients,
        second_derivatives,
        checkpointed,
        compiled,
    )
}


@pytest.fixture
def thresholds(monkeypatch: pytest.MonkeyPatch, products_pay: Callable[[Callable[..., bool]], None]) -> Callable[[Trial], None]:
    """Lets small layers take the paths of large ones."""

    def lower(trial: Trial) -> None:
        if trial.eager_products:
            products_pay(lambda *given: True)
        monkeypatch.setattr(native_convolution, "MINIMUM_MACS", dict.fromkeys(native_convolution.MINIMUM_MACS, 0))

    return lower


def twin_refuses(trial: Trial) -> bool:
    """Whether torch refuses this of its own layer, so that ours need not have it."""
    try:
        TRANSFORMS[trial.transform](trial.twin())
    except REFUSALS:
        return True
    return False


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", SEEDS)
def test_random_layers_compute_what_the_reference_does(seed: int, thresholds: Callable[[Trial], None]) -> None:
    trial = Trial(seed, sorted(TRANSFORMS))
    thresholds(trial)
    try:
        found, right = TRANSFORMS[trial.transform](trial)
    except REFUSALS as error:
        if not twin_refuses(trial):
            raise AssertionError(str(trial)) from error
        return
    assert len(found) == len(right), str(trial)
    for number, (ours, expected) in enumerate(zip(found, right, strict=True)):
        assert_close(trial, f"result {number} of {trial}", ours, expected)


def assert_close(trial: Trial, message: str, ours: Tensor, expected: Tensor) -> None:
    """Raise unless a result is right."""
    assert ours.shape == expected.shape, message
    if not ours.is_floating_point():
        assert torch.equal(ours, expected), message
    elif ours.numel():
        precision = "autocast" if trial.backward_under_autocast else trial.precision
        # Squared gradients have twice the relative error, and what cancels in them has more.
        tolerance = TOLERANCES[precision] * (10 if trial.transform == "second derivatives" else 1)
        error = (ours.double() - expected).abs().max().item()
        scale = max(expected.abs().max().item(), SMALL[precision])
        assert error <= tolerance * scale, f"{message}: {error} of {scale}"
