"""`Choice`: which weights shall stay, and the layers that have a say of their own."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import nn

from fourfold.nn import computes_weights, stored_weights, weights_with_layers
from fourfold.nn.conversion.selecting import Skip, skipped
from fourfold.pruning._select import SCOPES, check_n_of_m
from fourfold.pruning.budgets import BUDGETS
from fourfold.pruning.counts import check_density
from fourfold.pruning.scoring import SCORES
from fourfold.pruning.units import UNITS
from fourfold.record import UserError
from fourfold.record.errors import unknown

SYNFLOW_ITERATIONS = 100
"""As Tanaka et al. 2020: pruned at once by its scores, a network loses whole layers."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which weights shall stay."""

    density: float | None = None
    """Share of what `budget` counts that stays, of the dense network; None with `n_of_m`."""
    n_of_m: tuple[int, int] | None = None
    """Weights to keep of how many successive inputs of a row, such as (2, 4); None with `density`."""
    score: str = "magnitude"
    """One of `SCORES`."""
    unit: str = "weight"
    """One of `UNITS`."""
    scope: str = "global"
    """One of `SCOPES`."""
    budget: str = "weights"
    """One of `BUDGETS`."""
    iterations: int | None = None
    """Rounds of scoring and pruning, of densities in a geometric series; None means 100 for synflow and 1 for others."""
    skip: Skip = ()
    """Modules whose weights all stay and do not count: names, patterns such as `*.downsample`, or classes."""
    densities: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Layers with a density of their own, by name or pattern, the last that fits; `density` is that of all others."""

    def __post_init__(self) -> None:
        for kind, known in (("score", SCORES), ("unit", UNITS), ("scope", SCOPES), ("budget", BUDGETS)):
            value = getattr(self, kind)
            if not isinstance(value, str) or value not in known:
                raise unknown(kind, value, known)
        if (self.density is None) == (self.n_of_m is None):
            raise UserError(f"`density` (={self.density}) must be given where `n_of_m` (={self.n_of_m}) is not, and only there")
        if self.density is not None:
            check_density("density", self.density)
        if self.n_of_m is not None:
            check_n_of_m(self.n_of_m)
            if (self.unit, self.scope, self.budget) != ("weight", "global", "weights"):
                raise UserError(
                    f"`n_of_m` (={self.n_of_m}) must stand without `unit`, `scope` and `budget`: it fixes every row"
                )
        if self.budget == "macs" and self.scope != "global":
            raise UserError(f"`scope` (={self.scope!r}) must be 'global' for `budget` (='macs')")
        if self.iterations is not None:
            if isinstance(self.iterations, bool) or not isinstance(self.iterations, int):
                raise UserError(f"`iterations` (={self.iterations!r}) must be an integer")
            if self.iterations < 1:
                raise UserError(f"`iterations` (={self.iterations}) must be at least 1")
        self._check_layers()

    def _check_layers(self) -> None:
        entries = (self.skip,) if isinstance(self.skip, str | type) else self.skip
        if isinstance(entries, Mapping):
            raise UserError(f"`skip` (={self.skip!r}) must be names, not a dict: densities by layer are `densities`")
        if not isinstance(entries, Collection) or not all(isinstance(entry, str | type) for entry in entries):
            raise UserError(f"`skip` (={self.skip!r}) must be names of modules, patterns or classes")
        object.__setattr__(self, "skip", tuple(entries))
        if not isinstance(self.densities, Mapping) or not all(isinstance(name, str) for name in self.densities):
            raise UserError(f"`densities` (={self.densities!r}) must be a dict of densities by name of a module, or pattern")
        for name, density in self.densities.items():
            check_density(f"densities[{name!r}]", density)
        if self.densities and self.n_of_m is not None:
            raise UserError("`densities` cannot be combined with `n_of_m`, which gives every layer the same")

    @property
    def rounds(self) -> int:
        """Rounds of scoring and pruning."""
        if not self.density:
            return 1
        return self.iterations or (SYNFLOW_ITERATIONS if self.score == "synflow" else 1)


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Which weights a network's `density` is about, and those that have one of their own."""

    rest: tuple[str, ...]
    """Names of the weights that share one density."""
    own: dict[str, float]
    """Density by name of the weights that have one of their own; those that are skipped are neither here nor in `rest`."""


def shares_of(model: nn.Module, skip: Skip = (), densities: Mapping[str, float] | None = None, unit: str = "weight") -> Shares:
    """Return how a network's weights are divided into those that are pruned together, alone, and not at all.

    A weight that a layer shares with one that is skipped is skipped.

    Raises:
        UserError: a name fits no module, nothing is left to prune, or a layer that is not skipped computes its weights.
    """
    holders = {name: module for name, module in model.named_modules() if computes_weights(module) or stored_weights(module)}
    left = skipped(model, holders, skip)
    for name, module in holders.items():
        if name not in left:
            stored_weights(module, name)  # refuses those that are computed
    weights = weights_with_layers(model, leave_computed=True)
    names_of = {id(weight): name for name, (_, _, weight) in weights.items()}

    def names(layers: list[str]) -> list[str]:
        stored = [holders[layer] for layer in layers if not computes_weights(holders[layer])]
        return [names_of[id(weight)] for layer in stored for weight in stored_weights(layer).values()]

    kept = set(names(left))
    own: dict[str, float] = {}
    for entry, density in (densities or {}).items():
        fitting = names(skipped(model, holders, entry, "densities"))
        if not fitting:
            raise UserError(f"`densities` (={entry!r}) must name a layer that has weights")
        own |= dict.fromkeys(fitting, float(density))
    own = {name: density for name, density in own.items() if name not in kept}
    rest = tuple(name for name in weights if name not in kept and name not in own)
    if weights and not rest and not own:
        raise UserError(f"`skip` (={skip!r}) must leave a layer to prune")
    return Shares(rest=rest, own=own)
