"""The one error that is the user's to mend."""

from collections.abc import Iterable

from fourfold.record.text import LONGEST, sentence, shortened


class UserError(ValueError):
    """A mistake that the user can mend, in one sentence: what, the value, what would be right.

    The command line prints it without a traceback and ends with exit code 2. Control characters, which names and paths may
    have, are written out in it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(sentence(message))
        self.longest: int | None = LONGEST
        """Characters that are shown of it; None shows all."""

    @property
    def shown(self) -> str:
        """What the command line prints: of a sentence that is too long, its beginning and its end."""
        return str(self) if self.longest is None else shortened(str(self), self.longest)


class LostFileError(UserError):
    """A file that is missing or damaged, and that training makes again."""

    def __init__(self, what: str, folder: object) -> None:
        super().__init__(f"{what}; `fourfold check --repair {folder}` makes it again by training")
        self.what = what
        """Which file, and what is wrong with it."""


class LostSpecError(UserError):
    """The spec of a run is missing or damaged; the run's id proves the one that is written again."""

    def __init__(self, file: object, what: object) -> None:
        super().__init__(f"{file} cannot be read as a spec ({what}); the `fourfold run` that began the run writes it again")
        self.what = f"cannot be read as a spec ({what})"
        """What is wrong with it."""


class RankError(UserError):
    """What one of several processes says for all of them; the others end without a word."""


def unknown(kind: str, name: object, known: Iterable[str], hint: str = "") -> UserError:
    """Return the error for a name that is in none of our tables, listing those that are: all of them, however many."""
    listed = ", ".join(sorted(known))
    error = UserError(f"unknown {kind} {shortened(str(name), 100)!r}; known: {listed}{'; ' + hint if hint else ''}")
    error.longest = None
    return error
