"""`ArrayFiles`: the masks, states, weights and examples of a run, one file a level."""

import re
from collections.abc import Callable
from pathlib import Path

from fourfold.record.arrays import LARGEST_ARRAYS, Arrays, ArraysError, digest_of, mask_digest, pack, unpack
from fourfold.record.errors import LostFileError, UserError
from fourfold.record.examples import EXAMPLE_TRIAL, MOST_BYTES, Examples
from fourfold.record.files import make_folder, read_file, write_atomically
from fourfold.record.folders import LARGEST_TEXT
from fourfold.record.rows import TICKET


class ArrayFiles:
    """What a run keeps in `masks/`, `states/`, `weights/` and `examples/`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _id(self) -> str:
        """Return the run's id."""
        raise NotImplementedError

    def save_mask(self, trial: int, level: int, masks: Arrays, control: str = TICKET) -> None:
        """Write the bit-packed mask that `level` is trained under."""
        self._write(self._arrays_file("masks", trial, level, control), pack(masks))

    def mask(
        self, trial: int, level: int, control: str = TICKET, *, digest: str | None = None, most_bytes: int = LARGEST_ARRAYS
    ) -> Arrays:
        """Return the bit-packed mask that `level` is trained under.

        Args:
            trial: The trial.
            level: The level.
            control: The control whose mask it is.
            digest: SHA-256 that it must have; None takes any.
            most_bytes: How long its file may be.

        Raises:
            LostFileError: it is missing, damaged, too long, or another.
        """
        file = self._arrays_file("masks", trial, level, control)
        return self._kept_by_training(file, digest, mask_digest, most_bytes)

    def has_mask(self, trial: int, level: int) -> bool:
        """Whether a level's mask is on disk; rows that were copied without their masks have none."""
        return self._arrays_file("masks", trial, level).is_file()

    def save_state(self, trial: int, level: int, arrays: Arrays) -> None:
        """Write what `level` needs of the levels before it, beside its mask."""
        self._write(self._arrays_file("states", trial, level), pack(arrays))

    def state(self, trial: int, level: int, *, digest: str | None = None, most_bytes: int = LARGEST_ARRAYS) -> Arrays:
        """Return what `level` needs of the levels before it; the arguments are those of `mask`.

        Raises:
            LostFileError: it is missing, damaged, too long, or another.
        """
        return self._kept_by_training(self._arrays_file("states", trial, level), digest, digest_of, most_bytes)

    def drop_states(self, trial: int, before: int) -> None:
        """Remove the states of a trial's levels before one whose own state is there."""
        for level in self._levels_in("states", trial):
            if level < before:
                self._arrays_file("states", trial, level).unlink(missing_ok=True)

    def save_weights(self, trial: int, level: int, arrays: Arrays) -> None:
        """Write what `level` was trained to, pruned weights left out."""
        self._write(self._arrays_file("weights", trial, level), pack(arrays, place=place_of(self._id(), trial, level)))

    def kept_levels(self, trial: int) -> list[int]:
        """Return the levels of a trial whose weights were kept, in order."""
        return self._levels_in("weights", trial)

    def save_examples(self, level: int, arrays: Arrays) -> None:
        """Write what a level says of a few items of the test set; see `fourfold.record.examples`."""
        place = place_of(self._id(), EXAMPLE_TRIAL, level)
        self._write(self._arrays_file("examples", EXAMPLE_TRIAL, level), pack(arrays, place=place))

    def example_levels(self) -> list[int]:
        """Return the levels that have left examples, in order."""
        return self._levels_in("examples", EXAMPLE_TRIAL)

    def examples(self, level: int) -> Examples:
        """Return what a level says of a few items of the test set.

        Raises:
            UserError: the file is missing or damaged.
        """
        file = self._arrays_file("examples", EXAMPLE_TRIAL, level)
        try:
            return Examples.of(unpack(self._read(file, MOST_BYTES), place=place_of(self._id(), EXAMPLE_TRIAL, level)))
        except (OSError, ArraysError) as error:
            raise UserError(f"{file} cannot be read ({error}); `fourfold check --repair {self.path}` makes it again") from error

    def _levels_in(self, kind: str, trial: int) -> list[int]:
        """Return the levels of a trial that have a file in a folder, in order; files of other names are not ours."""
        files = (self.path / kind).glob(f"{trial}-*.safetensors")
        return sorted(int(name[1]) for file in files if (name := re.fullmatch(rf"{trial}-(\d+)\.safetensors", file.name)))

    def _read(self, file: Path, most_bytes: int = LARGEST_TEXT) -> bytes:
        return read_file(file, most_bytes)

    def _write(self, file: Path, content: bytes) -> None:
        make_folder(file.parent)
        write_atomically(file, content)

    def _kept_by_training(
        self, file: Path, digest: str | None, digest_of_arrays: Callable[[Arrays], str], most_bytes: int
    ) -> Arrays:
        """Return the arrays of a file that training makes again."""
        try:
            arrays = unpack(self._read(file, most_bytes))
        except (OSError, ArraysError) as error:
            raise LostFileError(f"{file} cannot be read ({error})", self.path) from error
        if digest is not None and digest_of_arrays(arrays) != digest:
            actual = digest_of_arrays(arrays)
            raise LostFileError(f"{file}: expected the SHA-256 {digest[:8]} of its row, found {actual[:8]}", self.path)
        return arrays

    def _arrays_file(self, kind: str, trial: int, level: int, control: str = TICKET) -> Path:
        return self.path / kind / f"{trial}-{level}{ending(control)}.safetensors"


def ending(control: str) -> str:
    """Return what the names of a control's files have more than those of its ticket."""
    return "" if control == TICKET else f"-{control}"


def place_of(run: str, trial: int, level: int) -> str:
    """Return whose arrays those of a level are, which the digest of files that no row names covers."""
    return f"level {level} of trial {trial} of {run}"
