"""`lower`: from a trained network, ours or torch's, to a `Program`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fourfold.deploy.backends.numpy import run
from fourfold.deploy.frontend._fuse import fuse, needed
from fourfold.deploy.frontend._simplify import simplify
from fourfold.deploy.frontend.calls import CALLS
from fourfold.deploy.frontend.composites import COMPOSITES
from fourfold.deploy.frontend.hooks import refuse_hooks
from fourfold.deploy.frontend.lowering import Lowering, refusal
from fourfold.deploy.frontend.ports import Ports, joined_inputs, joined_outputs, ports_of
from fourfold.deploy.frontend.traced import IMAGES, Tracing, tracing
from fourfold.deploy.frontend.whole_layers import WHOLE_LAYERS
from fourfold.deploy.ir._assemble import assemble
from fourfold.deploy.ir.operation import Array
from fourfold.deploy.ir.program import Encoding, Program
from fourfold.nn.weights import check_there
from fourfold.record import UserError

_TOLERANCE = 0.02
"""Of the largest output: what half precision may lose; a wrong program loses more."""

_SCALES = (1 / 64, 1.0, 64.0)
"""Of the drawn images that a program is compared on: what limits large values, or passes over small ones, shows on one."""


def lower(
    model: nn.Module,
    shape: Sequence[Any] | Mapping[str, Sequence[int]],
    *,
    encoding: Encoding | None = None,
    class_names: Sequence[str] = (),
    provenance: Mapping[str, str] | None = None,
) -> Program:
    """Return the program that computes what a network does in evaluation.

    Batch norm is folded into the real product before it, and ReLU into the operation before it, where nothing else uses the
    value between them. Products of a fixed algebra with one group stay products of that algebra; others (groups of numbers,
    learned algebras, rotations) become their real matrices. A network of several inputs or outputs becomes a program of one,
    in which they follow each other flat.

    Args:
        model: Any network of layers and functions that can be deployed, ours or torch's own; it is not changed.
        shape: Channels, height and width of an image as the network sees it, or other sides; of several inputs one for each,
            or by the names of the forward's arguments.
        encoding: How an image's bytes become that; None where the caller will give it.
        class_names: One for each output, or none.
        provenance: What is known of the network's making, as text.

    Raises:
        UserError: weights that are not there yet or not finite, a layer or function that cannot be deployed, a forward that
            depends on the numbers it is given, or shapes that do not fit.
    """
    model = _unwrapped(model)
    check_there(model)
    ports = ports_of(shape)
    lowering = Lowering(shapes=[ports.shape])
    with _evaluating(model), torch.no_grad():
        refuse_hooks(model)
        trace = Tracing(
            lowering=lowering,
            calls=CALLS | COMPOSITES,
            whole_layers=WHOLE_LAYERS,
            names={module: _readable(name) for name, module in model.named_modules() if name},
        )
        output, outputs = _traced(trace, model, ports)
        operations, output = simplify(lowering.operations, lowering.shapes, output)
        program = assemble(
            ports.shape,
            fuse(needed(operations, output)),
            encoding=encoding,
            class_names=tuple(class_names),
            provenance=_provenance(provenance),
            inputs=ports.inputs if len(ports.inputs) > 1 else (),
            outputs=outputs,
        )
        _check(program, model, ports, trace.rows)
    return program


def _provenance(about: Any) -> dict[str, str]:
    if about is not None and not isinstance(about, Mapping):
        raise UserError(f"`provenance` (={about!r:.60}) must be a dict of text by name")
    return dict(about or {})


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside of `torch.compile` and of what shares it among devices.

    Raises:
        UserError: it is scripted.
    """
    while isinstance(model, nn.Module):
        inner = getattr(model, "_orig_mod", None) if not isinstance(model, torch.jit.ScriptModule) else None
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = model.module
        if inner is None:
            break
        model = inner
    if isinstance(model, torch.jit.ScriptModule):
        raise refusal("a scripted network", ": deploy the network that it was made from")
    return model


def _readable(name: str) -> str:
    """Return a module's path without what wrappers put before it."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and afterwards every layer back into its own."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _random_images(model: nn.Module, ports: Ports, images: int, seed: int = 0) -> Tensor:
    """Return drawn images of the kind and on the device of the model's weights."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((images, *ports.shape), generator=generator)


def _like_weights(model: nn.Module, images: Tensor) -> Tensor:
    weight = next((each for each in model.parameters() if each.is_floating_point()), torch.empty(0))
    return images.to(weight.device, weight.dtype)


def _traced(trace: Tracing, model: nn.Module, ports: Ports) -> tuple[int, tuple[Any, ...]]:
    """Run a model's forward on traced tensors; return the value of its output, and what its parts are where it has several."""
    images = trace.wrap(_like_weights(model, _random_images(model, ports, IMAGES)), 0)
    try:
        with tracing(trace):
            arguments, named = joined_inputs(trace, images, ports)
            result = model(*arguments, **named)
            return joined_outputs(trace, result)
    except UserError:
        raise
    except Exception as error:  # whatever a user's forward raises when it is given drawn images
        reason = str(error).partition("\n")[0]
        raise refusal(f"{type(model).__name__}, whose forward cannot be followed ({reason}),") from error


def _check(program: Program, model: nn.Module, ports: Ports, rows: int) -> None:
    """Compare both on other drawn images: a trace does not see what depends on the numbers."""
    noise = _random_images(model, ports, len(_SCALES), seed=1)
    images = noise * torch.tensor(_SCALES).reshape(-1, *[1] * (noise.ndim - 1))
    if rows:
        images = torch.randint(rows, noise.shape, generator=torch.Generator().manual_seed(1)).float()
    outputs = [_outputs(model, image[None], ports, rows) for image in images]
    finite = [number for number, output in enumerate(outputs) if np.isfinite(output).all()]
    if not finite:  # as half precision may on large images, but not on small ones
        raise UserError(f"{type(model).__name__} cannot be deployed: it makes NaN or infinity of every drawn image")
    logits = run(program, images[finite].numpy())
    for output, expected in zip(logits, (outputs[number] for number in finite), strict=True):
        if output.size != expected.size or not _near(output.reshape(-1), expected):
            raise refusal(f"{type(model).__name__}, which computes something else than its trace (as after `x += y`),")


def _outputs(model: nn.Module, image: Tensor, ports: Ports, rows: int) -> Array:
    """Return all that a network makes of an image, flat."""
    arguments, named = ports.split(image.long() if rows else _like_weights(model, image))
    result = model(*arguments, **named)
    parts = list(result.values()) if isinstance(result, Mapping) else result if isinstance(result, list | tuple) else [result]
    flat: Array = torch.cat([part.float().cpu().reshape(-1) for part in parts if isinstance(part, Tensor)]).numpy()
    return flat


def _near(logits: Array, expected: Array) -> bool:
    return bool(np.abs(logits - expected).max() <= _TOLERANCE * np.abs(expected).max() + 1e-6)
