"""`PruneSpec`: what is pruned from one level to the next, and what the next one starts from."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from fourfold.record.checks import check_choice, check_count, check_number
from fourfold.record.combinations import PRUNING, check_combinations
from fourfold.record.errors import UserError

Score = Literal["magnitude", "random", "gradient", "taylor", "fisher", "snip", "grasp", "synflow"]
Unit = Literal["weight", "element", "row"]
Scope = Literal["global", "layer", "erk", "component"]
Budget = Literal["weights", "macs"]
Schedule = Literal["iterative", "one-shot", "gradual"]
Rewind = Literal["start", "step", "epoch", "weights", "learning-rate", "fine-tune", "continue"]
Search = Literal["ticket", "continue"]


@dataclass(frozen=True, kw_only=True)
class PruneSpec:
    """What is pruned from one level to the next, and what the next one starts from."""

    fraction: float = 0.2
    """Part of the remaining weights (or MACs, see `budget`) that each level removes: density is (1 - fraction) ** level."""
    score: Score = "magnitude"
    """How weights are ranked; snip, grasp and synflow look at the network before training, the others at the trained one."""
    unit: Unit = "weight"
    """What is kept or removed together: stored weights, elements (element), or whole output elements (row), of which the
    output layer keeps all."""
    scope: Scope = "global"
    """Rank over the whole network (global), within each layer at one density (layer) or at those of Erdős–Rényi kernels
    (erk), or within each component of each layer (component, paper 2's released code)."""
    budget: Budget = "weights"
    """What density counts: weights, or MACs, where the score per MAC decides."""
    schedule: Schedule = "iterative"
    """Each level's mask from the level before (iterative), all from level 0 (one-shot), or found while the level itself is
    trained, from dense to its density along a cubic (gradual, Zhu & Gupta 2017)."""
    rewind: Rewind = "start"
    """What the weights that are left go back to: their start, or where level 0 was after `rewind_to` steps or epochs, or
    nothing. `weights` redraws the weights and leaves biases, normalisation and running statistics (paper 2's released
    code); learning-rate trains on with the schedule from its beginning (Renda et al. 2020), fine-tune with its last rate,
    continue with the optimiser's averages too."""
    rewind_to: int | None = None
    """The step or epoch of `rewind`, from 1; None for the others."""
    search: Search = "ticket"
    """Whose weights are pruned: those that the level was trained to (ticket), or those of a second network that is pruned
    and trained on with one optimiser that is never reset (continue, paper 1's released code)."""
    score_images: int = 256
    """Training images that scores with derivatives look at."""
    skip: tuple[str, ...] | None = None
    """Modules whose weights all stay and do not count, by name or pattern, such as `conv1` or `*.downsample`; None means
    that all are pruned."""
    layer_fractions: tuple[str, ...] | None = None
    """Layers of which each level removes another part, as `fc3:0.1`, a name or pattern and its `fraction`, the last that
    fits; `fraction` is that of all others, taken together. None means that it is that of all."""

    def __post_init__(self) -> None:
        check_number(self, "prune", "fraction", 0.001, 1, "[)")
        for name, choices in (
            ("score", Score),
            ("unit", Unit),
            ("scope", Scope),
            ("budget", Budget),
            ("schedule", Schedule),
            ("rewind", Rewind),
            ("search", Search),
        ):
            check_choice(self, "prune", name, choices)
        check_count(self, "prune", "score_images", 1)
        self._check_layers()
        self._check_rewinding()
        check_combinations(PRUNING, lambda name: getattr(self, name.removeprefix("prune.")))

    def _check_layers(self) -> None:
        for name in ("skip", "layer_fractions"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, tuple | list) or not value or not all(isinstance(text, str) and text for text in value):
                raise UserError(f"`prune.{name}` (={value!r}) must be None or at least one name of a module")
            object.__setattr__(self, name, tuple(value))
        for text in self.layer_fractions or ():
            name, colon, number = text.rpartition(":")
            if not name or not colon or not 0 <= _number(number) < 1:
                raise UserError(f"`prune.layer_fractions` (={text!r}) must be a name and a number in [0, 1), such as 'fc3:0.1'")

    def _check_rewinding(self) -> None:
        if self.rewind in ("step", "epoch"):
            if self.rewind_to is None:
                raise UserError(
                    f"`prune.rewind_to` (=None) must be the {self.rewind} that `prune.rewind` (={self.rewind!r}) means"
                )
            check_count(self, "prune", "rewind_to", 1)
        elif self.rewind_to is not None:
            raise UserError(f"`prune.rewind_to` (={self.rewind_to}) must be None for `prune.rewind` (={self.rewind!r})")

    def density(self, level: int) -> float:
        """Return the density that a level is pruned to; 1 at level 0."""
        return float((1 - self.fraction) ** level)

    def densities(self, level: int) -> dict[str, float]:
        """Return the densities of the layers that have their own, by name or pattern, at a level."""
        parts = (text.rpartition(":") for text in self.layer_fractions or ())
        return {name: float((1 - float(number)) ** level) for name, _, number in parts}

    def num_pruned_to(self, layers: Mapping[str, int], level: int) -> int:
        """Return how many weights a level keeps of those that are pruned at all, from the weights of each layer by name."""
        rest, kept = 0, 0
        for layer, weights in layers.items():
            if any(_fits(layer, pattern) for pattern in self.skip or ()):
                continue
            own = [density for pattern, density in self.densities(level).items() if _fits(layer, pattern)]
            if own:
                kept += round(own[-1] * weights)
            else:
                rest += weights
        return kept + round(self.density(level) * rest)


def _fits(layer: str, pattern: str) -> bool:
    """Whether a pattern names a layer, or a module that it is in."""
    parts = layer.split(".")
    return any(fnmatchcase(".".join(parts[:depth]), pattern) for depth in range(1, len(parts) + 1))


def _number(text: str) -> float:
    """Return the number that a text means; NaN if it means none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
