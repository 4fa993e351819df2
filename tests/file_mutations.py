"""Ways to change a file: its bytes, a value of its JSON, the header of its arrays, lines with digests that fit again."""

import copy
import hashlib
import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

from fourfold.record.journal import sealed_lines

Mutation = Callable[[bytes, random.Random], bytes]
"""Called with a content and what to draw from."""

NUMBERS = [
    0,
    1,
    -1,
    2,
    3,
    7,
    8,
    255,
    256,
    2**16,
    2**24,
    2**31 - 1,
    2**31,
    2**32,
    2**53,
    2**63 - 1,
    2**63,
    -(2**63),
    10**30,
    10**400,
]
NUMBERS += [0.5, -0.0, 1e-320, 1e38, 1e39, 1e300, float("inf"), float("-inf"), float("nan")]
TEXTS = [
    "",
    "x",
    "é",
    "\ud800",
    "\x1b[31m",
    "\0",
    "\n",
    "../x",
    "/x",
    "a" * 300,
    "a" * 30_000,
    "=1+1",
    "[bold]",
    "F32",
    "U8",
    "0" * 64,
]
OTHERS: list[Any] = [None, True, False, [], {}, [[]], [0], [None], {"x": 1}, [[0, 1]] * 3, *NUMBERS, *TEXTS]

EXTREMES = [
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\x80\0\0\0",
    b"\xff" * 8,
]


def bytes_changed(content: bytes, draw: random.Random) -> bytes:
    """Change some bytes, most often near the begin, where headers are."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        near = max(1, min(len(changed), draw.choice([16, 64, 512, 2**30, 2**30])))
        place, how = draw.randrange(near), draw.randrange(8)
        if how == 0 and changed:
            changed[place] ^= 1 << draw.randrange(8)
        elif how == 1 and changed:
            changed[place] = draw.randrange(256)
        elif how == 2:
            extreme = draw.choice([*EXTREMES, draw.randbytes(8)])[: draw.choice([1, 2, 4, 8])]
            changed[place : place + len(extreme)] = extreme
        elif how == 3:
            del changed[place:]
        elif how == 4:
            del changed[place : place + draw.randrange(20)]
        elif how == 5:
            changed[place:place] = draw.randbytes(draw.randrange(20))
        elif how == 6:
            changed[place:place] = changed[: draw.randrange(200)]
        else:
            other = draw.randrange(max(1, len(changed)))
            changed[place : place + 8] = changed[other : other + 8]
    return bytes(changed)


def text_changed(content: bytes, draw: random.Random) -> bytes:
    """Put something into a text, or take a line out, double it or move it."""
    lines = content.split(b"\n")
    place, how = draw.randrange(len(lines)), draw.randrange(5)
    if how == 0:
        lines[place:place] = [lines[draw.randrange(len(lines))]]
    elif how == 1:
        del lines[place]
    elif how == 2:
        other = draw.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    else:
        word = draw.choice(
            [str(value).encode(errors="replace") for value in (*NUMBERS, *TEXTS)]
            + [b"nan", b"?", b":", b",", b"@data", b"\x85"]
        )
        at = draw.randrange(len(lines[place]) + 1)
        lines[place] = lines[place][:at] + word + lines[place][at + draw.choice([0, 0, 1, 4]) :]
    return b"\n".join(lines)


def paths_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside a value of JSON."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*path, key)
        yield from paths_in(item, (*path, key))


def value_changed(value: Any, draw: random.Random) -> Any:
    """Change, double, take out or add something inside a value of JSON."""
    places = list(paths_in(value))
    if not places:
        return draw.choice(OTHERS)
    *way, last = draw.choice(places)
    inner = value
    for key in way:
        inner = inner[key]
    how = draw.randrange(7)
    if how <= 2:
        inner[last] = copy.deepcopy(draw.choice(OTHERS))
    elif how == 3:
        del inner[last]
    elif how == 4 and type(inner[last]) in (int, float) and abs(inner[last]) < 1e300:
        inner[last] = draw.choice([inner[last] + 1, -inner[last], inner[last] * 2, inner[last] // 3])
    elif how == 5 and isinstance(inner[last], list):
        inner[last] = inner[last] * draw.choice([2, 50])
    elif isinstance(inner, dict):
        inner[draw.choice([*TEXTS, *map(str, inner)])] = inner[last]
    return value


def json_changed(content: bytes, draw: random.Random) -> bytes:
    """Change values of a file of JSON."""
    value = json.loads(content)
    for _ in range(draw.choice([1, 1, 2])):
        value = value_changed(value, draw)
    text = json.dumps(value) if draw.random() < 0.95 else draw.choice(["[" * 10**5, '{"a":' * 10**5, "1" * 10**5])
    return text.encode(errors="surrogatepass")


def lines_changed(content: bytes, draw: random.Random) -> bytes:
    """Change a value in a line of JSON; the digests of all lines are right again."""
    lines = [json.loads(line) for line in content.split(b"\n")[:-1]]
    place = draw.randrange(len(lines))
    lines[place] = value_changed(lines[place], draw)
    texts = []
    for line in lines:
        if isinstance(line, dict):
            line.pop("previous", None), line.pop("sha256", None)
        texts.append(json.dumps(line, separators=(",", ":")))
    if all(text.startswith("{") and len(text) > 2 for text in texts):
        texts = sealed_lines(texts)
    return "".join(text + "\n" for text in texts).encode(errors="surrogatepass")


def header_changed(content: bytes, draw: random.Random) -> bytes:
    """Change the header of a file of arrays: names, types, shapes, places and what its makers said of it."""
    header, arrays = header_of(content)
    header = value_changed(header, draw)
    text = json.dumps(header).encode()
    size = len(text) if draw.random() < 0.9 else draw.choice([0, 7, len(text) - 1, len(text) + 1, 2**24, 2**40, 2**63])
    return struct.pack("<Q", size) + text + arrays


def checkpoint_changed(content: bytes, draw: random.Random) -> bytes:
    """Change the header of a checkpoint, or what stands in it as text, and sign it again as its makers could."""
    header, arrays = header_of(content)
    about = header["__metadata__"]
    part = draw.choice(["identity", "position", "header", "arrays"])
    if part == "header":
        header = value_changed(header, draw)
    elif part == "arrays":
        arrays = bytes_changed(arrays, draw)
    else:
        about[part] = json.dumps(value_changed(json.loads(about[part]), draw))
    if not isinstance(header, dict) or not isinstance(header.get("__metadata__"), dict):
        return content
    header["__metadata__"]["sha256"] = "0" * 64
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    unsigned = struct.pack("<Q", len(text)) + text
    digest = hashlib.sha256(unsigned + arrays).hexdigest()
    return unsigned.replace(b"0" * 64, digest.encode(), 1) + arrays


def header_of(content: bytes) -> tuple[Any, bytes]:
    """Return the header of a file of arrays, and their bytes."""
    (size,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + size]), content[8 + size :]
