"""The file around an artifact: safetensors with a description in its metadata, and a digest over all of it."""

import hashlib
import json
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from fourfold.deploy.artifact import structure
from fourfold.deploy.artifact.bits import DamageError
from fourfold.deploy.artifact.structure import Json
from fourfold.deploy.ir.bounds import check

VERSION = "1"
FORMAT = "fourfold artifact"
_TYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
}
Tensors = dict[str, NDArray[Any]]


def seal(described: Json, tensors: Tensors) -> bytes:
    """Return the content of a file of a description and tensors."""
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False)
    about = {"format": FORMAT, "version": VERSION, "program": text, "digest": digest(text, tensors)}
    return safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in tensors.items()}, about)


def unseal(content: bytes) -> tuple[Json, Tensors]:
    """Return the description and the tensors of a file.

    Raises:
        DamageError, UserError: it is not what `seal` writes, was written by another version, or is too large.
    """
    check("file", len(content))
    check("header", int.from_bytes(content[:8], "little"))
    try:
        pairs: Any = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        reason = str(error).encode("unicode_escape").decode()  # it quotes what it finds, line breaks and all
        raise DamageError(f"it is no whole safetensors file ({reason:.200})") from error
    tensors = {name: _array(name, tensor) for name, tensor in pairs}
    header = structure.parse(content[8 : 8 + int.from_bytes(content[:8], "little")])
    about = structure.mapping(header.get("__metadata__", {}), "metadata")
    if about.get("format") != FORMAT:
        raise DamageError("it is another safetensors file, without fourfold's description")
    if about.get("version") != VERSION:
        raise DamageError(f"it has version {about.get('version')!r:.20}, and this fourfold reads version {VERSION!r}")
    text = structure.text(about, "program")
    if about.get("digest") != digest(text, tensors):
        raise DamageError("its content is not what was written (the digest differs)")
    return structure.parse(text), tensors


def digest(text: str, tensors: Tensors) -> str:
    """Return the SHA-256 of the description and of all tensors, by name."""
    checksum = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        checksum.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        checksum.update(np.ascontiguousarray(array).tobytes())
    return checksum.hexdigest()


def _array(name: str, tensor: Any) -> NDArray[Any]:
    dtype = _TYPES.get(tensor["dtype"])
    if dtype is None:
        raise DamageError(f"its tensor {name!r:.40} is of type {tensor['dtype']}, which no artifact has")
    flat: NDArray[Any] = np.frombuffer(tensor["data"], dtype)
    try:
        return flat.reshape(tensor["shape"])
    except ValueError as error:  # more axes than arrays can have, or without a number longer than they can be
        raise DamageError(f"its tensor {name!r:.40} is no array ({error})") from error
