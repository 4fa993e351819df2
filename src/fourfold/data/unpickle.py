"""Reads the pickles of CIFAR and Imagenet64 without Python's pickle: nothing in a file can run, by construction.

A pickle is a program for a small stack machine. This one knows numbers, strings, lists, tuples, dictionaries and the few
names by which numpy writes an array (`stand_ins.py`); a file that asks for anything else is refused.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fourfold.data.damage import BadFileError
from fourfold.data.stand_ins import NAMES, ArrayStandIn, Dtype, Name, RefusedError, as_array, as_dtype, as_text, kind
from fourfold.record.files import open_regular

_LARGEST = 4 * 2**30
"""Bytes; the largest official file, a batch of Imagenet64, has 1.6e9."""


def read_pickle(path: Path) -> dict[str, Any]:
    """Return the dictionary in a pickle of any protocol from 2 up, written by Python 2 or 3.

    Its values are numpy arrays of numbers, numbers, lists, tuples, dictionaries and strings; those of Python 2 are bytes.
    Arrays share the memory of the file's bytes and cannot be written to.

    Raises:
        BadFileError: the file cannot be read, is cut off or damaged, or asks for anything but plain data.
    """
    try:
        with open_regular(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > _LARGEST:
                raise BadFileError(path, f"has {size:,} bytes", f"at most {_LARGEST:,} is right")
            content = stream.read()
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror or error})", "a readable file is right") from error
    if not content:
        raise BadFileError(path, "is empty", "a pickled dictionary is right")
    try:
        result = _Machine(content).run()
    except RefusedError as error:
        raise BadFileError(path, f"asks for {error}", "fourfold reads plain data only and runs nothing") from error
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
        raise BadFileError(path, "is cut off or damaged", "a whole pickled dictionary is right") from error
    if not isinstance(result, dict):
        raise BadFileError(path, f"holds {kind(result)}", "a pickled dictionary is right")
    return {str(key): value.value if isinstance(value, ArrayStandIn) else value for key, value in result.items()}


class _Machine:
    """The stack machine. Every instruction takes bytes from the file, so time and memory stay proportional to its size."""

    def __init__(self, content: bytes) -> None:
        self.content = memoryview(content)
        self.position = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.encoded = 0

    def run(self) -> Any:
        stop = ord(".")
        while True:
            code = self.byte()
            if code == stop:
                return self.stack.pop()
            step = _STEPS.get(code)
            if step is None:
                raise RefusedError(f"the pickle instruction {bytes([code])!r}")
            step(self)

    def take(self, count: int) -> memoryview:
        if not 0 <= count <= len(self.content) - self.position:
            raise ValueError("the file ends too early")
        self.position += count
        return self.content[self.position - count : self.position]

    def byte(self) -> int:
        self.position += 1
        return self.content[self.position - 1]

    def number(self, form: str) -> int:
        value: int = struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]
        return value

    def line(self) -> str:
        start = self.position
        while self.content[self.position] != 0x0A:
            if self.position - start > 200:
                raise ValueError("a line without an end")
            self.position += 1
        self.position += 1
        return bytes(self.content[start : self.position - 1]).decode("ascii")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def push_bytes(self, count: int) -> None:
        # Pixels stay where they are in the file's bytes; short strings must be hashable and comparable.
        part = self.take(count)
        self.push(part if count > 1000 else bytes(part))

    def push_text(self, count: int) -> None:
        self.push(str(self.take(count), "utf-8", "surrogatepass"))

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise TypeError("items for something that is not a list")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise TypeError("items for something that is not a dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[key if type(key) is int else as_text(key)] = value

    def name(self, module: str, name: str) -> None:
        word = NAMES.get(f"{module}.{name}")
        if word is None:
            raise RefusedError(f"{module[:60]}.{name[:60]}")
        self.push(Name(word))

    def reduce(self) -> None:
        arguments, name = self.stack.pop(), self.stack.pop()
        if not isinstance(name, Name) or type(arguments) is not tuple:
            raise RefusedError(f"a call of {kind(name)}")
        if name.word == "array":
            self.push(ArrayStandIn())
        elif name.word == "dtype":
            self.push(Dtype(as_text(arguments[0])))
        elif name.word == "scalar":
            dtype, raw = arguments
            self.push(np.frombuffer(raw, as_dtype(dtype), count=1)[0].item())
        elif name.word == "frombuffer":
            raw, dtype, shape, order = arguments
            array = ArrayStandIn()
            array.value = as_array(shape, dtype, as_text(order) == "F", raw)
            self.push(array)
        elif name.word == "encode":
            text, encoding = arguments
            if as_text(encoding) != "latin1":
                raise RefusedError(f"the encoding {as_text(encoding)[:20]!r}")
            text = as_text(text)
            self.encoded += len(text)
            if self.encoded > len(self.content):
                raise RefusedError("more memory than the file has bytes")
            self.push(text.encode("latin1"))
        else:
            raise RefusedError(f"a call of {name.word}")

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if type(state) is not tuple:
            raise TypeError("a state that is not a tuple")
        if isinstance(target, ArrayStandIn):
            _version, shape, dtype, fortran, raw = state
            target.value = as_array(shape, dtype, bool(fortran), raw)
        elif isinstance(target, Dtype):
            _version, order, *rest = state
            if any(part is not None for part in rest[:3]) or as_text(order) not in set("<>|="):
                raise RefusedError("an array of records")
            target.numpy = target.numpy.newbyteorder(as_text(order))  # type: ignore[arg-type]
        else:
            raise RefusedError(f"the state of {kind(target)}")


def _tuple(count: int) -> Callable[[_Machine], None]:
    def step(m: _Machine) -> None:
        if len(m.stack) < count:
            raise IndexError("a tuple of more than there is")
        items = tuple(m.stack[len(m.stack) - count :])
        del m.stack[len(m.stack) - count :]
        m.push(items)

    return step


def _put(m: _Machine, index: int) -> None:
    m.memo[index] = m.stack[-1]


def _dictionary(m: _Machine) -> None:
    items = m.pop_mark()
    m.push({})
    m.set_items(items)


def _integer(m: _Machine) -> None:
    text = m.line()
    m.push({"00": False, "01": True}[text] if text in ("00", "01") else int(text[:40]))


def _protocol(m: _Machine) -> None:
    if m.byte() > 5:
        raise RefusedError("a pickle protocol above 5")


def _stack_global(m: _Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    m.name(as_text(module), as_text(name))


_STEPS: dict[int, Callable[[_Machine], Any]] = {
    ord(code): step
    for code, step in {
        # Numbers and constants
        "K": lambda m: m.push(m.byte()),
        "M": lambda m: m.push(m.number("H")),
        "J": lambda m: m.push(m.number("i")),
        "I": _integer,
        "\x8a": lambda m: m.push(int.from_bytes(m.take(m.byte()), "little", signed=True)),
        "G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
        "N": lambda m: m.push(None),
        "\x88": lambda m: m.push(True),
        "\x89": lambda m: m.push(False),
        # Strings of Python 2 (T, U), bytes (B, C, 0x8e, 0x96) and text
        "T": lambda m: m.push_bytes(m.number("i")),
        "U": lambda m: m.push_bytes(m.byte()),
        "B": lambda m: m.push_bytes(m.number("I")),
        "C": lambda m: m.push_bytes(m.byte()),
        "\x8e": lambda m: m.push_bytes(m.number("Q")),
        "\x96": lambda m: m.push_bytes(m.number("Q")),
        "X": lambda m: m.push_text(m.number("I")),
        "\x8c": lambda m: m.push_text(m.byte()),
        "\x8d": lambda m: m.push_text(m.number("Q")),
        # Lists, tuples, dictionaries
        "(": lambda m: m.marks.append(len(m.stack)),
        "]": lambda m: m.push([]),
        "l": lambda m: m.push(m.pop_mark()),
        "a": lambda m: m.extend([m.stack.pop()]),
        "e": lambda m: m.extend(m.pop_mark()),
        ")": lambda m: m.push(()),
        "t": lambda m: m.push(tuple(m.pop_mark())),
        "\x85": _tuple(1),
        "\x86": _tuple(2),
        "\x87": _tuple(3),
        "}": lambda m: m.push({}),
        "d": _dictionary,
        "s": lambda m: m.set_items([m.stack.pop(-2), m.stack.pop()]),
        "u": lambda m: m.set_items(m.pop_mark()),
        # The memo and the stack
        "q": lambda m: _put(m, m.byte()),
        "r": lambda m: _put(m, m.number("I")),
        "\x94": lambda m: _put(m, len(m.memo)),
        "h": lambda m: m.push(m.memo[m.byte()]),
        "j": lambda m: m.push(m.memo[m.number("I")]),
        "0": lambda m: m.stack.pop(),
        "1": lambda m: m.pop_mark(),
        "2": lambda m: m.push(m.stack[-1]),
        # Protocol, frames, and the names of numpy
        "\x80": _protocol,
        "\x95": lambda m: m.take(8),
        "c": lambda m: m.name(m.line(), m.line()),
        "\x93": _stack_global,
        "R": lambda m: m.reduce(),
        "b": lambda m: m.build(),
    }.items()
}
"""What each instruction does. The letters are the pickle format's own; those not listed are refused."""
