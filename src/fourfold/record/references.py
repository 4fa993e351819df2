"""References: how a spec names code of the user's, and the only way from such a name to the code.

A name of a model, of data or of a task is built in (`conv-4`), that of an entry point of an installed package, or code:
`roads.py:net` or `mypackage.roads:net`. Nothing here imports code unless a `Trust` says that it may: a spec that is read from a
folder has none, so reading the runs of a stranger never runs what they name.
"""

import hashlib
import importlib
import importlib.util
import inspect
import sys
import threading
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from fourfold.record.errors import UserError
from fourfold.record.text import shortened

Part = Literal["model", "data", "task"]
"""What a reference stands for: `model.name`, `data.name` or `task.name` of a spec."""

GROUPS: dict[Part, str] = {"model": "fourfold.models", "data": "fourfold.data", "task": "fourfold.tasks"}
"""The entry points in which installed packages name their own."""

_SHOWN = 200
"""Characters of an error in user code that a message shows."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The name of an object in a file or in a module."""

    source: str
    """`roads.py` (relative to the folder of its `Trust`) or `package.module`."""
    attribute: str

    @property
    def is_file(self) -> bool:
        """Whether the source is a file and no module."""
        return self.source.endswith(".py")

    def __str__(self) -> str:
        return f"{self.source}:{self.attribute}"


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Permission to import the code that a spec names, made of what was given on a command line or in Python."""

    folder: str = "."
    """Where the files of references lie."""
    only: tuple[str, ...] | None = None
    """Sources (files and modules) that may be imported; None means all that the spec names."""
    digests: tuple[tuple[str, str], ...] = ()
    """Sources with the SHA-256 that they must have; others may have any."""

    def expecting(self, digests: Mapping[str, str]) -> "Trust":
        """Return the same trust in code that has these digests."""
        return Trust(folder=self.folder, only=self.only, digests=tuple(sorted(digests.items())))

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, for processes that do the same work elsewhere."""
        only = None if self.only is None else list(self.only)
        return {"folder": str(Path(self.folder).absolute()), "only": only, "digests": dict(self.digests)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Trust":
        """Rebuild a trust that a process of ours has sent."""
        only = None if value["only"] is None else tuple(value["only"])
        return cls(folder=value["folder"], only=only, digests=tuple(sorted(value["digests"].items())))


@dataclass(frozen=True, kw_only=True, eq=False)
class Code:
    """An object of user code, and the file that it came from."""

    name: str
    """Its reference, such as `roads.py:net`."""
    source: str
    """Of its reference: a file as it was named, or a module."""
    value: Any
    file: Path
    sha256: str
    """Of the file's content as it was imported."""

    @property
    def attribute(self) -> str:
        """Its name in its file."""
        return self.name.rpartition(":")[2]

    def call(self, *arguments: Any, takes: str) -> Any:
        """Call it; what goes wrong in it is one sentence with its file and line, the error itself being its cause.

        Args:
            *arguments: By position.
            takes: What it is asked to take, for the message, such as `algebra, inputs, outputs`.
        """
        if not callable(self.value):
            raise UserError(
                f"{self.file}: expected `{self.attribute}` to be a function of ({takes}), found a {type(self.value).__name__}"
            )
        try:
            inspect.signature(self.value).bind(*arguments)
        except TypeError:
            line = _line_of(self.value)
            raise UserError(
                f"{self.file}{line}: expected `{self.attribute}` to take ({takes}), found {inspect.signature(self.value)}"
            ) from None
        except ValueError:  # of builtins, which have no signature
            pass
        with in_code(self.file, f"`{self.attribute}` to return"):
            return self.value(*arguments)


class in_code:  # noqa: N801 - a context manager, used as a function
    """Turn what code of the user's raises into one sentence with its file and line.

    Args:
        file: Where the code is.
        expected: What it was asked for.
    """

    def __init__(self, file: Path, expected: str) -> None:
        self._file, self._expected = file, expected

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, KeyboardInterrupt | GeneratorExit | MemoryError | UserError):
            return
        raise user_error(error, self._file, self._expected) from error


def user_error(error: BaseException, file: Path, expected: str) -> UserError:
    """Return what an error in user code comes to: file, line, what was expected, and what it says."""
    if isinstance(error, SyntaxError) and error.filename == str(file):
        return UserError(f"{file}:{error.lineno}: expected Python code, found a syntax error ({error.msg})")
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    place = line_in(error, file)
    return UserError(f"{file}{place}: expected {expected}, found {shortened(said.partition(chr(10))[0], _SHOWN)}")


def line_in(error: BaseException, file: Path) -> str:
    """Return `:LINE`, the innermost line of a file that an error passed through; nothing if it passed through none."""
    found, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            found = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def parse(name: str) -> Reference | None:
    """Return the reference that a name is, or None if it is that of something built in or of an entry point.

    Raises:
        UserError: it has a colon and is no reference.
    """
    if ":" not in name:
        return None
    source, _, attribute = name.rpartition(":")
    is_module = all(word.isidentifier() for word in source.split("."))
    if not attribute.isidentifier() or not (is_module or (source.endswith(".py") and len(source) > len(".py"))):
        raise UserError(f"`name` (={name!r}) must be code, such as roads.py:net or package.module:net")
    return Reference(source=source, attribute=attribute)


def is_code(name: str) -> bool:
    """Whether a name is a reference to code."""
    return ":" in name


def entry_point(name: str, part: Part) -> Reference | None:
    """Return what an installed package names so, without importing it; None if none does."""
    for point in entry_points(group=GROUPS[part]):
        if point.name == name:
            return parse(point.value)
    return None


def entry_point_names(part: Part) -> list[str]:
    """Return the names that installed packages add."""
    return sorted(point.name for point in entry_points(group=GROUPS[part]))


def resolve(name: str, part: Part, trust: Trust | None) -> Code | None:
    """Import what a name stands for; None if it is no code, but the name of something built in, or of nothing.

    Args:
        name: As the spec has it.
        part: Of which part.
        trust: Permission to import it.

    Raises:
        UserError: nobody has given permission; the file is missing, has changed or cannot be imported; it has no such
            attribute.
    """
    reference = parse(name) or entry_point(name, part)
    if reference is None:
        return None
    if trust is None:
        raise UserError(
            f"`{part}.name` (={name!r}) is code, which is not imported because a run's folder names it: give its file by "
            f"--code, as in --code {reference.source if reference.is_file else 'roads.py'}, or --trust-code if you know "
            "whose it is"
        )
    expected = dict(trust.digests).get(reference.source)
    given = reference if trust.only is None else _given(reference, trust, expected)
    if given is None:
        raise UserError(
            f"`{part}.name` (={name!r}) must be in {' or '.join(trust.only or ())}, the code that was given; --trust-code "
            "imports any"
        )
    module, file, digest = _imported(given, Path(trust.folder), expected)
    if expected is not None and digest != expected:
        raise changed(reference.source, expected, digest, _AS_IT_WAS)
    if not hasattr(module, reference.attribute):
        close = get_close_matches(reference.attribute, [word for word in vars(module) if not word.startswith("_")], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"{file}: expected `{reference.attribute}`, found no such name{hint}")
    value = getattr(module, reference.attribute)
    return Code(name=str(reference), source=reference.source, value=value, file=file, sha256=digest)


def _given(reference: Reference, trust: Trust, expected: str | None) -> Reference | None:
    """Return a reference to the code that was given, if it is what another names; else None.

    A file is, by whatever path either names it, if it is the same one on disk, has the same name, or the content that is
    expected: what is imported is in any case the file that was given.
    """
    for source in trust.only or ():
        if source == reference.source:
            return reference
        if not (reference.is_file and source.endswith(".py")):
            continue
        file, named = Path(trust.folder, source), Path(trust.folder, reference.source)
        if file.name == named.name or file.resolve() == named.resolve() or expected == _digest_of(file):
            return Reference(source=source, attribute=reference.attribute)
    return None


def _digest_of(file: Path) -> str | None:
    """Return the SHA-256 of a file; None if it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


def import_file(file: Path) -> tuple[types.ModuleType, str]:
    """Import a file that was named on the command line, and return its module and the SHA-256 of its content."""
    reference = Reference(source=file.name, attribute="_")
    module, _, digest = _imported(reference, file.parent, None)
    return module, digest


_AS_IT_WAS = "give the file as it was; only `fourfold run` goes on with another, by --accept-changed-code"

_GO_ON = "--accept-changed-code goes on with it, another --out starts afresh"


def changed(source: str, expected: str, digest: str, advice: str = _GO_ON) -> UserError:
    """Return the error for code that is no longer what it was, with what can be done where it is met."""
    return UserError(
        f"the code of {source} has changed since the run began (SHA-256 {expected[:8]}, now {digest[:8]}): {advice}"
    )


_importing = threading.RLock()
_modules: dict[tuple[Path, str], types.ModuleType] = {}
"""Files that were imported, by path and digest: model, data and task of one file are of one module."""


def _imported(reference: Reference, folder: Path, expected: str | None) -> tuple[types.ModuleType, Path, str]:
    """Return the module of a reference, its file, and the digest of the file's content.

    A file whose digest is not the expected one is not executed.
    """
    with _importing:
        if not reference.is_file:
            return _imported_module(reference.source, folder)
        file = (folder / reference.source).absolute()
        try:
            content = file.read_bytes()
        except OSError as error:
            raise UserError(f"{file}: expected a file of Python code, found none ({error.strerror})") from error
        digest = hashlib.sha256(content).hexdigest()
        if expected is not None and digest != expected:
            raise changed(reference.source, expected, digest, _AS_IT_WAS)
        if (file, digest) not in _modules:
            _modules[file, digest] = _executed(file, content, digest)
        return _modules[file, digest], file, digest


def _executed(file: Path, content: bytes, digest: str) -> types.ModuleType:
    """Return a module of the content of a file, under a name of its own that no other module can have."""
    name = f"_fourfold_code_{hashlib.sha256(f'{file} {digest}'.encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))  # for modules beside it; after everything else, so that they hide nothing
    try:
        with in_code(file, "code that can be imported"):
            exec(compile(content, str(file), "exec"), module.__dict__)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _imported_module(name: str, folder: Path) -> tuple[types.ModuleType, Path, str]:
    if str(folder.absolute()) not in sys.path:
        sys.path.append(str(folder.absolute()))
    file = Path(name)
    try:
        module = importlib.import_module(name)
        file = Path(str(module.__file__)) if getattr(module, "__file__", None) else file
        content = file.read_bytes()
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):
            raise UserError(f"`{name}` must be a module that Python finds, installed or in {folder.absolute()}") from error
        raise user_error(error, file, "a module that can be imported") from error
    except OSError as error:
        raise UserError(f"{name}: expected a module with a file, found none ({error.strerror})") from error
    except (Exception, SystemExit) as error:
        raise user_error(error, _file_of(error, name), "a module that can be imported") from error
    return module, file, hashlib.sha256(content).hexdigest()


def _file_of(error: BaseException, name: str) -> Path:
    """Return the file of a module in which its import failed: the innermost one that has its name."""
    if isinstance(error, SyntaxError) and error.filename:
        return Path(error.filename)
    ending, trace, found = name.rpartition(".")[2] + ".py", error.__traceback__, Path(name)
    while trace is not None:
        file = Path(trace.tb_frame.f_code.co_filename)
        if file.name in (ending, "__init__.py"):
            found = file
        trace = trace.tb_next
    return found


def _line_of(function: Callable[..., Any]) -> str:
    """Return `:LINE` of a function's definition; nothing where it has none."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f":{code.co_firstlineno}" if code is not None else ""
