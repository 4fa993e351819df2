"""Names of files, made of experiments' names."""

import re
from collections.abc import Sequence
from itertools import count

from fourfold.report._experiments import Experiment


def slugs(experiments: Sequence[Experiment]) -> list[str]:
    """Return a file name for every experiment, made of letters, digits and hyphens, no two alike."""
    names: list[str] = []
    for experiment in experiments:
        base = re.sub(r"[^a-z0-9]+", "-", experiment.preset.lower()).strip("-") or "preset"
        numbered = (f"{base}-{number}" for number in count(1))
        names.append(base if base not in names else next(name for name in numbered if name not in names))
    return names
