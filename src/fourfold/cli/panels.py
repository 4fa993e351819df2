"""The panels that a command's help sorts its options into: an option stands in the same one in every command."""

from collections.abc import Sequence

from fourfold.cli.options import Option

PANELS: dict[str, tuple[str, ...]] = {
    "Experiment": (
        *("--algebra", "--trials", "--epochs", "--learning-rate", "--precision", "--protocol", "--base", "--scale", "--set"),
        *("--data", "--model", "--task", "--size", "--bad-images", "--classes", "--code", "--trust-code"),
        "--accept-changed-code",
    ),
    "Search": ("--optuna", "--seed", "--validation", "sweep --level"),
    "Pruning": ("--prune-fraction", "--max-level", "--controls", "--control-levels"),
    "Measurement": ("--steps", "--levels", "--points", "--density", "--threads", "--batch", "--rounds", "--images"),
    "Ticket": ("--level", "--trial"),
    "Conversion": ("--to", "--values", "--ranges", "--entropy", "--verify"),
    "Where it runs": ("--device", "--data-dir", "--workers", "--budget", "--checkpoint", "--parts"),
    "Cluster": ("--executor", "--address", "--gpus-per-trial", "--memory-per-trial"),
    "Output": ("--dry-run", "--out", "--keep", "--track", "--track-dir"),
}
"""Options by panel, in the order in which help names them."""

FEWEST = 6
"""Options of a command that is worth panels."""


def panels_of(command: str, options: Sequence[Option]) -> dict[str, list[Option]]:
    """Return a command's options by panel; those in none, and all of a small command, are in one that is called Options."""
    named = {option.name: option for option in options if not option.positional}
    if len(named) < FEWEST:
        return {"Options": list(named.values())} if named else {}
    panels = {}
    for title, names in PANELS.items():
        own = [name.removeprefix(f"{command} ") for name in names]
        panels[title] = [named.pop(name) for name in own if name in named]
    panels["Options"] = list(named.values())
    return {title: members for title, members in panels.items() if members}
