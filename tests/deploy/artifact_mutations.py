"""Artifacts that nobody packed: good ones with changed bytes, tensors and descriptions, signed again as their makers could."""

import copy
import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import safetensors.numpy
from general_programs import general_program
from random_programs import images_for, random_program

from fourfold.deploy import quantize
from fourfold.deploy.artifact.container import FORMAT, VERSION, digest, seal, unseal
from fourfold.deploy.artifact.values import VALUES
from fourfold.deploy.artifact.writing import write
from fourfold.deploy.ir.ops import KINDS
from fourfold.deploy.ir.ops.activation import FUNCTIONS
from fourfold.deploy.ir.program import Program

Random = np.random.Generator

INTEGERS = [-(2**63), -1, 0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 127, 128, 255, 256, 1000, 2**15, 2**16, 2**20, 2**24, 2**27]
INTEGERS += [2**28 - 1, 2**28, 2**28 + 1, 2**31 - 1, 2**31, 2**32, 2**53, 2**63, 10**30, 10**400]
FLOATS = [-0.0, 0.5, -1.0, 1e-320, 1e-45, 1e-31, 1e-30, 1e-9, 1e9, 1e30, 1e31, 1e39, 1e300, np.inf, -np.inf, np.nan]
TEXTS = ["", "é", "\ud800", "\udcff", "\x1b[31m", "\x00", "\n", "\x9b", "\u202e", "*/ int x; /*", "@NAME@", "??/", "\\", '"']
TEXTS += [*FUNCTIONS, "constant", "reflect", "nearest", "bilinear", "mean", "sum", "max", "divide", "lstm", "gru"]
TEXTS += ["a" * 3000, "../../x", *KINDS, *VALUES, "none", "grey", "zero", "pixels", "weight", "number", "all", "bitmap", "gaps"]
SETTINGS = ("stride", "padding", "dilation", "groups", "relu", "ceil", "kernel", "count_padding", "inputs")
GENERAL = (
    "axis",
    "start",
    "size",
    "step",
    "reverse",
    "order",
    "shape",
    "axes",
    "before",
    "after",
    "blocks",
    "factors",
    "rows",
    "hidden",
)
JUNK = [None, True, False, [], {}, [[]], [0], [1, 1], [2**27, 2**27], {"kept": 1}, [[[0, 1]]], *FLOATS, *TEXTS]


def corpus(seeds: int = 24) -> list[bytes]:
    """Return good artifacts of every coding and of every kind of operation: small random programs, half of them calibrated."""
    contents = []
    for program in [*map(_program, range(seeds)), *_programs_of_the_other_kinds(seeds)]:
        program = replace(program, provenance={"run": "a", "top1": "61.50"})
        for values in VALUES:
            contents.append(ordered(seal(*write(program, values, entropy=bool(len(contents) % 2)))))
    return contents


def _program(seed: int) -> Program:
    general = seed % 4 > 1
    program = general_program(seed, int8=bool(seed % 2)) if general else random_program(seed)
    return quantize.calibrate(program, images_for(program, seed)) if seed % 2 else program


def _programs_of_the_other_kinds(seeds: int) -> Iterator[Program]:
    """Yield programs with the operations that those of the first seeds lack, from further seeds."""
    kinds = {operation.kind for seed in range(seeds) for operation in _program(seed).operations}
    seed = seeds
    while missing := KINDS.keys() - kinds:
        program = random_program(seed) if seed % 2 else general_program(seed)  # some kinds are made by one of them alone
        seed += 1
        if missing & (found := {operation.kind for operation in program.operations}):
            kinds |= found
            yield program


def mutated(random: Random, contents: list[bytes]) -> bytes:
    """Return one of the artifacts, changed in one of many ways."""
    content = contents[random.integers(len(contents))]
    way = random.random()
    if way < 0.1:
        return _changed_bytes(random, content)
    if way < 0.2:
        return _changed_header(random, content)
    described, tensors = _opened(content)
    if way < 0.3:
        text = json.dumps(described)
        return _sealed(_changed_bytes(random, text.encode()).decode(errors="surrogateescape"), tensors)
    if way < 0.45:
        return _sealed(json.dumps(described), _changed_tensors(random, tensors))
    for _ in range(random.integers(1, 5)):
        described = pick(random, CHANGES)(random, described, _opened(contents[random.integers(len(contents))])[0])
    if random.random() < 0.1:
        tensors = _changed_tensors(random, tensors)
    return _sealed(json.dumps(described), tensors)


@functools.cache
def _sealed_parts(content: bytes) -> tuple[str, dict[str, np.ndarray]]:
    described, tensors = unseal(content)
    return json.dumps(described), tensors


def _opened(content: bytes) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the description, which may be changed, and the tensors, which may not, of one of the good artifacts."""
    described, tensors = _sealed_parts(content)
    return json.loads(described), tensors


def pick(random: Random, choices: Any) -> Any:
    """Return one of a list."""
    return choices[random.integers(len(choices))]


def _sealed(text: str, tensors: dict[str, np.ndarray]) -> bytes:
    """Return an artifact with the right digest for whatever it holds; without one where the text has no bytes."""
    text = text.encode(errors="replace").decode()
    about = {"format": FORMAT, "version": VERSION, "program": text, "digest": digest(text, tensors)}
    return ordered(safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, about))


def ordered(content: bytes) -> bytes:
    """Return a file with its header in the order of names: safetensors writes the metadata in any order."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, ensure_ascii=False).encode()
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _changed_bytes(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.integers(1, 4)):
        place, length = int(random.integers(len(changed) + 1)), int(random.integers(1, 9))
        way = random.integers(5)
        if way == 0 and place < len(changed):
            changed[place] = random.integers(256)
        elif way == 1:
            changed[place:place] = random.bytes(length)
        elif way == 2:
            del changed[place : place + length]
        elif way == 3:
            changed[place:place] = changed[max(place - 40, 0) : place]
        elif random.random() < 0.2:
            del changed[place:]
    return bytes(changed)


def _changed_header(random: Random, content: bytes) -> bytes:
    """Change what safetensors itself reads: names, types, shapes and places of tensors, and the metadata."""
    length = int.from_bytes(content[:8], "little")
    header = _replace_spot(random, json.loads(content[8 : 8 + length]), {})
    text = json.dumps(header).encode()
    stated = (
        len(text) if random.random() < 0.9 else int(pick(random, [0, 7, len(text) - 1, len(text) + 1, 2**24, 2**40, 2**63]))
    )
    return stated.to_bytes(8, "little") + text + content[8 + length :]


def _changed_tensors(random: Random, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    changed = dict(tensors)
    for _ in range(random.integers(1, 4)):
        if not changed:
            break
        name = pick(random, sorted(changed))
        array = changed[name].reshape(-1).copy()
        raw = array.view(np.uint8)
        way = random.integers(8)
        if way == 0 and raw.size:
            raw[random.integers(raw.size, size=random.integers(1, 6))] = random.integers(256)
        elif way == 1 and array.dtype.kind == "f" and array.size:
            extremes = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, 0.0]
            with np.errstate(over="ignore"):
                array[random.integers(array.size)] = np.float64(pick(random, extremes)).astype(array.dtype)
        elif way == 2:
            array = array[: random.integers(array.size + 1)]
        elif way == 3:
            array = np.concatenate([array, array[: random.integers(1, 9)]])
        elif way == 4:
            array = raw.view(pick(random, [np.int8, np.uint8])) if random.random() < 0.7 else array.reshape(1, -1)
        elif way == 5:
            array = np.full_like(array, pick(random, [0, 1, 127]))
        elif way == 6:
            array = changed[pick(random, sorted(changed))]
        else:
            changed.pop(name)
            continue
        changed[name] = array
    return changed


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*path, key)
        yield from spots(item, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    """Return what lies at a path."""
    for key in path:
        value = value[key]
    return value


def _near(random: Random, value: Any) -> Any:
    """Return a value like another: numbers next to it or at its bounds, else anything."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return pick(random, [value + 1, value - 1, 2 * value, value // 2, -value, *INTEGERS])
    if isinstance(value, float):
        return pick(random, [2 * value, -value, value / 1e6, value * 1e6, 1, 0, *FLOATS])
    return pick(random, [*TEXTS, *JUNK])


def _replace_spot(random: Random, described: Any, other: Any) -> Any:
    places = list(spots(described))
    if not places:
        return described
    *way, last = pick(random, places)
    parent = at(described, tuple(way))
    value = parent[last]
    how = random.integers(6)
    if how <= 1:
        parent[last] = _near(random, value)
    elif how == 2:
        parent[last] = pick(random, [*JUNK, *INTEGERS])
    elif how == 3:
        del parent[last]
    elif how == 4:
        parent[last] = copy.deepcopy(at(described, pick(random, places)))
    elif isinstance(value, list):
        times = int(pick(random, [2, 2, 3, 50, 5000] if len(value) < 9 else [2]))
        parent[last] = pick(random, [value * times, value[::-1], value[1:], [value]])
    return described


def _splice(random: Random, described: Any, other: Any) -> Any:
    """Put a part of another description where this one has the same key."""
    by_key: dict[Any, list[Any]] = {}
    for path in spots(other):
        by_key.setdefault(path[-1], []).append(at(other, path))
    shared = [path for path in spots(described) if path[-1] in by_key]
    if shared:
        *way, last = pick(random, shared)
        at(described, tuple(way))[last] = copy.deepcopy(pick(random, by_key[last]))
    return described


def _setting(random: Random, described: Any, other: Any) -> Any:
    """Give an operation a setting that it might have."""
    operations = described.get("operations") if isinstance(described, dict) else None
    operation = pick(random, operations) if isinstance(operations, list) and operations else None
    if isinstance(operation, dict):
        name = pick(random, SETTINGS)
        numbers = [0, 1, 1, 2, 2, 3, 4, 5, 8, 13]
        if random.random() < 0.15:
            numbers = INTEGERS
        count = {"groups": 0, "inputs": 1}.get(name, 4 if name == "padding" and operation.get("kind") == "convolution" else 2)
        drawn = [pick(random, numbers) for _ in range(max(count, 1))]
        flag = name in ("relu", "ceil", "count_padding")
        operation[name] = bool(random.random() < 0.5) if flag else drawn if count else drawn[0]
    return described


def _general_setting(random: Random, described: Any, other: Any) -> Any:
    """Change a setting that an operation along any axes has."""
    operations = described.get("operations") if isinstance(described, dict) else None
    operations = operations if isinstance(operations, list) else []
    chosen = [(each, name) for each in operations if isinstance(each, dict) for name in GENERAL if name in each]
    if chosen:
        operation, name = pick(random, chosen)
        value, numbers = operation[name], [0, 1, 1, 2, 2, 3, 4, 5, 8, 13, *INTEGERS]
        if isinstance(value, list):
            operation[name] = [pick(random, numbers) if random.random() < 0.5 else each for each in value]
        else:
            operation[name] = pick(random, numbers)
    return described


def _size(random: Random, described: Any, other: Any) -> Any:
    """Change the size of the image, with that of the encoding, and sometimes of one alone."""
    if not isinstance(described, dict) or not isinstance(described.get("shape"), list) or len(described["shape"]) != 3:
        return described
    axis = int(random.integers(3))
    described["shape"][axis] = pick(random, [1, 2, 3, 4, 6, 8, 12, 17, 32, 100, *INTEGERS])
    encoding = described.get("encoding")
    if isinstance(encoding, dict) and isinstance(encoding.get("shape"), list) and random.random() < 0.7:
        encoding["shape"] = list(described["shape"])
    return described


def _ranges(random: Random, described: Any, other: Any) -> Any:
    """Add ranges, or make some of them extreme."""
    if not isinstance(described, dict) or not isinstance(described.get("operations"), list):
        return described
    values = range(min(len(described["operations"]), 9999) + 1)
    ranges = described.get("ranges")
    ranges = (
        dict(ranges) if isinstance(ranges, dict) and ranges else {str(value): 10.0 ** random.uniform(-3, 3) for value in values}
    )
    for name in ranges:
        if random.random() < 0.5:
            ranges[name] = pick(random, [0, 1e-30, 1e30, 1.0, 10.0 ** random.uniform(-30, 30), *FLOATS])
    return described | {"ranges": ranges}


def _more_operations(random: Random, described: Any, other: Any) -> Any:
    """Append operations without weights that fit the last value."""
    if not isinstance(described, dict) or not isinstance(described.get("operations"), list):
        return described
    operations = list(described["operations"])
    for _ in range(int(pick(random, [1, 1, 2, 3, 40, 4000 if random.random() < 0.02 else 1]))):
        last = len(operations)
        kind = pick(random, ["relu", "add", "flatten", "max_pool", "average_pool"])
        inputs = [last, int(random.integers(last + 1))] if kind == "add" else [last]
        about = {"kernel": [int(n) for n in random.integers(1, 4, 2)], "stride": [1, 1]} if kind.endswith("pool") else {}
        operations.append({"kind": kind, "name": f"more{last}", "inputs": inputs, **about})
    return described | {"operations": operations, "ranges": {}}


Change = Callable[[Random, Any, Any], Any]
CHANGES: list[Change] = [_general_setting, _general_setting, _replace_spot, _replace_spot, _splice]
CHANGES += [_setting, _setting, _setting, _size, _ranges, _more_operations]
