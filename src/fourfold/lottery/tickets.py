"""Tickets from disk: `load_ticket`, a trained network with its masks; `export_torch`, a file that torch loads by itself."""

import copy
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fourfold import parts
from fourfold.lottery.levels import load_trained
from fourfold.lottery.rows import masks_of_row
from fourfold.nn import named_weights, to_real
from fourfold.nn.inputs import arguments_of
from fourfold.parts import example, input_shape, is_ours
from fourfold.record import RunStore, Trust, UserError, find_runs
from fourfold.record.files import replacing
from fourfold.record.text import first_line

__all__ = ["example_of", "export_torch", "load_ticket"]


def load_ticket(
    run: RunStore | Path | str, level: int, trial: int = 0, *, code: Path | str | None = None, trust_code: bool = False
) -> nn.Module:
    """Return the trained network of a level whose weights were kept, in evaluation mode on the CPU.

    Its pruned weights are zero; its attribute `masks` has a tensor for each weight, by its name in the state dict, that is True
    where the weight is kept, so that training can continue under them.

    Args:
        run: A run's folder, or its store.
        level: The level; 0 is dense.
        trial: The trial.
        code: The file of the user's code that the run names, where it names any.
        trust_code: Whether to import the code that the run names, from the current folder, whatever it is.

    Raises:
        UserError: there is no such run, its weights were not kept, its code may not be imported or has changed, or a file is
            damaged.
    """
    store = run if isinstance(run, RunStore) else _store(Path(run))
    if code is not None:
        store = store.trusted(Trust(folder=str(Path(code).parent), only=(Path(code).name,)))
    elif trust_code:
        store = store.trusted(Trust())
    network = load_trained(store, trial, level)
    row = next(row for row in store.rows(trial) if row.level == level)
    network.masks = masks_of_row(store, row, named_weights(network))  # type: ignore[assignment]
    return network


def example_of(store: RunStore) -> Any:
    """Return inputs of the network of a run: a batch of two."""
    spec = store.spec()
    return example(spec, 2)[0] if parts.is_own_data(spec) else torch.zeros(2, *input_shape(spec))


def export_torch(network: nn.Module, path: Path | str, inputs: Any) -> Path:
    """Write a network as a program of torch.export, which `torch.export.load(path).module()` runs without any code of its own.

    Layers of other algebras become torch's, with the real matrices of their weights; batches may have any size.

    Args:
        network: In evaluation mode.
        path: The file, usually with the ending `.pt2`.
        inputs: A batch of at least two items: a tensor, or a tuple or dict of tensors for several arguments.

    Raises:
        UserError: the network cannot be traced, torch has no such layer, or the file cannot be written.
    """
    path = Path(path)
    plain = to_real(network) if any(map(is_ours, network.modules())) else copy.deepcopy(network)
    plain.eval()
    args, kwargs = arguments_of(inputs)
    batch = torch.export.Dim("batch")
    shapes: Any = tuple({0: batch} for _ in args) if args else {name: {0: batch} for name in kwargs}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "The tensor attribute"
            )  # of torch's recurrent layers, which it exports all the same
            program = torch.export.export(plain, args, kwargs, dynamic_shapes=shapes)
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"`network` (={type(network).__name__}) must be one that torch.export can trace: {reason}") from error
    try:
        with replacing(path) as stream:
            torch.export.save(program, stream)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror})") from error
    return path


def _store(path: Path) -> RunStore:
    stores = find_runs(path)
    if len(stores) != 1:
        raise UserError(f"{path} holds {len(stores)} runs; name the folder of one, as `fourfold status {path}` lists them")
    return stores[0]
