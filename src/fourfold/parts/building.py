"""The networks of a spec, built from a seed, and the batches that they take."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from fourfold import data, models, pruning
from fourfold.algebra import Algebra, LearnedAlgebra
from fourfold.models import LearnedChannel
from fourfold.nn import convert, initialize, layers_with_weights, named_weights
from fourfold.parts import named
from fourfold.parts.named import Facts, Source, components
from fourfold.parts.process_state import as_it_was
from fourfold.record import Code, Spec, UserError


def build(spec: Spec, seed: int | None = None, device: torch.device | str = "cpu", *, width: float = 1.0) -> nn.Module:
    """Return the spec's network, drawn from a seed; `width` scales all sizes but those of images and classes.

    Raises:
        UserError: unknown names, sizes that do not fit each other, or code of the user's that cannot be imported or fails.
    """
    facts = named.facts(spec)
    if named.is_own_model(spec):
        network = _own(named.model_code(spec), spec, facts, seed, width).to(device)
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
        with as_it_was():
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
    if (bare := next((name for name, value in network.named_parameters() if value.is_meta), None)) is not None:
        raise UserError(
            f"{code.file}: expected the network of `{code.attribute}` to have values, found none in {bare} (on meta)"
        )
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
    inputs = example(spec)[0] if named.is_own_data(spec) else None
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


def splits_of(source: Source, spec: Spec, device: torch.device) -> data.Splits:
    """Return data as the spec's network takes them.

    Raises:
        UserError: the spec does not fit the data.
    """
    return data.prepare(source, spec.inputs, components(spec), device)


def input_shape(spec: Spec) -> Any:
    """Return the shape of an item in the spec's batches: channels, height and width of images."""
    return named.facts(spec).batch_shape


def example(spec: Spec, count: int = 1) -> tuple[Any, Any]:
    """Return the first training items of the user's own data, as a batch: inputs and targets."""
    train: Any = named.prepared(spec).train
    inputs, targets = train.batch(train.in_order(), slice(0, count))
    return inputs, targets


def shares(spec: Spec, network: nn.Module) -> pruning.Shares:
    """Return which weights of a network the spec prunes together, which with fractions of their own, and which not at all."""
    return pruning.shares_of(network, spec.prune.skip or (), spec.prune.densities(1), spec.prune.unit)
