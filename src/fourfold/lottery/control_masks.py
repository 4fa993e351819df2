"""The masks of controls: random, shuffled or inverted ones, with as many weights as the ticket's."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Generator, Tensor, nn

from fourfold import pruning
from fourfold.parts import shares
from fourfold.pruning import Masks, Units, units_of
from fourfold.record import Spec

MakeMask = Callable[[Masks, Units, Generator, Iterable[Masks]], Masks]
"""From the ticket's mask, the units of its weights, a generator, and the masks of the levels before, dense first.

The last ones are read from disk as they are taken, which only one control does.
"""


def shuffled_in_layers(masks: Masks, units: Units, generator: Generator, before: Iterable[Masks]) -> Masks:
    """Return the masks with the elements of every layer (or its rows) in another order, each with its own pattern."""
    shuffled = {}
    for name, mask in masks.items():
        layout = units.layout(name)
        elements = layout.numbers(mask)  # (n, outputs, inputs, positions)
        parts = elements.flatten(2) if units.unit == "row" else elements.flatten(1).unsqueeze(2)
        order = torch.randperm(parts.shape[1], generator=generator).to(mask.device)
        shuffled[name] = layout.stored(parts[:, order].reshape(elements.shape), tuple(mask.shape))
    return shuffled


def shuffled_everywhere(masks: Masks, units: Units, generator: Generator, before: Iterable[Masks]) -> Masks:
    """Return the masks with the units of the whole network in another order, cut off where they have as many weights."""
    kept = {name: _kept_units(name, mask, units) for name, mask in masks.items()}
    flat = torch.cat([*kept.values()])
    order = torch.randperm(len(flat), generator=generator).to(flat.device)
    kept_first = flat.int().argsort(descending=True, stable=True).argsort()  # each unit's place, those that are kept first
    parts = torch.split(-kept_first[order], [len(part) for part in kept.values()])
    return pruning.select(dict(zip(kept, parts, strict=True)), pruning.dense(masks), _density(masks), units)


def random_in_layers(masks: Masks, units: Units, generator: Generator, before: Iterable[Masks]) -> Masks:
    """Return masks of random units, in every layer as many as the given ones keep."""
    random_masks = {}
    for name, scores in pruning.random_scores(masks, units, generator).items():
        count = int(_kept_units(name, masks[name], units).sum())
        random_masks[name] = units.join(name, pruning.keep_largest(scores, count), torch.ones_like(masks[name]))
    return random_masks


def random_erdos_renyi(masks: Masks, units: Units, generator: Generator, before: Iterable[Masks]) -> Masks:
    """Return masks of random units, of as many weights as the given ones keep, at the densities of Erdős–Rényi kernels."""
    scores = pruning.random_scores(masks, units, generator)
    return pruning.select(scores, pruning.dense(masks), _density(masks), units, scope="erk")


def inverted(masks: Masks, units: Units, generator: Generator, before: Iterable[Masks]) -> Masks:
    """Return the masks that keep as many weights, those first that the levels pruned first; within a level at random.

    The units' scores are not on disk, but their order is, as far as the masks tell it.
    """
    history = [*[*before][1:], masks]
    survived = {name: sum(_kept_units(name, mask[name], units).double() for mask in history) for name in masks}  # levels
    scores = {name: draws - survived[name] for name, draws in pruning.random_scores(masks, units, generator).items()}
    return pruning.select(scores, pruning.dense(masks), _density(masks), units)


MASKS: dict[str, MakeMask] = {
    "shuffled-layer": shuffled_in_layers,
    "shuffled-global": shuffled_everywhere,
    "random-layer": random_in_layers,
    "erk-random": random_erdos_renyi,
    "inverted": inverted,
}
"""The controls that differ from the ticket in the mask alone."""


def _kept_units(name: str, mask: Tensor, units: Units) -> Tensor:
    return units.split(name, mask).any(1)


def _density(masks: Masks) -> float:
    return sum(pruning.kept(masks).values()) / sum(mask.numel() for mask in masks.values())


def masks_of_groups(
    make: MakeMask, spec: Spec, network: nn.Module, masks: Masks, seed: int, before: Callable[[], Iterable[Masks]]
) -> Masks:
    """Return another mask of what the ticket prunes together, and of each layer that it prunes by itself; the rest stays."""
    units, parts, generator = units_of(network, spec.prune.unit), shares(spec, network), Generator().manual_seed(seed)
    others = dict(masks)
    for names in [parts.rest, *((name,) for name in parts.own)]:
        if not names:
            continue

        def only(masks: Masks, names: tuple[str, ...] = names) -> Masks:
            return {name: masks[name] for name in names}

        own_units = units if names == parts.rest else replace(units, untouched=units.untouched - set(names))
        others |= make(only(masks), own_units, generator, map(only, before()))
    return others
