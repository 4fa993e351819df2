"""References: how a spec names code of the user's, and the only way from such a name to the code.

A name of a model, of data or of a task is built in (`conv-4`), that of an entry point of an installed package, or code:
`roads.py:net` or `mypackage.roads:net`. Nothing here imports code unless a `Trust` says that it may: a spec that is read from a
folder has none, so reading the runs of a stranger never runs what they name.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from fourfold.record.code_errors import in_code, line_of
from fourfold.record.errors import UserError
from fourfold.record.importing import digest_of, import_code, without_bytecode

Part = Literal["model", "data", "task", "preset"]
"""What a reference stands for: `model.name`, `data.name` or `task.name` of a spec, or a function that returns one."""

GROUPS: dict[Part, str] = {
    "model": "fourfold.models",
    "data": "fourfold.data",
    "task": "fourfold.tasks",
    "preset": "fourfold.presets",
}
"""The entry points in which installed packages name their own."""


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
    helpers: Mapping[str, tuple[Path, str]] = field(default_factory=dict)
    """Files beside it that it imports, with their SHA-256, by what the spec would call them."""

    @property
    def digests(self) -> dict[str, str]:
        """The SHA-256 of the file and of those that it imports."""
        return {self.source: self.sha256} | {name: digest for name, (_, digest) in self.helpers.items()}

    @property
    def files(self) -> list[Path]:
        """The file and those that it imports."""
        return [self.file, *(file for file, _ in self.helpers.values())]

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
            line = line_of(self.value)
            raise UserError(
                f"{self.file}{line}: expected `{self.attribute}` to take ({takes}), found {inspect.signature(self.value)}"
            ) from None
        except ValueError:  # of builtins, which have no signature
            pass
        with in_code(self.file, f"`{self.attribute}` to return"), without_bytecode():  # it may import, too
            return self.value(*arguments)


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


def entry_points_of(part: Part) -> dict[str, str]:
    """Return the names that installed packages add, with the code that they stand for, which is not imported."""
    return dict(sorted((point.name, point.value) for point in entry_points(group=GROUPS[part])))


def entry_point_names(part: Part) -> list[str]:
    """Return the names that installed packages add."""
    return list(entry_points_of(part))


def resolve(name: str, part: Part, trust: Trust | None) -> Code | None:
    """Import what a name stands for; None if it is no code, but the name of something built in, or of nothing.

    Args:
        name: As the spec has it.
        part: Of which part.
        trust: Permission to import it.

    Raises:
        UserError: there is no permission to import it; the file is missing, has changed or cannot be imported; it has no such
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
    expected = dict(trust.digests)
    source = reference if trust.only is None else _on_command_line(reference, trust, expected.get(reference.source))
    if source is None:
        raise UserError(
            f"`{part}.name` (={name!r}) must be in {' or '.join(trust.only or ())}, the code that was given; --trust-code "
            "imports any"
        )

    def check(digests: Mapping[str, str]) -> None:
        for file, digest in digests.items():
            if expected.get(file, digest) != digest:
                raise changed(file, expected[file], digest, _AS_IT_WAS)

    imported = import_code(source.source, Path(trust.folder), reference.source, check)
    if not hasattr(imported.module, reference.attribute):
        close = get_close_matches(
            reference.attribute, [word for word in vars(imported.module) if not word.startswith("_")], n=1
        )
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"{imported.file}: expected `{reference.attribute}`, found no such name{hint}")
    return Code(
        name=str(reference),
        source=reference.source,
        value=getattr(imported.module, reference.attribute),
        file=imported.file,
        sha256=imported.sha256,
        helpers=imported.helpers,
    )


def _on_command_line(reference: Reference, trust: Trust, expected: str | None) -> Reference | None:
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
        if file.name == named.name or file.resolve() == named.resolve() or expected == digest_of(file):
            return Reference(source=source, attribute=reference.attribute)
    return None


_AS_IT_WAS = "give the file as it was; only `fourfold run` resumes with another, by --accept-changed-code"

_GO_ON = "--accept-changed-code resumes with it, another --out starts afresh"


def changed(source: str, expected: str, digest: str, advice: str = _GO_ON) -> UserError:
    """Return the error for code that is no longer what it was, with what can be done where it is met."""
    return UserError(
        f"the code of {source} has changed since the run began (SHA-256 {expected[:8]}, now {digest[:8]}): {advice}"
    )
