"""Annotations of boxes in Pascal VOC's XML. Nothing in the file is trusted: documents that declare anything are refused."""

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from fourfold.record.errors import UserError
from fourfold.record.text import shortened

_LARGEST = 2**22
"""Bytes of a file: a box has some 300."""

_DEEPEST = 16
"""Elements within each other; VOC has 4."""


@dataclass(frozen=True, kw_only=True)
class Object:
    """One object of an image."""

    name: str
    """Its class."""
    corners: tuple[float, float, float, float]
    """Left, top, right and bottom pixel, counted from 1; the last ones belong to the box."""
    difficult: bool


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What a file says of an image."""

    size: tuple[int, int] | None
    """Width and height; None where it does not say."""
    objects: tuple[Object, ...]


def read_annotation(path: Path) -> Annotation:
    """Return the annotation in a file.

    Raises:
        UserError: a file that is missing, too large or no XML; a document type or entities, which VOC does not have; an object
            without a name or a corner, or whose corner is not a number. Each names the file.
    """
    root = _tree(path)
    if root.tag != "annotation":
        raise UserError(f"{path}: expected the element <annotation>, found <{shortened(root.tag, 40)}>")
    size = root.find("size")
    sides = (0, 0)
    if size is not None:
        sides = int(_number(size, "width", path, "<size>")), int(_number(size, "height", path, "<size>"))
    objects = tuple(_object(element, number, path) for number, element in enumerate(root.findall("object"), 1))
    return Annotation(size=sides if min(sides) > 0 else None, objects=objects)


def _object(element: Element, number: int, path: Path) -> Object:
    where = f"object {number}"
    name = _text(element, "name", path, where)
    box = element.find("bndbox")
    if box is None:
        raise UserError(f"{path}: expected <bndbox> in {where}, found none")
    left, top, right, bottom = (_number(box, side, path, where) for side in ("xmin", "ymin", "xmax", "ymax"))
    difficult = (element.findtext("difficult") or "0").strip() not in ("", "0")
    return Object(name=name, corners=(left, top, right, bottom), difficult=difficult)


def _text(element: Element, tag: str, path: Path, where: str) -> str:
    text = (element.findtext(tag) or "").strip()
    if not text:
        raise UserError(f"{path}: expected <{tag}> in {where}, found none")
    return text


def _number(element: Element, tag: str, path: Path, where: str) -> float:
    text = _text(element, tag, path, where)
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e9:
        raise UserError(f"{path}: expected a number in <{tag}> of {where}, found {shortened(repr(text), 40)}")
    return value


def _tree(path: Path) -> Element:
    """Return the root of a document without declarations: no entity is ever expanded, and no other file is ever opened."""
    try:
        if path.stat().st_size > _LARGEST:
            raise UserError(f"{path}: expected at most {_LARGEST:,} bytes of XML, found {path.stat().st_size:,}")
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: expected an annotation that can be read, found {error.strerror or error}") from error
    builder, parser, depth = TreeBuilder(), expat.ParserCreate(), 0

    def refuse(*_: object) -> NoReturn:
        raise UserError(f"{path}: expected an annotation without a document type or entities, found <!DOCTYPE or <!ENTITY")

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise UserError(f"{path}: expected elements at most {_DEEPEST} deep, found more")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise UserError(f"{path}: expected XML, found a file that cannot be read ({error})") from error
    root: Element = builder.close()
    return root
