"""`Section`: one part of an experiment's page."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fourfold.report._experiments import Experiment


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of a page: a template and what it is filled with."""

    template: str
    """Below `templates/sections/`."""
    values: dict[str, Any] = field(default_factory=dict)


Builder: TypeAlias = Callable[[Experiment], Section | None]
"""Returns the section of an experiment, or None where it has nothing for it."""
