"""Old names of modules: one that shares its name with a function is private now, and importing the old path still works."""

import sys


def alias_modules(package: str, *names: str) -> None:
    """Let `package.name` be imported as the module `package._name`, which has been imported; the attribute stays as it is."""
    for name in names:
        sys.modules[f"{package}.{name}"] = sys.modules[f"{package}._{name}"]
