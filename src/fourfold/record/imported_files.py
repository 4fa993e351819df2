"""Which files beside a file of the user's code are imported with it.

What is imported is seen by reading the code and never by running it, so that a change is noticed before anything runs, and in
every process alike, also of what a function imports when it is called. Modules by names that are made at run time are not seen.
"""

import ast
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fourfold.record.errors import UserError
from fourfold.record.files import read_file

LARGEST_CODE = 2**26
"""Bytes of a file of code."""

INSTALLED = ("site-packages", "dist-packages")
"""Folders of installed packages, of which only the package that was named is the user's code."""


@dataclass(frozen=True, kw_only=True)
class Helper:
    """A file that is imported by another one."""

    module: str
    """Under which Python imports it."""
    file: Path
    sha256: str


def helpers_of(file: Path, content: bytes, root: Path, only: str | None) -> list[Helper]:
    """Return the files below a folder that a file imports, and those that they import, each once, by path.

    Args:
        file: The file.
        content: What it holds.
        root: The folder in which the first part of a module's name is looked up.
        only: The one such part that counts; None means all but those of installed packages and of Python's own.

    Raises:
        UserError: Python would find another module than the one that lies there.
    """
    helpers: dict[Path, Helper] = {}
    waiting = [(file, content)]
    while waiting:
        importer, text = waiting.pop()
        for name in _names(text, _package_of(importer, root)):
            top = name.partition(".")[0]
            if (only is not None and top != only) or not _is_beside(top, root, file):
                continue
            for module, path in files_of(name, root):
                if path == file or path in helpers:
                    continue
                try:
                    code = read_file(path, LARGEST_CODE)
                except OSError:
                    continue  # which importing it will tell
                waiting.append((path, code))
                if code.strip():
                    helpers[path] = Helper(module=module, file=path, sha256=hashlib.sha256(code).hexdigest())
    return [helpers[path] for path in sorted(helpers)]


@lru_cache(maxsize=1024)
def _names(content: bytes, package: str) -> tuple[str, ...]:
    """Return the modules that code imports wherever it does, by their whole names; of code with a mistake, none."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    names: dict[str, None] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(dict.fromkeys(alias.name for alias in node.names))
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level and package else []
            base = ".".join(filter(None, [*parents, node.module or ""]))
            names.update(dict.fromkeys(filter(None, [base, *(f"{base}.{alias.name}".lstrip(".") for alias in node.names)])))
    return tuple(names)


def _package_of(file: Path, root: Path) -> str:
    """Return the package whose module a file is, as seen from a folder; nothing if that is the folder itself."""
    return ".".join(file.parent.relative_to(root).parts) if file.is_relative_to(root) else ""


def files_of(name: str, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the modules, and their files below a folder, that Python executes for the name of one: its packages first."""
    words = name.split(".")
    for count in range(1, len(words) + 1):
        path = root.joinpath(*words[:count])
        for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py")):
            if candidate.is_file():
                yield ".".join(words[:count]), candidate
                break


def _is_beside(top: str, root: Path, file: Path) -> bool:
    """Whether a module by this name lies in a folder, and is what Python imports by it.

    Raises:
        UserError: another folder of somebody's own has one, too, which Python would take.
    """
    path = root / top
    lies_there = path.with_suffix(".py").is_file() or path.is_dir()
    if not lies_there or top in sys.stdlib_module_names or top == __name__.partition(".")[0]:
        return False
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return False
    if spec is None:
        return False
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin and spec.has_location else [])]
    if any(Path(place).resolve().is_relative_to(root.resolve()) for place in places):
        return True
    if places and not any(set(Path(place).parts) & set(INSTALLED) for place in places) and path.with_suffix(".py").is_file():
        raise UserError(
            f"{file}: expected `{top}` to be {path.with_suffix('.py')}, found {places[-1]}, which Python imports by this name; "
            "rename one of them"
        )
    return False
