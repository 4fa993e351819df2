"""Which code of a run's folder a command may import: what was named on its command line, or all with `--trust-code`."""

from pathlib import Path

from fourfold.record import RunStore, Trust, UserError


def trusting(stores: list[RunStore], code: Path | None, trust_code: bool) -> list[RunStore]:
    """Return runs with permission to import the code that they name, as far as it was given.

    Args:
        stores: The runs.
        code: The file that was named.
        trust_code: Whether any code may be imported, from the current folder.

    Raises:
        UserError: both were given, or the file is not there.
    """
    if code is not None and trust_code:
        raise UserError(f"`--code` (={code}) cannot be combined with `--trust-code`, which trusts any file")
    if code is not None:
        if not code.is_file():
            raise UserError(f"`--code` (={code}) must be a file of Python code, such as roads.py")
        return [store.trusted(Trust(folder=str(code.parent), only=(code.name,))) for store in stores]
    return [store.trusted(Trust(folder=".")) for store in stores] if trust_code else stores
