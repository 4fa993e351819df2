"""Arguments that may be left out, and whose help need not say what they are then."""

from typing import Annotated, TypeVar

import tyro

T = TypeVar("T")

_WITHOUT_DEFAULT = tyro.conf.arg(help_behavior_hint="")

Maybe = Annotated[T | None, _WITHOUT_DEFAULT]
"""A value, or none."""

AnyNumber = Annotated[tuple[T, ...], _WITHOUT_DEFAULT]
"""Any number of values after one flag, none by default."""

Flag = Annotated[bool, _WITHOUT_DEFAULT]
"""A flag without a value, not given by default."""
