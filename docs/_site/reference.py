"""The pages of the API reference: every public name of the public packages, from `__all__` and the docstrings."""

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import links
from sphinx.ext import napoleon

PAGES = (
    "fourfold",
    "fourfold.nn",
    "fourfold.nn.testing",
    "fourfold.algebra",
    "fourfold.pruning",
    "fourfold.models",
    "fourfold.data",
    "fourfold.tasks",
    "fourfold.train",
    "fourfold.lottery",
    "fourfold.presets",
    "fourfold.record",
    "fourfold.report",
    "fourfold.deploy",
)
"""The public packages, a page each."""

GROUPS = ("Classes", "Functions", "Packages", "Constants")
"""The sections of a page."""


def names(module: ModuleType) -> list[str]:
    """Return the public names of a package: its own, without what it passes on from torch and without other packages."""
    if hasattr(module, "__all__"):
        return list(module.__all__)
    return [
        name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__ and name[0] != "_"
    ]


def write(app: Any, config: Any) -> None:
    """Sphinx's event `config-inited`: write the pages to `docs/api/`, and leave those that have not changed."""
    folder = Path(app.srcdir) / "api"
    folder.mkdir(exist_ok=True)
    for path in PAGES:
        page = folder / f"{path}.rst"
        text = page_of(path)
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def page_of(path: str) -> str:
    """Return the page of a package, as reStructuredText: its docstring, tables of its names, then one entry for each."""
    module = import_module(path)
    groups: dict[str, list[str]] = {group: [] for group in (*GROUPS, "aliases", "torch")}
    for name in sorted(names(module), key=str.lower):
        groups[_group(path, getattr(module, name))].append(name)
    parts = [f"{path}\n{'=' * len(path)}", f".. automodule:: {path}\n   :no-members:", f".. currentmodule:: {path}"]
    if aliases := groups.pop("aliases"):
        parts.append("From other packages, under the same names:")
        parts.append("\n".join(f"- ``{path}.{name}`` is {_link(getattr(module, name))}" for name in aliases))
    if torch_names := groups.pop("torch"):
        parts.append(f"PyTorch's own classes, under the same names: {', '.join(f'``{name}``' for name in torch_names)}.")
    for group, found in groups.items():
        if found and group in ("Classes", "Functions"):
            parts.append(
                f".. rubric:: {group}\n\n.. autosummary::\n   :nosignatures:\n\n" + "\n".join(f"   {name}" for name in found)
            )
    for group, found in groups.items():
        if found:
            parts.append(f"{group}\n{'-' * len(group)}")
            parts += [_entry(module, name, group) for name in found]
    return "\n\n".join(parts) + "\n"


def _group(path: str, value: Any) -> str:
    if inspect.ismodule(value):
        return "Packages"
    if not isinstance(value, type | FunctionType):
        return "Constants"
    if value.__module__.startswith("torch."):
        return "torch"
    if home(value) not in ("", path):
        return "aliases"
    return "Classes" if isinstance(value, type) else "Functions"


def home(value: type | FunctionType) -> str:
    """Return the public package that documents a class or function: the one that defines it, or "" where that is private."""
    inside = [path for path in PAGES if path != "fourfold" and f"{value.__module__}.".startswith(f"{path}.")]
    public = [path for path in inside if value.__name__ in names(import_module(path))]
    return max(public, key=len, default="")


def _link(value: type | FunctionType) -> str:
    role = "func" if isinstance(value, FunctionType) else "class"
    return f":py:{role}:`{home(value)}.{value.__name__}`"


def _entry(module: ModuleType, name: str, group: str) -> str:
    value = getattr(module, name)
    if group == "Packages":
        page = f":doc:`{value.__name__}`" if value.__name__ in PAGES else f"``{value.__name__}``"
        return f"{page}\n   {inspect.cleandoc(value.__doc__ or '').splitlines()[0]}"
    if group == "Functions":
        return f".. autofunction:: {name}"
    if group == "Classes":
        return f".. autoclass:: {name}\n   :members:\n   :show-inheritance:"
    shown = ", ".join(map(repr, value)) if isinstance(value, dict) else repr(value)
    lines = [f".. py:data:: {name}"]
    if len(shown) < 400 and " at 0x" not in shown and not dataclasses.is_dataclass(value):
        lines.append(f"   :value: {shown}")
    return "\n".join([*lines, "", *(f"   {line}" for line in escaped(description(module, name).splitlines()))])


def description(module: ModuleType, name: str) -> str:
    """Return the docstring below the assignment of a constant, wherever in the package it is."""
    for statements in _sources(module.__name__):
        for statement, following in zip(statements, [*statements[1:], None], strict=True):
            targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            if not any(isinstance(target, ast.Name) and target.id == name for target in targets):
                continue
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                return inspect.cleandoc(str(following.value.value))
    return ""


def _sources(package: str) -> Iterator[list[ast.stmt]]:
    """Yield the statements of each module of a package, then those of the rooms below it."""
    for known in sorted(sys.modules, key=lambda known: not known.startswith(package)):
        file = getattr(sys.modules[known], "__file__", None)
        if known.startswith("fourfold.") and file:
            yield ast.parse(Path(file).read_text(encoding="utf-8")).body


def process(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Sphinx's event `autodoc-process-docstring`, in place of napoleon's own handler.

    Docstrings are plain text with single backticks around code. Those of attributes are sentences, in which napoleon would take
    what is before a colon for a type.
    """
    lines[:] = escaped(lines)
    if what not in ("attribute", "data", "property"):
        napoleon._process_docstring(app, what, name, value, options, lines)


CODE = re.compile(r"`+([^`]+?)`+(?=(\w?))")


def escaped(lines: list[str]) -> list[str]:
    """Return a docstring with its code as literals, and with what reStructuredText would read as markup escaped."""
    text, parts, end = "\n".join(lines), [], 0
    for code in CODE.finditer(text):
        literal = re.sub(r"\s+", " ", code[1]) if "\n\n" not in code[1] else code[1]
        parts += [_plain(text[end : code.start()]), f"``{literal}``", "\\ " if code[2] else ""]
        end = code.end()
    return "".join([*parts, _plain(text[end:])]).split("\n")


def _plain(text: str) -> str:
    return re.sub(r"[*|]|(?<=\w)_(?=\W|$)", lambda match: "\\" + match[0], text)


def show_public_bases(app: Any, name: str, value: Any, options: Any, bases: list[Any]) -> None:
    """Sphinx's event `autodoc-process-bases`: torch's classes with their package, and none of our private ones."""
    shown = []
    for base in bases:
        if getattr(base, "__module__", "").startswith("torch."):
            shown.append(f"``{'.'.join(base.__module__.split('.')[:2])}.{base.__name__}``")
        elif not getattr(base, "__module__", "").startswith("fourfold.") or home(base):
            shown.append(base)
    bases[:] = shown or [object]


def source_of(domain: str, info: dict[str, str]) -> str | None:
    """Return the address of the source of a documented name: what `sphinx.ext.linkcode` asks for."""
    value: Any = sys.modules.get(info["module"])
    for part in info["fullname"].split("."):
        value = inspect.getattr_static(value, part, None) if inspect.isclass(value) else getattr(value, part, None)
    value = inspect.unwrap(getattr(value, "fget", None) or value) if value is not None else None
    try:
        file, (lines, start) = inspect.getsourcefile(value), inspect.getsourcelines(value)  # type: ignore[arg-type]
    except (TypeError, OSError):
        return None
    if not file or not Path(file).is_relative_to(links.ROOT / "src"):
        return None
    return f"{links.REPOSITORY}/blob/main/{Path(file).relative_to(links.ROOT)}#L{start}-L{start + len(lines) - 1}"


def reset_randomness(gallery_conf: Any, file: str) -> None:
    """Seed torch before each example of the gallery, so that its figure is the same in every build."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
