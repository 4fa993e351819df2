"""The file of a checkpoint: safetensors, written array by array, with a digest of every byte, and checked when it is read.

What it belongs to (format, version, spec, trial, level, …) and where the training was stand in its metadata, as JSON. No array
is copied to be written, but for one at a time that lies on a GPU or in another order.
"""

import contextlib
import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fourfold.record.arrays import LARGEST_ARRAYS, LARGEST_HEADER
from fourfold.record.files import make_folder, open_regular, replacing
from fourfold.record.reading import READING_ERRORS, parse_object
from fourfold.record.rows import TICKET
from fourfold.record.text import sentence

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1
"""Of the file; another one is ignored."""

_NO_DIGEST = "0" * 64
_DTYPES = {"U8": "uint8", "I32": "int32", "I64": "int64", "F16": "float16", "F32": "float32", "F64": "float64", "BOOL": "bool"}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}

Identity = dict[str, Any]
"""What a checkpoint belongs to, by name: one that differs in anything is of no use."""


STAGES = ("", "search")
"""The trainings of a level: that of its network, and that of a second one whose weights are pruned, where there is one."""


@dataclass(frozen=True)
class Training:
    """Which training a checkpoint is of."""

    trial: int
    level: int
    control: str = TICKET
    stage: str = ""
    """One of `STAGES`."""

    @property
    def name(self) -> str:
        """Of its file, without the ending."""
        control = "" if self.control == TICKET else f"-{self.control}"
        return f"{self.trial}-{self.level}{control}{self.stage and '.' + self.stage}"

    @classmethod
    def of(cls, name: str) -> "Training | None":
        """Return the training whose file has a name; None if none has."""
        parts = re.fullmatch(r"(\d+)-(\d+)(?:-([a-z-]+))?(?:\.([a-z]+))?", name)
        return cls(int(parts[1]), int(parts[2]), parts[3] or TICKET, parts[4] or "") if parts else None


class UnusableCheckpointError(Exception):
    """A checkpoint that cannot be used; the message says which one, and why, on one line and without control characters."""

    def __init__(self, message: str) -> None:
        super().__init__(sentence(message))


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """An array of a checkpoint, fetched when it is written."""

    dtype: str
    """numpy's name."""
    shape: tuple[int, ...]
    fetch: "Callable[[], np.ndarray]"


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """What a checkpoint holds."""

    position: dict[str, Any]
    arrays: "dict[str, np.ndarray]"


class CheckpointFolder:
    """The checkpoints of a run.

    Args:
        path: The folder, which need not be there.
        read: Returns the content of a file, unless it has more bytes than are right.
        writes: Whether this process writes: of several that share a run, the first one does.
    """

    def __init__(self, path: Path, read: Callable[[Path, int], bytes], *, writes: bool = True) -> None:
        self.path = path
        self._read, self._writes = read, writes

    def save(self, training: Training, identity: Identity, position: Mapping[str, Any], parts: Mapping[str, Part]) -> int:
        """Write where a training is, in place of its checkpoint before; return the bytes written.

        Raises:
            OSError: it cannot be written.
        """
        if not self._writes:
            return 0
        make_folder(self.path)
        return write(self._file(training), identity | asdict(training), position, parts)

    def load(self, training: Training, identity: Identity, *, most_bytes: int = LARGEST_ARRAYS) -> Stored | None:
        """Return where a training was, or None if it has no checkpoint; `most_bytes` is how long its file may be.

        Raises:
            UnusableCheckpointError: it is damaged, or of something else.
        """
        file = self._file(training)
        try:
            content = self._read(file, most_bytes)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UnusableCheckpointError(f"{file} cannot be read ({error.strerror or error})") from error
        return read(content, str(file), identity | asdict(training))

    def positions(self) -> dict[Training, dict[str, Any]]:
        """Return where the trainings are that have checkpoints; what cannot be read has an empty position."""
        by_training = {Training.of(file.stem): read_position(file) for file in sorted(self.path.glob("*.safetensors"))}
        return {training: position or {} for training, position in by_training.items() if training}

    def drop(self, trial: int, level: int, control: str = TICKET) -> None:
        """Remove the checkpoints of a level: its row is there, or it failed."""
        for stage in STAGES if self._writes else ():
            with contextlib.suppress(OSError):  # one that stays is swept, or replaced
                self._file(Training(trial, level, control, stage)).unlink()

    def _file(self, training: Training) -> Path:
        return self.path / f"{training.name}.safetensors"


def write(file: Path, identity: Identity, position: Mapping[str, Any], parts: Mapping[str, Part]) -> int:
    """Write a checkpoint in place of the one before, whole or not at all; return its size in bytes.

    Raises:
        OSError: it cannot be written.
    """
    parts = dict(sorted(parts.items(), key=lambda part: -_itemsize(part[1])))  # each begins at a multiple of its items' size
    header, end = _header(identity, position, parts, _NO_DIGEST)
    digest = hashlib.sha256(header)
    with replacing(file) as stream:
        stream.write(header)
        for part in parts.values():
            content = _bytes(part.fetch())
            digest.update(content)
            stream.write(content)
        stream.seek(0)
        stream.write(_header(identity, position, parts, digest.hexdigest())[0])
    return len(header) + end


def read(content: bytes, source: str, identity: Identity) -> Stored:
    """Read a checkpoint.

    Args:
        content: Of the file.
        source: The file's name, for messages.
        identity: What the checkpoint must belong to.

    Raises:
        UnusableCheckpointError: it is cut off or changed, or belongs to something else.
    """
    import numpy as np

    with _complaints(source):
        header, start = _verified(content, source)
        metadata = header["__metadata__"]
        identity_on_disk = json.loads(metadata["identity"])
        for name in identity | identity_on_disk:
            if identity_on_disk.get(name) != identity.get(name):
                raise UnusableCheckpointError(
                    f"{source}: expected {name} {identity.get(name)}, found {identity_on_disk.get(name)}"
                )
        memory = np.frombuffer(bytearray(memoryview(content)[start:]), dtype=np.uint8)
        arrays = {}
        for name, about in header.items():
            if name != "__metadata__":
                first, end = about["data_offsets"]
                arrays[name] = memory[first:end].view(_DTYPES[about["dtype"]]).reshape(about["shape"])
        return Stored(position=json.loads(metadata["position"]), arrays=arrays)


def verify(content: bytes, source: str) -> Identity:
    """Check that a checkpoint is what was written, and return what it belongs to; the arguments are those of `read`.

    Raises:
        UnusableCheckpointError: it is cut off or changed, or of another format.
    """
    with _complaints(source):
        header, _ = _verified(content, source)
        identity: Identity = parse_object(header["__metadata__"]["identity"])
        return identity


def _verified(content: bytes, source: str) -> tuple[dict[str, Any], int]:
    """Return the header, and where the arrays begin, of a file whose bytes are those of its digest."""
    header, start = _parsed(content, source)
    metadata = header["__metadata__"]
    if metadata["format"] != str(FORMAT):
        raise UnusableCheckpointError(f"{source}: expected format {FORMAT} of checkpoints, found {metadata['format']}")
    digest = hashlib.sha256(content[:start].replace(metadata["sha256"].encode(), _NO_DIGEST.encode(), 1))
    digest.update(memoryview(content)[start:])
    if digest.hexdigest() != metadata["sha256"]:
        raise UnusableCheckpointError(f"{source}: expected the bytes of its SHA-256, found others (cut off or damaged)")
    return header, start


_COUNTED = ("epoch", "epochs", "step", "steps")
"""Of a position: what is shown of it."""


def read_position(file: Path) -> dict[str, Any] | None:
    """Return where the training of a checkpoint was, without checking the rest of it; None if that cannot be read."""
    try:
        with open_regular(file) as stream:
            size = struct.unpack("<Q", stream.read(8))[0]
            header = parse_object(stream.read(min(size, LARGEST_HEADER)).decode())
            position: dict[str, Any] = json.loads(header["__metadata__"]["position"])  # which may have infinite losses
            return position if all(type(position.get(name, 0)) is int for name in _COUNTED) else None
    except (OSError, *READING_ERRORS, struct.error):
        return None


def where(position: Mapping[str, Any]) -> str:
    """Return a checkpoint's position in words, such as `epoch 3 of 40, step 120 of 917`."""
    if not all(name in position for name in _COUNTED):
        return "an unknown place (damaged)"
    if position["epoch"] >= position["epochs"]:
        return "its end"
    return f"epoch {position['epoch'] + 1} of {position['epochs']}, step {position['step']} of {position['steps']}"


def _header(identity: Identity, position: Mapping[str, Any], parts: Mapping[str, Part], digest: str) -> tuple[bytes, int]:
    """Return what stands before the arrays, and the bytes that they take."""
    metadata = {
        "format": str(FORMAT),
        "sha256": digest,
        "identity": json.dumps(identity),
        "position": json.dumps(position),
    }
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, part in parts.items():
        size = math.prod(part.shape) * _itemsize(part)
        header[name] = {"dtype": _NAMES[part.dtype], "shape": list(part.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, end


def _itemsize(part: Part) -> int:
    import numpy as np

    return np.dtype(part.dtype).itemsize


def _parsed(content: bytes, source: str) -> tuple[dict[str, Any], int]:
    """Return the header, and where the arrays begin."""
    start = 8 + struct.unpack("<Q", content[:8])[0]
    if start > min(len(content), 8 + LARGEST_HEADER):
        raise UnusableCheckpointError(f"{source}: expected a header of {start} bytes, found {len(content)} (cut off)")
    header: dict[str, Any] = parse_object(content[8:start].decode())
    return header, start


@contextlib.contextmanager
def _complaints(source: str) -> Iterator[None]:
    """Tell any mistake in a damaged file as one."""
    try:
        yield
    except UnusableCheckpointError:
        raise
    except (*READING_ERRORS, struct.error, MemoryError) as error:
        raise UnusableCheckpointError(f"{source}: expected a checkpoint, found something else ({error!r})") from error


def _bytes(array: "np.ndarray") -> memoryview:
    """Return the memory of an array in row-major order, copied only if it lies in another."""
    import numpy as np

    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
