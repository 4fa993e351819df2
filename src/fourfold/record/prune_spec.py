"""`PruneSpec`: what is pruned from one level to the next, and what the next one starts from."""

from dataclasses import dataclass
from typing import Literal

from fourfold.record.checks import check_choice, check_count, check_number
from fourfold.record.errors import UserError

Score = Literal["magnitude", "random", "gradient", "taylor", "fisher", "snip", "grasp", "synflow"]
Unit = Literal["weight", "element", "row"]
Scope = Literal["global", "layer", "erk", "component"]
Budget = Literal["weights", "macs"]
Schedule = Literal["iterative", "one-shot", "gradual"]
Rewind = Literal["start", "step", "epoch", "weights", "learning-rate", "fine-tune", "continue"]
Search = Literal["ticket", "continue"]

SCORED_AT_START = frozenset({"snip", "grasp", "synflow"})
"""Scores that are taken of the network before training, as their papers do; the others of what a level was trained to."""

KEEPS_TRAINED = frozenset({"weights", "learning-rate", "fine-tune", "continue"})
"""Ways to go on with something that the level before was trained to."""


@dataclass(frozen=True, kw_only=True)
class PruneSpec:
    """What is pruned from one level to the next, and what the next one starts from."""

    fraction: float = 0.2
    """Part of the remaining weights (or MACs, see `budget`) that each level removes: density is (1 - fraction) ** level."""
    score: Score = "magnitude"
    """How weights are ranked; snip, grasp and synflow look at the network before training, the others at the trained one."""
    unit: Unit = "weight"
    """What is kept or removed together: stored weights, whole numbers (element), or whole output numbers (row), of which the
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
        self._check_selection()
        self._check_rewinding()

    def _check_selection(self) -> None:
        if self.scope == "component" and self.unit != "weight":
            raise _conflict(("scope", "component"), ("unit", self.unit), "which joins components")
        if self.budget == "macs" and self.scope != "global":
            raise _conflict(("scope", self.scope), ("budget", "macs"), "which divides MACs over the whole network")
        if self.budget == "macs" and self.score == "grasp":
            raise _conflict(("score", "grasp"), ("budget", "macs"), "as it may be negative")
        if self.score in SCORED_AT_START and (self.schedule == "gradual" or self.rewind != "start"):
            setting = ("schedule", "gradual") if self.schedule == "gradual" else ("rewind", self.rewind)
            raise _conflict(setting, ("score", self.score), "which is taken of the start")

    def _check_rewinding(self) -> None:
        if self.rewind in ("step", "epoch"):
            if self.rewind_to is None:
                raise UserError(
                    f"`prune.rewind_to` (=None) must be the {self.rewind} that `prune.rewind` (={self.rewind!r}) means"
                )
            check_count(self, "prune", "rewind_to", 1)
        elif self.rewind_to is not None:
            raise UserError(f"`prune.rewind_to` (={self.rewind_to}) must be None for `prune.rewind` (={self.rewind!r})")
        if self.schedule == "gradual" and self.rewind != "start":
            raise _conflict(("rewind", self.rewind), ("schedule", "gradual"), "where every level starts dense")
        if self.search == "continue" and (self.schedule, self.rewind) != ("iterative", "start"):
            setting = ("schedule", self.schedule) if self.schedule != "iterative" else ("rewind", self.rewind)
            raise _conflict(setting, ("search", "continue"), "which finds every mask from the one before")
        if self.search == "continue" and self.score in SCORED_AT_START:
            raise _conflict(("score", self.score), ("search", "continue"), "which prunes what was trained")

    def density(self, level: int) -> float:
        """Return the density that a level is pruned to; 1 at level 0."""
        return float((1 - self.fraction) ** level)


def _conflict(setting: tuple[str, str], other: tuple[str, str], reason: str) -> UserError:
    """Return the error for two settings that do not go together, each a name and its value."""
    (name, value), (beside, taken) = setting, other
    return UserError(f"`prune.{name}` (={value!r}) must be another with `prune.{beside}` (={taken!r}), {reason}")
