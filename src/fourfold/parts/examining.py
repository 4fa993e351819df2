"""What a spec's network is, found by running it: its sizes, and whether it fits its data and its task."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from fourfold import models, tasks
from fourfold.algebra import LearnedAlgebra
from fourfold.nn import named_weights
from fourfold.nn.inputs import arguments_of, map_tensors
from fourfold.parts import named
from fourfold.parts.building import build, example, input_shape, shares
from fourfold.parts.fitting import check_kind, check_outputs
from fourfold.parts.user_errors import user_code
from fourfold.record import Spec, StopSpec, TrainSpec, UserError


def measure(spec: Spec, *, width: float = 1.0) -> models.Sizes:
    """Return the sizes of the spec's network.

    Raises:
        UserError: unknown names, also of layers that are not pruned as the others, or sizes that do not fit each other.
    """
    if not (named.is_own_model(spec) or named.is_own_data(spec)):
        network = build(spec, None, device="meta", width=width)
        shares(spec, network)
        return models.measure(network, input_shape(spec))
    return _examined(spec, width)[0]


def uncounted(spec: Spec) -> list[str]:
    """Return the names of matrices that the user's network multiplies by itself, outside of layers: not pruned or counted."""
    return _examined(spec, 1.0)[1] if named.is_own_model(spec) else []


_known: dict[Any, tuple[models.Sizes, list[str]]] = {}
"""What `_examined` has found: the user's function is called once for all that ask."""


_fitting: set[Any] = set()
"""What `check_fit` has found to fit."""


def _key(spec: Spec) -> tuple[Any, ...]:
    """Return all that a network, its data and its task depend on, but for where they are used."""
    code = tuple(sorted(named.digests(spec).items()))
    data = id(named.load(spec)) if named.is_own_data(spec) else None
    return replace(spec, preset="any", train=TrainSpec(), stop=StopSpec()), code, data


def _examined(spec: Spec, width: float) -> tuple[models.Sizes, list[str]]:
    """Return the sizes of a network of the user's own code or data, and the names of its matrices outside of layers."""
    key = (*_key(spec), width)
    if key not in _known:
        network = build(spec, 0, width=width)
        shares(spec, network)
        _known[key] = _measured(spec, network), _outside_of_layers(network)
    return _known[key]


def _measured(spec: Spec, network: nn.Module) -> models.Sizes:
    inputs = example(spec, 2)[0] if named.is_own_data(spec) else torch.zeros(2, *input_shape(spec))
    with user_code(spec, "a network that takes a batch"), torch.no_grad():
        args, kwargs = arguments_of(inputs)
        network.eval()(*args, **kwargs)  # on what it is given in training, where measuring may run it on zeros
        return models.measure(network, inputs)


def sizes_of_real_twin(spec: Spec) -> models.Sizes | None:
    """Return the sizes of the real network of the same neurons; None if the user's code makes none."""
    if not named.is_own_model(spec):
        return measure(spec.real_twin)
    try:
        return measure(spec.real_twin)
    except UserError:
        return None


def check_fit(spec: Spec) -> None:
    """Run the network of the user's own code or data on two items, and ask the task for their loss and metrics.

    Raises:
        UserError: network, data and task do not fit each other.
    """
    check_kind(spec)
    if not (named.is_own_model(spec) or named.is_own_data(spec) or spec.task.name not in tasks.TASKS):
        return
    key = _key(spec)
    if key in _fitting:
        return
    task = named.task_of(spec)
    network = build(spec, 0).eval()
    if named.is_own_data(spec):
        inputs, targets = example(spec, 2)
    else:
        inputs, targets = torch.zeros(2, *input_shape(spec)), torch.zeros(2, dtype=torch.int64)
    with user_code(spec, "a network and a task that fit the data"):
        args, kwargs = arguments_of(inputs)
        outputs = network(*args, **kwargs)
        check_outputs(spec, outputs)
        loss = task.loss(outputs, targets)
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1 or not loss.requires_grad:
            kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, torch.Tensor) else f"a {type(loss).__name__}"
            raise UserError(
                f"the loss of `task.name` (={spec.task.name!r}) must be one number that depends on the weights, found {kind}"
            )
        meter = task.meter()
        with torch.no_grad():  # as meters are called in evaluations
            meter.update(map_tensors(torch.Tensor.detach, outputs), targets)
            tasks.values_of(meter, task.metric)
    _fitting.add(key)


def _outside_of_layers(network: nn.Module) -> list[str]:
    """Return the names of matrices that a network multiplies by itself, outside of layers."""
    weights = {id(weight) for weight in named_weights(network).values()}
    return [
        name
        for name, parameter in network.named_parameters()
        if parameter.dim() > 1 and parameter.requires_grad and id(parameter) not in weights and not _is_table(network, name)
    ]


def _is_table(network: nn.Module, name: str) -> bool:
    """Whether a parameter is of an embedding, which multiplies nothing, or of what an algebra learns."""
    owner = network.get_submodule(name.rpartition(".")[0])
    return isinstance(owner, nn.Embedding | nn.EmbeddingBag | LearnedAlgebra)


def check_weights(spec: Spec, network: nn.Module, sizes: models.Sizes) -> None:
    """Raise `UserError` unless a network of the user's own has the weights of the one that was measured."""
    if not named.is_own_model(spec):
        return
    measured = {layer.weight_key: layer.weights for layer in sizes.layers if layer.weights}
    weights = {name: weight.numel() for name, weight in named_weights(network).items()}
    if weights != measured:
        name = next(name for name in (*measured, *weights) if measured.get(name) != weights.get(name))
        raise UserError(
            f"expected the network of `model.name` (={spec.model.name!r}) to have the same weights at each call, found "
            f"{weights.get(name, 0):,} in {name}, where {measured.get(name, 0):,} were measured"
        )
