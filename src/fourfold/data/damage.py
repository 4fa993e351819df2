"""The error for a data file that cannot be used."""

from pathlib import Path

from fourfold.record.errors import UserError


class BadFileError(UserError):
    """A data file that cannot be used: which one, what is wrong, what would be right."""

    def __init__(self, path: Path, wrong: str, right: str) -> None:
        super().__init__(f"{path} {wrong}; {right}")
        self.path = path
        self.wrong = f"{wrong}; {right}"
        """The same without the path, for tables that have it already."""
