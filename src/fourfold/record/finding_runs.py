"""`find_runs`: the runs at or below some folders."""

from pathlib import Path

from fourfold.record.errors import UserError
from fourfold.record.folders import run_folders
from fourfold.record.store import RunStore


def find_runs(*paths: Path, without_spec: bool = False, unread: list[str] | None = None) -> list[RunStore]:
    """Return every run at or below the paths, ordered by path; what was moved aside to `damaged/` of a run is none.

    Links are followed, and a run that is reached in several ways is returned once.

    Args:
        paths: The paths.
        without_spec: Whether to return those that have lost their spec, too.
        unread: Gets a sentence for each folder below the paths that cannot be read; None refuses such folders.

    Raises:
        UserError: a path does not exist, or cannot be read.
    """

    def refuse(folder: Path, error: OSError) -> None:
        sentence = f"cannot look for runs in {folder} ({error.strerror or error})"
        if unread is None or folder in paths:
            raise UserError(sentence) from error
        unread.append(sentence)

    folders: dict[Path, Path] = {}
    for path in paths:
        try:
            if not path.exists():
                raise UserError(f"there is no {path}; name a run's folder or one that holds runs")
        except OSError as error:
            raise UserError(f"cannot look for runs in {path} ({error.strerror})") from error
        for folder in run_folders(path, refuse, without_spec=without_spec):
            folders.setdefault(folder.resolve(), folder)
    return [RunStore(path) for path in sorted(folders.values())]
