"""The one error that is the user's to mend."""

import difflib
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


SUGGESTED = 3
LEAST_ALIKE, NEARLY_AS_ALIKE = 0.6, 0.12
"""Of two names, twice the letters that they share in order over all of theirs; and how far behind the best others may be."""
SHORTEST_PART = 3
"""Letters of a name by which longer ones are found."""

LISTED = 12
"""Names that an error lists; of more it names the nearest, or says where they are listed."""


def unknown(kind: str, name: object, known: Iterable[str], hint: str = "") -> UserError:
    """Return the error for a name that is in none of our tables.

    It suggests the names that are spelled nearly so. Up to 12 known names are listed; more only where there is neither a
    suggestion nor a hint.

    Args:
        kind: What it should name, such as `preset`.
        name: The unknown one.
        known: All names.
        hint: Where they are described, such as a command.
    """
    names = sorted(known)
    near = nearest(str(name), names)
    listed = f"known: {', '.join(names)}" if len(names) <= LISTED or not (near or hint) else ""
    error = UserError(suggesting(f"unknown {kind} {shortened(str(name), 100)!r}", near, listed, hint))
    error.longest = None
    return error


def suggesting(mistake: str, near: Iterable[str], *hints: str) -> str:
    """Return a sentence of a mistake, the names that may have been meant, and hints, of which empty ones are left out."""
    meant = " or ".join(near)
    tail = "; ".join(filter(None, hints))
    return f"{mistake}; did you mean {meant}? {tail}".rstrip() if meant else "; ".join(filter(None, (mistake, tail)))


def canonical(name: str, known: Iterable[str]) -> str:
    """Return the known name that a name is but for case, hyphens, underscores and spaces, or the name as it is."""
    return next((each for each in known if _letters(each) == _letters(name)), name)


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three names that are spelled nearly as one is, the nearest first; case, _ and spaces do not count.

    Before all others come those that it abbreviates, as `train.lr` does `train.learning_rate`. Where there are none of either,
    those that contain it.
    """
    spelled, plain = {_plain(each): each for each in known}, _plain(name)
    if abbreviated := [each for each in spelled if _initials(each) == plain]:
        return [spelled[each] for each in abbreviated[:SUGGESTED]]
    near = difflib.get_close_matches(plain, spelled, n=max(1, len(spelled)), cutoff=LEAST_ALIKE)
    if near:
        best = _alike(plain, near[0])
        near = [each for each in near if _alike(plain, each) >= best - NEARLY_AS_ALIKE]
        near = sorted(near, key=lambda each: (-_alike(plain, each), each))[:SUGGESTED]
    containing = [each for each in spelled if plain in each] if len(plain) >= SHORTEST_PART else []
    return [spelled[each] for each in near or containing[:SUGGESTED]]


def _alike(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, other, one).ratio()


def _initials(name: str) -> str:
    """Return a plain name whose last part is its words' initials, such as `train.lr`; empty where that is one word."""
    *parts, last = name.split(".")
    words = last.split("-")
    return ".".join([*parts, "".join(word[:1] for word in words)]) if len(words) > 1 else ""


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in "-_ ")


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
