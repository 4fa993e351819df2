"""What commands change of a preset: the fields that have flags, and any others by `--set`."""

from collections.abc import Mapping, Sequence

from fourfold.record import Spec, UserError, Value, parse_value, split_words, with_fields

FIELDS = {
    "epochs": "train.epochs",
    "learning_rate": "train.learning_rate",
    "precision": "train.precision",
    "prune_fraction": "prune.fraction",
    "max_level": "stop.max_level",
}
"""By the flag's name."""

ANOTHER_EXPERIMENT = ("data.name", "model.name")
"""Fields without which rows are no longer of the preset that they are named after."""


def changed(spec: Spec, flags: Mapping[str, float | str | None], settings: Mapping[str, Value] | None = None) -> Spec:
    """Return a spec with other settings, and with the flags that were given; None is a flag that was not.

    Raises:
        UserError: a field is set twice, or the spec refuses its value.
    """
    settings = settings or {}
    values = {FIELDS[flag]: value for flag, value in flags.items() if value is not None}
    for flag, name in FIELDS.items():
        if name in values and name in settings:
            raise UserError(f"`--{flag.replace('_', '-')}` (={values[name]}) cannot be combined with `--set {name}`")
    return with_fields(spec, {**settings, **values})


def parse_settings(words: Sequence[str], presets: Sequence[str] | Mapping[str, object]) -> dict[str, Value]:
    """Return the fields and values that `field=value` words name.

    Args:
        words: What `--set` was given.
        presets: Names that the experiment cannot be given.

    Raises:
        UserError: a word is no `field=value`, or names an unknown field, a value of another type, or a field twice; or
            what makes another experiment has no name of its own.
    """
    texts = split_words(words, "a field and its value, such as prune.score=synflow")
    if "model.algebra" in texts:
        raise UserError("`model.algebra` must be left out of `--set`: --algebra sets it")
    settings = {name: parse_value(name, text) for name, text in texts.items()}
    if settings.get("preset") in presets:
        raise UserError(f"`preset` (={settings['preset']!r}) must be a name that no preset has")
    for name in ANOTHER_EXPERIMENT:
        if name in settings and "preset" not in settings:
            raise UserError(f"`{name}` (={settings[name]!r}) must come with `--set preset=NAME`: it makes another experiment")
    return settings
