"""What presets are: functions that return a `Spec`, and say what it is."""

from collections.abc import Callable

from fourfold.record import Spec

Preset = Callable[[], Spec]


def with_description(words: str) -> Callable[[Preset], Preset]:
    """Give a preset the docstring that `fourfold presets` prints: Python without docstrings (`-OO`) leaves this one."""

    def decorate(preset: Preset) -> Preset:
        preset.__doc__ = words
        return preset

    return decorate
