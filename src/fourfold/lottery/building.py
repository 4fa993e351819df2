"""The networks of a spec: built from a seed, measured, and the batches that they take."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fourfold import data, models, pruning, tasks
from fourfold.algebra import Algebra, LearnedAlgebra
from fourfold.lottery import parts
from fourfold.lottery.fitting import check_kind, check_outputs
from fourfold.lottery.parts import Facts, components
from fourfold.models import LearnedChannel
from fourfold.nn import convert, initialize, layers_with_weights, named_weights
from fourfold.nn.inputs import arguments_of, map_tensors
from fourfold.record import Code, Spec, StopSpec, TrainSpec, UserError
from fourfold.record.code_errors import UserCodeError, line_in, user_error
from fourfold.record.errors import LostFileError

__all__ = [
    "build",
    "check_fit",
    "components",
    "example",
    "explained",
    "input_shape",
    "measure",
    "shares",
    "sizes_of_real_twin",
    "splits_of",
    "uncounted",
    "user_code",
]


def build(spec: Spec, seed: int | None = None, device: torch.device | str = "cpu", *, width: float = 1.0) -> nn.Module:
    """Return the spec's network, drawn from a seed; `width` scales all sizes but those of images and classes.

    Raises:
        UserError: unknown names, sizes that do not fit each other, or code of the user's that cannot be imported or fails.
    """
    facts = parts.facts(spec)
    if parts.is_own_model(spec):
        network = _own(parts.model_code(spec), spec, facts, seed, width).to(device)
    else:
        network = models.build(
            spec.model.name,
            algebra=spec.model.algebra,
            num_classes=_outputs(facts, spec),
            shape=_item_shape(facts.network_shape, spec),
            head=spec.model.head,
            init=spec.model.init,
            seed=seed,
            learned_from=facts.learned_from,
            device=device,
            width=width,
            norm=spec.model.norm or "component",
            grid=spec.task.grid,
            boxes=spec.task.boxes,
        )
    _scale_(network, spec)
    return network


def _own(code: Code, spec: Spec, facts: Facts, seed: int | None, width: float) -> nn.Module:
    """Return the network that the user's code makes, converted to the spec's algebra if it consists of torch's layers alone."""
    if spec.model.norm is not None:
        raise UserError(
            f"`model.norm` (={spec.model.norm!r}) cannot be combined with `model.name` (={spec.model.name!r}), whose code "
            "chooses its norms"
        )
    if width != 1:
        raise UserError(f"the control small-dense needs a built-in model, whose width can be set: {spec.model.name} has none")
    algebra = spec.model.algebra
    with _drawing(seed):
        network: Any = code.call(algebra, facts.network_shape, facts.outputs, takes="algebra, inputs, outputs")
        if not isinstance(network, nn.Module):
            raise UserError(
                f"{code.file}: expected `{code.attribute}` to return a torch.nn.Module, found a {type(network).__name__}"
            )
        if algebra != "real" and not any(map(is_ours, network.modules())):
            network = convert(network, algebra, head=spec.model.head, skip=spec.prune.skip or ())
        if spec.model.init != "torch":
            initialize(network, spec.model.init)
        if facts.learned_from is not None:
            encoding = LearnedChannel(facts.learned_from, facts.network_shape[0])
            network = nn.Sequential(OrderedDict(encoding=encoding, network=network))
    assert isinstance(network, nn.Module)
    if not named_weights(network):
        raise UserError(f"{code.file}: expected the network of `{code.attribute}` to have weights to prune, found none")
    wrong = next((name for name, value in network.named_parameters() if not bool(value.isfinite().all())), None)
    if wrong is not None:
        raise UserError(
            f"{code.file}: expected finite weights in the network of `{code.attribute}`, found NaN or an infinity in {wrong}"
        )
    return network


def is_ours(module: nn.Module) -> bool:
    """Whether a module computes in an algebra; others may have an attribute of that name."""
    return isinstance(getattr(module, "algebra", None), Algebra | LearnedAlgebra)


def _outputs(facts: Facts, spec: Spec) -> int:
    if facts.outputs is None:
        raise _conflict(spec, "which has no number of classes or values")
    return facts.outputs


def _item_shape(shape: Any, spec: Spec) -> tuple[int, ...]:
    """Return the shape that a built-in network is made for: of an image, or steps and features of a series.

    Features are an image of a single pixel, which perceptrons take as well.
    """
    about = models.MODELS[models.canonical_name(spec.model.name)]
    if about.tokens:
        if isinstance(shape, tuple) and len(shape) == 1 and _takes_tokens(spec):
            return (int(shape[0]),)
        raise _conflict(spec, f"whose items have the shape {shape} where it takes tokens, integers (steps,)")
    if about.series:
        series = shape[0] if isinstance(shape, tuple) and len(shape) == 2 and shape[1] == () else shape
        if isinstance(series, tuple) and len(series) == 2 and all(isinstance(side, int) for side in series):
            return series
        raise _conflict(spec, f"whose items have the shape {shape} where it takes series (steps, features) with their lengths")
    if isinstance(shape, tuple) and all(isinstance(side, int) for side in shape):
        if len(shape) == 3:
            return shape
        if len(shape) == 1 and models.canonical_name(spec.model.name).startswith("lenet"):
            return (shape[0], 1, 1)
    raise _conflict(spec, f"whose items have the shape {shape} where it takes images")


def _takes_tokens(spec: Spec) -> bool:
    """Whether the inputs of a spec's data are integers."""
    inputs = example(spec)[0] if parts.is_own_data(spec) else None
    return isinstance(inputs, torch.Tensor) and not inputs.is_floating_point()


def _conflict(spec: Spec, why: str) -> UserError:
    return UserError(f"`model.name` (={spec.model.name!r}) cannot be combined with `data.name` (={spec.data.name!r}), {why}")


_drawing_lock = threading.Lock()


@contextmanager
def _drawing(seed: int | None) -> Iterator[None]:
    """Let user code draw from torch's global state, seeded, one network at a time; None draws from that state as it is."""
    if seed is None:
        yield
        return
    with _drawing_lock, torch.random.fork_rng([]):
        torch.manual_seed(seed)
        yield


def _scale_(network: nn.Module, spec: Spec) -> None:
    """Multiply the initial weights, but those of a real output layer, so that their variance has the spec's factor."""
    layers = list(layers_with_weights(network).values())
    with torch.no_grad():
        for layer in layers if spec.model.head == "algebra" else layers[:-1]:
            factor = spec.model.init_scale
            if isinstance(layer, nn.Linear) and spec.model.init_scale_linear is not None:
                factor = spec.model.init_scale_linear
            if factor != 1:
                layer.weight.mul_(factor**0.5)


def splits_of(source: parts.Source, spec: Spec, device: torch.device) -> data.Splits:
    """Return data as the spec's network takes them.

    Raises:
        UserError: the spec does not fit the data.
    """
    return data.prepare(source, spec.inputs, components(spec), device)


def input_shape(spec: Spec) -> Any:
    """Return the shape of an item in the spec's batches: channels, height and width of images."""
    return parts.facts(spec).batch_shape


def example(spec: Spec, count: int = 1) -> tuple[Any, Any]:
    """Return the first training items of the user's own data, as a batch: inputs and targets."""
    train: Any = parts.prepared(spec).train
    inputs, targets = train.batch(train.in_order(), slice(0, count))
    return inputs, targets


def measure(spec: Spec, *, width: float = 1.0) -> models.Sizes:
    """Return the sizes of the spec's network.

    Raises:
        UserError: unknown names, also of layers that are not pruned as the others, or sizes that do not fit each other.
    """
    if not (parts.is_own_model(spec) or parts.is_own_data(spec)):
        network = build(spec, None, device="meta", width=width)
        shares(spec, network)
        return models.measure(network, input_shape(spec))
    return _examined(spec, width)[0]


def uncounted(spec: Spec) -> list[str]:
    """Return the names of matrices that the user's network multiplies by itself, outside of layers: not pruned or counted."""
    return _examined(spec, 1.0)[1] if parts.is_own_model(spec) else []


_known: dict[Any, tuple[models.Sizes, list[str]]] = {}
"""What `_examined` has found: the user's function is called once for all that ask."""

_fitting: set[Any] = set()
"""What `check_fit` has found to fit."""


def _key(spec: Spec) -> tuple[Any, ...]:
    """Return all that a network, its data and its task depend on, but for where they are used."""
    code = tuple(sorted(parts.digests(spec).items()))
    data = id(parts.load(spec)) if parts.is_own_data(spec) else None
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
    inputs = example(spec, 2)[0] if parts.is_own_data(spec) else torch.zeros(2, *input_shape(spec))
    with user_code(spec, "a network that takes a batch"), torch.no_grad():
        args, kwargs = arguments_of(inputs)
        network.eval()(*args, **kwargs)  # whose error has the line of the user's code, as that of measuring has not
        try:
            return models.measure(network, inputs)
        except UserError as error:  # raised as it was, what the network raises has the line of the user's code
            raise error.__cause__ or error from None


def sizes_of_real_twin(spec: Spec) -> models.Sizes | None:
    """Return the sizes of the real network of the same neurons; None if the user's code makes none."""
    if not parts.is_own_model(spec):
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
    if not (parts.is_own_model(spec) or parts.is_own_data(spec) or spec.task.name not in tasks.TASKS):
        return
    key = _key(spec)
    if key in _fitting:
        return
    task = parts.task_of(spec)
    network = build(spec, 0).eval()
    if parts.is_own_data(spec):
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


@contextmanager
def user_code(spec: Spec, expected: str) -> Iterator[None]:
    """Turn an error that passes through the user's code, or comes of it, into one sentence with its file and line."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if isinstance(error, UserError) else error
        files = _files_of(spec) if isinstance(error, UserError) else []
        if cause is None or any(str(file) in str(error) for file in files):  # which says already where it was
            raise
        if message := explained(cause, spec, expected, anywhere=cause is error):
            raise message from error
        raise


@contextmanager
def in_a_trial(spec: Spec) -> Iterator[None]:
    """Turn a mistake of the user's code that shows in a trial alone into an error of that trial: others may do without it."""
    try:
        yield
    except UserError as error:
        files = [] if isinstance(error, UserCodeError | LostFileError) else _files_of(spec)
        if not files:
            raise
        where = "" if any(str(file) in str(error) for file in files) else f"{files[0]}: "
        raise UserCodeError(f"{where}{error}") from error


def check_weights(spec: Spec, network: nn.Module, sizes: models.Sizes) -> None:
    """Raise `UserError` unless a network of the user's own has the weights of the one that was measured."""
    if not parts.is_own_model(spec):
        return
    measured = {layer.weight_key: layer.weights for layer in sizes.layers if layer.weights}
    weights = {name: weight.numel() for name, weight in named_weights(network).items()}
    if weights != measured:
        name = next(name for name in (*measured, *weights) if measured.get(name) != weights.get(name))
        raise UserError(
            f"expected the network of `model.name` (={spec.model.name!r}) to have the same weights at each call, found "
            f"{weights.get(name, 0):,} in {name}, where {measured.get(name, 0):,} were measured"
        )


def explained(
    error: BaseException, spec: Spec, expected: str = "code that runs", *, anywhere: bool = False
) -> UserError | None:
    """Return the sentence for an error that passed through the user's code; None if it did not.

    Args:
        error: The error.
        spec: Which names the code.
        expected: What the code was asked for.
        anywhere: Whether an error elsewhere is the user's too, such as one of torch's layers that the code has put together.
    """
    if isinstance(error, UserError):
        return None
    for file in _files_of(spec):
        if line_in(error, file):
            return user_error(error, file, expected)
    if anywhere and parts.is_own_model(spec) and (files := _files_of(spec)):
        return user_error(error, files[0], expected)
    return None


_files: dict[str, list[Path]] = {}
"""Of the user's code, by run, as they were found last: one may be edited or renamed before its code fails."""


def _files_of(spec: Spec) -> list[Path]:
    if spec.trust is not None:
        with contextlib.suppress(UserError):
            _files[spec.id] = parts.code_files(spec)
    return _files.get(spec.id, []) if spec.trust else []


def shares(spec: Spec, network: nn.Module) -> pruning.Shares:
    """Return which weights of a network the spec prunes together, which with fractions of their own, and which not at all."""
    return pruning.shares_of(network, spec.prune.skip or (), spec.prune.densities(1), spec.prune.unit)
