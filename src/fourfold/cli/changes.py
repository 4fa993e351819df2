"""The fields of a preset that commands expose as flags."""

from fourfold.record import Spec
from fourfold.record.settings import with_field

FIELDS = {
    "epochs": "train.epochs",
    "learning_rate": "train.learning_rate",
    "precision": "train.precision",
    "prune_fraction": "prune.fraction",
    "max_level": "stop.max_level",
}
"""By the flag's name."""


def changed(spec: Spec, **flags: float | str | None) -> Spec:
    """Return a spec with the flags that were given; None is a flag that was not."""
    for flag, value in flags.items():
        if value is not None:
            spec = with_field(spec, FIELDS[flag], value)
    return spec
