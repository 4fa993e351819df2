"""Importing code of the user's: a file under a name of its own, or a module."""

import hashlib
import importlib
import importlib.util
import sys
import threading
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fourfold.record.code_errors import in_code, user_error
from fourfold.record.errors import UserError
from fourfold.record.files import read_file
from fourfold.record.imported_files import INSTALLED, LARGEST_CODE, Helper, files_of, helpers_of

Check = Callable[[Mapping[str, str]], None]
"""Called with the SHA-256 of all files before one is executed; it raises for one that may not be."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A module of the user's, and the files that it is made of."""

    module: types.ModuleType
    file: Path
    sha256: str
    """Of the file's content."""
    helpers: Mapping[str, tuple[Path, str]]
    """Other files with their SHA-256, by path from where the source is named, or by module."""


_importing = threading.RLock()
_modules: dict[tuple[str, ...], types.ModuleType] = {}
"""Files that were imported, by path and the digests of all that they import: model, data and task of one file are of one
module."""
_loaded: dict[str, str] = {}
"""SHA-256 of helpers and modules as they were when they were imported first, by module."""


def import_code(source: str, folder: Path, named: str, check: Check) -> Imported:
    """Return the module of a file or of the name of a module.

    Args:
        source: `roads.py` (relative to the folder) or `package.module`.
        folder: Where files lie, and modules that are not installed.
        named: What the spec calls the source; helpers are named as seen from there.
        check: Sees all digests first.

    Raises:
        UserError: it is not there, cannot be imported, or imports a module that Python finds elsewhere.
    """
    with _importing:
        if not source.endswith(".py"):
            return _module(source, folder, check)
        file = (folder / source).absolute()
        try:
            content = read_file(file, LARGEST_CODE)
        except OSError as error:
            raise UserError(f"{file}: expected a file of Python code, found none ({error.strerror or error})") from error
        _look_in(file.parent)
        helpers = helpers_of(file, content, file.parent, None)
        names = {str(Path(named).parent / helper.file.relative_to(file.parent)): helper for helper in helpers}
        digest = hashlib.sha256(content).hexdigest()
        check({named: digest} | {name: helper.sha256 for name, helper in names.items()})
        key = (str(file), digest, *(helper.sha256 for helper in helpers))
        if key not in _modules:
            _forget_changed(helpers)
            _modules[key] = _executed(file, content, digest)
            _remember(helpers)
        return Imported(module=_modules[key], file=file, sha256=digest, helpers=_files_and_digests(names))


def source_file(source: str, folder: Path) -> tuple[str, Path] | None:
    """Return the path of a source from its folder, with slashes, and the file; None if it does not lie below it."""
    if source.endswith(".py"):
        path = Path(source)
        return None if path.is_absolute() or ".." in path.parts else (path.as_posix(), folder / path)
    for module, file in files_of(source, folder):
        if module == source:
            return file.relative_to(folder).as_posix(), file
    return None


def digest_of(file: Path) -> str | None:
    """Return the SHA-256 of a file; None if it cannot be read."""
    try:
        return hashlib.sha256(read_file(file, LARGEST_CODE)).hexdigest()
    except OSError:
        return None


def _files_and_digests(names: Mapping[str, Helper]) -> dict[str, tuple[Path, str]]:
    return {name: (helper.file, helper.sha256) for name, helper in names.items()}


def _look_in(folder: Path) -> None:
    """Let Python find modules in a folder: after everything else, so that they hide nothing."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()


def _executed(file: Path, content: bytes, digest: str) -> types.ModuleType:
    """Return a module of the content of a file, under a name of its own that no other module can have."""
    name = f"_fourfold_code_{hashlib.sha256(f'{file} {digest}'.encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    try:
        with in_code(file, "code that can be imported"), without_bytecode():
            exec(compile(content, str(file), "exec"), module.__dict__)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _module(name: str, folder: Path, check: Check) -> Imported:
    """Return a module by its name; see `import_code`."""
    _look_in(folder.absolute())
    file = Path(name)
    try:
        file = _located(name)
        content = file.read_bytes()
        root = file.parents[name.count(".") + (file.name == "__init__.py")]
        only = name.partition(".")[0] if set(root.parts) & set(INSTALLED) else None
        helpers = helpers_of(file, content, root, only)
        digest = hashlib.sha256(content).hexdigest()
        names = {helper.module: helper for helper in helpers if helper.file != file}
        check({name: digest} | {module: helper.sha256 for module, helper in names.items()})
        every = [*names.values(), Helper(module=name, file=file, sha256=digest)]
        _forget_changed(every)
        with without_bytecode():
            module = importlib.import_module(name)
        _remember(every)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise UserError(f"`{name}` must be a module that Python finds, installed or in {folder.absolute()}") from error
        raise user_error(error, file, "a module that can be imported") from error
    except OSError as error:
        raise UserError(f"{name}: expected a module with a file, found none ({error.strerror})") from error
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise user_error(error, _file_of(error, name), "a module that can be imported") from error
    return Imported(module=module, file=file, sha256=digest, helpers=_files_and_digests(names))


def _located(name: str) -> Path:
    """Return the file of a module; none of its packages is executed for it where they are folders of files.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    top = importlib.util.find_spec(name.partition(".")[0])
    for place in (top.submodule_search_locations or ()) if top else ():
        for module, file in files_of(name, Path(place).parent):
            if module == name:
                return file
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin or not spec.has_location:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return Path(spec.origin)


def _file_of(error: BaseException, name: str) -> Path:
    """Return the file of a module in which its import failed: the innermost one that has its name."""
    if isinstance(error, SyntaxError) and error.filename:
        return Path(error.filename)
    ending, trace, path = name.rpartition(".")[2] + ".py", error.__traceback__, Path(name)
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.name in (ending, "__init__.py"):
            path = file
        trace = trace.tb_next
    return path


@contextmanager
def without_bytecode() -> Iterator[None]:
    """Write no bytecode: of two versions of a file of one length in one second it would be that of the first."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


def _forget_changed(helpers: list[Helper]) -> None:
    """Let modules be imported anew if the file of one has changed since this process imported it: others have its names."""
    if all(_loaded.get(helper.module, helper.sha256) == helper.sha256 for helper in helpers):
        return
    tops = {helper.module.partition(".")[0] for helper in helpers if _loaded.pop(helper.module, None) is not None}
    for name in [name for name in sys.modules if name.partition(".")[0] in tops]:  # packages hold their modules by name
        del sys.modules[name]
    importlib.invalidate_caches()


def _remember(helpers: list[Helper]) -> None:
    for helper in helpers:
        _loaded.setdefault(helper.module, helper.sha256)
