"""The one error that is the user's to mend."""

from collections.abc import Iterable

from fourfold.record.text import sentence


class UserError(ValueError):
    """A mistake that the user can mend, said in one sentence: what, the value, what would be right.

    The command line prints it without a traceback and ends with exit code 2. Control characters, which names and paths may
    have, are written out in it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(sentence(message))


class RankError(UserError):
    """What one of several processes says for all of them; the others end without a word."""


def unknown(kind: str, name: object, known: Iterable[str], hint: str = "") -> UserError:
    """Return the error for a name that is in none of our tables, listing those that are."""
    listed = ", ".join(sorted(known))
    return UserError(f"unknown {kind} {str(name)!r}; known: {listed}{'; ' + hint if hint else ''}")
